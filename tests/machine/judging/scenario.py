# SPDX-License-Identifier: Apache-2.0
"""One scenario: its head, and what the guest wrote about it."""
from pathlib import Path

from . import recorded, score, store, truth


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

    @property
    def staggered(self):
        """Containers of different mix that run alone and together: who used what can be known."""
        return self.head.get("staggered", "").split()


def _text(path):
    return path.read_text() if path.exists() else ""


def _containers(path):
    return dict(line.split(" ", 1) for line in _text(path).splitlines())


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
        self.containers = containers = _containers(folder / "containers")
        others = {}
        if (folder / "frames.cbrec").exists():
            self.store, others = recorded.read(folder / "frames.cbrec")
        else:
            self.store = store.read(folder / "cbwatts.sqlite")
        self.score = score.measure(self.truth, self.store, containers)
        for model, energies in others.items():
            for name, path in containers.items():
                self.score.containers[name].baseline_uj[model] = sum(
                    uj for target, uj in energies.items()
                    if target == path or (target[0] != "/" and target in path))
