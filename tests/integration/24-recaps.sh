#!/usr/bin/env bash
# Recaps and what is asked of the store: the form of powerapi-g5k's listener over HTTP, recap, power,
# energy and query of cbformula, container metrics, idle shares; and old frames as sums of a minute.
# limit: 300s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
start_engine "$T" "" cb/marks || exit
make_keys "$T" && start_formula "$T" && start_sensor "$T" --metrics 1s || exit
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=$formula_url CBFORMULA_STATE_DIR=$T/formula
cbf() { "$BIN/cbformula" "$@"; }
# python EXPRESSION FILE...: is it true of the files' JSON, in `d`?
holds() {
  local expression=$1
  shift
  /usr/bin/python3 - "$expression" "$@" <<'END'
import json, sys
d = [json.load(open(f)) for f in sys.argv[2:]]
uj = lambda row, what: sum(round(v * 1e6) for k, v in row.items() if k.startswith(what + "_") and k[len(what) + 1].isupper())
if not eval(f"({sys.argv[1]})"):
    print(json.dumps(d)[:2000])
    sys.exit(1)
END
}

begin=$(date +%s.%N)
"$BIN/cbtester" --json -n twin cb/marks 1 2 >"$T/recap.json" 2>"$T/tester.err"
is "a test" 0 $?
end=$(date +%s.%N)
id=$(/usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["id"])' "$T/recap.json")
read -r t0 t1 t2 < <(/usr/bin/python3 - "$T/recap.json" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
marks = [p["begin_ns"] for p in r["phases"]] + [r["end_ns"]]
print(*(f"{(r['begin_wall_ns'] + m - r['begin_ns']) / 1e9:.6f}" for m in marks))
END
)

# The listener's form. post NAME BEGIN WARMUP EXECUTION END [ID]: status to stdout, body to $T/NAME.json
post() {
  curl -s -o "$T/$1.json" -w '%{http_code}' -X POST --max-time 60 \
    "$formula_url/rapls2/$SENSOR_NAME?name=$1&begin=$2&beginwarmup=$3&beginexecution=$4&end=$5&id=${6-$id}"
}
is "a recap is posted as to the listener" 200 "$(post posted "$begin" "$t0" "$t1" "$t2")"
ok "and is the tester's within what marks of a microsecond can tell" holds \
  'all(abs(d[0][p["phase"] + "_powers_PKG_0"] * 1e6 - p["domains"][0]["energy_uj"]) < 2000 and
       abs(d[0][p["phase"] + "_container_dynamic_PKG_0"] * 1e6 - p["domains"][0]["dynamic_uj"]) < 2000
       for p in d[1]["phases"])' "$T/posted.json" "$T/recap.json"
is "the whole at once" 200 "$(post whole "$t0" "$t0" "$t0" "$t2")"
is "its first part" 200 "$(post first "$t0" "$t0" "$t0" "$t1")"
is "its second part" 200 "$(post second "$t1" "$t1" "$t1" "$t2")"
ok "parts that touch sum to the whole, to the microjoule" holds \
  'uj(d[0], "execution_powers") == uj(d[1], "execution_powers") + uj(d[2], "execution_powers") and
   uj(d[0], "execution_container_dynamic") == uj(d[1], "execution_container_dynamic") + uj(d[2], "execution_container_dynamic") > 0' \
  "$T/whole.json" "$T/first.json" "$T/second.json"
is "the machine only, by an id that no container has" 200 "$(post machine "$t0" "$t0" "$t0" "$t2" 0123)"
ok "has the same joules and no container's" holds \
  'uj(d[0], "execution_powers") == uj(d[1], "execution_powers") and uj(d[1], "execution_container_dynamic") == 0' \
  "$T/whole.json" "$T/machine.json"
is "an end before the begin is refused" 400 "$(post bad "$t1" "$t1" "$t1" "$t0")"
like "with the reason" '"error":"end: ' "$(cat "$T/bad.json")"
is "a missing argument is refused" 400 "$(post bad "$t0" "" "$t0" "$t1")"
like "by its name" 'beginwarmup: is missing' "$(cat "$T/bad.json")"
is "a time without data is not found" 404 "$(post bad 1000000000 1000000000 1000000000 1000000009)"
is "nor a machine nobody knows" 404 "$(curl -s -o "$T/bad.json" -w '%{http_code}' -X POST \
  "$formula_url/rapls2/nobody?name=a&begin=1&beginwarmup=1&beginexecution=1&end=2&id=0")"
now=$(date +%s.%N)
is "a recap up to now waits for its frame" 200 "$(post now "$t0" "$t0" "$t0" "$now")"

# The same by the command line
cbf recap "$SENSOR_NAME" --flat --json >"$T/flat.json"
ok "recap tells them all under the listener's names" holds \
  '{r["name"] for r in d[0]} == {"twin", "posted", "whole", "first", "second", "machine", "now"} and
   all("execution time" in r and "beginexecution" in r for r in d[0])' "$T/flat.json"
like "as CSV, too" '^name,id,begin,beginwarmup,beginexecution,end,warmup time,execution time,' \
  "$(cbf recap "$SENSOR_NAME" --flat --csv | head -n 1)"
cbf energy --machine "$SENSOR_NAME" --from "$t0" --to "$t2" --json >"$T/energy.json"
cbf power --machine "$SENSOR_NAME" --from "$t0" --to "$t2" --json >"$T/power.json"
ok "energy between two times is the recap's" holds \
  'uj(d[0][0], "powers") == uj(d[1], "execution_powers")' "$T/energy.json" "$T/whole.json"
ok "power sums to it" holds 'sum(uj(r, "powers") for r in d[0]) == uj(d[1][0], "powers") > 0' \
  "$T/power.json" "$T/energy.json"
for policy in none proportional equal; do
  cbf power twin --idle $policy --json >"$T/twin.$policy.json"
done
cbf energy twin --json >"$T/twin.json"
ok "a test's power sums to its container's energy" holds \
  'sum(uj(r, "container") for r in d[0]) == uj(d[1][0], "container") > 0' \
  "$T/twin.none.json" "$T/twin.json"
ok "idle is shared out when asked" holds \
  'uj(d[0][0], "container_idle") == 0 and sum(uj(r, "container_idle") for r in d[1]) > 0 and
   sum(uj(r, "container_idle") for r in d[2]) > 0' "$T"/twin.{none,proportional,equal}.json
ok "over HTTP as well" holds \
  'any(t["idle_share_uj"] > 0 for k in d[0]["ticks"] for o in k["domains"] for t in o["targets"])' \
  <(curl -sf "$formula_url/api/v1/power?idle=equal&last=3600")

# What containers use besides
cbf query --metrics --last 1h --json --container "$id" >"$T/metrics.json"
ok "the container's metrics are stored at their own period" holds \
  'len(d[0]) >= 2 and all(r["memory_bytes"] > 0 for r in d[0]) and sum(r.get("cpu_usage_ns", 0) for r in d[0]) > 5e8' \
  "$T/metrics.json"
ok "and told over HTTP" holds 'any("pids" in t for k in d[0]["ticks"] for t in k["targets"])' \
  <(curl -sf "$formula_url/api/v1/metrics?last=3600")

# A month later: sums of a minute. The server ages frames by its clock, so their age is put into the store.
stop_pid "$(saved_pid "$T/cbsensor.pid")"
stop_pid "$(saved_pid "$T/cbformula.pid")"
cbf energy --from 1 --json >"$T/before.json"
sqlite3 "$T/formula/cbwatts.sqlite" \
  "UPDATE frames SET heard_wall_ns = heard_wall_ns - 31 * 86400 * 1000000000;
   UPDATE usage SET heard_wall_ns = heard_wall_ns - 31 * 86400 * 1000000000"
frames=$(sqlite3 "$T/formula/cbwatts.sqlite" 'SELECT count(*) FROM frames')
start_formula "$T" || exit
coarse() { [ "$(sqlite3 -readonly "$T/formula/cbwatts.sqlite" 'SELECT count(*) FROM frames WHERE coarse = 0')" = 0 ]; }
ok "frames that are older than the retention become sums of a minute" wait_for 20 coarse
rows=$(sqlite3 -readonly "$T/formula/cbwatts.sqlite" 'SELECT count(*), sum(n_frames) FROM frames')
echo "# $frames frames are now (rows|frames) $rows"
is "which hold every frame" "$frames" "${rows#*|}"
cbf energy --from 1 --json >"$T/after.json"
ok "and every microjoule" holds 'uj(d[0][0], "powers") == uj(d[1][0], "powers") > 0' \
  "$T/before.json" "$T/after.json"
done_testing
