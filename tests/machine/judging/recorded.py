# SPDX-License-Identifier: Apache-2.0
"""A scenario that was recorded instead of served: three models replayed over the same frames.

`cbformula record` kept the frames (formula/recording.h, docs/frame.md). They are replayed by
cbwatts, by cputime and, as the reports PowerAPI's sensor would have made of them
(formula/frame_reports.h), by smartwatts.
"""
import json
import os
import struct
import subprocess
from pathlib import Path

from .store import Domain, Share, Store, Tick

BIN = Path(os.environ.get("BIN", Path(__file__).resolve().parents[3] / "build/bin"))
PERIOD_MS = 500
DOMAINS = ("package", "dram")
SCOPES = ("cpu", "dram")


# ---- BSON, as far as a frame has it

def _cstring(data, at):
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _value(kind, data, at):
    if kind == 0x10:
        return struct.unpack_from("<i", data, at)[0], at + 4
    if kind == 0x12:
        return struct.unpack_from("<q", data, at)[0], at + 8
    if kind == 0x08:
        return data[at] != 0, at + 1
    (size,) = struct.unpack_from("<i", data, at)
    if kind == 0x02:
        return data[at + 4:at + 3 + size].decode(), at + 4 + size
    if kind == 0x05:
        return data[at + 5:at + 5 + size], at + 5 + size
    if kind in (0x03, 0x04):
        inner = _document(data[at:at + size])
        return (inner if kind == 0x03 else list(inner.values())), at + size
    raise ValueError(f"BSON type {kind:#x}")


def _document(data):
    at, fields = 4, {}
    while data[at]:
        kind = data[at]
        name, at = _cstring(data, at + 1)
        fields[name], at = _value(kind, data, at)
    return fields


def frames(path):
    data = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    at = len(b"CBREC1\n")
    while at < len(data):
        kind, size = struct.unpack_from("<cI", data, at)
        if kind == b"F":
            yield _document(data[at + 5:at + 5 + size])
        at += 5 + size


# ---- replays

def _replay(*arguments):
    run = subprocess.run([BIN / "cbformula", "replay", *arguments], check=True,
                         capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def _store(recorded, lines):
    per_tick = {}
    for line in lines:
        per_tick.setdefault(line["t1_ns"], []).append(line)
    ticks = []
    for frame, entries in zip(recorded, per_tick.values(), strict=True):
        tick = Tick(frame["seq"], frame["t0_ns"], frame["t1_ns"], [])
        for e in entries:
            domain = Domain(e["socket"], e["domain"], e["source"].split(",")[0], e["energy_uj"],
                            e["idle_uj"], e["system_uj"], e["unattributed_uj"])
            for t in e["targets"]:
                domain.shares[t["target"]] = Share(t["dynamic_uj"], t["uncertainty_uj"], 0)
            tick.domains.append(domain)
        ticks.append(tick)
    names = {name for domain in ticks[-1].domains for name in domain.shares}
    names |= {name for tick in ticks for domain in tick.domains for name in domain.shares}
    # a target is told by its container id, or, where it has none, by its cgroup
    return Store(ticks, {name: ("" if name.startswith("/") else name, name, name)
                         for name in names})


def read(path):
    """(store of cbwatts, {model: {target: dynamic microjoules}})."""
    recorded = list(frames(path))
    ours = _store(recorded, _replay("--in", f"frames:{path}", "--model", "cbwatts"))
    others = {"cputime": {}, "smartwatts": {}}
    for line in _replay("--in", f"frames:{path}", "--model", "cputime"):
        for t in line["targets"] if line["domain"] in DOMAINS else ():
            others["cputime"][t["target"]] = others["cputime"].get(t["target"], 0) + t["dynamic_uj"]
    length_us = {f["wall_ns"] // 1000000: (f["t1_ns"] - f["t0_ns"]) / 1000 for f in recorded}
    for power in _replay("--in", f"frames:{path}", "--model", "smartwatts", "--out",
                         "powerapi-json", "--flush", "--sensor-reports-frequency", str(PERIOD_MS),
                         "--cpu-base-freq", "2000"):
        if power["metadata"]["scope"] in SCOPES and power["target"] not in ("rapl", "global"):
            sums = others["smartwatts"]
            sums[power["target"]] = (sums.get(power["target"], 0)
                                     + power["power"] * length_us[power["timestamp"]])
    return ours, others
