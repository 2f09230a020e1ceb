#!/usr/bin/env bash
# The sensor alone with a real engine: both ways to count agree, the container metrics are true.
# limit: 120s
. "$(dirname "$0")/lib.sh"
api() { docker_api "$engine_socket" "$@"; }
later stop_all "$T"

start_engine "$T" "" cb/busy || exit

# sensor HOW: frames to $T/HOW.json until it is stopped
sensor() {
  spawn "$1" "$BIN/cbsensor" --count "$1" --metrics 1s --tick 250ms --docker-host "unix://$engine_socket" \
    --output "$T/$1.json"
}
ready() { grep -q ready: "$T/$1.log"; }

sensor perf
sensor bpf
ok "the sensor starts with --count perf" wait_for 15 ready perf
if grep -q 'built without BPF' "$T/bpf.log"; then
  skip "the sensor starts with --count bpf" "clang, bpftool or libbpf-dev was missing at build time"
  how=(perf)
else
  ok "the sensor starts with --count bpf" wait_for 15 ready bpf
  how=(perf bpf)
fi

id=$(api POST "/containers/create?name=measured" -H 'Content-Type: application/json' -d \
  '{"Image":"cb/busy","Entrypoint":["/bin/sh","-c",
    "head -c 20000000 /dev/zero >/dev/shm/x; head -c 8000000 /dev/zero >/x; busy 6; sleep 5"],
    "HostConfig":{"NetworkMode":"none","Memory":100000000,"NanoCpus":150000000}}' |
  grep -oE '[0-9a-f]{64}')
api POST "/containers/$id/start"
sleep 9
v1=/sys/fs/cgroup/cpuacct/docker/$id/cpuacct.usage v2=/sys/fs/cgroup/docker/$id/cpu.stat
usage=$(if [ -e "$v1" ]; then cat "$v1"; else awk '$1 == "usage_usec" { print $2 * 1000 }' "$v2"; fi)
api POST "/containers/$id/wait" >"$T/wait"
api DELETE "/containers/$id?force=1"
sleep 1
for h in "${how[@]}"; do stop_pid "$(eval echo "\$${h}_pid")"; done

cat >"$T/check.py" <<'PYTHON'
import json, sys

def rows(name):
    """Every row of the container in the frames of one sensor."""
    own = None
    for line in open(name):
        for target in json.loads(line)["targets"]:
            if target.get("container_id") == sys.argv[2]:
                own = target["id"]
            if target["id"] == own:
                yield target["stats"]

def total(name, stat):
    return sum(row.get(stat, 0) for row in rows(name))

what = sys.argv[3:]
found = list(rows(sys.argv[1]))
print({
    "total": lambda: total(sys.argv[1], what[1]),
    "max": lambda: max((row[what[1]] for row in found if what[1] in row), default="absent"),
}[what[0]]())
PYTHON
stat() { /usr/bin/python3 "$T/check.py" "$T/$1.json" "$id" "${@:2}"; }
within() { /usr/bin/python3 -c "import sys; a, b, r = map(float, sys.argv[1:]); sys.exit(abs(a - b) > r * b)" "$@"; }
between() { /usr/bin/python3 -c "import sys; a, v, b = map(float, sys.argv[1:]); sys.exit(not a <= v <= b)" "$@"; }

perf=$(stat perf total cpu_ns)
echo "# CPU time: perf $perf ns, the kernel $usage ns"
ok "perf's CPU time is the kernel's within 4 %" within "$perf" "$usage" 0.04
if [ ${#how[@]} -eq 2 ]; then
  bpf=$(stat bpf total cpu_ns)
  echo "# CPU time: bpf $bpf ns; switches not shown: $(grep -c 'does not show every switch' "$T/bpf.json") frames"
  ok "BPF's CPU time is perf's within 2 %" within "$bpf" "$perf" 0.02
fi
for h in "${how[@]}"; do
  ok "$h: CPU use by the cgroup's files is the kernel's within 4 %" \
    within "$(stat "$h" total cpu_usage_ns)" "$usage" 0.04
  ok "$h: the quota held it back" between 1e8 "$(stat "$h" total cpu_throttled_ns)" 2e10
  is "$h: the memory limit" 99999744 "$(stat "$h" max memory_limit_bytes)"
  ok "$h: the file in memory" between 2e7 "$(stat "$h" max memory_bytes)" 1e8
  ok "$h: its peak" between 2e7 "$(stat "$h" max memory_peak_bytes)" 1e8
  ok "$h: processes" between 1 "$(stat "$h" max pids)" 20
  is "$h: no network, so no bytes" 0 "$(stat "$h" max net_rx_bytes)"
done

"$BIN/cbsensor" doctor --json --docker-host "unix://$engine_socket" >"$T/doctor.json"
like "doctor finds the engine" '"found": "an engine answers' "$(cat "$T/doctor.json")"
ok "doctor's report is JSON" /usr/bin/python3 -m json.tool "$T/doctor.json"
done_testing
