#!/usr/bin/env bash
# Reports of PowerAPI's own sensor, live: over TCP, out of CSV files that grow, out of MongoDB. What the
# server stores is what a replay of the same input gives, to the microjoule, and nothing counts twice.
# limit: 600s
. "$(dirname "$0")/lib.sh"
fixtures=$TOP/tests/fixtures
zcat "$fixtures/smartwatts/synth.in.jsonl.gz" >"$T/synth.jsonl"       # two sockets, three targets
zcat "$fixtures/smartwatts/timeline.jsonl.gz" >"$T/timeline.jsonl"    # times that are sums
zstdcat "$fixtures/recordings/bsc_x5650.jsonl.zst" | head -n 4000 >"$T/bsc.jsonl"

port=$(free_port) # of the PowerAPI socket
# up DIR [OPTION...]: a server of its own
up() {
  local dir=$1
  shift
  mkdir -p "$dir"
  in_background "$dir" cbformula "$BIN/cbformula" --state-dir "$dir/formula" --plain \
    --listen "tcp://127.0.0.1:*" --http 127.0.0.1:0 --retention 0 --powerapi-deadline 1s "$@"
  later stop_saved "$dir/cbformula.pid"
  came_up "$dir" cbformula grep -q 'ready: link' "$dir/cbformula.log"
}
down() { stop_saved "$1/cbformula.pid"; }
feed() { cat "$@" >"/dev/tcp/127.0.0.1/$port"; }

cat >"$T/same.py" <<'END'
# same.py BIN [--sums] STATE REPLAY...: is what the store has what the replays of these inputs gave?
# --sums: the energy of each tick, socket and domain only, to 1 uJ (after a restart the fractions of
# RAPL's unit are summed anew; a killed server's model is up to a second behind, and the parts are the
# model's)
import json, subprocess, sys
bin, args = sys.argv[1], sys.argv[2:]
sums = args[0] == "--sums"
state, inputs = args[sums], args[sums + 1:]
def lines(*args):
    return subprocess.run([bin, *args], capture_output=True, text=True, check=True).stdout
want, got, ticks = {}, {}, set()
for one in inputs:
    for line in lines("replay", "--join-deadline", "1s", "--in", one).splitlines():
        r = json.loads(line)
        ms = r["t1_ns"] // 1000000
        key = (r["machine"], ms, r["socket"], r["domain"])
        ticks.add((r["machine"], ms))
        for part in ("idle", "system", "unattributed"):
            want[key + (part, "")] = (r[part + "_uj"], r["t1_ns"] - r["t0_ns"])
        for t in r["targets"]:
            want[key + ("container", t["target"])] = (t["dynamic_uj"], r["t1_ns"] - r["t0_ns"], t["uncertainty_uj"])
rows = json.loads(lines("query", "--state-dir", state, "--from", "0", "--to", "4000000000", "--json") or "[]")
import datetime
for r in rows:
    ms = round(datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")).timestamp() * 1000)
    key = (r["machine"], ms, r["socket"], r["domain"], r["part"], r["name"] if r["part"] == "container" else "")
    assert key not in got, f"twice: {key}"
    got[key] = (r["energy_uj"], round(r["seconds"] * 1e9)) + ((r["uncertainty_uj"],) if r["part"] == "container" else ())
def summed(rows):
    by_key = {}
    for k, v in rows.items():
        by_key[k[:4]] = (by_key.get(k[:4], (0,))[0] + v[0], v[1])
    return by_key
if sums:
    want, got = summed(want), summed(got)
missing, more = want.keys() - got.keys(), got.keys() - want.keys()
assert not missing, f"{len(missing)} of {len(want)} rows are missing: {sorted(missing)[:3]}"
assert not more, f"{len(more)} rows too many: {sorted(more)[:3]}"
wrong = [k for k in want if want[k] != got[k] and not (sums and abs(want[k][0] - got[k][0]) <= 1 and want[k][1] == got[k][1])]
assert not wrong, f"{len(wrong)} of {len(want)} rows differ: {[(k, want[k], got[k]) for k in wrong[:3]]}"
print(f"{len(want)} rows of {len(ticks)} ticks are the same")
END
same() { /usr/bin/python3 "$T/same.py" "$BIN/cbformula" "$@"; }
same_quietly() { same "$@" 2>/dev/null; }
same_soon() { wait_for "$1" same_quietly "${@:2}" || same "${@:2}"; }

# --- TCP ---
up "$T/tcp" --powerapi-socket "$port"
feed "$T/synth.jsonl" &
feed "$T/bsc.jsonl"
wait $!
feed "$T/timeline.jsonl"
inputs=("hwpc-json:$T/synth.jsonl" "hwpc-json:$T/bsc.jsonl" "hwpc-json:$T/timeline.jsonl")
ok "over TCP: three sensors, stored as a replay gives them" same_soon 20 "$T/tcp/formula" "${inputs[@]}"
same "$T/tcp/formula" "${inputs[@]}" | sed 's/^/# /'

feed "$T/synth.jsonl"
sleep 2
ok "the same again counts once" same "$T/tcp/formula" "${inputs[@]}"
down "$T/tcp"
up "$T/tcp" --powerapi-socket "$port"
feed "$T/synth.jsonl" "$T/bsc.jsonl"
sleep 2
ok "and once after a restart" same "$T/tcp/formula" "${inputs[@]}"

down "$T/tcp"

# --- recorded beside the server: over a restart and a kill the replay gives the bits that are stored ---
record() { up "$T/rec" --powerapi-socket "$port" --record "$T/rec/kept" --record-keep 8; }
recorded() { cat "$T/rec/kept"/*.cbrec >"$T/rec/all" && same_quietly "$T/rec/formula" "frames:$T/rec/all"; }
record
feed <(head -n 1500 "$T/bsc.jsonl") "$T/synth.jsonl"
ok "recorded: the replay of it is what is stored" wait_for 10 recorded
down "$T/rec"
record
feed <(head -n 2500 "$T/bsc.jsonl")
sleep 3
kill -9 "$(saved_pid "$T/rec/cbformula.pid")"
record
feed "$T/bsc.jsonl"
sleep 2
down "$T/rec"
cat "$T/rec/kept"/*.cbrec >"$T/rec/all"
ok "and over a restart and a kill" same "$T/rec/formula" "frames:$T/rec/all"
same "$T/rec/formula" "frames:$T/rec/all" | sed 's/^/# /'
is "a file for each start of the server" 3 "$(find "$T/rec/kept" -name 'cbwatts-*.cbrec' | wc -l)"

# kill -9 in the middle; what waited for its tick is lost, nothing counts twice, the rest comes
up "$T/kill" --powerapi-socket "$port"
(feed <(head -n 2000 "$T/bsc.jsonl"; sleep 30)) 2>/dev/null &
feeder=$!
sleep 0.8
kill -9 "$(saved_pid "$T/kill/cbformula.pid")"
wait $feeder 2>/dev/null
up "$T/kill" --powerapi-socket "$port"
feed "$T/bsc.jsonl"
ok "killed in the middle and fed again: the same joules" same_soon 20 --sums "$T/kill/formula" "hwpc-json:$T/bsc.jsonl"
down "$T/kill"

# bad lines and old forms: no newline between the documents, half a line, garbage, a sensor nobody can name
up "$T/bad" --powerapi-socket "$port"
{
  head -n 300 "$T/synth.jsonl" | tr -d '\n'
  printf '\n{"timestamp":1,"sensor":"synth","tar\nGET / HTTP/1.1\r\n\r\n{}\n[1,2]\n\377\376\n'
  printf '{"timestamp":1600000000000,"sensor":"with blank","target":"all","groups":{}}\n'
  tail -n +301 "$T/synth.jsonl"
} | feed
head -c 3000000 /dev/zero | tr '\0' '{' | feed 2>/dev/null
printf '{"a":"%3000000s"}' x | feed 2>/dev/null
ok "without newlines and among garbage: every report is found" same_soon 20 "$T/bad/formula" "hwpc-json:$T/synth.jsonl"
like "what is bad is told" 'PowerAPI socket 127.0.0.1: .*skipped' "$(cat "$T/bad/cbformula.log")"
is "not line by line" 1 "$(grep -c 'skipped' "$T/bad/cbformula.log")"
down "$T/bad"

# --- CSV that grows ---
cat >"$T/to_csv.py" <<'END'
# to_csv.py IN OUT FROM TO: the reports of ticks FROM to TO appended as PowerAPI's CSV files
import csv, json, os, sys
source, out, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
reports = [json.loads(line) for line in open(source)]
times = sorted({r["timestamp"] for r in reports})[first:last]
groups = {}
for r in reports:
    for g, sockets in r["groups"].items():
        for s, cpus in sockets.items():
            for c, events in cpus.items():
                groups.setdefault(g, sorted(events))
                if r["timestamp"] in times:
                    path = f"{out}/{g}.csv"
                    new = not os.path.exists(path)
                    with open(path, "a") as f:
                        if new:
                            f.write(",".join(["timestamp", "sensor", "target", "socket", "cpu"] + groups[g]) + "\n")
                        f.write(",".join(map(str, [r["timestamp"], r["sensor"], r["target"], s, c] + [events[e] for e in groups[g]])) + "\n")
END
csv() { /usr/bin/python3 "$T/to_csv.py" "$T/synth.jsonl" "$T/csv" "$@"; }
follow() { up "$T/files" --powerapi-csv "$T/csv" --powerapi-deadline 200ms; }
mkdir "$T/csv"
csv 0 50
follow
sleep 1
csv 50 100
ok "CSV files that grow: the same bits as a replay" same_soon 30 "$T/files/formula" "hwpc-csv:$T/csv"
csv 100 180
# half a row, and the rest of it after a restart
row=$(tail -n 1 "$T/csv/core.csv")
sed -i '$d' "$T/csv/core.csv"
printf '%s' "${row:0:30}" >>"$T/csv/core.csv"
down "$T/files"
follow
sleep 1
printf '%s\n' "${row:30}" >>"$T/csv/core.csv"
csv 180 200
ok "CSV files that grow, over a restart: the same joules as a replay" \
  same_soon 30 --sums "$T/files/formula" "hwpc-csv:$T/csv"
kill -9 "$(saved_pid "$T/files/cbformula.pid")"
follow
csv 200 1000
ok "and every row once over a kill" same_soon 30 --sums "$T/files/formula" "hwpc-csv:$T/csv"
same --sums "$T/files/formula" "hwpc-csv:$T/csv" | sed 's/^/# /'
down "$T/files"

# --- MongoDB ---
mongo_port=$(free_port)
mkdir "$T/mongo"
if command -v mongod >/dev/null; then
  server=(mongod --bind_ip 127.0.0.1 --port "$mongo_port" --dbpath "$T/mongo")
else
  if ! ferretdb=$(tests/integration/ferretdb/build.sh 2>"$T/build.log"); then
    sed 's/^/# /' "$T/build.log"
    skip "reports in MongoDB" "there is no mongod, and FerretDB cannot be built: $(tail -n 1 "$T/build.log")"
    done_testing
  fi
  server=("$ferretdb" "127.0.0.1:$mongo_port" "$T/mongo")
fi
uri=mongodb://127.0.0.1:$mongo_port/sensors
cat >"$T/insert.py" <<'END'
# insert.py URI FILE FROM TO: as PowerAPI's sensor does it: dates, doubles, one document at a time
import datetime, json, pymongo, sys
uri, file, first, last = sys.argv[1:]
collection = pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000).get_default_database()["prep"]
utc = datetime.timezone.utc
for line in open(file).readlines()[int(first):int(last)]:
    r = json.loads(line)
    r.pop("_id", None)
    time = r["timestamp"]
    r["timestamp"] = (datetime.datetime.fromisoformat(time).replace(tzinfo=utc) if isinstance(time, str)
                      else datetime.datetime.fromtimestamp(time / 1000, utc))
    for sockets in r["groups"].values():
        for cpus in sockets.values():
            for events in cpus.values():
                for e in events:
                    events[e] = float(events[e])
    collection.insert_one(r)
END
insert() { /usr/bin/python3 "$T/insert.py" "$uri" "$@"; }
up "$T/db" --powerapi-mongodb "$uri"
like "a MongoDB that is away is told" 'PowerAPI MongoDB: .*trying again' \
  "$(wait_for 20 grep 'trying again' "$T/db/cbformula.log"; cat "$T/db/cbformula.log")"
spawn mongo "${server[@]}"
ok "MongoDB answers" wait_for 20 port_in_use "$mongo_port"
insert "$T/synth.jsonl" 0 200
sleep 2
insert "$T/synth.jsonl" 200 400
head -n 400 "$T/synth.jsonl" >"$T/begin.jsonl"
ok "a collection that grows: the same bits as a replay" same_soon 30 "$T/db/formula" "hwpc-json:$T/begin.jsonl"
insert "$T/synth.jsonl" 400 500
down "$T/db"
insert "$T/synth.jsonl" 500 600
up "$T/db" --powerapi-mongodb "$uri"
insert "$T/synth.jsonl" 600 2000
ok "a collection that grows, over a restart: every document once, the same joules as a replay" \
  same_soon 30 --sums "$T/db/formula" "hwpc-json:$T/synth.jsonl"
kill -9 "$(saved_pid "$T/db/cbformula.pid")"
insert "$T/timeline.jsonl" 0 100
up "$T/db" --powerapi-mongodb "$uri"
inputs=("hwpc-json:$T/synth.jsonl" "hwpc-json:$T/timeline.jsonl")
ok "and once over a kill, beside another sensor" same_soon 30 --sums "$T/db/formula" "${inputs[@]}"
same --sums "$T/db/formula" "${inputs[@]}" | sed 's/^/# /'
down "$T/db"
done_testing
