"""Every line that a run prints, in the words of 2014 (io section 2). Nothing else prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from convnet.generation import COMPAT
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer
from convnet.net.net import Net
from convnet.options import OPTIONS
from convnet.training.costs import Outputs, add_costs

RULE = "========================="
_TEST_RULE = "======================Test output======================"
_AVERAGE_RULE = "----------------------Averages-------------------------"
_STATS_RULE = "-------------------------------------------------------"
_END_RULE = "======================================================="


class Printer:
    """Prints to ``out``; a line per minibatch only where ``out`` is a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.outputs, self.compat = Outputs(), COMPAT[""]
        self._shown = 0

    def line(self, text: str = "", end: str = "\n") -> None:
        """Print ``text``, over whatever progress line stands there."""
        self._clear()
        self.out.write(text + end)
        self.out.flush()

    def note(self, text: str) -> None:
        """A remark for the user that no original printed."""
        self.line(text)

    # -- start

    def layers(self, graph: Graph) -> None:
        """``Initialized ...`` for every layer."""
        for layer in graph.in_file_order:
            if isinstance(layer, WeightLayer):
                self._sharing(layer)
            self.line(layer_line(layer))

    def _sharing(self, layer: WeightLayer) -> None:
        for i, source in enumerate(layer.weightSource):
            if source:
                self.line(f"Layer '{layer.name}' initialized weight matrix {i} from {source[0]}")
        for key, what in (("initWFunc", "weight matrices"), ("initBFunc", "bias vector")):
            if layer.values.get(key):
                self.line(f"Layer '{layer.name}' initialized {what} from function {layer.values[key]}")

    def importing(self, name: str) -> None:
        self.line(RULE)
        self.line(f"Importing convnet.backends.{name} module")

    def banner(self, options: dict[str, Any], given: Iterable[str], device: str, folder: str, training: bool = True) -> None:
        """The list of options, the device, the time, and where checkpoints go."""
        self.line(RULE)
        self.line("Training ConvNet" if training else "Testing ConvNet")
        given = set(given)
        width = max(len(option.help) for option in OPTIONS)
        shown = [(option, _shown(options[option.name])) for option in OPTIONS]
        value_width = max(len(text) for option, text in shown if option.name not in given)
        for option, text in sorted(shown, key=lambda pair: pair[0].help):
            mark = "" if option.name in given else "[DEFAULT]"
            self.line(f"{option.help:<{width}}: {text:<{value_width}} {mark}")
        self.line(RULE)
        self.line(f"Running on {device}")
        self.line(f"Current time: {time.asctime()}")
        if training:
            self.line(f"Saving checkpoints to {folder}")
        self.line(RULE)

    # -- training

    def batch_start(self, epoch: int, batch: int, progress: float) -> None:
        percentage = f" ({100 * progress:.2f}%)" if self.compat.shows_progress else ""
        self.line(f"{epoch}.{batch}{percentage}... ", end="")

    def minibatch(self, epoch: int, batch: int, done: int, count: int, costs: dict[str, list[float]], cases: int) -> None:
        """Progress within a batch, on terminals only; the next line replaces it."""
        if self.live:
            text = f"{done}/{count} {self._text(costs, cases)}"
            self.out.write("\b" * self._shown + " " * self._shown + "\b" * self._shown + text)
            self.out.flush()
            self._shown = len(text)

    def costs(self, costs: dict[str, list[float]], cases: int) -> None:
        self.line(self._text(costs, cases), end="")

    def seconds(self, seconds: float) -> None:
        self.line(f"({seconds:.3f} sec)")

    def test(
        self, costs: dict[str, list[float]], cases: int, averages: Sequence[tuple[dict[str, list[float]], int]]
    ) -> None:
        """The test block: this test's costs, and the case-weighted means of the last tests."""
        self.line()
        self.line(_TEST_RULE)
        self.line(self._text(costs, cases))
        if averages and self.compat.shows_averages:
            self.line(_AVERAGE_RULE)
            self.line(self._text(*add_costs(averages)))

    def weights(self, net: Net) -> None:
        """Mean magnitudes of every matrix and its momentum buffer, and their ratio."""
        self.line(_STATS_RULE + " ")
        for layer in net.graph.in_file_order:
            node = net.nodes[layer.name]
            for label, weights in node.named_weights.items():
                size, change = node.be.mean_magnitude(weights.value), node.be.mean_magnitude(weights.inc)
                shows_ratio = label != "biases" and self.compat.shows_ratio
                ratio = f" [{change / size if size else 0:e}]" if shows_ratio else ""
                self.line(f"Layer '{layer.name}' {label}: {size:e} [{change:e}]{ratio} ")
        self.line(_STATS_RULE)

    def saved(self, folder: str) -> None:
        self.line(f"Saved checkpoint to {folder}")
        self.line(_END_RULE, end=" ")

    def tested_batch(self, batch: int, costs: dict[str, list[float]], cases: int, seconds: float) -> None:
        """One line of --test-only: raw sums and the number of cases, as 2014 printed them."""
        self.line(f"batch {batch}: ({costs!r}, {cases}) ({seconds:.3f} sec)")

    def _text(self, costs: dict[str, list[float]], cases: int) -> str:
        return costs_text(self.outputs.shown(costs, cases))

    def _clear(self) -> None:
        if self._shown:
            self.out.write("\b" * self._shown + " " * self._shown + "\b" * self._shown)
            self._shown = 0


def layer_line(layer: Layer) -> str:
    """``Initialized convolutional layer 'conv1' on GPUs 0, producing 55x55 48-channel output``."""
    where = f" on GPUs {', '.join(map(str, layer.gpu))}" if layer.placed else ""
    if layer.is_cost:
        return f"Initialized {layer.describe()} cost '{layer.name}'{where}"
    return f"Initialized {layer.describe()} layer '{layer.name}'{where}, producing {layer.size_text()}"


def costs_text(shown: dict[str, list[float]]) -> str:
    """``logprob:  2.302585, 0.900000 ``; both blanks are the originals'."""
    return "".join(f"{name}:  {', '.join(f'{value:.6f}' for value in values)} " for name, values in shown.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        contiguous = value == list(range(value[0], value[0] + len(value))) if value and isinstance(value[0], int) else False
        return f"{value[0]}-{value[-1]}" if contiguous else ",".join(map(str, value))
    return "" if value is None else str(value)
