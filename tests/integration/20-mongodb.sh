#!/usr/bin/env bash
# Recaps in MongoDB under the names that PowerAPI's listener gave them, also when the server comes late.
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
make_keys "$T" && start_formula "$T" --mongodb "$uri" && start_sensor "$T" || exit
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

export HOME=$T CBWATTS_MONGODB=$uri IPYTHONDIR=$T/ipython MPLCONFIGDIR=$T/mpl
ok "the notebook runs over MongoDB" \
  /usr/bin/jupyter nbconvert --to markdown --execute --output-dir "$T/out" notebooks/recaps.ipynb
like "and shows both tests" '<td>early</td>.*<td>late</td>' "$(tr '\n' ' ' <"$T/out/recaps.md")"
done_testing
