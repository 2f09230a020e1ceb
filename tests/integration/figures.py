#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""figures.py COMMAND ARGS... - look at what cbformula and cbtester print, for the shell tests.

  recap FILE            every part adds up, in integers; something is there
  power FILE            the same for every tick, and the ticks leave no gap
  shares FILE A B       dynamic energy of the containers A and B (prefixes of ids), as "uj_a uj_b"
  row FILE ID           dynamic energy of a container in all its ticks; fails when it has no row
  get FILE PATH         one value, as in phases.0.seconds
Ends with 1 and a line that says what is wrong.
"""
import json
import sys

PARTS = ["dynamic_uj", "others_uj", "system_uj", "idle_uj", "unattributed_uj"]


def fail(text):
    print(text)
    sys.exit(1)


def whole(where, value):
    if type(value) is not int or value < 0:
        fail(f"{where} is {value!r}, not a whole number of microjoules")
    return value


def adds_up(where, domain, parts):
    total = sum(whole(f"{where}, a part", p) for p in parts)
    if whole(f"{where}, energy_uj", domain["energy_uj"]) != total:
        fail(f"{where}: energy {domain['energy_uj']}, parts {total}")


def recap(data):
    if not any(p["domains"] for p in data["phases"]):
        fail("no phase has energy")
    for phase in data["phases"]:
        for d in phase["domains"]:
            where = f"{phase['phase']}, socket {d['socket']} {d['domain']}"
            adds_up(where, d, [d[k] for k in PARTS])
            whole(where, d["uncertainty_uj"])
            if not d["source"] or (d["source"] == "estimate") != (data["source"] == "estimate"):
                fail(f"{where}: source {d['source']!r} in a recap of source {data['source']!r}")
    total = sum(d["energy_uj"] for p in data["phases"] for d in p["domains"])
    if total == 0:
        fail("no energy at all")


def power(data):
    ticks = data["ticks"]
    if len(ticks) < 2:
        fail(f"only {len(ticks)} ticks")
    for before, tick in zip(ticks, ticks[1:]):
        if before["t1_ns"] != tick["t0_ns"]:
            fail(f"a gap: a tick ends at {before['t1_ns']}, the next begins at {tick['t0_ns']}")
    for tick in ticks:
        for d in tick["domains"]:
            where = f"tick {tick['t1_ns']}, socket {d['socket']} {d['domain']}"
            parts = [d["idle_uj"], d["system_uj"], d["unattributed_uj"]]
            adds_up(where, d, parts + [t["dynamic_uj"] for t in d["targets"]])
    if sum(d["energy_uj"] for t in ticks for d in t["domains"]) == 0:
        fail("no energy at all")


def dynamic(data, container):
    rows = [
        t["dynamic_uj"]
        for tick in data["ticks"]
        for d in tick["domains"]
        for t in d["targets"]
        if d["domain"] in ("package", "dram") and t["container_id"].startswith(container)
    ]
    if not rows:
        fail(f"no tick has a row of container {container}")
    return sum(rows)


def main():
    command, file, *args = sys.argv[1:]
    with open(file, encoding="utf-8") as f:
        data = json.load(f)
    if command == "recap":
        recap(data)
    elif command == "power":
        power(data)
    elif command == "shares":
        print(*(dynamic(data, c) for c in args))
    elif command == "row":
        print(dynamic(data, args[0]))
    elif command == "get":
        for key in args[0].split("."):
            data = data[int(key)] if isinstance(data, list) else data[key]
        print(json.dumps(data) if isinstance(data, (dict, list)) else data)
    else:
        fail(f"no such command: {command}")


main()
