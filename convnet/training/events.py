"""What happens while a net trains, told to callbacks: those that print, those that keep a log, and anybody's own.

Costs are sums over ``cases``; ``convnet.training.costs.Outputs`` makes printed numbers of them, and names their values.
Epochs and batches are numbered as the data number them; seconds are of a clock on the wall.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from convnet.graph.graph import Graph
from convnet.net.net import Costs, Net
from convnet.training.session import Session


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    __test__ = False  # names that begin with Test are no tests for pytest


@dataclass(frozen=True)
class RunBegin(Event):
    """A run is about to begin, and nothing can be wrong any more.

    ``drawn`` is the graph whose weights are new, before ``edits`` of --conv-to-local and the like; ``None`` where they are
    a checkpoint's. ``remarks`` are sentences for whoever started the run; ``device`` says what computes.
    """

    session: Session
    net: Net
    device: str
    drawn: Graph | None
    edits: Sequence[str]
    remarks: Sequence[str]


@dataclass(frozen=True)
class BatchBegin(Event):
    """A data batch will be trained on; ``progress``, 0 to 1, sets the learning rates."""

    epoch: int
    batch: int
    progress: float


@dataclass(frozen=True)
class MinibatchEnd(Event):
    """A minibatch was trained on, number ``done`` of ``total`` in its batch; costs are its own."""

    done: int
    total: int
    costs: Costs
    cases: int


@dataclass(frozen=True)
class BatchEnd(Event):
    """A batch was trained on, in ``seconds`` of which some may have gone to waiting for data.

    ``cases`` may be more than were trained on in this time, where a run went on within the batch.
    """

    epoch: int
    batch: int
    progress: float
    costs: Costs
    cases: int
    seconds: float


@dataclass(frozen=True)
class TestBegin(Event):
    """A test on ``batches`` begins."""

    batches: Sequence[int]


@dataclass(frozen=True)
class TestBatchEnd(Event):
    """One test batch of --test-only was tested."""

    batch: int
    costs: Costs
    cases: int
    seconds: float


@dataclass(frozen=True)
class TestEnd(Event):
    """A test is done, on ``batches``; ``averaged`` are (costs, cases) of this and earlier tests, one for each test batch."""

    batches: Sequence[int]
    costs: Costs
    cases: int
    averaged: Sequence[tuple[Costs, int]]
    seconds: float


class WeightSize(NamedTuple):
    """Mean magnitudes of weights, ``label`` ``weights[0]`` or ``biases``, and of what was last added to them."""

    layer: str
    label: str
    size: float
    change: float


@dataclass(frozen=True)
class WeightsMeasured(Event):
    """How large the weights are, after a test, and by layer the share of units that were 0 for every case of it."""

    sizes: Sequence[WeightSize]
    dead: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written; where somebody ``asked`` for it, maybe in the middle of a batch or a test."""

    path: Path
    asked: bool = False


@dataclass(frozen=True)
class Changed(Event):
    """Other parameters hold from here on, after a batch that is done and ``minibatches`` of the next, as in ``RunStopped``.

    ``text`` says what is otherwise, a line each: ``conv1 epsW[0]: 0.001 -> 0.0005``. The checkpoint of here has them.
    """

    epoch: int
    batch: int
    minibatches: int
    text: Sequence[str]


@dataclass(frozen=True)
class BatchClosed(Event):
    """A batch is over, with the test and the checkpoint that may have followed it; ``seconds`` are of all of it."""

    seconds: float


@dataclass(frozen=True)
class RunStopped(Event):
    """``signal`` stopped the run, after a batch that is done, 0.0 before the first, and ``minibatches`` of the next."""

    signal: str
    epoch: int
    batch: int
    minibatches: int


@dataclass(frozen=True)
class RunDone(Event):
    """The run has done what it was to do: ``epochs`` and ``batches`` in all, ``trained`` of these in ``seconds``, now.

    Its last weights make ``costs`` of all ``cases`` of the batches ``tested``.
    """

    epochs: int
    batches: int
    trained: int
    seconds: float
    tested: Sequence[int]
    costs: Costs
    cases: int


@dataclass(frozen=True)
class Message(Event):
    """A sentence for whoever watches."""

    text: str


@dataclass(frozen=True)
class Mistakes(Message):
    """``text`` says which file has mistakes; ``problems`` are these, each with its line and a caret."""

    problems: Sequence[str]


@dataclass(frozen=True)
class FeaturesWritten(Message):
    """``text`` says where features of a test batch lie, of ``cases`` whose costs were ``costs``."""

    batch: int
    costs: Costs
    cases: int
    seconds: float


@dataclass(frozen=True)
class RunEnd(Event):
    """The run is over; ``path`` is its last checkpoint, ``None`` where there was nothing to do."""

    path: Path | None


Callback = Callable[[Event], None]
