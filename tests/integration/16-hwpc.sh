#!/usr/bin/env bash
# cbsensor with hwpc-sensor's command line, on what this machine has: a real container in CSV, over
# TCP into cbformula's replay, and in MongoDB; its own YAML configuration; what is wrong is said.
# limit: 600s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
start_engine "$T" "" cb/busy || exit
api() { docker_api "$engine_socket" "$@"; }

# container NAME SCRIPT: create it and print its id
container() {
  api POST "/containers/create?name=$1" -H 'Content-Type: application/json' -d \
    "{\"Image\":\"cb/busy\",\"Entrypoint\":[\"/bin/sh\",\"-c\",\"$2\"],\"HostConfig\":{\"NetworkMode\":\"none\"}}" |
    grep -oE '[0-9a-f]{64}'
}
run() { api POST "/containers/$1/start" && api POST "/containers/$1/wait" >/dev/null && api DELETE "/containers/$1"; }
ready() { grep -q ' ready: ' "$T/$1.log"; }
# sensor NAME ARG...: start one; stop NAME: end it well
sensor() {
  local name=$1
  shift
  spawn "$name" "$BIN/cbsensor" "$@"
  ok "it starts ($name)" wait_for 15 ready "$name"
}
stop() {
  local pid=${1}_pid
  kill "${!pid}"
  wait "${!pid}"
  is "it ends well ($1)" 0 $?
}
python() { /usr/bin/python3 "$@"; }
# One group of the machine and one of cgroups, of events that every machine has
groups=(-s sw -o -e task-clock -c core -e cpu-clock -e context-switches)
quick=(-f 200 --cgroup-discovery-interval 100)

# CSV
id=$(container busy 'busy 1')
sensor csv "${quick[@]}" -n host -r csv -U "$T/csv" "${groups[@]}"
ok "a container runs" run "$id"
sleep 0.5
stop csv
cat >"$T/look.py" <<'END'
import collections, csv, sys
folder, container = sys.argv[1:]
head = open(folder + "/core.csv").readline()
assert head == "timestamp,sensor,target,socket,cpu,context-switches,cpu-clock,time_enabled,time_running\n", head
core, sw = (list(csv.DictReader(open(f"{folder}/{g}.csv"))) for g in ("core", "sw"))
cpus = {r["cpu"] for r in core}
packages = {r["socket"] for r in core}
mine = [r for r in core if container in r["target"]]
used = sum(int(r["cpu-clock"]) for r in mine)
assert mine and all(r["target"].startswith("/") for r in core)
assert 0.5e9 < used < 1.3e9, used
assert abs(sum(int(r["time_enabled"]) for r in mine) - used) < 0.05 * used
ticks = collections.Counter((r["timestamp"], r["target"]) for r in core)
assert set(ticks.values()) == {len(cpus)}, "not one row for each CPU"
assert len(sw) == len(packages) * len({r["timestamp"] for r in sw}), "-o is not one CPU of each package"
assert {r["target"] for r in sw} == {"all"} and {r["timestamp"] for r in core} <= {r["timestamp"] for r in sw}
times = sorted({int(r["timestamp"]) for r in sw})
assert all(140 <= b - a <= 1000 for a, b in zip(times, times[1:])), times
END
ok "its CPU time is in the CSV, one row for each CPU, every tick under one timestamp" \
  python "$T/look.py" "$T/csv" "$id"
# TCP, read back by our own reader
cat >"$T/listen.py" <<'END'
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
c, _ = s.accept()
with open(sys.argv[2], "wb", buffering=0) as out:
    while data := c.recv(65536):
        out.write(data)
END
port=$(free_port)
spawn listener /usr/bin/python3 "$T/listen.py" "$port" "$T/lines"
listens() { grep -qi ":$(printf %04x "$1") .* 0A " /proc/net/tcp; }
ok "somebody listens" wait_for 10 listens "$port"
"$BIN/cbsensor" --frames 5 -f 200 -n host -r socket -U 127.0.0.1 -P "$port" "${groups[@]}" >"$T/socket.log" 2>&1
is "five ticks go out" 0 $?
wait "$listener_pid"
ok "each line is one report, all of a tick with its timestamp" python -c '
import json, sys
reports = [json.loads(line) for line in open(sys.argv[1])]
ticks = {}
for r in reports:
    assert list(r) == ["timestamp", "sensor", "target", "groups"] and type(r["timestamp"]) is int
    assert r["sensor"] == "host" and set(r["groups"]) == ({"sw"} if r["target"] == "all" else {"core"})
    assert ticks.setdefault(r["timestamp"], set()).isdisjoint({r["target"]})
    ticks[r["timestamp"]].add(r["target"])
assert len(ticks) == 5 and all("all" in t for t in ticks.values()), ticks
' "$T/lines"
"$BIN/cbformula" replay --in hwpc-json:- <"$T/lines" >"$T/replay" 2>"$T/replay.log"
is "cbformula replay reads them from standard input" 0 $?
like "and misses what this machine lacks: RAPL" '5 ticks have no energy' "$(cat "$T/replay.log")"

# The server goes away and comes back: nothing is missing
spawn first /usr/bin/python3 "$T/listen.py" "$port" "$T/first"
wait_for 10 listens "$port"
sensor returning -f 100 -n host -r socket -U 127.0.0.1 -P "$port" -s sw -o -e task-clock
sleep 0.5
stop_pid "$first_pid"
sleep 0.5
spawn second /usr/bin/python3 "$T/listen.py" "$port" "$T/second"
ok "it connects anew" wait_for 20 test -s "$T/second"
sleep 0.5
stop returning
wait "$second_pid"
ok "and sends what waited" python -c '
import json, sys
times = [json.loads(line)["timestamp"] for name in sys.argv[1:] for line in open(name) if line.endswith("}\n")]
gaps = [b - a for a, b in zip(times, times[1:])]
assert all(g > 0 for g in gaps) and sum(g > 350 for g in gaps) <= 1, gaps
' "$T/first" "$T/second"

# MongoDB
mkdir "$T/mongo"
port=$(free_port)
if command -v mongod >/dev/null; then
  server=(mongod --bind_ip 127.0.0.1 --port "$port" --dbpath "$T/mongo")
elif ferretdb=$(tests/integration/ferretdb/build.sh 2>"$T/build.log"); then
  server=("$ferretdb" "127.0.0.1:$port" "$T/mongo")
fi
to_mongo=(-n host -r mongodb -U "mongodb://127.0.0.1:$port" -D rapls2 -C sensorhost)
if [ -n "${server-}" ]; then
  spawn mongo "${server[@]}"
  ok "MongoDB answers" wait_for 20 port_in_use "$port"
  ok "two ticks into MongoDB" "$BIN/cbsensor" --frames 2 -f 200 "${to_mongo[@]}" "${groups[@]}"
  ok "a date, doubles, and one document for each report" python -c '
import datetime, sys, pymongo
docs = list(pymongo.MongoClient(sys.argv[1])["rapls2"]["sensorhost"].find())
ticks = {d["timestamp"] for d in docs}
assert len(ticks) == 2 and sum(d["target"] == "all" for d in docs) == 2, docs
for d in docs:
    assert set(d) == {"_id", "timestamp", "sensor", "target", "groups"} and type(d["timestamp"]) is datetime.datetime
    assert all(type(v) is float for g in d["groups"].values() for p in g.values() for c in p.values() for v in c.values())
' "mongodb://127.0.0.1:$port"
else
  skip "reports in MongoDB" "there is no mongod, and FerretDB cannot be built: $(tail -n 1 "$T/build.log")"
fi

# Nothing goes to cbformula unless asked; then frames do, beside the reports, under the same name
make_keys "$T" && start_formula "$T" || exit
frames() { curl -sf "$formula_url/api/v1/machines"; }
has_frames() { frames | grep -qE '"frames": ?[1-9]'; }
sensor both "${quick[@]}" -n "$SENSOR_NAME" -r csv -U "$T/both" "${groups[@]}" --state-dir "$T/sensor" \
  --docker-host "unix://$engine_socket" --formula "tcp://127.0.0.1:$link_port" --formula-key "$T/formula/formula.pub"
ok "with --formula frames arrive, too" wait_for 20 has_frames
has_rows() { [ "$(wc -l <"$T/both/sw.csv")" -gt 3 ]; }
ok "and reports go on" wait_for 10 has_rows
like "both count the same events" 'events: cpu-clock,context-switches' "$(cat "$T/both.log")"
stop both
is "no half of it is left" "" "$(pgrep -af -- "-U $T/both")"

# refuses NAME CODE PATTERN COMMAND...: one line that matches, that exit code
refuses() {
  local name=$1 want=$2 pattern=$3 code
  shift 3
  timeout 30 "$@" >"$T/out" 2>"$T/err" </dev/null
  code=$?
  if [ $code = "$want" ] && [ "$(grep -c error: "$T/err")" -eq 1 ] && grep -qE -e "$pattern" "$T/err"; then
    pass "$name"
  else
    fail "$name" "exit code $code, want $want and one line like $pattern, got: $(cat "$T/err" "$T/out")"
  fi
}
library=$(ldconfig -p | awk '$1 == "libmongoc-1.0.so.0" { print $NF; exit }')
refuses "without libmongoc only -r mongodb is missing" 1 'libmongoc-1.0-0.*install' \
  unshare -m sh -c 'mount --bind /dev/null "$0"; exec "$@"' "$(readlink -f "$library")" \
  "$BIN/cbsensor" --frames 1 "${to_mongo[@]}" "${groups[@]}"
ok "the others work" unshare -m sh -c 'mount --bind /dev/null "$0"; exec "$@"' "$(readlink -f "$library")" \
  "$BIN/cbsensor" --frames 1 -f 100 -r null "${groups[@]}"
refuses "an event that this CPU lacks is fatal" 1 "group 'core': event 'NO_SUCH_EVENT'" \
  "$BIN/cbsensor" -r null -c core -e NO_SUCH_EVENT
refuses "a directory with files of before" 1 "csv/.*csv' is there already.*-U" \
  "$BIN/cbsensor" -r csv -U "$T/csv" "${groups[@]}"
refuses "a server that is away" 1 'storage mongodb: the server does not answer' \
  "$BIN/cbsensor" -r mongodb -U mongodb://127.0.0.1:1 -D d -C c "${groups[@]}"
refuses "a base path that is no cgroup" 1 "-p '/tmp' is no cgroup" "$BIN/cbsensor" -p /tmp -r null "${groups[@]}"
refuses "a wrong line ends with 2" 2 '-e.*-s or -c' "$BIN/cbsensor" -e cpu-clock -r null

# Its own options: a file, and what the machine has
cat >"$T/good.yaml" <<END
tick: 200ms
events: [cpu-clock, 'context-switches,page-faults']
END
printf 'tik: 1s\ntick: 5\n' >"$T/bad.yaml"
ok "a good file is good" "$BIN/cbsensor" --config "$T/good.yaml" --check-config
"$BIN/cbsensor" --config "$T/bad.yaml" --check-config >"$T/out" 2>&1
is "a bad one ends with 2" 2 $?
like "and every fault has its line and the remedy" "bad.yaml:1: .*did you mean 'tick'.*bad.yaml:2: .*250ms" \
  "$(tr '\n' ' ' <"$T/out")"
ok "frames by the file" "$BIN/cbsensor" --config "$T/good.yaml" --output "$T/frames" --frames 2
like "have its events" '"page-faults"' "$(head -n 1 "$T/frames")"
"$BIN/cbsensor" --config "$T/good.yaml" --print-config >"$T/printed.yaml"
CBSENSOR_TICK=300ms "$BIN/cbsensor" --config "$T/printed.yaml" --print-config | diff "$T/printed.yaml" - >"$T/diff"
is "what is printed is such a file; the environment goes before it" "> tick: 300ms" "$(grep '^>' "$T/diff")"
ok "--list-events knows the software events" bash -c "'$BIN/cbsensor' --list-events --json |
  /usr/bin/python3 -c 'import json, sys; d = json.load(sys.stdin); assert any(e[\"name\"] == \"CONTEXT-SWITCHES\" for p in d[\"libpfm\"] for e in p[\"events\"])'"
done_testing
