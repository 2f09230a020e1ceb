#!/usr/bin/env bash
# The sensor alone, by --output: plain cgroups, another cgroup parent, nested cgroups, names, the
# mount of perf_event and its undoing.
# limit: 120s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
start_engine "$T" "" cb/busy || exit
api() { docker_api "$engine_socket" "$@"; }
holds() { /usr/bin/python3 -c "import sys; sys.exit(not ($1))"; }

# container NAME PARENT SCRIPT: create it and print its id
container() {
  api POST "/containers/create?name=$1" -H 'Content-Type: application/json' -d \
    "{\"Image\":\"cb/busy\",\"Entrypoint\":[\"/bin/sh\",\"-c\",\"$3\"],\"Labels\":{\"case\":\"$1\"},
      \"HostConfig\":{\"NetworkMode\":\"none\",\"CgroupParent\":\"$2\"}}" | grep -oE '[0-9a-f]{64}'
}
run() { api POST "/containers/$1/start" && api POST "/containers/$1/wait" >/dev/null && api DELETE "/containers/$1"; }
ready() { grep -q ' ready: ' "$T/$1.log"; }
# sensor NAME OPTION...: run one into $T/NAME.json
sensor() {
  local name=$1
  shift
  spawn "$name" "$BIN/cbsensor" --output "$T/$name.json" --docker-host "unix://$engine_socket" "$@"
  ok "the sensor starts ($name)" wait_for 10 ready "$name"
}
# stop NAME: end it
stop() {
  local pid=${1}_pid
  kill "${!pid}"
  wait "${!pid}"
  is "it ends well ($1)" 0 $?
}
# told NAME EXPRESSION: over all frames of NAME; f: the frames, by_name/by_path: what each target had
told() {
  /usr/bin/python3 - "$T/$1.json" "$2" <<'PY'
import json, sys
f = [json.loads(line) for line in open(sys.argv[1])]
text, used, last = {}, {}, {}
for frame in f:
    for t in frame["targets"]:
        if "cgroup" in t:
            text[t["id"]] = t
        used[t["id"]] = used.get(t["id"], 0) + t["stats"].get("cpu_ns", 0)
        last[t["id"]] = t["gone"]
by_name = {text[i].get("name"): i for i in used}
by_path = {text[i]["cgroup"]: i for i in used}
if not eval(sys.argv[2]):
    print(sys.argv[2], {text[i]["cgroup"]: (text[i].get("name"), used[i], last[i]) for i in used})
    sys.exit(1)
PY
}

# The hierarchy that is counted in: v1's perf_event where it is mounted
hierarchy=$(awk '/ - cgroup .*perf_event/ { print $5; exit }' /proc/self/mountinfo)
hierarchy=${hierarchy:-$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)}
mkdir -p "$hierarchy/cbtest-$$/a/inner" && later rmdir "$hierarchy/cbtest-$$/a/inner" \
  "$hierarchy/cbtest-$$/a" "$hierarchy/cbtest-$$"

sensor plain --cgroup "cbtest-$$/*" --tick 200ms
parent=$(container parent "/cbtest-parent-$$" 'busy 0.3')
# Docker makes the parent in every hierarchy and leaves it there.
later find /sys/fs/cgroup -maxdepth 2 -name "cbtest-parent-$$" -exec rmdir {} +
ok "a container under another cgroup parent runs" run "$parent"
# half a second of work in a cgroup below the one that is counted
ok "work in a plain cgroup" bash -c "echo \$\$ >'$hierarchy/cbtest-$$/a/inner/cgroup.procs' &&
  end=\$((\$(date +%s%N) + 500000000)); while [ \$(date +%s%N) -lt \$end ]; do :; done"
sleep 0.3
stop plain
ok "the container has its name, image and labels" told plain \
  "text[by_name['parent']]['image'] == 'cb/busy' and '\"case\":\"parent\"' in text[by_name['parent']]['labels']"
ok "its work was counted to the end, and its end told" told plain \
  "used[by_name['parent']] >= 0.05e9 and last[by_name['parent']] and text[by_name['parent']]['cgroup'].startswith('/cbtest-parent-')"
ok "the plain cgroup is counted with what lies below it, and only once" told plain \
  "used[by_path['/cbtest-$$/a']] >= 0.05e9 and '/cbtest-$$/a/inner' not in by_path and text[by_path['/cbtest-$$/a']]['kind'] == 'cgroup'"
ok "no time is missing between the frames" told plain \
  "all(a['t1_ns'] == b['t0_ns'] and a['seq'] + 1 == b['seq'] for a, b in zip(f, f[1:]))"
ok "the machine did at least what its parts did" told plain \
  "all(x['machine']['stats']['cpu_ns'] >= sum(t['stats'].get('cpu_ns', 0) for t in x['targets']) for x in f)"

# 1000 starts a minute: 100 containers one after the other, 60 ms each, and one process that moves
mkdir -p "$hierarchy/cbtest-$$/churn"
remove_churn() { find "$hierarchy/cbtest-$$/churn" -depth -type d -exec rmdir {} +; }
later remove_churn
sensor churn --tick 200ms --docker-host ""
begin=$(date +%s%N)
for i in {1..100}; do
  box=$(printf '%s/cbtest-%d/churn/%064x' "$hierarchy" $$ "$i")
  mkdir "$box"
  bash -c "echo \$\$ >'$box/cgroup.procs'; for ((k = 0; k < 8000; k++)); do :; done; echo \$\$ >'$hierarchy/cgroup.procs'"
  rmdir "$box"
  until [ $(($(date +%s%N) - begin)) -ge $((i * 60000000)) ]; do sleep 0.005; done
done
sleep 0.5
stop churn
ok "each of 100 containers that lived 60 ms was seen, did something, and ended" told churn \
  "len(used) == 100 and all(used.values()) and all(last.values())"

# A rename is followed while the container runs
sensor renamed --tick 100ms
box=$(container before "" 'sleep 20')
api POST "/containers/$box/start"
named() { [ -s "$T/renamed.json" ] && grep -q "\"name\": *\"$1\"" "$T/renamed.json"; }
ok "the container is known by its first name" wait_for 10 named before
api POST "/containers/$box/rename?name=after"
ok "and by its new one while it runs" wait_for 10 named after
api DELETE "/containers/$box?force=1"
stop renamed
ok "it is one target all the while" told renamed "sum(t.get('container_id') == '$box' for t in text.values()) == 1"

# Mounting perf_event, which no other test may find here
if grep -q ' - cgroup .*perf_event' /proc/self/mountinfo; then
  skip "perf_event is mounted and unmounted" "it is mounted here already"
else
  old=$(container old "" 'sleep 30')
  api POST "/containers/$old/start"
  sensor mounted --hierarchy mount
  like "it says which container is not counted" "container ${old:0:12} .*is not counted" "$(cat "$T/mounted.log")"
  new=$(container new "" 'busy 0.3')
  ok "a container that starts after it runs" run "$new"
  stop mounted
  ok "the new one was counted, and the old one is a gap" told mounted \
    "used[by_name['new']] >= 0.05e9 and 'old' not in by_name and any('$old' in g['source'] for g in f[-1]['gaps'])"
  is "nothing is mounted any more" "" "$(grep perf_event /proc/self/mountinfo)"
  api DELETE "/containers/$old?force=1"
  released() { [ "$(awk '$1 == "perf_event" { print $2 }' /proc/cgroups)" = 0 ]; }
  ok "the kernel lets go of it" wait_for 20 released
  ok "cgroup v2 can be counted again" "$BIN/cbsensor" --output "$T/again.json" --hierarchy v2 --frames 1 --tick 10ms

  # A sensor that is killed leaves its mount to the next one
  sensor killed --hierarchy mount
  kill -KILL "$killed_pid"
  wait "$killed_pid"
  like "what it mounted is still there" perf_event "$(cat /proc/self/mountinfo)"
  sensor heir
  like "the next sensor says so" "left behind by a cbsensor that was killed" "$(cat "$T/heir.log")"
  stop heir
  is "and unmounts it" "" "$(grep perf_event /proc/self/mountinfo)"
  ok "the kernel lets go of it again" wait_for 20 released
fi
done_testing
