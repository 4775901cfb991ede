"""Steps in all schemes on some numbers of ranks beside a step on one, which scheme is the fastest, and what bounds it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convnet.graph.graph import Graph
from convnet.layers.weighted import WeightLayer
from convnet.planning.machines import Machine
from convnet.planning.splits import CASES, OUTPUTS, SCHEMES
from convnet.planning.steps import Step, step_of
from convnet.planning.towers import is_placed, towers_step
from convnet.texts import bytes_text, listed

_LITTLE = 0.1  # of a step, below which waiting does not bound it


@dataclass(frozen=True)
class Plan:
    """Steps by their number of ranks, each number in all schemes, but one rank, which has none."""

    graph: Graph
    machine: Machine
    steps: dict[int, list[Step]]

    @property
    def one(self) -> Step:
        """The step of one rank alone."""
        return self.steps[1][0]

    def speedup(self, step: Step) -> float:
        """Return how many times as many cases a second a step does as one rank alone."""
        return step.mini / step.seconds * self.one.seconds / self.one.mini

    def efficiency(self, step: Step) -> float:
        return self.speedup(step) / step.ranks

    def fits(self, step: Step) -> bool:
        """Whether a rank has the memory for a step, as far as is known."""
        return step.memory <= (self.machine.device.memory or step.memory)

    def best(self, ranks: int) -> Step:
        """Return the fastest step on so many ranks, of those that fit if any does."""
        steps = self.steps[ranks]
        return min([step for step in steps if self.fits(step)] or steps, key=lambda step: step.seconds)

    def places(self) -> list[str]:
        """Say for each scheme how weight layers are split on the most ranks."""
        lines, how = [], {CASES: "split by cases", OUTPUTS: "split by outputs"}
        for step in self.steps[max(self.steps)] if max(self.steps) > 1 else ():
            groups: dict[str, list[str]] = {}
            for layer in step.layers:
                if isinstance(self.graph.layers[layer.name], WeightLayer):
                    groups.setdefault(layer.split, []).append(layer.name)
            parts = [
                f"{listed(names) if len(groups) > 1 else 'all layers'} {how.get(split, f'on {split}')}"
                for split, names in groups.items()
            ]
            lines.append(f"{step.scheme}: {'; '.join(parts)}")
        return lines

    def verdict(self) -> str:
        """Say which scheme is the fastest on the most ranks, and what bounds it."""
        step = self.best(max(self.steps))
        if step.ranks == 1:
            return f"One rank takes {step.seconds * 1e3:.4g} ms, all of it arithmetic."
        speed = f"On {step.ranks} ranks {step.scheme} is the fastest, {self.speedup(step):.2f} times as fast as one rank"
        speed += ", which is faster alone" if self.speedup(step) < 1 else ""
        if not self.fits(step):
            speed += f"; no scheme fits into the {bytes_text(self.machine.device.memory)} of a device"
        share = step.waiting / step.seconds
        if share < _LITTLE:
            return f"{speed}. Arithmetic bounds it: {1 - share:.1%} of a step."
        worst = max(step.layers, key=lambda layer: layer.waits)
        why = "latency" if worst.latency > worst.waits / 2 else "the bytes of a link"
        what = "the sum of its gradient" if worst.split == CASES else "outputs that cross, and their gradients"
        return f"{speed}. Waiting bounds it: {share:.1%} of a step, longest by {why} at '{worst.name}', for {what}."


def plan(graph: Graph, machine: Machine, ranks: Sequence[int], mini: int, is_per_rank: bool = False) -> Plan:
    """Return the steps of minibatches of ``mini`` cases, or of so many on each rank, on some numbers of ranks and on one."""
    steps = {1: [step_of(graph, machine, SCHEMES[0], 1, mini)]}
    for count in sorted(set(ranks) - {1}):
        whole = mini * count if is_per_rank else mini
        steps[count] = [_step(graph, machine, scheme, count, whole) for scheme in SCHEMES]
    return Plan(graph, machine, steps)


def _step(graph: Graph, machine: Machine, scheme: str, ranks: int, mini: int) -> Step:
    """Return a step in a scheme; model parallel is as the layer file places its layers, if it does."""
    if scheme == "model" and is_placed(graph, ranks):
        return towers_step(graph, machine, ranks, mini)
    return step_of(graph, machine, scheme, ranks, mini)


def ratio_on_one_machine(graph: Graph, machine: Machine, ranks: int, mini: int, scheme: str = "data") -> float:
    """Return the speed of ranks that divide one machine among them over that of one process on it."""
    part = replace(machine, device=machine.device.divided(ranks))
    return step_of(graph, machine, "data", 1, mini).seconds / _step(graph, part, scheme, ranks, mini).seconds
