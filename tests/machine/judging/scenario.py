# SPDX-License-Identifier: Apache-2.0
"""One scenario: its head, and what the guest wrote about it."""
import json
from pathlib import Path

from . import score, store, truth

PJ_PER_UJ = 1_000_000


class Scenario:
    def __init__(self, folder, name):
        self.name = name
        self.head = {}
        self.gates = []
        for line in (Path(folder) / name).read_text().splitlines():
            if not line.startswith("# ") or ": " not in line:
                continue
            key, value = line[2:].split(": ", 1)
            if key == "gate":
                self.gates.append(value.split())
            else:
                self.head.setdefault(key, value)

    @property
    def title(self):
        return self.head["title"]

    @property
    def guest(self):
        return self.head["guest"]


def _text(path):
    return path.read_text() if path.exists() else ""


def _containers(path):
    return dict(line.split(" ", 1) for line in _text(path).splitlines())


def _cb_json(path, score_, containers, model):
    """`cbformula replay --out json`: add each target's dynamic energy."""
    for container in score_.containers.values():
        container.baseline_uj[model] = 0
    for line in path.read_text().splitlines():
        tick = json.loads(line)
        if tick["domain"] not in truth.TOP:
            continue
        for target in tick["targets"]:
            name = _name_of(target["target"], containers)
            if name:
                score_.containers[name].baseline_uj[model] += target["dynamic_uj"]


def _name_of(target, containers):
    for name, path in containers.items():
        if target == path or path.endswith("/" + target) or (
                len(target) >= 12 and target.split("/")[-1] in path):
            return name
    return None


class Run:
    """What a guest left of one scenario; `problem` says why there is nothing to judge."""

    def __init__(self, folder):
        folder = Path(folder)
        self.folder, self.problem, self.score = folder, None, None
        status = _text(folder / "exit").strip()
        if status != "0":
            self.problem = f"the scenario ended with {status or 'nothing: the guest died'}"
            return
        self.truth = truth.Truth(truth.parse(
            _text(folder / "begin") + _text(folder / "record") + _text(folder / "end")))
        self.store = store.read(folder / "cbwatts.sqlite")
        containers = _containers(folder / "containers")
        self.score = score.measure(self.truth, self.store, containers)
        if (folder / "cputime.jsonl").exists():
            _cb_json(folder / "cputime.jsonl", self.score, containers, "cputime")
