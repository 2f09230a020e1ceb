#!/usr/bin/env bash
# The whole way with a real engine: two containers at once, a short one, and the tester's recap.
# limit: 180s
. "$(dirname "$0")/lib.sh"
figures() { /usr/bin/python3 "$TOP/tests/integration/figures.py" "$@"; }
api() { docker_api "$engine_socket" "$@"; }
later stop_all "$T"

start_engine "$T" "" cb/busy cb/marks || exit
make_keys "$T" && start_formula "$T" && start_sensor "$T" || exit

# container NAME MILLIONTHS-OF-A-CPU SCRIPT: create it and print its id
container() {
  api POST "/containers/create?name=$1" -H 'Content-Type: application/json' -d \
    "{\"Image\":\"cb/busy\",\"Entrypoint\":[\"/bin/sh\",\"-c\",\"$3\"],
      \"HostConfig\":{\"NetworkMode\":\"none\",\"NanoCpus\":$(($2 * 1000))}}" | grep -oE '[0-9a-f]{64}'
}
start() { api POST "/containers/$1/start"; }
power() { curl -sf --max-time 10 "$formula_url/api/v1/power?last=60" >"$T/power.json"; }
boottime() { awk '{ printf "%.0f\n", $1 * 1e9 }' /proc/uptime; }
covers() { power && [ "$(figures get "$T/power.json" ticks.-1.t1_ns)" -ge "$1" ]; }
# nanoseconds of CPU time in a container's life so far
cpu_time() {
  local v1=/sys/fs/cgroup/cpuacct/docker/$1/cpuacct.usage v2=/sys/fs/cgroup/docker/$1/cpu.stat
  if [ -e "$v1" ]; then cat "$v1"; else awk '$1 == "usage_usec" { printf "%.0f\n", $2 * 1000 }' "$v2"; fi
}
# python EXPRESSION: is it true?
holds() { /usr/bin/python3 -c "import sys; sys.exit(not ($1))"; }

# Two at once. They stay when they have been busy, so that their whole CPU time can be read.
full=$(container full 0 'busy 6; sleep 60')
quarter=$(container quarter 250000 'busy 6; sleep 60')
start "$full" &
started=$!
start "$quarter"
wait $started
sleep 6.5
end=$(boottime)
ok "the time of both containers is stored" wait_for 10 covers "$end"
cpu_full=$(cpu_time "$full") cpu_quarter=$(cpu_time "$quarter")
ok "every tick adds up exactly and none is missing" figures power "$T/power.json"
read -r uj_full uj_quarter < <(figures shares "$T/power.json" "$full" "$quarter")
echo "# full: $uj_full uJ in $cpu_full ns of CPU; quarter: $uj_quarter uJ in $cpu_quarter ns"
energy="($uj_full / ($uj_full + $uj_quarter))" cpu="($cpu_full / ($cpu_full + $cpu_quarter))"
ok "their energies are as their CPU times, within 1 point" holds "abs($energy - $cpu) <= 0.01"
ok "80 % is the first one's where the machine gave both their CPU" holds \
  "not (5.9e9 <= $cpu_full <= 6.2e9 and 1.45e9 <= $cpu_quarter <= 1.6e9) or abs($energy - 0.8) <= 0.02"

# One that is gone before a tick is over
short=$(container short 0 'busy 0.3')
start "$short"
api POST "/containers/$short/wait" >"$T/wait"
api DELETE "/containers/$short"
end=$(boottime)
ok "the time of the short container is stored" wait_for 10 covers "$end"
uj_short=$(figures row "$T/power.json" "$short")
like "a container of 300 ms has its energy" '^[1-9][0-9]*$' "$uj_short"
echo "# short: $uj_short uJ"
for c in "$full" "$quarter"; do api DELETE "/containers/$c?force=1"; done

# The tester
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=$formula_url
"$BIN/cbtester" --json cb/marks 1 2 >"$T/recap.json" 2>"$T/tester.err"
is "cbtester ends as its container" 0 $?
ok "the recap adds up exactly" figures recap "$T/recap.json"
is "its phases are as marked" "warmup execution" \
  "$(figures get "$T/recap.json" phases.0.phase) $(figures get "$T/recap.json" phases.1.phase)"
like "the measured phase is as long as it was" '^(1\.9|2\.[0-4])' "$(figures get "$T/recap.json" phases.1.seconds)"
is "no container is left" '[]' "$(api GET '/containers/json?all=1')"

# The house is in order
curl -sf "$formula_url/metrics" >"$T/metrics"
is "cbformula found no violation of conservation" 0 \
  "$(awk '/^cb_formula_conservation_violations_total/ { n += $NF; seen = 1 } END { print seen ? n : "no such metric" }' "$T/metrics")"
for p in cbsensor cbformula; do
  pid=$(saved_pid "$T/$p.pid")
  kill -TERM "$pid"
  wait "$pid"
  is "$p ends well when asked" 0 $?
  ok "no sanitizer spoke in $p" bash -c "! grep -E 'Sanitizer|runtime error' '$T/$p.log'"
done
ok "no sanitizer spoke in cbtester" bash -c "! grep -E 'Sanitizer|runtime error' '$T/tester.err'"
done_testing
