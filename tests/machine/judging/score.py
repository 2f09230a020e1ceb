# SPDX-License-Identifier: Apache-2.0
"""Stored results against the truth: the figures of one scenario."""
import math
from collections import defaultdict
from dataclasses import dataclass, field

from .truth import TOP

PJ_PER_UJ = 1_000_000
ENDS_UJ = 800_000   # what both ends of the window may make uncertain in a sum
LEAST_UJ = 200_000  # of a truth that can say something about coverage


@dataclass
class Container:
    name: str
    true_uj: float = 0.0
    ours_uj: int = 0
    baseline_uj: dict = field(default_factory=dict)  # model -> microjoules
    # the stored statement per (socket, domain): [true, ours, sum of param, sum of noise^2]
    stated: dict = field(default_factory=lambda: defaultdict(lambda: [0.0, 0, 0.0, 0.0]))
    seen: bool = False

    @staticmethod
    def percent(uj, true_uj):
        return 100.0 * (uj - true_uj) / true_uj if true_uj else math.inf

    @property
    def error(self):
        return self.percent(self.ours_uj, self.true_uj)

    def baseline(self, model):
        return self.percent(self.baseline_uj[model], self.true_uj)

    @property
    def halfwidth_uj(self):
        """Of package and dram of all sockets together: their models know nothing of each other."""
        return math.sqrt(sum(p * p + n for _, _, p, n in self.stated.values()))

    @property
    def halfwidth(self):
        return 100.0 * self.halfwidth_uj / self.ours_uj if self.ours_uj else math.inf

    @property
    def covered(self):
        return abs(self.ours_uj - self.true_uj) <= self.halfwidth_uj


@dataclass
class Score:
    seconds: float = 0.0
    ticks: int = 0
    sources: set = field(default_factory=set)
    total: dict = field(default_factory=dict)     # (socket, domain) -> (stored, true) uJ
    idle: tuple = (0.0, 0.0)                      # stored, true uJ of package and dram
    outside: tuple = (0.0, 0.0)                   # the same of what ran in no container
    shared_uj: float = 0.0
    residual_uj: int = 0                          # sum of absolute residuals
    negative: int = 0                             # parts below 0
    breaks: list = field(default_factory=list)    # where the ticks do not follow one another
    containers: dict = field(default_factory=dict)
    recap_coverage: tuple = (0, 0)                # inside, all
    tick_coverage: tuple = (0, 0)

    @property
    def worst_total(self):
        """Of package and dram: (socket, domain), percent. Nested core is small when idle."""
        errors = {at: Container.percent(*v) for at, v in self.total.items() if at[1] in TOP}
        at = max(errors, key=lambda a: abs(errors[a]), default=None)
        return at, errors.get(at, math.inf)

    def wrong_totals(self, percent):
        """The ends of the window are known to some 10 ms only: ENDS_UJ say nothing."""
        return [(at, Container.percent(*v)) for at, v in self.total.items()
                if abs(v[0] - v[1]) > ENDS_UJ and abs(Container.percent(*v)) > percent]


def _follow(ticks):
    """What is wrong with the order of the ticks: lost, doubled, overlapping."""
    faults, seen = [], set()
    for before, tick in zip([None] + ticks, ticks):
        if tick.seq in seen:
            faults.append(f"frame {tick.seq} twice")
        seen.add(tick.seq)
        if tick.t1_ns <= tick.t0_ns:
            faults.append(f"frame {tick.seq} has no length")
        if before and tick.t0_ns != before.t1_ns:
            faults.append(f"frame {tick.seq} begins {(tick.t0_ns - before.t1_ns) / 1e6:+.3f} ms "
                          f"after the end of frame {before.seq}")
    if ticks and seen != set(range(1, len(seen) + 1)):
        faults.append(f"{max(seen) - len(seen)} sequence numbers are missing")
    return faults


def targets_of(store, containers):
    """target -> name of the container, by container id or by cgroup."""
    found = {}
    for target, (container_id, _name, cgroup) in store.targets.items():
        for name, path in containers.items():
            if cgroup == path or (container_id and container_id in path):
                found[target] = name
    return found


def _cpu_time(score, truth, domain, tick, containers):
    """Share this tick's dynamic energy by time on the CPUs, which nobody can know better."""
    at = domain.socket, "ns"
    everybody = truth.running(at, tick.t0_ns, tick.t1_ns)
    for name, path in containers.items():
        ns = truth.container(path, at, tick.t0_ns, tick.t1_ns) or 0
        uj = (domain.energy_uj - domain.idle_uj) * ns / everybody if everybody else 0
        at_all = score.containers[name].baseline_uj
        at_all["cputime"] = at_all.get("cputime", 0) + uj


def _tick(score, truth, tick, who, containers):
    inside = all_ = 0
    for domain in tick.domains:
        score.sources.add(domain.source)
        score.residual_uj += abs(domain.residual_uj())
        score.negative += sum(part < 0 for part in (
            domain.energy_uj, domain.idle_uj, domain.system_uj, domain.unattributed_uj,
            *(s.dynamic_uj for s in domain.shares.values())))
        at = domain.socket, domain.domain
        stored, _ = score.total.get(at, (0, 0))
        score.total[at] = stored + domain.energy_uj, 0
        if domain.domain not in TOP:
            continue
        score.idle = score.idle[0] + domain.idle_uj, 0
        score.outside = score.outside[0] + domain.system_uj + domain.unattributed_uj, 0
        for target, share in domain.shares.items():
            if target not in who:
                continue
            container = score.containers[who[target]]
            container.seen = True
            container.ours_uj += share.dynamic_uj
            true_uj = (truth.container(containers[container.name], at, tick.t0_ns, tick.t1_ns)
                       or 0) / PJ_PER_UJ
            stated = container.stated[at]
            stated[0] += true_uj
            stated[1] += share.dynamic_uj
            stated[2] += share.param_uj
            stated[3] += share.noise_uj ** 2
            if true_uj >= LEAST_UJ:
                all_ += 1
                inside += abs(share.dynamic_uj - true_uj) <= math.hypot(
                    share.param_uj, share.noise_uj)
        _cpu_time(score, truth, domain, tick, containers)
    score.tick_coverage = score.tick_coverage[0] + inside, score.tick_coverage[1] + all_


def _against_truth(score, truth, containers, t0_ns, t1_ns):
    sockets = {socket for socket, _ in score.total}
    for at, (stored, _) in score.total.items():
        score.total[at] = stored, truth.rapl(at, t0_ns, t1_ns) / PJ_PER_UJ
    every = [(socket, domain) for socket in sockets for domain in TOP]
    score.idle = score.idle[0], sum(truth.idle(at, t0_ns, t1_ns) for at in every) / PJ_PER_UJ
    score.shared_uj = sum(truth.shared(at, t0_ns, t1_ns) for at in every) / PJ_PER_UJ
    ran = sum(truth.running(at, t0_ns, t1_ns) for at in every) / PJ_PER_UJ
    for name, path in containers.items():
        score.containers[name].true_uj = sum(
            truth.container(path, at, t0_ns, t1_ns) or 0 for at in every) / PJ_PER_UJ
        ran -= score.containers[name].true_uj
    score.outside = score.outside[0], ran


def measure(truth, store, containers):
    """@containers: name -> path of its cgroup in the truth."""
    score = Score(ticks=len(store.ticks), breaks=_follow(store.ticks))
    score.containers = {name: Container(name) for name in containers}
    if not store.ticks:
        return score
    who = targets_of(store, containers)
    for tick in store.ticks:
        _tick(score, truth, tick, who, containers)
    t0_ns, t1_ns = store.ticks[0].t0_ns, store.ticks[-1].t1_ns
    score.seconds = (t1_ns - t0_ns) / 1e9
    _against_truth(score, truth, containers, t0_ns, t1_ns)
    stated = [s for c in score.containers.values() for s in c.stated.values() if s[0] >= LEAST_UJ]
    score.recap_coverage = (sum(abs(o - t) <= math.sqrt(p * p + n) for t, o, p, n in stated),
                            len(stated))
    return score
