"""The best test of a run: which value is watched, what it was at best, and whether tests have stopped to improve.

A value is the mean over the cases of the last tests that were, together, of every test batch once: like is compared with
like, also where tests take their batches in turn (``--test-one``). Before there are as many, there is no best.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from convnet.checkpoint import BEST, Checkpoint, CheckpointFolder, Position, add_costs, load
from convnet.data.provider import range_text
from convnet.errors import CheckpointError, OptionError
from convnet.graph.graph import Graph
from convnet.options import Options
from convnet.texts import did_you_mean, listed
from convnet.training.costs import Outputs
from convnet.training.plan import Plan

THE_MORE = ("precision", "recall")  # are the better


@dataclass(frozen=True)
class Watch:
    """What is watched: value ``index`` of ``cost``, called ``name``, of tests on ``batches``, all at once or ``in_turn``.

    The run ends after ``patience`` tests without a better one; 0: it does not.
    """

    outputs: Outputs
    cost: str
    index: int
    name: str
    batches: Sequence[int]
    in_turn: bool = False
    patience: int = 0
    keeps: bool = False  # the checkpoint of the best test

    @classmethod
    def of(cls, options: Options, graph: Graph, plan: Plan) -> Self | None:
        """Return what --keep-best names, or with --patience alone the first cost; ``None`` without them.

        Raises ``OptionError`` for a cost, or a value of one, that the net does not print.
        """
        if not options.trains or not graph.costs or not (options.keep_best or options.patience):
            return None
        outputs = Outputs.of(graph)
        shown = outputs.shown({cost.name: [0.0] * cost.num_values for cost in graph.costs}, 1)
        names = {cost: outputs.value_names(cost, len(values)) for cost, values in shown.items()}
        where = "--keep-best" if "keep_best" in options.given else "keep-best of [run], or of the checkpoint"
        cost, value = _find(options.keep_best, names, where) if options.keep_best else _usual(next(iter(names)), names)
        index, name = names[cost].index(value), f"{cost}.{value}"
        return cls(outputs, cost, index, name, plan.test, plan.test_one, options.patience, bool(options.keep_best))

    @property
    def key(self) -> str:
        """What a stored best must be of: the value, and the batches."""
        return f"{self.name} of batches {range_text(self.batches)}{' in turn' * self.in_turn}"

    def see(self, position: Position) -> None:
        """Count a test that ``position`` has just finished."""
        wanted = sorted(self.batches) if self.in_turn else [-1]
        count = len(wanted)
        if sorted(position.test_batches[-count:]) != wanted:
            return
        value = self.outputs.shown(*add_costs(position.test_outputs[-count:]))[self.cost][self.index]
        if position.watched != self.key:
            self.begin(position)
        if value < position.best:
            position.best, position.best_at, position.tests_since = value, position.batches_done, 0
        else:
            position.tests_since += 1

    def begin(self, position: Position) -> None:
        """Forget whatever was best."""
        position.watched, position.best, position.best_at, position.tests_since = self.key, math.inf, 0, 0

    def take_up(self, position: Position, folder: CheckpointFolder, checkpoint: Checkpoint | None) -> list[str]:
        """See that the checkpoint of the best test so far lies in ``folder``, or look for a new one.

        ``checkpoint`` is what the run goes on from. Returns remarks on what was best before.
        """
        if position.watched == self.key and not self.keeps:
            return []
        if position.watched == self.key and position.best_at and checkpoint and _keep(position, folder, checkpoint):
            return []
        aside = folder.set_best_aside() if self.keeps else None
        remarks = [f"{folder.path / BEST} is not of this run; it is kept as {aside.name}."] if aside else []
        if position.best_at:
            text = "is another value" if position.watched != self.key else f"has no checkpoint in {folder.path}"
            remarks.append(
                f"What was best so far, {position.best:.6f} as {position.watched}, {text}: it is looked for anew."
            )
        if position.best_at or position.watched != self.key:
            self.begin(position)
        return remarks

    def is_exhausted(self, position: Position) -> bool:
        """Return whether there have been so many tests without a better one that the run ends."""
        return 0 < self.patience <= position.tests_since and position.watched == self.key

    def text(self, position: Position) -> str:
        """Return ``logprob.error 0.2310 after 57 batches``."""
        if not position.best_at:
            return f"none yet, of {self.key}"
        return f"{self.name} {position.best:.6f} after {position.best_at:,} batches"


def _keep(position: Position, folder: CheckpointFolder, checkpoint: Checkpoint) -> bool:
    """Keep a checkpoint that a run goes on from, if it is the best, or the best beside it; return whether one is."""
    if not position.is_best:
        path = Path(os.path.realpath(checkpoint.path)).with_name(BEST)
        try:
            checkpoint = load(path)
        except (CheckpointError, OSError):
            return False
        found = checkpoint.position()
        if (found.watched, found.best, found.batches_done) != (position.watched, position.best, position.best_at):
            return False
    folder.keep_best(checkpoint.path, checkpoint)
    return True


def _usual(cost: str, names: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Return the value of a cost that is watched unless another is named: its error, or what training makes small."""
    return cost, "error" if "error" in names[cost] else names[cost][0]


def _find(given: str, names: Mapping[str, Sequence[str]], where: str) -> tuple[str, str]:
    """Return (cost, value) of ``logprob`` or ``logprob.top-5 error``; raises ``OptionError`` on what stands at ``where``."""
    if given in names:
        return _usual(given, names)
    values = {f"{cost}.{value}": (cost, value) for cost in names for value in names[cost] if not value.startswith(THE_MORE)}
    if given not in values:
        known = [*names, *values]
        raise OptionError(f"{where}: no '{given}' is printed; there are {listed(known)}" + did_you_mean(given, known))
    return values[given]
