# SPDX-License-Identifier: Apache-2.0
"""The figures for people: tables and a plot."""
import math
import statistics
from pathlib import Path

BEGIN, END = "<!-- begin machine -->", "<!-- end machine -->"
MODELS = {"cputime": "CPU time", "smartwatts": "SmartWatts"}
MANY = 6  # containers that have a row each

INTRO = """## The emulated machine

`make machine` boots a Linux 6.1 guest under QEMU whose kernel module is an Intel server with a known
truth: every context switch books picojoules to the cgroup that ran, and RAPL shows their sum
(`tests/machine/README.md`). cbsensor and cbformula run in it as they are; each scenario starts
them afresh, without anything learnt before, with ticks of 500 ms. Besides counts, energy depends on
what no counter shows: how warm the CPU is (up to 4 %), noise (2 %), a bent curve over instructions
per cycle, idle power that drifts by 2 % either way in four minutes. What is compared is dynamic energy, package and
dram of both sockets together.

*Error* is (stored - true) / true. *CPU time* shares the same dynamic energy by the true time on the
CPUs of each socket. The interval is the stated half-width of 95 %. In `22-recorded` all three models
are replayed over the same frames; SmartWatts has its defaults but for the period and the base
frequency, answers nothing before its first fit, and its power less the intercept is counted.

![Error of each container's energy](accuracy-machine.svg)
"""


def _percent(value, digits=1):
    return "-" if value is None or math.isinf(value) else f"{value:+.{digits}f} %"


def _models(judged):
    return [m for m in MODELS if any(
        m in c.baseline_uj for _, s in judged for c in s.containers.values())]


def _container_rows(scenario, score, models):
    containers = list(score.containers.values())
    if len(containers) > MANY:
        true = sum(c.true_uj for c in containers)
        ours = sum(c.ours_uj for c in containers)
        errors = [abs(c.error) for c in containers if c.true_uj]
        inside = sum(c.covered for c in containers)
        yield (f"all {len(containers)} (median of one: {statistics.median(errors):.1f} %)",
               true, ours, 100 * (ours - true) / true if true else math.inf,
               [100 * (sum(c.baseline_uj[m] for c in containers) - true) / true
                if m in containers[0].baseline_uj else None for m in models],
               f"{inside} of {len(containers)}", "")
        return
    for c in containers:
        yield (c.name, c.true_uj, c.ours_uj, c.error,
               [c.baseline(m) if m in c.baseline_uj else None for m in models],
               "yes" if c.covered else "**no**", f" ± {c.halfwidth_uj / 1e6:.2f}")


def _container_table(judged, models):
    yield "| scenario | container | true J | stored J | error | " + "".join(
        f"{MODELS[m]} | " for m in models) + "in its interval |"
    yield "|---|---|---|---|---|" + "---|" * len(models) + "---|"
    for scenario, score in judged:
        for name, true, ours, error, others, covered, interval in _container_rows(
                scenario, score, models):
            yield (f"| {scenario.name} | {name} | {true / 1e6:.2f} | {ours / 1e6:.2f}{interval} | "
                   f"{_percent(error)} | " + "".join(f"{_percent(o)} | " for o in others)
                   + f"{covered} |")


def _machine_table(judged):
    yield ("| scenario | what | ticks | worst total | residual µJ | idle | in no container, J "
           "(true) | shared J |")
    yield "|---|---|---|---|---|---|---|---|"
    for scenario, s in judged:
        idle = 100 * (s.idle[0] - s.idle[1]) / s.idle[1] if s.idle[1] else math.inf
        yield (f"| {scenario.name} | {scenario.title} | {s.ticks} | {_percent(s.worst_total[1], 3)} | "
               f"{s.residual_uj} | {_percent(idle)} | {s.outside[0] / 1e6:.1f} "
               f"({s.outside[1] / 1e6:.1f}) | {s.shared_uj / 1e6:.1f} |")


def coverage(judged, key):
    """(inside, all) over the scenarios in which a container's truth is whole: not with joint terms."""
    known = [getattr(s, key) for _, s in judged if not s.shared_uj]
    return sum(inside for inside, _ in known), sum(of for _, of in known)


def staggered(judged):
    """Absolute errors, in percent, of the containers of the staggered scenarios."""
    return [abs(score.containers[name].error) for scenario, score in judged
            for name in scenario.staggered]


def _staggered(judged):
    errors = staggered(judged)
    if errors:
        yield (f"Staggered scenarios, {len(errors)} containers: median error "
               f"{statistics.median(errors):.1f} %, worst {max(errors):.1f} %.")


def _coverage(judged):
    for what, key in (("A container's sum on one socket and domain", "recap_coverage"),
                      ("Its share of one tick", "tick_coverage")):
        inside, of = coverage(judged, key)
        if of:
            yield (f"{what} lies in the stated 95 % interval {inside} times of {of} "
                   f"({100 * inside / of:.0f} %).")


def text(judged):
    models = _models(judged)
    return "\n".join([*_container_table(judged, models), "", *_machine_table(judged), "",
                      *_staggered(judged), *_coverage(judged)])


# ---- the plot: a dot for each model and container on a line of percent

LEFT, RIGHT, TOP, STEP, LIMIT = 230, 30, 46, 20, 100
WIDTH = 900
COLOURS = {"ours": "#0b6e4f", "cputime": "#c1121f", "smartwatts": "#3a5a9b"}


def _x(percent):
    span = WIDTH - LEFT - RIGHT
    return LEFT + span * (max(-LIMIT, min(LIMIT, percent)) + LIMIT) / (2 * LIMIT)


def _dot(x, y, model, tip):
    return f'<circle cx="{x:.1f}" cy="{y}" r="4.5" fill="{COLOURS[model]}"><title>{tip}</title></circle>'


def _axis(height):
    for percent in range(-LIMIT, LIMIT + 1, 25):
        x = _x(percent)
        colour = "#555" if percent == 0 else "#ddd"
        yield f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 24}" stroke="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{percent:+d} %</text>'


def _legend(models):
    for i, model in enumerate(("ours", *models)):
        x = LEFT + i * 150
        yield _dot(x, 16, model, model)
        yield f'<text x="{x + 10}" y="20">{"cbwatts" if model == "ours" else MODELS[model]}</text>'


def svg(judged):
    models = _models(judged)
    rows = [(scenario.name, c) for scenario, score in judged if len(score.containers) <= MANY
            for c in score.containers.values()]
    height = TOP + STEP * len(rows) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12" fill="#222">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *_legend(models),
           *_axis(height)]
    for i, (name, c) in enumerate(rows):
        y = TOP + STEP * i + 4
        out.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{name} {c.name}</text>')
        low, high = (_x(c.error - c.halfwidth), _x(c.error + c.halfwidth))
        out.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" '
                   f'stroke="{COLOURS["ours"]}" stroke-width="2" opacity="0.4"/>')
        out += [_dot(_x(c.baseline(m)), y, m, f"{MODELS[m]} {c.baseline(m):+.1f} %")
                for m in models if m in c.baseline_uj]
        out.append(_dot(_x(c.error), y, "ours", f"cbwatts {c.error:+.1f} %"))
    return "\n".join(out + ["</svg>", ""])


def block(judged):
    models = _models(judged)
    return "\n".join([BEGIN, INTRO, *_container_table(judged, models), "",
                      *_machine_table(judged), "", *_staggered(judged),
                      *_coverage(judged), "",
                      "Written by `tests/machine/run --docs`.", END])


def write(judged, docs):
    """Replace the block between the markers; add it where there is none."""
    page = Path(docs) / "accuracy.md"
    old = page.read_text() if page.exists() else "# How accurate it is\n\n"
    if BEGIN in old and END in old:
        before, rest = old.split(BEGIN, 1)
        new = before + block(judged) + rest.split(END, 1)[1]
    else:
        new = old.rstrip("\n") + "\n\n" + block(judged) + "\n"
    page.write_text(new)
    (Path(docs) / "accuracy-machine.svg").write_text(svg(judged))
