# shellcheck shell=bash
# keys.sh - who may speak: strangers, revoked keys, cloned names. Sourced by tests/torture/run.

frames_of() { curl -s "$formula_url/api/v1/machines" | python3 -c '
import json, sys
print(next((m["frames"] for m in json.load(sys.stdin)["machines"] if m["machine"] == sys.argv[1]), 0))' "$1"; }

# A stranger
mkdir -p "$T/state/synthetic-stranger"
supervise synthetic-stranger run_sensor 4 synthetic-stranger
ok "a stranger's sensor says what to do" wait_for 30 says synthetic-stranger 'is unreachable, or .*cbformula keys add'
is "and nothing of it is stored" 0 "$(frames_of synthetic-stranger)"
ok "the server names its key" wait_for 10 grep -qF "$(key_of synthetic-stranger)" "$T/log/formula"
end synthetic-stranger
rm -rf "$T"/ledger/synthetic-stranger.* "$T/state/synthetic-stranger"

# A name with another key
mkdir -p "$T/state/synthetic-clone" && let_in synthetic-clone
supervise synthetic-clone run_sensor 5 synthetic-6 --state-dir "$T/state/synthetic-clone" \
  --synthetic "seed=1,containers=$CONTAINERS"
ok "a cloned name with another key is refused and told so" wait_for 30 says synthetic-clone 'refuses this sensor.*another key'
is "the sensor it was cloned from is not" "" "$(says synthetic-6 'refuses this sensor')"
end synthetic-clone
rm -rf "$T/state/synthetic-clone"

# A key that is taken off the list, and comes back
mark_log synthetic-7
keys revoke synthetic-7
sleep 1
before=$(frames_of synthetic-7)
ok "a revoked key falls silent for its sensor" wait_for 30 says synthetic-7 'is unreachable, or .*cbformula keys add'
is "and no frame of it is stored" "$before" "$(frames_of synthetic-7)"
let_in synthetic-7
ok "let in again, it comes back with all it kept" all_caught_up 60 $((SENSORS + 1))
# for a moment only: its sensor sees no outage, and no frame may be missing between two others
mark_log synthetic-8
keys revoke synthetic-8
sleep 0.5
let_in synthetic-8
wait_for 30 says synthetic-8 'connected to' >/dev/null
ok "so does one whose key was away for half a second" all_caught_up 60 $((SENSORS + 1))
