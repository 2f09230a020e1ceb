# SPDX-License-Identifier: Apache-2.0
"""What has to hold. Every gate gives (passed, sentence) pairs.

Always: the truth is sane, ticks follow one another, every part is >= 0 and they sum exactly, the
machine's total is within 1 % (or 0.8 J) for every socket and domain, every container is there. A
scenario adds lines to its head:
    # gate: error PERCENT NAME...     its dynamic energy is that near to the truth
    # gate: sum PERCENT               so is the sum of all containers'
    # gate: covered NAME...           the truth lies in the stated interval
    # gate: wide PERCENT NAME...      the stated interval is at least that wide
    # gate: cputime PERCENT NAME...   sharing by CPU time is at least that far off: the scenario
                                      is as hard as it says
    # gate: idle PERCENT              idle energy is that near to the truth
    # gate: outside PERCENT           so is what ran in no container
    # gate: source NAME               the energy came from there
    # gate: total PERCENT             instead of 1
"""
import math


def _within(what, stored, true, percent):
    error = 100.0 * (stored - true) / true if true else math.inf
    return abs(error) <= percent, (f"{what} within {percent:g} % of the truth "
                                   f"({error:+.2f} %: {stored / 1e6:.2f} J, true {true / 1e6:.2f} J)")


def _always(score, truth, store, total_percent):
    lost_ns = truth.tables[-1].lost_ns if truth.tables else 0
    yield (bool(truth.tables) and all(t.sane for t in truth.tables),
           f"the truth sums exactly in all of {len(truth.tables)} tables ({lost_ns} ns lost)")
    yield not score.breaks and score.ticks > 0, (
        f"{score.ticks} ticks follow one another without a gap"
        + (f" (not so: {'; '.join(score.breaks[:3])})" if score.breaks else ""))
    yield score.residual_uj == 0 and score.negative == 0 and store.violations == 0, (
        f"the parts sum exactly to what RAPL counted (residual {score.residual_uj} uJ, "
        f"{score.negative} parts below 0, {store.violations} violations counted)")
    worst, error = score.worst_total
    wrong = score.wrong_totals(total_percent)
    yield worst is not None and not wrong, (
        f"the machine's total within {total_percent:g} % on every socket and domain"
        + (f" (worst of package and dram {error:+.3f} %, socket {worst[0]} {worst[1]})"
           if worst else "")
        + "".join(f" (not socket {at[0]} {at[1]}: {e:+.2f} %)" for at, e in wrong))
    if score.containers:
        unseen = [c.name for c in score.containers.values() if not c.seen]
        yield not unseen, (f"all of {len(score.containers)} containers are in the results"
                           + (f" (not {', '.join(unseen[:8])})" if unseen else ""))


def _one(score, kind, arguments):
    percent = None if kind in ("covered", "source") else float(arguments.pop(0))
    if kind == "idle":
        yield _within("idle energy", *score.idle, percent)
    elif kind == "outside":
        yield _within("what ran in no container", *score.outside, percent)
    elif kind == "sum":
        every = score.containers.values()
        yield _within("the sum of all containers", sum(c.ours_uj for c in every),
                      sum(c.true_uj for c in every), percent)
    elif kind == "source":
        yield score.sources == set(arguments), (
            f"the source of the energy is {' '.join(arguments)} ({' '.join(score.sources)})")
    else:
        for name in arguments:
            yield _of_container(score.containers[name], kind, percent)


def _of_container(c, kind, percent):
    stated = f"{c.ours_uj / 1e6:.2f} +- {c.halfwidth_uj / 1e6:.2f} J, true {c.true_uj / 1e6:.2f} J"
    if kind == "error":
        return abs(c.error) <= percent, (
            f"{c.name} within {percent:g} % of its true dynamic energy ({c.error:+.2f} %: {stated})")
    if kind == "covered":
        return c.covered, f"{c.name}'s stated interval holds the truth ({stated})"
    if kind == "wide":
        return c.halfwidth >= percent, (
            f"{c.name}'s interval is at least {percent:g} % wide to each side ({stated})")
    if kind == "cputime":
        error = c.baseline("cputime")
        return abs(error) >= percent, (
            f"sharing by CPU time is {percent:g} % or more off for {c.name} ({error:+.1f} %)")
    raise ValueError(f"no gate {kind}")


def judge(score, truth, store, gates):
    """@gates: the `# gate:` lines, each a list of words."""
    total = [float(g[1]) for g in gates if g[0] == "total"]
    results = list(_always(score, truth, store, total[0] if total else 1.0))
    for kind, *arguments in gates:
        if kind != "total":
            results += _one(score, kind, list(arguments))
    return results
