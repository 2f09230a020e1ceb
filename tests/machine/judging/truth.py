# SPDX-License-Identifier: Apache-2.0
"""The truth: tables of /proc/cbmachine (module/proc.c), in picojoules and nanoseconds."""
import bisect
from collections import defaultdict

DOMAINS = ("package", "core", "dram")
TOP = ("package", "dram")  # the domains that add up to the machine


class Table:
    """Everything up to one moment. Values are dicts from (socket, domain), domain "ns" for time."""

    def __init__(self, time_ns, full, rows):
        self.time_ns = time_ns
        self.rapl = defaultdict(int)    # what RAPL counts
        self.idle = defaultdict(int)
        self.shared = defaultdict(int)
        self.running = defaultdict(int)  # all that ran, containers and the rest
        self.cgroup = {}                # (cgroup, CPU) -> (hierarchy and path, values)
        self.lost_ns = 0
        sums = defaultdict(lambda: [0, 0, 0, 0])  # (what, CPU) -> its columns
        for kind, key, cpu, socket, *values, name in rows:
            socket, values = int(socket), [int(v) for v in values]
            what = key.split(":")[0] if kind == "cg" else kind
            sums[what, cpu] = [a + b for a, b in zip(sums[what, cpu], values)]
            energy = {(socket, d): v for d, v in zip(("ns",) + DOMAINS, values)}
            if kind == "cg":
                self.cgroup[key, cpu] = (what, name), energy
            self._book(what, energy)
        self.sane = self.lost_ns == 0 and all(
            sums["sig", cpu] == sums["cpu", cpu] and (not full or sums["v2", cpu] == sums["cpu", cpu])
            for what, cpu in list(sums) if what == "cpu")

    def _book(self, what, energy):
        to = {"idle": self.idle, "shared": self.shared, "cpu": self.running}.get(what)
        for at, value in energy.items():
            if to is not None:
                to[at] += value
                self.rapl[at] += value
            if what == "lost":
                self.lost_ns += value


def parse(text):
    """All tables of a text, in order."""
    tables, rows, head = [], [], None
    for line in text.splitlines() + ["time 0 end"]:
        fields = line.split(" ", 8)
        if fields[0] == "time":
            if head:
                tables.append(Table(int(head[1]), head[2] == "full", rows))
            head, rows = fields, []
        else:
            rows.append(fields)
    return tables


class Truth:
    """Tables along the time, and straight lines between them."""

    def __init__(self, tables):
        self.tables = sorted(tables, key=lambda t: t.time_ns)
        self.times = [t.time_ns for t in self.tables]
        self.rows = {name: [getattr(t, name) for t in self.tables]
                     for name in ("rapl", "idle", "shared", "running")}
        self.known = defaultdict(lambda: ([], []))  # (hierarchy, path) -> times, values
        rows = {}  # a table may leave out what did not run lately: it is as it was
        for table in self.tables:
            rows.update(table.cgroup)
            self._note(table, rows)

    def _note(self, table, rows):
        sums = {}
        for name, values in rows.values():
            to = sums.setdefault(name, defaultdict(int))
            for at, value in values.items():
                to[at] += value
        for name, values in sums.items():
            times, known = self.known[name]
            times.append(table.time_ns)
            known.append(values)

    @staticmethod
    def _between(times, rows, at, time_ns):
        """rows[i][at] at a time; before the first 0 unless it is there, after the last the last."""
        i = bisect.bisect_right(times, time_ns)
        if i == 0:
            return 0
        if i == len(times):
            return rows[-1].get(at, 0)
        share = (time_ns - times[i - 1]) / (times[i] - times[i - 1])
        before, after = rows[i - 1].get(at, 0), rows[i].get(at, 0)
        return before + (after - before) * share

    def _sum(self, name, at, t0_ns, t1_ns):
        rows = self.rows[name]
        return (self._between(self.times, rows, at, t1_ns)
                - self._between(self.times, rows, at, t0_ns))

    def rapl(self, at, t0_ns, t1_ns):
        return self._sum("rapl", at, t0_ns, t1_ns)

    def idle(self, at, t0_ns, t1_ns):
        return self._sum("idle", at, t0_ns, t1_ns)

    def shared(self, at, t0_ns, t1_ns):
        return self._sum("shared", at, t0_ns, t1_ns)

    def running(self, at, t0_ns, t1_ns):
        return self._sum("running", at, t0_ns, t1_ns)

    def container(self, path, at, t0_ns, t1_ns):
        """What the cgroup at a path used; None when the machine never saw it run."""
        for hierarchy in ("v2", "perf"):
            if (hierarchy, path) in self.known:
                times, rows = self.known[hierarchy, path]
                return (self._between(times, rows, at, t1_ns)
                        - self._between(times, rows, at, t0_ns))
        return None
