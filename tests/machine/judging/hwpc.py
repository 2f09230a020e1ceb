# SPDX-License-Identifier: Apache-2.0
"""Reports in hwpc-sensor's form, field by field, and what the real SmartWatts makes of them."""
import csv
import json
import math
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import truth

HERE = Path(__file__).resolve().parent.parent
SOCKETS = {"0": ["0", "1"], "1": ["2", "3"]}  # packages and their CPUs, as `run` boots the guest
TIMES = {"time_enabled", "time_running"}
CORE = {"CPU_CLK_THREAD_UNHALTED:REF_P", "CPU_CLK_THREAD_UNHALTED:THREAD_P", "LLC_MISSES"}
PCU = {f"UNC_P_POWER_STATE_OCCUPANCY:CORES_C{c}" for c in (0, 3, 6)}
RAPL = {"RAPL_ENERGY_PKG", "RAPL_ENERGY_DRAM"}
MSR = {"TSC", "APERF", "MPERF"}
CONTAINERS = {"/box/hungry", "/box/modest"}
FREQUENCY_MS = 500


def plain(value):
    """A value of canonical extended JSON as (its BSON type, what it is)."""
    if isinstance(value, dict) and len(value) == 1:
        (kind, inner), = value.items()
        if kind == "$date":
            return "date", int(inner["$numberLong"])
        if kind == "$numberDouble":
            return "double", float(inner)
        if kind == "$oid":
            return "oid", inner
    return type(value).__name__, value


def faults(report, groups, value_type):
    """What of a report is not as the form has it. @groups: name -> (events, one CPU a package)."""
    if set(report["groups"]) != set(groups):
        yield f"groups {sorted(report['groups'])}"
        return
    for name, (events, one_cpu) in groups.items():
        packages = report["groups"][name]
        wanted = {p: set(c[:1] if one_cpu else c) for p, c in SOCKETS.items()}
        if {p: set(c) for p, c in packages.items()} != wanted:
            yield f"{name}: packages and CPUs { {p: sorted(c) for p, c in packages.items()} }"
        for package, cpus in packages.items():
            for cpu, values in cpus.items():
                if set(values) != events | TIMES:
                    yield f"{name}.{package}.{cpu}: members {sorted(values)}"
                for event, value in values.items():
                    kind, number = plain(value)
                    if kind != value_type or not number >= 0 or number != math.floor(number):
                        yield f"{name}.{package}.{cpu}.{event}: {kind} {number}"


def ticks(reports):
    """timestamp -> {target: report}, in order; a target twice in a tick is an error of its own."""
    found, twice = {}, []
    for report in reports:
        tick = found.setdefault(report["time"], {})
        twice += [report["target"]] if report["target"] in tick else []
        tick[report["target"]] = report
    return dict(sorted(found.items())), twice


def steady(times, period_ms):
    gaps = [b - a for a, b in zip(times, times[1:])]
    mean = sum(gaps) / len(gaps)
    return abs(mean - period_ms) < 0.05 * period_ms, f"every {mean:.1f} ms"


def joules(tick, event, package):
    values = tick["all"]["groups"]["rapl"][package]
    return math.ldexp(sum(plain(c[event])[1] for c in values.values()), -32)


def energy(name, found, machine, offset_ns):
    """RAPL's counts times 2^-32 J between the first and the last tick, against the truth."""
    times = list(found)
    t0, t1 = (t * 1000000 - offset_ns for t in (times[0], times[-1]))
    for package in SOCKETS:
        sum_j = sum(joules(found[t], "RAPL_ENERGY_PKG", package) for t in times[1:])
        true_j = machine.rapl((int(package), "package"), t0, t1) / 1e12
        error = 100 * (sum_j - true_j) / true_j
        yield abs(error) <= 2, (f"{name}: RAPL_ENERGY_PKG of package {package} within 2 % of the truth "
                                f"({error:+.2f} %: {sum_j:.2f} J, true {true_j:.2f} J)")


def form(name, reports, groups_of, n_ticks, value_type, period_ms):
    """The checks that hold for every form; groups_of(target) -> groups, or None: not expected."""
    found, twice = ticks(reports)
    yield len(found) == n_ticks and not twice, (
        f"{name}: {len(found)} ticks, each target once in a tick, all with one timestamp")
    good, how = steady(list(found), period_ms)
    yield good, f"{name}: {how}"
    wrong = [f"{r['target']}: {f}" for r in reports for f in
             (faults(r, groups_of(r["target"]), value_type) if groups_of(r["target"]) is not None
              else ["not expected"])]
    yield not wrong, (f"{name}: {len(reports)} reports have the members, CPUs, events and types of "
                      f"hwpc-sensor's" + "".join(f" (not so: {w})" for w in wrong[:3]))


def documents(name, docs, groups_of, n_ticks, period_ms=1000):
    extra = [sorted(d) for d in docs
             if set(d) != {"_id", "timestamp", "sensor", "target", "groups"}
             or plain(d["_id"])[0] != "oid" or plain(d["timestamp"])[0] != "date"
             or d["sensor"] != "emulated"]
    yield not extra and docs, f"{name}: {len(docs)} documents of _id, timestamp (a date), sensor, " \
        "target, groups" + (f" (not so: {extra[0]})" if extra else "")
    reports = [{"time": plain(d["timestamp"])[1], "target": d["target"], "groups": d["groups"]}
               for d in docs]
    yield from form(name, reports, groups_of, n_ticks, "double", period_ms)


def full_groups(target):
    if target == "all":
        return {"rapl": (RAPL, True), "pcu": (PCU, True)}
    return {"core": (CORE, False)} if target in CONTAINERS else None


def minimal_groups(target):
    return {"rapl": ({"RAPL_ENERGY_PKG"}, True)} if target == "all" else None


def socket_groups(target):
    if target == "all":
        return {"rapl": (RAPL, True), "msr": (MSR, False)}
    core = CORE | {"INSTRUCTIONS_RETIRED"}
    return {"core": (core, False)} if target in CONTAINERS else None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(process, port):
    for _ in range(300):
        if process.poll() is not None:
            return None
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.1)
    return None


def smartwatts(lines, n_rows):
    """Play @lines to the real SmartWatts; its rows once there are @n_rows of them, and its log."""
    python = subprocess.run([HERE / "smartwatts" / "build.sh"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cbsmartwatts.") as folder:
        config = {"verbose": True, "stream": True, "cpu-base-freq": 2000,
                  "sensor-reports-frequency": FREQUENCY_MS,
                  "input": {"in": {"type": "socket", "model": "HWPCReport", "host": "127.0.0.1",
                                   "port": port}},
                  "output": {"out": {"type": "csv", "model": "PowerReport",
                                     "directory": folder + "/out"}}}
        Path(folder, "config.json").write_text(json.dumps(config))
        with open(folder + "/log", "w+") as log:
            process = subprocess.Popen([python, "-m", "smartwatts", "--config-file",
                                        folder + "/config.json"], stdout=log, stderr=log,
                                       env=dict(os.environ, TZ="UTC"))
            try:
                connection = listening(process, port)
                if connection:
                    connection.sendall(lines)
                rows, end = [], time.time() + 60
                while connection and len(rows) < n_rows and time.time() < end:
                    time.sleep(0.5)
                    rows = [row for file in Path(folder, "out").rglob("PowerReport.csv")
                            for row in csv.DictReader(file.open())]
                if connection:
                    connection.close()
            finally:
                process.terminate()
                process.wait(30)
            log.seek(0)
            return rows, log.read()


def watts(text):
    lines = text.splitlines()
    # the first 10 samples of a layer give no model, the last 5 ticks stay in its buffer; 2 sockets
    rows, log = smartwatts(text.encode(), 2 * len(CONTAINERS) * 15)
    seen = {c: [r for r in rows if r["target"] == c and r["scope"] == "cpu"] for c in CONTAINERS}
    mean = {c: sum(float(r["power"]) for r in of) / max(1, len({r["timestamp"] for r in of}))
            for c, of in seen.items()}
    good = all(seen.values()) and mean["/box/hungry"] > 0
    yield good, (f"the real SmartWatts 2.4.1 took {len(lines)} reports and gives "
                 + ", ".join(f"{c} {w:.2f} W" for c, w in sorted(mean.items()))
                 + ("" if good else f" (its log ends: {log[-600:]!r})"))


def judge(folder):
    docs = json.loads((folder / "documents.json").read_text())
    machine = truth.Truth(truth.parse("".join(
        (folder / name).read_text() for name in ("begin", "record", "end"))))
    offset_ns = int((folder / "wall_minus_boot").read_text())
    yield from documents("the full command", docs["sensoremulated"], full_groups, 8)
    yield from documents("the minimal command", docs["sensorminimal"], minimal_groups, 4)
    found, _ = ticks([{"time": plain(d["timestamp"])[1], **d} for d in docs["sensoremulated"]])
    yield from energy("the full command", found, machine, offset_ns)
    text = (folder / "smartwatts.jsonl").read_text()
    reports = [{"time": r["timestamp"], **r} for r in map(json.loads, text.splitlines())]
    yield all(list(r)[1:] == ["timestamp", "sensor", "target", "groups"]
              and isinstance(r["timestamp"], int) for r in reports), (
        "-r socket: each line is one object of timestamp (an integer), sensor, target, groups")
    yield from form("-r socket", reports, socket_groups, 40, "int", FREQUENCY_MS)
    yield from watts(text)
