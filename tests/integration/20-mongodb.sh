#!/usr/bin/env bash
# MongoDB: recaps under the names that PowerAPI's listener gave them, energy row by row; also when the
# server comes late, or is killed and comes again, every row is there once and the joules are SQLite's.
# The server is the machine's mongod, or FerretDB (the same protocol), built once from ferretdb/.
# limit: 900s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
port=$(free_port)
uri=mongodb://127.0.0.1:$port/cbwatts
mkdir "$T/mongo"
if command -v mongod >/dev/null; then
  server=(mongod --bind_ip 127.0.0.1 --port "$port" --dbpath "$T/mongo")
else
  if ! ferretdb=$(tests/integration/ferretdb/build.sh 2>"$T/build.log"); then
    sed 's/^/# /' "$T/build.log"
    skip "recaps in MongoDB" "there is no mongod, and FerretDB cannot be built: $(tail -n 1 "$T/build.log")"
    done_testing
  fi
  server=("$ferretdb" "127.0.0.1:$port" "$T/mongo")
fi

start_engine "$T" "" cb/marks || exit
make_keys "$T" && start_formula "$T" --mongodb "$uri" --mongodb-format cbwatts,powerapi &&
  start_sensor "$T" || exit
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=$formula_url
# the first while the server is away: nothing waits for it
ok "a test while MongoDB is away" "$BIN/cbtester" --json -n early cb/marks 1 1
spawn mongo "${server[@]}"
ok "MongoDB answers" wait_for 20 port_in_use "$port"
"$BIN/cbtester" --json -n late cb/marks 1 2 >"$T/recap.json"
is "a test while it is there" 0 $?

cat >"$T/look.py" <<'END'
import json, sys, pymongo
uri, file = sys.argv[1:]
recap = json.load(open(file))
db = pymongo.MongoClient(uri, serverSelectionTimeoutMS=2000).get_default_database()
docs = {d["name"]: d for d in db["recap" + recap["machine"]].find()}
assert set(docs) == {"early", "late"}, f"documents of {set(docs)}"
assert "warmup_container_idle_equal_PKG_0" in docs["late"] or not recap["phases"][0]["domains"]
assert db["recap" + recap["machine"]].count_documents({}) == 2, "a recap is there twice"
d = docs["late"]
assert d["id"] == recap["id"]
phases = {p["phase"]: p for p in recap["phases"]}
assert d["begin"] <= d["beginwarmup"] < d["beginexecution"] < d["end"]
assert abs(d["warmup time"] - phases["warmup"]["seconds"]) < 0.002, d["warmup time"]
assert abs(d["execution time"] - phases["execution"]["seconds"]) < 0.002, d["execution time"]
for name, phase in phases.items():
    assert phase["domains"], name
    for dom in phase["domains"]:
        event = {"package": "PKG", "dram": "DRAM"}.get(dom["domain"])
        if event:
            joules = d[f"{name}_powers_{event}_{dom['socket']}"]
            assert type(joules) is float and abs(joules - dom["energy_uj"] / 1e6) < 1e-9, joules
assert "estimate" in json.dumps(d, default=str) or recap["source"] != "estimate", "the source is not told"
print(sorted(d))
END
look() { /usr/bin/python3 "$T/look.py" "$uri" "$T/recap.json"; }
ok "both recaps are there once, with the listener's names and whole-machine joules" wait_for 30 look
look | sed 's/^/# /'

# Killed while rows come, and back: a batch that was under way is sent again.
kill -KILL "$mongo_pid"
wait "$mongo_pid" 2>/dev/null
ok "a test while MongoDB is killed" "$BIN/cbtester" --json -n killed cb/marks 1 2
spawn mongo "${server[@]}"
ok "MongoDB answers again" wait_for 20 port_in_use "$port"
ok "a test after it" "$BIN/cbtester" --json -n after cb/marks 1 1
stop_pid "$(saved_pid "$T/cbsensor.pid")"

cat >"$T/compare.py" <<'END'
import collections, json, subprocess, sys, pymongo
uri, formula, state = sys.argv[1:]
rows = json.loads(subprocess.run([formula, "query", "--state-dir", state, "--from", "1", "--json"],
                                 check=True, capture_output=True).stdout)
want, seconds = collections.Counter(), {}
for row in rows:
    who = row["container_id"] if row["part"] == "container" else row["part"]
    want[row["domain"], row["socket"], who] += row["energy_uj"]
    seconds[row["time"]] = row["seconds"]
db = pymongo.MongoClient(uri, serverSelectionTimeoutMS=2000).get_default_database()
got, covered, names, n = collections.Counter(), 0, set(), 0
for d in db["energy"].find():
    n += 1
    covered += d["covered_ns"]
    for i, dom in enumerate(d["domains"]):
        at = dom["domain"], dom["socket"]
        shares = sum(t["dynamic_uj"][i] for t in d["targets"])
        assert dom["energy_uj"] == dom["idle_uj"] + dom["system_uj"] + dom["unattributed_uj"] + shares, d
        for part in ("idle", "system", "unattributed"):
            got[at + (part,)] += dom[part + "_uj"]
        for t in d["targets"]:
            got[at + (t["container_id"],)] += t["dynamic_uj"][i]
assert rows and n, "no rows"
assert got == want, f"MongoDB lacks {want - got}, has too much {got - want}"
assert abs(covered - sum(seconds.values()) * 1e9) < 1e4, (covered, sum(seconds.values()))
assert n <= covered / 1e9 + 4 * 2 + 20, f"{n} documents for {covered / 1e9} s"
joules, power = 0, 0
for r in db["power"].find({"target": "rapl"}):
    assert set(r) == {"_id", "timestamp", "sensor", "target", "metadata", "power"}, r
    assert r["metadata"]["scope"] in ("cpu", "dram") and r["metadata"]["socket"] == "0", r
    power += 1
domains = {(d, s) for d, s, _ in want if d in ("package", "dram")}
assert power == n * len(domains), (power, n, domains)
print(f"{n} documents, {covered / 1e9:.3f} s, {sum(got.values())} uJ in SQLite and in MongoDB")
END
compare() { /usr/bin/python3 "$T/compare.py" "$uri" "$BIN/cbformula" "$T/formula"; }
ok "every row is there once, and its microjoules are SQLite's" wait_for 40 compare
compare | sed 's/^/# /'

# All of it again, as if the formula had forgotten how far it was: nothing is there twice. FerretDB has
# no TTL and says so; that keeps nobody from writing.
stop_pid "$(saved_pid "$T/cbformula.pid")"
sqlite3 "$T/formula/cbwatts.sqlite" 'UPDATE streams SET frame = 0; DELETE FROM stream_marks'
start_formula "$T" --mongodb "$uri" --mongodb-format cbwatts,powerapi --mongodb-ttl 24h || exit
again() {
  [ "$(sqlite3 -readonly "$T/formula/cbwatts.sqlite" 'SELECT count(*) FROM streams s
    WHERE s.frame = (SELECT max(id) FROM frames) AND NOT EXISTS (SELECT 1 FROM stream_batches)')" = 1 ]
}
ok "every row is sent again" wait_for 60 again
ok "and is still there once" compare
if command -v mongod >/dev/null; then
  ok "the server is told to delete old rows" /usr/bin/python3 -c "import pymongo, sys
assert pymongo.MongoClient(sys.argv[1]).get_default_database()['energy'].index_information()['cbwatts_timestamp']['expireAfterSeconds'] == 86400" "$uri"
else
  like "a server without TTL is named" 'does not delete old documents' "$(cat "$T/cbformula.log")"
fi

export HOME=$T CBWATTS_MONGODB=$uri IPYTHONDIR=$T/ipython MPLCONFIGDIR=$T/mpl
ok "the notebook runs over MongoDB" \
  /usr/bin/jupyter nbconvert --to markdown --execute --output-dir "$T/out" notebooks/recaps.ipynb
like "and shows both tests" '<td>early</td>.*<td>late</td>' "$(tr '\n' ' ' <"$T/out/recaps.md")"
done_testing
