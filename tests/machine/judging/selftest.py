# SPDX-License-Identifier: Apache-2.0
"""Each kind of fault, put into results that are right, must turn the gate red that is there for it."""
import copy
import random

from . import gates, score, store, truth

TICKS, SECOND = 40, 1_000_000_000
WATTS = {("a", 0): 5.0, ("b", 0): 1.5, ("a", 1): 2.0, ("b", 1): 0.5}  # and `system` 0.7
GATES = [g.split() for g in (
    "error 5 a b", "sum 5", "covered a b", "idle 5", "outside 10", "source perf", "cputime 25 a")]
PATHS = {"a": "/box/a", "b": "/box/b"}


def _table(time_ns, used):
    """used[name, socket] -> pJ of package; one CPU a socket, a fifth as much in dram."""
    lines = [f"time {time_ns} full"]
    for socket in (0, 1):
        idle = 8 * time_ns * 1000 // 1
        lines.append(f"idle - -1 {socket} 0 {idle} 0 {idle // 5} -")
        lines.append(f"shared - -1 {socket} 0 0 0 0 -")
        total = 0
        for name, path in (("a", "/box/a"), ("b", "/box/b"), ("system", "/")):
            pj = used[name, socket]
            total += pj
            lines.append(f"cg v2:{name} {socket} {socket} {time_ns} {pj} {pj} {pj // 5} {path}")
        lines.append(f"lost - {socket} {socket} 0 0 0 0 -")
        for kind in ("cpu", "sig"):
            lines.append(f"{kind} - {socket} {socket} {3 * time_ns} {total} {total} "
                         f"{sum(used[n, socket] // 5 for n in ('a', 'b', 'system'))} -")
    return "\n".join(lines)


def _domain(socket, name, scale, parts, idle_uj):
    uj = {who: int(watts * scale) for who, watts in parts.items()}
    domain = store.Domain(socket, name, "perf", sum(uj.values()) + idle_uj, idle_uj, uj["system"], 0)
    for target, who in ((1, "a"), (2, "b")):
        domain.shares[target] = store.Share(uj[who], uj[who] * 0.03, uj[who] * 0.05)
    return domain


def honest():
    """A machine and what a perfect formula stores of it."""
    rng, texts, ticks = random.Random(1), [], []
    used = {(name, socket): 0 for name in ("a", "b", "system") for socket in (0, 1)}
    for i in range(TICKS + 1):
        texts.append(_table(i * SECOND, used))
        if i == TICKS:
            break
        domains = []
        for socket in (0, 1):
            parts = {"system": 0.7}
            for name in ("a", "b"):
                parts[name] = WATTS[name, socket] * rng.uniform(0.6, 1.0)
            for name, watts in parts.items():
                used[name, socket] += int(watts * 1e6) * 1_000_000
            domains.append(_domain(socket, "package", 1e6, parts, 8_000_000))
            domains.append(_domain(socket, "dram", 2e5, parts, 1_600_000))
        ticks.append(store.Tick(i + 1, i * SECOND, (i + 1) * SECOND, domains))
    targets = {1: ("", "box/a", "/box/a"), 2: ("", "box/b", "/box/b")}
    return "\n".join(texts), store.Store(ticks, targets)


def _every(stored):
    return [domain for tick in stored.ticks for domain in tick.domains]


def _together(stored):
    return [domain for domain in _every(stored) if {1, 2} <= domain.shares.keys()]


def _large(stored):
    """Index of the tick, neither first nor last, with the most energy."""
    return max(range(1, len(stored.ticks) - 1),
               key=lambda i: sum(d.energy_uj for d in stored.ticks[i].domains))


def wrong_weight(stored):
    for domain in _together(stored):
        moved = domain.shares[1].dynamic_uj // 5
        domain.shares[1].dynamic_uj -= moved
        domain.shares[2].dynamic_uj += moved


def lost_frame(stored):
    del stored.ticks[_large(stored)]


def lost_energy(stored):
    """The next frame covers the time of the lost one, not its energy."""
    i = _large(stored)
    stored.ticks[i + 1].t0_ns = stored.ticks[i].t0_ns
    del stored.ticks[i]
    for seq, tick in enumerate(stored.ticks, 1):
        tick.seq = seq


def frame_twice(stored):
    stored.ticks.insert(10, copy.deepcopy(stored.ticks[10]))


def energy_twice(stored):
    i = _large(stored)
    for domain, before in zip(stored.ticks[i + 1].domains, stored.ticks[i].domains):
        domain.energy_uj += before.energy_uj
        domain.unattributed_uj += before.energy_uj


def counter_wrapped(stored):
    domain = stored.ticks[5].domains[0]
    domain.energy_uj += 262143328850
    domain.unattributed_uj += 262143328850


def one_microjoule(stored):
    stored.ticks[7].domains[1].energy_uj += 1


def below_zero(stored):
    domain = stored.ticks[7].domains[0]
    domain.shares[2].dynamic_uj += domain.system_uj + 5
    domain.system_uj = -5


def nested_domain(stored):
    """core, which lies inside, added to package."""
    for domain in _every(stored):
        if domain.domain == "package":
            core = domain.shares[1].dynamic_uj
            domain.energy_uj += core
            domain.shares[1].dynamic_uj += core


def sockets_swapped(stored):
    for domain in _every(stored):
        domain.socket = 1 - domain.socket


def container_missing(stored):
    del stored.targets[2]


def too_sure(stored):
    """A weight that is 4 % off and an interval that does not say so."""
    for domain in _every(stored):
        moved = domain.shares[1].dynamic_uj // 25
        domain.shares[1].dynamic_uj -= moved
        domain.shares[2].dynamic_uj += moved
        for share in domain.shares.values():
            share.param_uj = share.noise_uj = share.dynamic_uj * 0.001


def idle_as_dynamic(stored):
    for domain in _every(stored):
        domain.system_uj += domain.idle_uj // 4
        domain.idle_uj -= domain.idle_uj // 4


def made_up(stored):
    for domain in _every(stored):
        domain.source = "estimate"


FAULTS = {
    wrong_weight: "true dynamic energy", lost_frame: "follow one another",
    lost_energy: "machine's total", frame_twice: "follow one another",
    energy_twice: "machine's total", counter_wrapped: "machine's total",
    one_microjoule: "sum exactly to what RAPL", below_zero: "sum exactly to what RAPL",
    nested_domain: "machine's total", sockets_swapped: "machine's total",
    container_missing: "containers are in the results", too_sure: "interval holds the truth",
    idle_as_dynamic: "idle energy", made_up: "source of the energy",
}


REAL = (wrong_weight, lost_frame, lost_energy, frame_twice, energy_twice, one_microjoule)


def on_real(run, names, wanted):
    """The same faults, put into what a guest really stored: (passed, sentence) of each. @run passed
    its gates @wanted; @names: two of its containers."""
    paths = {name: run.containers[name] for name in names}
    ids = {target: n for n, name in enumerate(names, 1)
           for target in score.targets_of(run.store, {name: paths[name]})}
    for fault in REAL:
        stored = copy.deepcopy(run.store)
        for domain in _every(stored):
            domain.shares = {ids.get(t, ("other", t)): s for t, s in domain.shares.items()}
        stored.targets = {ids.get(t, ("other", t)): v for t, v in stored.targets.items()}
        fault(stored)
        results = gates.judge(score.measure(run.truth, stored, paths), run.truth, stored, wanted)
        yield (any(FAULTS[fault] in sentence for passed, sentence in results if not passed),
               f"{fault.__name__.replace('_', ' ')}, put into these results, turns "
               f"'{FAULTS[fault]}' red")


def _judge(text, stored):
    known = truth.Truth(truth.parse(text))
    return gates.judge(score.measure(known, stored, PATHS), known, stored, GATES)


def run():
    """(passed, sentence) of each check."""
    text, stored = honest()
    red = [sentence for passed, sentence in _judge(text, stored) if not passed]
    yield not red, "judge: honest results pass every gate" + (f" (not {red})" if red else "")
    for fault, gate in FAULTS.items():
        doctored = copy.deepcopy(stored)
        fault(doctored)
        red = [sentence for passed, sentence in _judge(text, doctored) if not passed]
        yield (any(gate in sentence for sentence in red),
               f"judge: {fault.__name__.replace('_', ' ')} turns '{gate}' red")
    torn = text.replace("cg v2:a 0 0 5000000000 ", "cg v2:a 0 0 5000000001 ")
    red = [sentence for passed, sentence in _judge(torn, stored) if not passed]
    yield any("truth sums exactly" in s for s in red), "judge: a truth that does not sum is refused"
