"""The lines of a run on standard output, in the words of 2014 (io section 2)."""

import sys
import time
from functools import singledispatchmethod
from typing import Any, TextIO

from convnet.checkpoint import add_costs
from convnet.generation import COMPAT
from convnet.graph.graph import Graph
from convnet.layers.weighted import WeightLayer
from convnet.net.net import Costs
from convnet.options import OPTIONS, Options
from convnet.texts import counted, message_lines, printable, time_text
from convnet.training import events
from convnet.training.costs import Outputs

_RULE = "========================="
_TEST_RULE = "======================Test output======================"
_AVERAGE_RULE = "----------------------Averages-------------------------"
_STATS_RULE = "-------------------------------------------------------"
_END_RULE = "======================================================="


class Lines:
    """A callback that prints to ``out``; a line per minibatch only where ``out`` is a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.outputs, self.compat = Outputs(), COMPAT[""]
        self._shown = 0  # characters of the progress line
        self._is_open = False  # whether a line is begun
        self._in_batch = False

    def line(self, text: str = "", end: str = "\n") -> None:
        """Print ``text``, over whatever progress line stands there."""
        self._clear()
        self.out.write(text + end)
        self.out.flush()
        self._is_open = not end.endswith("\n")

    def end_line(self) -> None:
        """End the line that is begun, if one is."""
        if self._is_open:
            self.line()

    def abandon(self) -> None:
        """Leave the line as it is."""

    @singledispatchmethod
    def __call__(self, event: events.Event) -> None:
        """Print what the originals print of an event, if anything."""

    @__call__.register
    def _(self, event: events.Message) -> None:
        self.line(message_lines(event.text))

    # -- the start

    @__call__.register
    def _(self, event: events.RunBegin) -> None:
        options = event.session.options
        self.outputs, self.compat = Outputs.of(event.net.graph), COMPAT[options.compat]
        if event.drawn:
            self._layers(event.drawn)
        for line in event.edits:
            self.line(line)
        self.line(f"{_RULE}\nImporting convnet.backends.{event.net.be.name} module")
        self._options(options)
        self.line(f"{_RULE}\nRunning on {event.device}\nCurrent time: {time.asctime()}")
        if not options.test_only:
            self.line(f"Saving checkpoints to {event.session.folder.path}")
        self.line(_RULE)
        if self.live:
            for cost, names in self.outputs.names.items():
                self.line(f"Numbers of {cost}: {', '.join(names)}")
            self.line("Numbers of weights and biases: mean size [mean change] [change / size]")
        for remark in event.remarks:
            self.line(message_lines(remark))

    def _layers(self, graph: Graph) -> None:
        """Print ``Initialized ...`` for every layer, after where its weights come from."""
        for layer in graph.in_file_order:
            if isinstance(layer, WeightLayer):
                for i, source in enumerate(layer.weightSource):
                    if source:
                        self.line(f"Layer '{layer.name}' initialized weight matrix {i} from {source[0]}")
                for function, what in ((layer.initWFunc, "weight matrices"), (layer.initBFunc, "bias vector")):
                    if function:
                        self.line(f"Layer '{layer.name}' initialized {what} from function {function}")
            where = f" on GPUs {', '.join(map(str, layer.gpu))}" if layer.placed else ""
            size = "" if layer.is_cost else f", producing {layer.size_text()}"
            kind = "cost" if layer.is_cost else "layer"
            self.line(f"Initialized {layer.title} {kind} '{layer.name}'{where}{size}")

    def _options(self, options: Options) -> None:
        self.line(f"{_RULE}\n{'Testing' if options.test_only else 'Training'} ConvNet")
        texts = {option.name: option_text(getattr(options, option.name)) for option in OPTIONS}
        width = max(len(option.description) for option in OPTIONS)
        value_width = max(len(text) for name, text in texts.items() if name not in options.given)
        for option in sorted(OPTIONS, key=lambda option: option.description):
            mark = "" if option.name in options.given else "[DEFAULT]"
            self.line(f"{option.description:<{width}}: {texts[option.name]:<{value_width}} {mark}")

    # -- training

    @__call__.register
    def _(self, event: events.BatchBegin) -> None:
        percentage = f" ({100 * event.progress:.2f}%)" if self.compat.shows_progress else ""
        self._in_batch = True
        self.line(f"{event.epoch}.{event.batch}{percentage}... ", end="")

    @__call__.register
    def _(self, event: events.MinibatchEnd) -> None:
        """Show progress within a batch, on terminals only; the next line replaces it."""
        if self.live:
            self._clear()
            text = f"{event.done}/{event.total} {self._costs_text(event.costs, event.cases)}"
            self.out.write(text)
            self.out.flush()
            self._shown = len(text)

    @__call__.register
    def _(self, event: events.BatchEnd) -> None:
        self.line(self._costs_text(event.costs, event.cases), end="")

    @__call__.register
    def _(self, event: events.BatchClosed) -> None:
        self._in_batch = False
        self.line(f"({event.seconds:.3f} sec)")

    @__call__.register
    def _(self, event: events.TestEnd) -> None:
        """Print the test block: this test's costs, and the mean over the cases of the tests averaged."""
        self.line(f"\n{_TEST_RULE}\n{self._costs_text(event.costs, event.cases)}")
        averaged = event.averaged
        if self.compat.plain_averages:  # each test counts as one case
            averaged = [({name: [v / n for v in values] for name, values in costs.items()}, 1) for costs, n in averaged]
        if averaged and self.compat.shows_averages:
            self.line(f"{_AVERAGE_RULE}\n{self._costs_text(*add_costs(averaged))}")

    @__call__.register
    def _(self, event: events.TestBatchEnd) -> None:
        """Print raw sums and the number of cases, as in 2014."""
        self.line(f"batch {event.batch}: ({event.costs!r}, {event.cases}) ({event.seconds:.3f} sec)")

    @__call__.register
    def _(self, event: events.WeightsMeasured) -> None:
        """Print mean magnitudes of every matrix and of its last change, and their ratio."""
        self.line(_STATS_RULE + " ")
        for layer, label, size, change in event.sizes:
            shows_ratio = label != "biases" and self.compat.shows_ratio
            ratio = f" [{change / size if size else 0:e}]" if shows_ratio else ""
            self.line(f"Layer '{layer}' {label}: {size:e} [{change:e}]{ratio} ")
        self.line(_STATS_RULE)

    @__call__.register
    def _(self, event: events.Saved) -> None:
        text = f"Saved checkpoint to {event.path.parent}"
        if self._in_batch:
            self.line(f"{text}\n{_END_RULE}", end=" ")
        else:
            self.line(text)

    @__call__.register
    def _(self, event: events.RunStopped) -> None:
        self._in_batch = False
        self.line(f"\n{stop_text(event)}")

    @__call__.register
    def _(self, event: events.RunDone) -> None:
        for line in end_lines(event, self.outputs):
            self.line(line)

    def _costs_text(self, costs: Costs, cases: int) -> str:
        """Return ``logprob:  2.302585, 0.900000 ``; both blanks are the originals'."""
        shown = self.outputs.shown(costs, cases)
        return "".join(f"{name}:  {', '.join(f'{value:.6f}' for value in values)} " for name, values in shown.items())

    def _clear(self) -> None:
        """Wipe the progress line."""
        if self._shown:  # codes go past what cleans the names that are printed
            write = getattr(self.out, "control", self.out.write)
            write("\b" * self._shown + " " * self._shown + "\b" * self._shown)
        self._shown = 0


def stop_text(event: events.RunStopped) -> str:
    """Return what stopped a run, and where."""
    done = [f"batch {event.epoch}.{event.batch}"] * bool(event.epoch)
    done += [counted(event.minibatches, "minibatch")] * bool(event.minibatches)
    where = f"after {' and '.join(done)}" if done else "before the first minibatch"
    return f"Stopped by {event.signal} {where}."


def end_lines(event: events.RunDone, outputs: Outputs) -> list[str]:
    """Return what a run that is done has come to."""
    now = f", {event.trained:,} of them now" if event.trained != event.batches else ""
    return [
        f"Done: {counted(event.epochs, 'epoch')}, {counted(event.batches, 'batch')}{now}, in {time_text(event.seconds)}.",
        f"Final test of {counted(event.cases, 'case')}: {outputs.text(event.costs, event.cases)}",
    ]


def option_text(value: Any) -> str:
    """Return the value of an option as the listing shows it, on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        is_range = bool(value) and isinstance(value[0], int) and value == list(range(value[0], value[-1] + 1))
        return f"{value[0]}-{value[-1]}" if is_range else ",".join(map(str, value))
    return "" if value is None else printable(str(value))
