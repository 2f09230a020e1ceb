"""energy.py SOURCE...: the joules of every machine, socket and domain, read from each of the SOURCEs
on its own; fails unless all say the same to 1e-6, and unless every row's parts sum to it.

  ledger=FILE            what cbsensor --synthetic wrote down (the sum over all domains only)
  sqlite=FILE            frames.result unpacked as docs/store.md says
  jsonl=DIR csv=DIR      every file of that kind
  metrics=FILE           /metrics of cbformula, saved (minus nothing: the run begins empty)
  prometheus=URL         what a Prometheus scraped last
  influxdb=URL           InfluxDB 1.x, database cbwatts
  victoria=URL           a server that took InfluxDB 2.x's protocol
  mongodb=URI            collection energy in the database of the URI
"""
import collections
import csv
import glob
import json
import re
import sqlite3
import struct
import sys
import urllib.parse
import urllib.request

DOMAINS = ["package", "dram", "core", "uncore", "psys"]
NODE = ["energy_uj", "idle_uj", "system_uj", "unattributed_uj"]


class Sums:
    """(machine, socket, domain) -> what -> microjoules"""

    def __init__(self):
        self.all = collections.defaultdict(collections.Counter)
        self.keys = set()

    def add(self, machine, socket, domain, what, uj):
        self.all[(machine, int(socket), domain)][what] += uj

    def once(self, *key):
        if key in self.keys:
            sys.exit(f"twice: {key}")
        self.keys.add(key)


def sqlite(path, sums):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    for machine, blob in db.execute("SELECT m.name, f.result FROM frames f JOIN machines m ON m.id = f.machine"):
        at = 1

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = blob[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        for _ in range(4):
            varint()
        n_domains, n_targets = varint(), varint()
        domains = []
        for _ in range(n_domains):
            socket, domain, _source, _flags = struct.unpack_from("<HBBI", blob, at)
            at += 8
            values = [varint() for _ in range(5)]
            at += 4 * 4 + 8
            domains.append((socket, DOMAINS[domain]))
            for what, value in zip(NODE, values):
                sums.add(machine, socket, DOMAINS[domain], what, value)
        for _ in range(n_targets):
            varint()
            varint()
        for socket, domain in domains:
            for _ in range(n_targets):
                sums.add(machine, socket, domain, "dynamic_uj", varint())
                at += 8
        assert at == len(blob), "a result of another length"


def row(o, sums):
    sums.once(o["row"], o["wall_ns"], o["again"], o["machine"], o.get("socket"), o.get("domain"), o.get("source"), o.get("container_id"))
    if o["row"] == "cb_node":
        for what in NODE:
            sums.add(o["machine"], o["socket"], o["domain"], what, int(o[what]))
    elif o["row"] == "cb_container":
        sums.add(o["machine"], o["socket"], o["domain"], "dynamic_uj", int(o["dynamic_uj"]))


def jsonl(path, sums):
    for name in sorted(glob.glob(path + "/*.jsonl")):
        with open(name, encoding="utf-8") as lines:
            for line in lines:
                row(json.loads(line), sums)


def csv_files(path, sums):
    for name in sorted(glob.glob(path + "/*.csv")):
        with open(name, encoding="utf-8", newline="") as lines:
            for o in csv.DictReader(lines):
                row(o, sums)


FAMILIES = {
    "cb_node_energy_joules_total": "energy_uj",
    "cb_node_idle_energy_joules_total": "idle_uj",
    "cb_node_system_energy_joules_total": "system_uj",
    "cb_unattributed_energy_joules_total": "unattributed_uj",
    "cb_container_energy_joules_total": "dynamic_uj",
}


def metrics(path, sums):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name = re.match(r"[a-z_]*", line).group()
            if name in FAMILIES:
                labels = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', line))
                sums.add(labels["machine"], labels["socket"], labels["domain"], FAMILIES[name], round(float(line.split()[-1]) * 1e6))


def get(url, **query):
    with urllib.request.urlopen(url + ("?" + urllib.parse.urlencode(query) if query else ""), timeout=20) as answer:
        return answer.read().decode()


def prometheus(url, sums):
    for name, what in FAMILIES.items():
        for one in json.loads(get(url + "/api/v1/query", query=name))["data"]["result"]:
            labels = one["metric"]
            sums.add(labels["machine"], labels["socket"], labels["domain"], what, round(float(one["value"][1]) * 1e6))


def influxdb(url, sums):
    for measurement, fields in (("cb_node", NODE), ("cb_container", ["dynamic_uj"])):
        select = ", ".join(f"sum({f}) AS {f}" for f in fields)
        q = f'SELECT {select} FROM {measurement} GROUP BY machine, socket, "domain"'
        for one in json.loads(get(url + "/query", db="cbwatts", q=q))["results"][0].get("series", []):
            for what, value in zip(one["columns"][1:], one["values"][0][1:]):
                sums.add(one["tags"]["machine"], one["tags"]["socket"], one["tags"]["domain"], what, value)


def victoria(url, sums):
    get(url + "/internal/force_flush")
    for name, whats in (("cb_node", NODE), ("cb_container", ["dynamic_uj"])):
        for what in whats:
            for line in get(url + "/api/v1/export", **{"match[]": f"{name}_{what}"}).splitlines():
                one = json.loads(line)
                labels = one["metric"]
                for time, value in zip(one["timestamps"], one["values"]):
                    sums.once(json.dumps(labels), time)
                    sums.add(labels["machine"], labels["socket"], labels["domain"], what, round(value))


def mongodb(uri, sums):
    import pymongo

    for doc in pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000).get_default_database()["energy"].find():
        sums.once(doc["_id"])
        for d, one in enumerate(doc["domains"]):
            if doc["part"] == 0:  # further parts repeat the domains
                for what in NODE:
                    sums.add(doc["machine"], one["socket"], one["domain"], what, one[what])
            sums.add(doc["machine"], one["socket"], one["domain"], "dynamic_uj", sum(t["dynamic_uj"][d] for t in doc["targets"]))


def ledger(path, sums):
    with open(path, encoding="utf-8") as lines:
        sums.total = sum(int(line.split()[5]) for line in lines)


READERS = {
    "sqlite": sqlite,
    "jsonl": jsonl,
    "csv": csv_files,
    "metrics": metrics,
    "prometheus": prometheus,
    "influxdb": influxdb,
    "victoria": victoria,
    "mongodb": mongodb,
    "ledger": ledger,
}


def near(a, b):
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b))


def main():
    first = None
    for argument in sys.argv[1:]:
        kind, _, where = argument.partition("=")
        sums = Sums()
        READERS[kind](where, sums)
        total = getattr(sums, "total", None)
        if total is None:
            total = sum(c["energy_uj"] for c in sums.all.values())
            for key, c in sums.all.items():
                parts = c["idle_uj"] + c["system_uj"] + c["unattributed_uj"] + c["dynamic_uj"]
                assert near(parts, c["energy_uj"]), f"{kind}: {key}: parts {parts}, energy {c['energy_uj']}"
            if first is None:
                first = sums.all
            assert set(sums.all) == set(first), f"{kind}: {set(sums.all) ^ set(first)}"
            for key, c in sums.all.items():
                for what in NODE + ["dynamic_uj"]:
                    assert near(c[what], first[key][what]), f"{kind}: {key} {what} {c[what]}, not {first[key][what]}"
        else:
            assert first is None or near(total, sum(c["energy_uj"] for c in first.values())), f"{kind}: {total}"
        print(f"{kind:10} {total / 1e6:.6f} J")
    assert first, "nothing to compare"
    assert sum(c["energy_uj"] for c in first.values()) > 0, "no energy at all"


try:
    main()
except (AssertionError, OSError, KeyError, ValueError) as problem:
    sys.exit(f"{type(problem).__name__}: {problem}")
