"""Costs over a run as curves (io 7.2). Drawing them needs matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.checkpoint.history import batches_each, middles
from convnet.drawing.files import save_figure
from convnet.errors import ConvnetError, OptionError, did_you_mean, printable
from convnet.training.costs import Outputs


@dataclass
class Curves:
    """One value of one cost: ``train`` of the data batches ``trained_at``, ``test`` after the batches ``tested_at``.

    ``trained_at`` are the numbers of batches, from 1, or the middles of those that an entry stands for; ``epoch`` is how
    many make one.
    """

    train: list[float]
    trained_at: list[float]
    test: list[float]
    tested_at: list[int]
    epoch: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, name: str, index: int, smooth: bool) -> Curves:
        """Read a checkpoint's history; ``smooth`` means over as many tests as there are test batches."""
        position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
        shown = ([outputs.shown(*pair) for pair in pairs] for pairs in (position.train_outputs, position.test_outputs))
        (train, entries), (test, tests) = (_curve(costs, name, index) for costs in shown)
        numbers = middles(len(position.train_outputs), position.train_runs)
        batches = sum(batches_each(len(position.train_outputs), position.train_runs))
        if smooth:
            window = max(1, len(checkpoint.option("test_range") or [1]))
            test = [float(np.mean(test[max(0, i - window + 1) : i + 1])) for i in range(len(test))]
        period = checkpoint.option("test_freq") or max(1, batches // max(1, len(test)))
        # The originals kept no numbers of their tests; a run that went on has those of its own.
        unknown = len(position.test_outputs) - len(position.tests_at)
        tested_at = [period * (i + 1) for i in range(unknown)] + position.tests_at
        epoch = len(checkpoint.option("train_range") or ()) or batches or 1
        return cls(train, [numbers[i] for i in entries], test, [tested_at[i] for i in tests], epoch)


def _curve(outputs: Sequence[dict[str, list[float]]], name: str, index: int) -> tuple[list[float], list[int]]:
    """Return value ``index`` of a cost, and the entries of a history that have it."""
    known = sorted({cost for costs in outputs for cost in costs})
    if outputs and name not in known:
        raise OptionError(f"no cost '{name}' in the checkpoint; it has {', '.join(known)}" + did_you_mean(name, known))
    entries = [i for i, costs in enumerate(outputs) if name in costs]
    values = [outputs[i][name] for i in entries]
    if any(index >= len(value) or index < 0 for value in values):
        raise OptionError(f"--cost-idx {index}: '{name}' has {len(values[0])} values, counted from 0")
    return [value[index] for value in values], entries


def draw_cost(curves: Curves, title: str, out: Path) -> None:
    """Draw training costs in black, and in red test costs, each up to the next test, as the originals did."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.plot(np.array(curves.trained_at) / curves.epoch, curves.train, "k-", label="Training set")
    if curves.test:
        last = max([*curves.trained_at[-1:], curves.tested_at[-1]])
        steps = np.array([*curves.tested_at, last]) / curves.epoch
        axes.plot(steps, [*curves.test, curves.test[-1]], "r-", drawstyle="steps-post", label="Test set")
    axes.set_title(printable(title), parse_math=False)
    axes.set_ylabel(printable(title), parse_math=False)
    axes.set_xlabel("Epoch")
    axes.legend()
    save_figure(figure, out, dpi=100)
    pyplot.close(figure)


def load_pyplot() -> Any:
    """Return matplotlib's pyplot, drawing off the screen; raises ``ConvnetError``."""
    try:
        import matplotlib
    except ImportError:
        raise ConvnetError("drawing this needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
