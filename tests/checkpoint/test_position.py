"""How far a run has come, as checkpoints of the originals tell it."""

import pytest

from convnet.checkpoint import Checkpoint, Position


def test_what_is_best():
    assert not Position().is_best
    assert Position(batches_done=3, best_at=3).is_best
    assert not Position(batches_done=3, best_at=3, cases=5).is_best and not Position(batches_done=4, best_at=3).is_best


def written(epoch, batch, options=(), **state):
    return Checkpoint({"model_state": {"layers": {}, "epoch": epoch, "batchnum": batch} | state, "op": dict(options)})


@pytest.mark.parametrize(
    "batches, epoch, batch, done",
    [
        ([1, 2, 3, 4, 5], 1, 3, 3),
        ([1, 2, 3, 4, 5], 3, 2, 12),
        ([5, 6, 7], 1, 5, 1),
        ([5, 6, 7], 2, 7, 6),
        ([0, 1], 2, 0, 3),
        ([1, 2], 0, 0, 0),
        ([5, 6, 7], 1, 2, 0),
    ],
)
def test_batches_done_are_counted_from_the_first_of_the_range(batches, epoch, batch, done):
    """io 2.3: nothing is negative, though the range was changed since."""
    assert written(epoch, batch).position(batches).batches_done == done
    assert written(epoch, batch, {"train_range": batches}).position().batches_done == done
    stored = written(epoch, batch, convnet={"position": {"batches_done": 4, "minibatches": 3}}).position(batches)
    assert (stored.batches_done, stored.minibatches) == (4, 3)
