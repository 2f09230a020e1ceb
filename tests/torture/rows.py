#!/usr/bin/python3
"""rows.py - has every row of MongoDB and InfluxDB come there exactly once, with its joules?

usage: rows.py SQLITE LEDGERS METRICS MONGODB INFLUXDB SECONDS
SQLITE is cbformula's own store, LEDGERS the directory of what the sensors have read, METRICS a saved
/metrics, SECONDS the resolution of the rows in both servers.

 - No document of MongoDB has another's name (machine, time, again, part); InfluxDB keeps one point of
   each name by itself.
 - In every row energy = idle + system + unattributed + containers, to the microjoule.
 - Both servers have the same rows: every socket, domain and container has the same microjoules in each.
   What has the same time (`again`: a clock was set back) is taken together: where a row is cut there
   depends on when it was sent.
 - Each row covers the time, and has the joules, of those frames of SQLite that lie in it. The rows
   between are worked out here anew; a quarter of a frame is allowed for what the clocks did within it.
 - The sums over all rows are those of the ledgers, of SQLite and of /metrics, to the microjoule.
"""
import collections
import glob
import json
import re
import sqlite3
import sys
import urllib.parse
import urllib.request

PARTS = ["energy_uj", "idle_uj", "system_uj", "unattributed_uj"]
STEP_NS = 250_000_000  # cbformula takes a clock that moved by more for one that was set
SLACK_NS = 25_000_000


class Rows:
    """(machine, time) -> covered ns; (machine, time, socket, domain, source, part or container) -> uJ"""

    def __init__(self):
        self.covered = collections.Counter()
        self.uj = collections.Counter()
        self.rows = 0

    def add(self, key, uj):
        if uj:
            self.uj[key] += uj


def mongodb(uri, step_ns):
    import pymongo

    rows, names = Rows(), set()
    for doc in pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000).get_default_database()["energy"].find():
        at, again, part, machine = doc["_id"].split(":", 3)
        at = int(at)
        name = machine, at, int(again), int(part)
        assert name == (doc["machine"], at, doc["again"], doc["part"]), doc["_id"]
        assert name not in names, f"MongoDB has {name} twice"
        assert at % step_ns == 0, doc["_id"]
        names.add(name)
        rows.rows += 1
        if doc["part"] == 0:
            rows.covered[doc["machine"], at] += doc["covered_ns"]
        for i, one in enumerate(doc["domains"]):
            key = doc["machine"], at, str(one["socket"]), one["domain"], one["source"]
            for what in PARTS if doc["part"] == 0 else []:
                rows.add(key + (what,), one[what])
            for target in doc["targets"]:
                rows.add(key + (target["id"],), target["dynamic_uj"][i])  # a container without texts has its own
    return rows


def points(url, select, measurement, tags):
    """(tags, time, values) of every point, as the server sends them: a piece a line."""
    query = {"db": "cbwatts", "epoch": "ns", "chunked": "true", "q": f"SELECT {select} FROM {measurement} GROUP BY {tags}"}
    with urllib.request.urlopen(url + "/query?" + urllib.parse.urlencode(query), timeout=120) as answer:
        for line in answer:
            for result in json.loads(line)["results"]:
                assert "error" not in result, result
                for one in result.get("series", []):
                    for time_ns, *values in one["values"]:
                        yield one["tags"], time_ns, values


def influxdb(url, step_ns):
    rows, times = Rows(), {}
    for tags, time_ns, values in points(url, ", ".join(PARTS + ["covered_ns"]), "cb_node", '"machine", "socket", "domain", "source"'):
        at = time_ns // step_ns * step_ns
        key = tags["machine"], at, tags["socket"], tags["domain"], tags["source"]
        for what, uj in zip(PARTS, values):
            rows.add(key + (what,), uj)
        # every domain of a row covers the same time
        times.setdefault((tags["machine"], at), collections.Counter())[key[2:]] += values[-1]
        rows.rows += 1
    for row, covered in times.items():
        assert len(set(covered.values())) == 1, (row, covered)
        rows.covered[row] = next(iter(covered.values()))
    for tags, time_ns, values in points(url, "dynamic_uj", "cb_container", '"machine", "container_id", "socket", "domain", "source"'):
        at = time_ns // step_ns * step_ns
        rows.add((tags["machine"], at, tags["socket"], tags["domain"], tags["source"], tags["container_id"]), values[0])
    return rows


def check_parts(kind, rows):
    sums = collections.Counter()
    for key, uj in rows.uj.items():
        sums[key[:-1]] += uj if key[-1] == "energy_uj" else -uj
    wrong = [key for key, uj in sums.items() if uj]
    assert not wrong, f"{kind}: the parts of {len(wrong)} rows are not their energy: {wrong[:3]}"


def ledgers(path):
    """(start, seq) -> uJ"""
    read = {}
    for name in glob.glob(path + "/*.ledger"):
        with open(name, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                read[fields[0], int(fields[1])] = int(fields[5])
    return read


def expected(path, read, step_ns):
    """Covered time and microjoules of every row, from SQLite's frames and the ledgers."""
    covered, uj, total, last = collections.Counter(), collections.Counter(), collections.Counter(), {}
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    for machine, boot, start, seq, t0, t1, wall in db.execute(
            "SELECT m.name, f.boot, s.start_id, f.seq, f.t0_ns, f.t1_ns, f.wall_ns FROM frames f "
            "JOIN starts s ON s.id = f.start JOIN machines m ON m.id = f.machine ORDER BY f.id"):
        before = last.get(machine)
        anchor = wall - t1
        if before and before[0] == boot and t1 > before[1] and abs(anchor - before[2]) <= STEP_NS:
            anchor = before[2]
        last[machine] = boot, t1, anchor
        energy = read[start, seq]
        total[machine] += energy
        lo = t0
        while lo < t1:
            at = (lo + anchor) // step_ns * step_ns
            hi = min(t1, at + step_ns - anchor)
            covered[machine, at] += hi - lo
            uj[machine, at] += energy * (hi - t0) // (t1 - t0) - energy * (lo - t0) // (t1 - t0)
            lo = hi
    return covered, uj, total


def metrics(path):
    families = dict(zip(("cb_node_energy_joules_total", "cb_node_idle_energy_joules_total",
                         "cb_node_system_energy_joules_total", "cb_unattributed_energy_joules_total"), PARTS))
    sums = collections.Counter()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            what = families.get(line.split("{")[0])
            if what:
                labels = dict(re.findall(r'([a-z_]+)="([^"]*)"', line))
                whole, _, rest = line.split()[-1].partition(".")
                sums[labels["machine"], labels["socket"], labels["domain"], what] += int(whole) * 1_000_000 + int((rest + "000000")[:6])
    return sums


def compare(name, want, got, slack=0):
    """The largest difference; of missing ones the whole of it."""
    keys = want.keys() | got.keys()
    wrong = [k for k in keys if abs(want.get(k, 0) - got.get(k, 0)) > slack]
    assert not wrong, f"{name}: {len(wrong)} of {len(keys)} differ: " + "; ".join(
        f"{k} {want.get(k, 0)} and {got.get(k, 0)}" for k in sorted(wrong)[:5])
    return max((abs(want.get(k, 0) - got.get(k, 0)) for k in keys), default=0)


def main(database, ledger, saved, uri, url, seconds):
    step_ns = int(seconds) * 1_000_000_000
    both = {"MongoDB": mongodb(uri, step_ns), "InfluxDB": influxdb(url, step_ns)}
    covered, uj, total = expected(database, ledgers(ledger), step_ns)
    told = metrics(saved)
    for kind, rows in both.items():
        check_parts(kind, rows)
        off_ns = compare(f"time in the rows of {kind}", covered, rows.covered, SLACK_NS)
        energy, by_domain, by_machine = collections.Counter(), collections.Counter(), collections.Counter()
        for (machine, at, socket, domain, _source, what), value in rows.uj.items():
            if what == "energy_uj":
                energy[machine, at] += value
                by_machine[machine] += value
            if what in PARTS:
                by_domain[machine, socket, domain, what] += value
        off_uj = compare(f"joules in the rows of {kind}", uj, energy, max(uj.values()) * SLACK_NS // step_ns)
        compare(f"joules of the ledgers and of {kind}", total, by_machine)
        compare(f"joules of /metrics and of {kind}", told, by_domain)
        print(f"{kind}: {rows.rows} {'documents' if kind == 'MongoDB' else 'points of nodes'}, {len(rows.covered)} rows of {seconds} s, "
              f"{sum(rows.covered.values()) / 1e9:.3f} s of frames, {sum(by_machine.values()) / 1e6:.6f} J; "
              f"a row is at most {off_ns / 1e6:.3f} ms and {off_uj} uJ off its frames")
    compare("time in the rows of MongoDB and of InfluxDB", both["MongoDB"].covered, both["InfluxDB"].covered)
    compare("joules in the rows of MongoDB and of InfluxDB", both["MongoDB"].uj, both["InfluxDB"].uj)
    assert sum(total.values()) > 0, "no energy at all"
    print(f"ledgers and SQLite: {sum(total.values()) / 1e6:.6f} J; {len(both['MongoDB'].uj)} figures of parts and containers are the same in both")


try:
    main(*sys.argv[1:])
except (AssertionError, OSError, KeyError, ValueError) as problem:
    sys.exit(f"{type(problem).__name__}: {problem}")
