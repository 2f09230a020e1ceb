# SPDX-License-Identifier: Apache-2.0
"""What cbformula stored: its SQLite database and the packed results in it (docs/store.md)."""
import sqlite3
import struct
from dataclasses import dataclass, field

DOMAINS = ("package", "dram", "core", "uncore", "psys")  # enum cb_domain
SOURCES = ("perf", "powercap", "msr", "estimate")        # enum cb_source
ABSENT = 2**64 - 1


@dataclass
class Share:
    dynamic_uj: int
    param_uj: float
    noise_uj: float


@dataclass
class Domain:
    socket: int
    domain: str
    source: str
    energy_uj: int
    idle_uj: int
    system_uj: int
    unattributed_uj: int
    predicted_w: float = 0.0
    shares: dict = field(default_factory=dict)  # target -> Share

    def residual_uj(self):
        return self.energy_uj - self.idle_uj - self.system_uj - self.unattributed_uj - sum(
            s.dynamic_uj for s in self.shares.values())


@dataclass
class Tick:
    seq: int
    t0_ns: int
    t1_ns: int
    domains: list
    machine_cpu_ns: int = ABSENT
    cpu_ns: dict = field(default_factory=dict)  # target -> CPU time


@dataclass
class Store:
    ticks: list
    targets: dict  # target -> (container id, name, cgroup)
    violations: int = 0
    lost_frames: int = 0


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def cpu(self):
        return (self.varint() - 1) % 2**64

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values


def _domain(reader):
    socket, domain, source, _flags = reader.take("HBBI")
    parts = [reader.varint() for _ in range(5)]
    _half_widths = reader.take("4f")
    (predicted_w,) = reader.take("d")
    return Domain(socket, DOMAINS[domain], SOURCES[source], *parts[:4], predicted_w)


def unpack(seq, data):
    """One row's result."""
    reader = _Reader(data)
    (version,) = reader.take("B")
    if version != 1:
        raise ValueError(f"packed results of version {version}")
    t0_ns, t1_ns, _wall_ns = (reader.varint() for _ in range(3))
    machine_cpu_ns = reader.cpu()
    n_domains, n_targets = reader.varint(), reader.varint()
    domains = [_domain(reader) for _ in range(n_domains)]
    cpu_ns = {}
    for _ in range(n_targets):
        target = reader.varint()
        cpu_ns[target] = reader.cpu()
    for domain in domains:
        for target in cpu_ns:
            domain.shares[target] = Share(reader.varint(), *reader.take("2f"))
    if reader.at != len(data):
        raise ValueError("a packed result with bytes left over")
    return Tick(seq, t0_ns, t1_ns, domains, machine_cpu_ns, cpu_ns)


def read(path):
    """The store of one scenario: one machine, one start of its sensor."""
    db = sqlite3.connect(path)
    starts = [row[0] for row in db.execute("SELECT DISTINCT start FROM frames")]
    if len(starts) > 1:
        raise ValueError(f"frames of {len(starts)} sensor starts in one scenario")
    ticks = [unpack(seq, data) for seq, data in
             db.execute("SELECT seq, result FROM frames ORDER BY id")]
    targets = {target: (container, name, cgroup) for target, container, name, cgroup in
               db.execute("SELECT target, container_id, name, cgroup FROM targets")}
    violations, lost = db.execute(
        "SELECT sum(violations), sum(lost_frames) FROM machines").fetchone()
    db.close()
    return Store(ticks, targets, violations or 0, lost or 0)
