"""Costs over a run as curves (io 7.2). Drawing them needs matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.drawing.files import load_pyplot, save_figure
from convnet.errors import OptionError
from convnet.texts import did_you_mean, printable
from convnet.training.costs import TWICE, Outputs

_PANELS = 6
_MARKED = 60  # tests; of more, markers would hide the line


@dataclass
class Curve:
    """The value ``name`` of a cost: ``train`` of the data batches ``trained_at``, ``test`` after ``tested_at`` batches.

    ``trained_at`` are the numbers of batches, from 1, or the middles of those that an entry stands for. ``final`` is of the
    last weights, tested on all test batches, where the run had ended.
    """

    name: str
    train: list[float]
    trained_at: list[float]
    test: list[float]
    tested_at: list[int]
    final: float | None = None


@dataclass
class Curves:
    """The values of ``cost``, of tests means over ``window``; ``epoch`` batches make one, ``done`` were trained."""

    cost: str
    values: list[Curve]
    window: int
    epoch: int
    done: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, cost: str = "", index: int | None = None, smooth: bool = True) -> Curves:
        """Read a cost's value ``index``, or all of them, from a checkpoint; ``""`` is the first cost.

        ``smooth``: tests are means over as many of them as there are test batches. Raises ``OptionError``.
        """
        position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
        histories = [[outputs.shown(*pair) for pair in pairs] for pairs in (position.train_outputs, position.test_outputs)]
        cost = _known_cost([costs for shown in histories for costs in shown], cost)
        (train, entries), (test, tests) = (_values(shown, cost) for shown in histories)
        numbers, tested_at = position.trained_at(), position.tested_at(checkpoint.option("test_freq"))
        window = max(1, len(checkpoint.option("test_range") or [1])) if smooth else 1
        count = min(map(len, [*train, *test]))
        names = outputs.value_names(cost, count)
        if index is not None and index >= count:
            raise OptionError(f"--cost-idx {index}: '{cost}' has {count} values, counted from 0")
        final = next((outputs.shown(*pair).get(cost, ()) for pair in position.final_test), ())
        values = []
        for i in [i for i, name in enumerate(names) if name != TWICE] if index is None else [index]:
            after = [value[i] for value in test]
            means = [float(np.mean(after[max(0, j - window + 1) : j + 1])) for j in range(len(after))]
            trained_at = [numbers[j] for j in entries]
            curve = Curve(names[i], [value[i] for value in train], trained_at, means, [tested_at[j] for j in tests])
            curve.final = final[i] if i < len(final) else None
            values.append(curve)
        epoch = len(checkpoint.option("train_range") or ()) or position.trained or 1
        return cls(cost, values, window, epoch, max([position.trained, *tested_at]))


def _known_cost(shown: Sequence[dict[str, list[float]]], cost: str) -> str:
    """Return ``cost``, or the first where it is empty; raises ``OptionError`` where there are no numbers of it."""
    known = list(dict.fromkeys(name for costs in shown for name, values in costs.items() if values))
    if not known:
        raise OptionError("nothing to show: the checkpoint was saved before the first batch was done")
    if cost and cost not in known:
        raise OptionError(f"no cost '{cost}' in the checkpoint; it has {', '.join(known)}" + did_you_mean(cost, known))
    return cost or known[0]


def _values(shown: Sequence[dict[str, list[float]]], cost: str) -> tuple[list[list[float]], list[int]]:
    """Return the values of a cost, and the entries of a history that have it."""
    entries = [i for i, costs in enumerate(shown) if costs.get(cost)]
    return [shown[i][cost] for i in entries], entries


def draw_cost(curves: Curves, out: Path) -> None:
    """Draw a panel for each value: training costs in black, tests in red, as the originals had them, with markers."""
    pyplot = load_pyplot()
    shown = curves.values[:_PANELS]
    figure, panels = pyplot.subplots(len(shown), figsize=(10, 1 + 3.5 * len(shown)), sharex=True, squeeze=False)
    for axes, curve in zip(panels[:, 0], shown, strict=True):
        _draw_curve(axes, curve, curves)
    few = f" (the first {len(shown)} of {len(curves.values)} values)" if len(shown) < len(curves.values) else ""
    figure.suptitle(printable(curves.cost) + few, parse_math=False)
    panels[-1, 0].set_xlabel("Epoch")
    figure.tight_layout()
    save_figure(figure, out, dpi=100)
    pyplot.close(figure)


def _draw_curve(axes: Any, curve: Curve, curves: Curves) -> None:
    wrong = len(curve.train) - int(np.isfinite(curve.train).sum())
    marker = "o" if len(curve.train) == 1 else "." if wrong else ""  # a number between such has no line
    label = "Training set" + (f", {wrong:,} of {len(curve.train):,} not finite" if wrong else "")
    axes.plot(np.array(curve.trained_at) / curves.epoch, curve.train, "k-", marker=marker, linewidth=1, label=label)
    if curve.test:
        label = "Test set" + (f", means over {curves.window} tests" if curves.window > 1 else "")
        label += f", at last {curve.test[-1]:.4g}" if curve.final is None else ""
        marker = "o" if len(curve.test) <= _MARKED else ""
        axes.plot(np.array(curve.tested_at) / curves.epoch, curve.test, "r-", marker=marker, markersize=5, label=label)
    if curve.final is not None:
        axes.plot([curves.done / curves.epoch], [curve.final], "r*", markersize=14, label=f"Final test: {curve.final:.4g}")
    axes.set_ylabel(printable(curve.name), parse_math=False)
    axes.grid(alpha=0.25)
    axes.legend()
    axes.margins(x=0.02)
