"""The schedule of a run, and the loop over it: order, inputs to come, stopping and going on."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from convnet.checkpoint import Position
from convnet.data.provider import MatrixBatch, Provider, Request
from convnet.errors import DataError
from convnet.ranks.communicator import Solo
from convnet.training.plan import Plan, ScheduledBatch
from convnet.training.trainer import Trainer


def visits(plan, **position):
    return [(batch.epoch, batch.number) for batch in plan.schedule(Position(**position))]


@pytest.mark.parametrize(
    "changes, position, expected",
    [
        ({}, {}, [(1, 5), (1, 6), (2, 5), (2, 6)]),
        ({}, {"epoch": 1, "batch": 5, "batches_done": 1}, [(1, 6), (2, 5), (2, 6)]),
        ({}, {"epoch": 1, "batch": 9}, [(1, 5), (1, 6), (2, 5), (2, 6)]),  # the range was changed
        ({}, {"epoch": 2, "batch": 6}, []),
        ({"max_batches": 3}, {"epoch": 1, "batch": 5, "batches_done": 1}, [(1, 6), (2, 5), (2, 6)]),
        ({"max_batches": 1}, {}, [(1, 5)]),
        ({"extra_batch": True}, {"epoch": 2, "batch": 5}, [(2, 6), (3, 5)]),
        ({"extra_batch": True}, {"epoch": 3, "batch": 5}, []),
        ({"extra_batch": True, "max_batches": 1}, {"epoch": 2, "batch": 5}, [(2, 6)]),
    ],
)
def test_schedules(changes, position, expected):
    """Epochs end runs, as do --max-batches; the originals trained one batch more (io 2.5)."""
    assert visits(Plan([5, 6], [7], epochs=2, test_freq=2, **changes), **position) == expected


def test_a_batch_named_twice_is_visited_twice():
    assert visits(Plan([5, 5, 6], [7], epochs=1, test_freq=2)) == [(1, 5), (1, 5), (1, 6)]


def test_progress_and_tests_are_counted_in_batches():
    batches = list(Plan([1, 2, 3], [4], epochs=2, test_freq=2).schedule(Position(1, 1, batches_done=1)))
    assert [batch.progress for batch in batches] == [pytest.approx(done / 6) for done in range(1, 6)]
    assert [batch.test_follows for batch in batches] == [True, False, True, False, True]


class Numbers(Provider):
    """Batches of five cases, whose values are 100 times the epoch and the batch's number."""

    numbers = [1, 2, 3]

    def __init__(self, broken=()):
        super().__init__(Request())
        self.broken = broken

    def batch(self, epoch, number):
        if number in self.broken:
            raise DataError(f"batch {number} is broken")
        return MatrixBatch([100 * epoch + number + np.zeros((1, 5))])


class Net:
    """Takes minibatches of two cases and remembers what it saw."""

    minibatch = 2
    graph = SimpleNamespace(declared=[], costs=[])
    communicator = Solo()

    group = None

    def share(self, first=0):
        return None, None

    def cut(self, take, start, stop):
        return take(start, stop)

    def __init__(self):
        self.seen = []

    def train(self, inputs, cases, progress, next_inputs):
        self.seen.append((inputs, cases, progress, next_inputs))
        return {"cost": [float(inputs[0].sum())]}


class StopsAt(Trainer):
    def __init__(self, minibatches, *arguments):
        super().__init__(*arguments)
        self.minibatches = minibatches

    def must_stop(self):
        return len(self.net.seen) == self.minibatches


SCHEDULE = [ScheduledBatch(1, 1, 0.0), ScheduledBatch(1, 2, 0.25, test_follows=True), ScheduledBatch(2, 1, 0.5)]


def trained(trainer=Trainer, position=None, broken=(), schedule=SCHEDULE):
    net, position = Net(), position or Position()
    trainer(net, Numbers(broken), position).train(schedule)
    return net.seen, position


def test_every_case_is_seen_once_in_order():
    seen, position = trained()
    assert [(inputs[0][0, 0], cases) for inputs, cases, *_ in seen] == [
        (value, cases) for value in (101, 102, 201) for cases in (2, 2, 1)
    ]
    assert [progress for _, _, progress, _ in seen] == [0.0] * 3 + [0.25] * 3 + [0.5] * 3
    assert position.train_outputs == [({"cost": [5.0 * value]}, 5) for value in (101, 102, 201)]
    assert (position.epoch, position.batch, position.batches_done, position.minibatches) == (2, 1, 3, 0)


def test_inputs_to_come_are_the_very_ones_that_come():
    """Within a batch always, to the next one if that is loaded by then, never where a test comes between."""
    seen, _ = trained()
    for (_, _, _, next_inputs), (inputs, *_) in pairwise(seen):
        assert next_inputs is inputs or not next_inputs
    assert [bool(seen[i][3]) for i in (0, 1, 3, 4, 6, 7)] == [True] * 6
    assert not seen[5][3] and not seen[8][3]


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_stopped_loop_goes_on_where_it_stopped(stop):
    whole, expected = trained()
    first, position = trained(lambda *arguments: StopsAt(stop, *arguments))
    left = [batch for batch in SCHEDULE if (batch.epoch, batch.number) > (position.epoch, position.batch)]
    rest, position = trained(position=position, schedule=left)
    assert [inputs[0][0, 0] for inputs, *_ in first + rest] == [inputs[0][0, 0] for inputs, *_ in whole]
    assert position == expected


def test_a_batch_that_cannot_be_loaded_ends_training_when_its_turn_comes():
    position = Position()
    with pytest.raises(DataError, match="batch 2 is broken"):
        trained(position=position, broken=[2])
    assert position.batch == 1 and len(position.train_outputs) == 1
