"""The lines of a run on standard output, in the words of 2014 or, with ``--compat``, of that generation (io section 2)."""

import sys
import time
from collections.abc import Iterator, Sequence
from functools import singledispatchmethod
from operator import attrgetter
from typing import Any, TextIO

from convnet.checkpoint import add_costs
from convnet.generation import COMPAT, G2011, G2014, Generation
from convnet.net.net import Costs
from convnet.options import OPTIONS, Options
from convnet.pickles.python2 import dict_order
from convnet.texts import counted, grouped, listed, message_lines, printable, time_text
from convnet.training import events
from convnet.training.costs import Outputs
from convnet.training.original_lines import RULE, layer_lines, start_lines

_TEST_RULE = "======================Test output======================"
_AVERAGE_RULE = "----------------------Averages-------------------------"
_STATS_RULE = "-------------------------------------------------------"
_END_RULE = "======================================================="


class Lines:
    """A callback that prints to ``out``; a line per minibatch only where ``out`` is a terminal, unless ``is_file``.

    With ``--compat`` what the originals did not say goes to standard error.
    """

    def __init__(self, out: TextIO | None = None, is_file: bool = False) -> None:
        self.out = out or sys.stdout
        self.live = self.out.isatty() and not is_file
        self.outputs, self.compat = Outputs(), COMPAT[""]
        self._options = Options()
        self._classes: list[str] = []
        self._tests = 0  # how many there were
        self._shown = 0  # characters of the progress line
        self._is_open = False  # whether a line is begun
        self._in_batch = False
        self._opening = ""  # of the line of a batch

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

    def _say(self, text: str) -> None:
        """Print a sentence of this program's own."""
        if self._options.compat:
            print(message_lines(text), file=sys.stderr)
        else:
            self.line(message_lines(text))

    def _say_between(self, text: str) -> None:
        """Print a sentence of its own in the middle of a batch, whose line is begun anew after it."""
        if self._options.compat or not self._is_open:
            self._say(text)
            return
        self.end_line()
        self._say(text)
        self.line(self._opening, end="")

    @singledispatchmethod
    def __call__(self, event: events.Event) -> None:
        """Print what the originals print of an event, if anything."""

    @__call__.register
    def _(self, event: events.Message) -> None:
        self._say(event.text)

    @__call__.register
    def _(self, event: events.FeaturesWritten) -> None:
        self.line(message_lines(event.text))
        if self._options.compat:
            self._test_batch(event)

    # -- the start

    @__call__.register
    def _(self, event: events.RunBegin) -> None:
        self._options = options = event.session.options
        self._classes = event.session.train.label_names
        self.outputs, self.compat = Outputs.of(event.net.graph), COMPAT[options.compat]
        for line in start_lines(event, Generation(options.compat)) if options.compat else self._start(event):
            self.line(line)
        if self.live and not options.compat:
            for cost, names in self.outputs.names.items():
                self.line(f"Numbers of {cost}: {', '.join(names)}")
            self.line("Numbers of weights and biases: mean size [mean change] [change / size]")
        for remark in event.remarks:
            self._say(remark)

    def _start(self, event: events.RunBegin) -> Iterator[str]:
        for layer in event.drawn.in_file_order if event.drawn else ():
            yield from layer_lines(layer, G2014)
        yield from event.edits
        yield from (RULE, f"Importing convnet.backends.{event.net.be.name} module")
        yield from (RULE, f"{'Testing' if self._options.test_only else 'Training'} ConvNet", *_listing(self._options))
        yield from (RULE, f"Running on {event.device}", f"Current time: {time.asctime()}")
        if not self._options.test_only:
            yield f"Saving checkpoints to {event.session.folder.path}"
        yield RULE

    # -- training

    @__call__.register
    def _(self, event: events.BatchBegin) -> None:
        percentage = f" ({100 * event.progress:.2f}%)" if self.compat.shows_progress else ""
        self._in_batch = True
        self._opening = f"{event.epoch}.{event.batch}{percentage}... "
        self.line(self._opening, end="")

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
        self.line(f"\n{_TEST_RULE}\n{self._costs_text(event.costs, event.cases, copies=1)}")
        averaged = event.averaged if self.compat.shows_averages else ()
        self._tests += 1
        is_ours = len(averaged) <= self._tests  # not of the checkpoint, in whose order the costs are then
        if self.compat.plain_averages:  # each test counts as one case
            averaged = [({name: [v / n for v in values] for name, values in costs.items()}, 1) for costs, n in averaged]
        if averaged:
            self.line(f"{_AVERAGE_RULE}\n{self._costs_text(*add_costs(averaged), copies=2, is_ours=is_ours)}")

    @__call__.register
    def _(self, event: events.TestBatchEnd) -> None:
        self._test_batch(event)

    def _test_batch(self, event: events.TestBatchEnd | events.FeaturesWritten) -> None:
        """Print raw sums and the number of cases, as in 2014."""
        seconds = f" ({event.seconds:.3f} sec)" if self.compat.shows_test_seconds else ""
        costs = [f"{self._quoted(name)}: {values!r}" for name, values in self._printed(event.costs).items()]
        self.line(f"batch {event.batch}: ({{{', '.join(costs)}}}, {event.cases}){seconds}")

    def _quoted(self, name: str) -> str:
        """Return a name as Python shows it: the originals' Python 2 showed bytes."""
        return repr(name.encode())[1:] if self._options.compat else repr(name)

    @__call__.register
    def _(self, event: events.WeightsMeasured) -> None:
        """Print mean magnitudes of every matrix and of its last change, and their ratio."""
        self.line(_STATS_RULE + " ")
        sizes = sorted(event.sizes, key=attrgetter("layer")) if self.compat.sorts_statistics else event.sizes
        for (layer, label, size, change), below in zip(sizes, [*sizes[1:], None], strict=True):
            shows_ratio = label != "biases" and self.compat.shows_ratio
            ratio = f" [{change / size if size else 0:e}]" if shows_ratio else ""
            is_inner = below and below.layer == layer and below.label != "biases"  # of several matrices all but the last
            self.line(f"Layer '{layer}' {label}: {size:e} [{change:e}]{ratio}{'' if is_inner else ' '}")
        if not (self._options.compat and self._options.test_only):
            self.line(_STATS_RULE)

    @__call__.register
    def _(self, event: events.Changed) -> None:
        self._say(change_text(event))

    @__call__.register
    def _(self, event: events.Mistakes) -> None:
        for problem in event.problems:
            self._say(problem)

    @__call__.register
    def _(self, event: events.Saved) -> None:
        text = f"Saved checkpoint to {event.path.parent}"
        if event.asked:
            self._say_between(f"Saved checkpoint to {event.path}, as asked.")
        elif self._in_batch:
            self.line(f"{text}\n{_END_RULE}", end=" ")
        elif self._options.compat == G2014 and self._options.force_save:
            self.line(f"{_STATS_RULE}\n{text}\n{_END_RULE}")
        else:
            self._say(text)

    @__call__.register
    def _(self, event: events.RunStopped) -> None:
        self._in_batch = False
        if not self._options.compat:
            self.end_line()
        self._say(stop_text(event))

    @__call__.register
    def _(self, event: events.RunDone) -> None:
        for line in end_lines(event, self.outputs):
            self._say(line)

    def _costs_text(self, costs: Costs, cases: int, copies: int = 0, is_ours: bool = True) -> str:
        """Return ``logprob:  2.302585, 0.900000 ``; both blanks are the originals'."""
        shown = self._printed(self.outputs.shown(costs, cases), copies, is_ours)
        return "".join(f"{name}:  {self._values_text(name, values)} " for name, values in shown.items())

    def _values_text(self, cost: str, values: Sequence[float]) -> str:
        if self._options.compat == G2014 and self.outputs.filters.get(cost) == "detection":
            pairs = zip(self._classes, values[2::2], values[3::2], strict=False)
            rates = [f"({name}) {precision:.6f}, {recall:.6f}" for name, precision, recall in pairs]
            return ", ".join([f"(crossent) {values[0]:.6f}, (err) {values[1]:.6f}", *rates])
        return ", ".join(f"{value:.6f}" for value in values)

    def _printed(self, costs: Costs, copies: int = 0, is_ours: bool = True) -> Costs:
        """Return costs with the values of the generation, in the order of its dict, or of a copy of a copy of that."""
        if not self._options.compat:
            return costs
        order = sorted(costs, key=str.encode) if is_ours else list(costs)
        for _ in range(is_ours + copies * (self._options.compat != G2011)):
            order = dict_order(order)
        return {name: self._counted(name, costs[name]) for name in order}

    def _counted(self, cost: str, values: list[float]) -> list[float]:
        """Return the values of a cost that the generation printed."""
        names = self.outputs.names.get(cost, ())
        return values[:2] if not self.compat.shows_top_error and len(names) == 3 and names[2].startswith("top-") else values

    def _clear(self) -> None:
        """Wipe the progress line."""
        if self._shown:  # codes go past what cleans the names that are printed
            write = getattr(self.out, "control", self.out.write)
            write("\b" * self._shown + " " * self._shown + "\b" * self._shown)
        self._shown = 0


def stop_text(event: events.RunStopped) -> str:
    """Return what stopped a run, and where."""
    return f"Stopped by {event.signal} {_where(event)}."


def change_text(event: events.Changed, most: int = 1 << 16) -> str:
    """Return what became otherwise in the parameters, of many changes the first, and where."""
    return f"Parameters changed {_where(event)}: {listed(grouped(event.text), most)}"


def _where(event: events.RunStopped | events.Changed) -> str:
    done = [f"batch {event.epoch}.{event.batch}"] * bool(event.epoch)
    done += [counted(event.minibatches, "minibatch")] * bool(event.minibatches)
    return f"after {' and '.join(done)}" if done else "before the first minibatch"


def end_lines(event: events.RunDone, outputs: Outputs) -> list[str]:
    """Return what a run that is done has come to."""
    now = f", {event.trained:,} of them now" if event.trained != event.batches else ""
    return [
        f"Done: {counted(event.epochs, 'epoch')}, {counted(event.batches, 'batch')}{now}, in {time_text(event.seconds)}.",
        f"Final test of {counted(event.cases, 'case')}: {outputs.text(event.costs, event.cases)}",
    ]


def _listing(options: Options) -> Iterator[str]:
    """Yield a line for each option, with ``[DEFAULT]`` where nobody chose its value."""
    texts = {option.name: option_text(getattr(options, option.name)) for option in OPTIONS}
    width = max(len(option.description) for option in OPTIONS)
    value_width = max(len(text) for name, text in texts.items() if name not in options.chosen)
    for option in sorted(OPTIONS, key=lambda option: option.description):
        mark = "" if option.name in options.chosen else "[DEFAULT]"
        yield f"{option.description:<{width}}: {texts[option.name]:<{value_width}} {mark}"


def option_text(value: Any) -> str:
    """Return the value of an option as the listing shows it, on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        is_range = bool(value) and isinstance(value[0], int) and value == list(range(value[0], value[-1] + 1))
        return f"{value[0]}-{value[-1]}" if is_range else ",".join(map(str, value))
    return "" if value is None else printable(str(value))
