"""Costs over a run as curves (io 7.2). Drawing them needs matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.errors import ConvnetError, OptionError, did_you_mean
from convnet.training.costs import Outputs


@dataclass
class Curves:
    """One value of one cost: ``train`` per data batch, ``test`` after the batches ``tested_at``; batches per epoch."""

    train: list[float]
    test: list[float]
    tested_at: list[int]
    epoch: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, name: str, index: int, smooth: bool) -> Curves:
        """Read a checkpoint's history; ``smooth`` means over as many tests as there are test batches."""
        position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
        shown = ([outputs.shown(*pair) for pair in pairs] for pairs in (position.train_outputs, position.test_outputs))
        train, test = (_curve(costs, name, index) for costs in shown)
        if smooth:
            window = max(1, len(checkpoint.option("test_range") or [1]))
            test = [float(np.mean(test[max(0, i - window + 1) : i + 1])) for i in range(len(test))]
        period = checkpoint.option("test_freq") or max(1, len(train) // max(1, len(test)))
        tested_at = position.tests_at or [period * (i + 1) for i in range(len(test))]
        return cls(train, test, tested_at, len(checkpoint.option("train_range") or train) or 1)


def _curve(outputs: Sequence[dict[str, list[float]]], name: str, index: int) -> list[float]:
    known = sorted({cost for costs in outputs for cost in costs})
    if outputs and name not in known:
        raise OptionError(f"no cost '{name}' in the checkpoint; it has {', '.join(known)}" + did_you_mean(name, known))
    values = [costs[name] for costs in outputs if name in costs]
    if any(index >= len(value) or index < 0 for value in values):
        raise OptionError(f"--cost-idx {index}: '{name}' has {len(values[0])} values, counted from 0")
    return [value[index] for value in values]


def draw_cost(curves: Curves, title: str, out: Path) -> None:
    """Draw training costs in black, and in red test costs, each up to the next test, as the originals did."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 5))
    batches = len(curves.train)
    axes.plot(np.arange(1, batches + 1) / curves.epoch, curves.train, "k-", label="Training set")
    if curves.test:
        steps = np.array([*curves.tested_at, max(batches, curves.tested_at[-1])]) / curves.epoch
        axes.plot(steps, [*curves.test, curves.test[-1]], "r-", drawstyle="steps-post", label="Test set")
    axes.set(title=title, xlabel="Epoch", ylabel=title)
    axes.legend()
    figure.savefig(out, dpi=100)
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
