"""A history of any length takes bounded entries, keeps every mean, and draws the same curve."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet import pickles
from convnet.checkpoint import Checkpoint, Position
from convnet.checkpoint.history import MOST, batches_each, merge_oldest, middles
from convnet.training.history import History
from convnet.training.records import checkpoint_lines

BATCHES = 150_000


def history(count, most, names=lambda i: "c"):
    outputs, runs, ends = [], [], []
    for i in range(count):
        outputs.append(({names(i): [Fraction(i), Fraction(1)]}, i % 5 + 1))
        ends.append(i + 1)
        merge_oldest(outputs, runs, ends, most=most)
        assert len(outputs) <= most or names(0) != names(1)
    return outputs, runs, ends


@settings(deadline=None)
@given(st.integers(0, 400), st.sampled_from([4, 8, 10, 64]))
def test_nothing_is_lost_but_the_detail_of_what_is_old(count, most):
    outputs, runs, ends = history(count, most)
    each = batches_each(len(outputs), runs)
    assert sum(each) == count and sum(cases for _, cases in outputs) == sum(i % 5 + 1 for i in range(count))
    first = 0
    for (costs, cases), batches, end, middle in zip(outputs, each, ends, middles(len(outputs), runs), strict=True):
        stands_for = range(first, first + batches)
        assert costs == {"c": [sum(stands_for), batches]} and cases == sum(i % 5 + 1 for i in stands_for)
        assert end == first + batches and middle == pytest.approx(np.mean([i + 1 for i in stands_for]))
        first += batches
    assert each == sorted(each, reverse=True) or most == 10  # halves that are no power of two
    assert each[len(each) // 2 :] == [1] * (len(each) - len(each) // 2)


def test_other_costs_are_not_added_up():
    outputs, runs, _ = history(9, 8, names=lambda i: "ab"[i % 2])
    assert len(outputs) == 9 and not runs


@pytest.fixture(scope="module")
def long():
    """A position after very many batches and tests."""
    position = Position()
    for batch in range(BATCHES):
        position.costs, position.cases = {"logprob": [float(batch), 1.0, 0.5]}, 100
        position.finish_batch(batch // 10 + 1, batch % 10)
        if batch % 2:
            position.finish_test({"logprob": [float(batch), 1.0, 0.5]}, 100, -1)
    return position


@pytest.mark.slow
def test_very_many_batches_are_bounded_and_drawn_as_they_were(long):
    assert len(long.train_outputs) <= MOST and len(long.test_outputs) <= MOST and len(long.train_runs) < 40
    assert len(long.test_outputs) == len(long.tests_at) == len(long.test_batches)
    assert (long.batches_done, long.tests_done, long.tests_at[-1]) == (BATCHES, BATCHES // 2, BATCHES)
    assert [costs["logprob"][0] for costs, _ in long.train_outputs[-1000:]] == list(range(BATCHES - 1000, BATCHES))
    layers = {"logprob": {"name": "logprob", "type": "cost.logreg"}}
    own = {name: value for name, value in vars(long).items() if not name.endswith("outputs")}
    state = {"layers": layers, "epoch": 1, "batchnum": 1, "convnet": {"position": own, "dialect": "2014"}}
    state |= {"train_outputs": long.train_outputs, "test_outputs": long.test_outputs}
    checkpoint = Checkpoint({"model_state": state, "op": {}})
    curve = History.of(checkpoint_lines(checkpoint), "long").curves[0]
    # The cost of batch i is i/100 per case: so it is, entry by entry, at the number that is drawn.
    np.testing.assert_allclose(curve.train.values, (np.array(curve.train.at) - 1) / 100, rtol=1e-9, atol=1e-9)
    assert curve.key == "logprob.cost" and len(curve.test) == len(long.test_outputs)


@pytest.mark.slow
def test_bytes_of_a_checkpoint_are_bounded(long):
    file = io.BytesIO()
    pickles.dump(vars(long), file)
    assert len(file.getvalue()) < 150 * 2 * MOST


def test_a_short_history_is_written_as_ever():
    position = Position()
    for batch in range(20):
        position.costs, position.cases = {"logprob": [random.random()]}, 100
        position.finish_batch(1, batch)
    assert position.train_runs == [] and len(position.train_outputs) == 20
