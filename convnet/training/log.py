"""``log.jsonl`` beside the checkpoints: what a run tells, in a line of JSON each (``docs/log.md``).

Numbers that JSON lacks are the texts ``nan``, ``inf`` and ``-inf``, which ``float`` reads.
"""

import json
import logging
import math
import platform
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import singledispatchmethod
from typing import Any, Self

import numpy as np

from convnet import __version__
from convnet.checkpoint import add_costs
from convnet.errors import first_line, reason_of
from convnet.net.net import Costs, Net
from convnet.options import OPTIONS
from convnet.storage import GrowingFile
from convnet.training import events
from convnet.training.costs import Outputs
from convnet.training.session import Session

NAME = "log.jsonl"
_LOG = logging.getLogger("convnet")
_MOST_HELD = 1 << 16
# What lines hold besides the values of costs, such as ``logprob.error``; docs/log.md says what each is.
KEYS = (
    *("line", "time", "batches", "epoch", "batch", "progress", "tested", "cases", "seconds", "images_per_second"),
    *("averages", "best", "rates", "weights", "dead", "checkpoint", "net", "parameters", "options", "seed", "device"),
    *("versions", "data", "text", "minibatches", "by", "changes"),
)


class Log:
    """A callback that writes the log of a run, for as long as it is open (``with``).

    It is begun with the first batch or checkpoint. A disk that takes no line is warned of once, and the run goes on; lines
    wait until there is room again.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.file = GrowingFile(session.folder.path / NAME, b'{"line": ')
        self.outputs = Outputs.of(session.graph)
        # Lines before the first that is worth a file, or that a disk did not take; of too many the newest.
        self._held: deque[str] = deque(maxlen=_MOST_HELD)
        self._has_begun = False
        self._one_at_a_time = threading.Lock()  # batches are loaded by a thread, which may warn
        self._net: Net | None = None
        self._rates: dict[str, Any] = {}
        self._cases = 0  # that were trained on since the batch began
        self._handler = _Handler(self)
        self._has_warned = False

    def __enter__(self) -> Self:
        _LOG.addHandler(self._handler)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        _LOG.removeHandler(self._handler)
        if error is not None:
            self.write("error", {"text": first_line(error)})
        self.file.close()

    def write(self, line: str, values: Mapping[str, Any], begins: bool = False, durable: bool = False) -> None:
        """Write a line; it, and those before it, go to the file from the first that ``begins`` it on."""
        known = {"line": line, "time": round(time.time(), 3), "batches": self.session.position.batches_done, **values}
        text = json.dumps(plain(known), allow_nan=False)
        fault = ""
        with self._one_at_a_time:
            self._held.append(text)
            self._has_begun |= begins
            try:
                while self._has_begun and self._held:
                    self.file.append(self._held[0], durable)
                    self._held.popleft()
            except OSError as error:
                fault = "" if self._has_warned else reason_of(error)
                self._has_warned = True
        if fault:  # said here, since what logs has a lock of its own
            _LOG.warning("%s cannot be written, and lacks lines: %s", self.file.path, fault)

    @singledispatchmethod
    def __call__(self, event: events.Event) -> None:
        """Write what an event tells, if it is worth keeping."""

    @__call__.register
    def _(self, event: events.RunBegin) -> None:
        session, self._net = event.session, event.net
        options = session.options
        changed = {o.name: getattr(options, o.name) for o in OPTIONS if getattr(options, o.name) != o.default}
        values: dict[str, Any] = {} if session.checkpoint is None else {"checkpoint": str(session.checkpoint.path)}
        values |= {"net": session.files.definition_path, "parameters": session.files.params_path, "options": changed}
        values |= {"seed": options.seed, "device": event.device, "versions": _versions()}
        train = session.train
        values["data"] = {"path": train.where, "values": train.dims.get(0), "classes": train.classes}
        if session.checkpoint:
            values["changes"] = session.position.changes
        self.write("resume" if session.checkpoint else "begin", values | {"text": list(event.remarks)})

    @__call__.register
    def _(self, _event: events.BatchBegin) -> None:
        self._cases = 0

    @__call__.register
    def _(self, event: events.MinibatchEnd) -> None:
        self._cases += event.cases

    @__call__.register
    def _(self, event: events.BatchEnd) -> None:
        values: dict[str, Any] = {
            "epoch": event.epoch,
            "batch": event.batch,
            "progress": event.progress,
            "cases": event.cases,
        }
        values |= _speed(self._cases, event.seconds) | values_of(self.outputs, event.costs, event.cases)
        if (rates := self._rates_in_force()) != self._rates:
            values["rates"] = self._rates = rates
        self.write("batch", values, begins=True)

    def _rates_in_force(self) -> dict[str, dict[str, float]]:
        nodes = self._net.nodes.items() if self._net else ()
        learning = {name: node.named_weights.items() for name, node in nodes if node.named_weights}
        return {name: {label: weights.noiseless_rate for label, weights in pairs} for name, pairs in learning.items()}

    @__call__.register
    def _(self, event: events.TestEnd) -> None:
        values = {"tested": list(event.batches), "cases": event.cases, **_speed(event.cases, event.seconds)}
        values |= values_of(self.outputs, event.costs, event.cases)
        if len(event.averaged) > 1:
            values["averages"] = values_of(self.outputs, *add_costs(event.averaged))
        if self.session.watch and self.session.position.is_best:
            values["best"] = True
        self.write("test", values, durable=True)  # before the checkpoint that counts it

    @__call__.register
    def _(self, event: events.WeightsMeasured) -> None:
        sizes: dict[str, dict[str, list[float]]] = {}
        for layer, label, size, change in event.sizes:
            sizes.setdefault(layer, {})[label] = [size, change]
        self.write("weights", {"weights": sizes} | ({"dead": event.dead} if event.dead else {}))

    @__call__.register
    def _(self, event: events.Saved) -> None:
        self.write("saved", {"checkpoint": event.path.name}, begins=True)

    @__call__.register
    def _(self, event: events.Changed) -> None:
        place = {"epoch": event.epoch, "batch": event.batch, "minibatches": event.minibatches}
        self.write("change", place | {"text": list(event.text)}, durable=True)

    @__call__.register
    def _(self, event: events.Message) -> None:
        self.write("message", {"text": event.text})

    @__call__.register
    def _(self, event: events.RunStopped) -> None:
        place = {"epoch": event.epoch, "batch": event.batch, "minibatches": event.minibatches}
        self.write("stopped", {"by": event.signal, **place})

    @__call__.register
    def _(self, event: events.RunDone) -> None:
        values = {"tested": list(event.tested), "cases": event.cases}
        self.write("final", values | values_of(self.outputs, event.costs, event.cases))

    @__call__.register
    def _(self, event: events.RunEnd) -> None:
        self.write("end", {"checkpoint": event.path and event.path.name})


class _Handler(logging.Handler):
    """Writes warnings of the program to a log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.write("warning", {"text": record.getMessage()})


def values_of(outputs: Outputs, costs: Costs, cases: int) -> dict[str, float]:
    """Return the printed values of sums of costs over cases, by names such as ``logprob.error``."""
    shown = outputs.shown(costs, cases)
    return {
        f"{cost}.{name}": value
        for cost, values in shown.items()
        for name, value in zip(outputs.value_names(cost, len(values)), values, strict=True)
    }


def plain(value: Any) -> Any:
    """Return a value as JSON can have it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _speed(cases: int, seconds: float) -> dict[str, float]:
    return {"seconds": round(seconds, 6), "images_per_second": round(cases / seconds, 3) if seconds > 0 else 0.0}


def _versions() -> dict[str, str]:
    return {
        "convnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(),
    }
