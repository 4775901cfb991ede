import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import each_backend

from convnet.backends import philox
from convnet.backends.arguments import Window
from convnet.errors import ArrayError


def test_words_are_those_of_the_paper():
    """Known answers of the authors' library for counter 0 and key 0, ten rounds."""
    assert [hex(word) for word in philox.words(philox.Key(0, 0, 0, 0), np.arange(1))[0]] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]


def test_a_stream_is_cut_anywhere():
    key = philox.key_for(7, "conv1", 3)
    np.testing.assert_array_equal(philox.uniform(key, (1001,))[:37], philox.uniform(key, (37,)))


@pytest.mark.parametrize("other", [(8, "conv1", 3, 0), (7, "conv2", 3, 0), (7, "conv1", 4, 0), (7, "conv1", 3, 1)])
def test_seed_layer_step_and_draw_each_count(other):
    assert (philox.uniform(philox.key_for(7, "conv1", 3), (8,)) != philox.uniform(philox.key_for(*other), (8,))).any()


def test_steps_beyond_32_bits_do_not_repeat():
    assert philox.key_for(0, "a", 1 << 32) != philox.key_for(0, "a", 0)


def test_distributions():
    key = philox.key_for(1, "fc", 0)
    u, g = philox.uniform(key, (100_000,)), philox.gaussian(key, (100_001,))
    assert u.dtype == np.float32 and u.min() > 0 and u.max() <= 1
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.001
    assert len(g) == 100_001 and abs(g.mean()) < 0.02 and abs(g.var() - 1) < 0.02


@each_backend
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 33)])
def test_every_backend_drops_the_same_units(be, size):
    key = philox.key_for(5, "dropout", 2)
    x = be.upload(np.ones(size))
    out = be.upload(np.full(size, np.nan))
    be.dropout(x, out, keep=0.4, gain=1.0, key=key)
    expected = philox.uniform(key, size) < np.float32(0.4)
    np.testing.assert_array_equal(be.download(out) != 0, expected)


@st.composite
def parts(draw):
    """Cases of a whole minibatch, and those of a part."""
    whole = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 33, 64, 100, 130]) | st.integers(1, 300))
    first = draw(st.integers(0, whole - 1))
    return whole, slice(first, first + min(whole - first, draw(st.sampled_from([1, 3, 16, 33, 64, whole]))))


def part_and_whole(be, op, shape, case, *args, **how):
    """Return what ``op`` makes of a part of the cases of (shape, N) arrays, and what it makes of them with all others."""
    whole, part = case
    rng, key = np.random.default_rng(whole), philox.key_for(5, "layer", 2)
    x, old = (rng.standard_normal((*shape, whole), np.float32) for _ in range(2))

    def run(cases, key):
        out = be.upload(old[..., cases].copy())
        getattr(be, op)(be.upload(x[..., cases].copy()), out, *args, key=key, **how)
        return be.download(out)

    return run(part, key._replace(pitch=whole, first=part.start)), run(slice(whole), key)[..., part]


@each_backend
@settings(max_examples=60, deadline=None)
@given(case=parts(), rows=st.sampled_from([1, 2, 3, 7, 40]), scale=st.sampled_from([0.0, 1.0, 0.5]))
def test_a_part_of_a_minibatch_drops_what_the_whole_does(be, case, rows, scale):
    found, expected = part_and_whole(be, "dropout", (rows,), case, scale, keep=0.6, gain=1.3)
    np.testing.assert_array_equal(found, expected)


@each_backend
@settings(max_examples=30, deadline=None)
@given(case=parts(), rows=st.sampled_from([1, 2, 3, 7, 40]))
def test_a_part_of_a_minibatch_has_the_noise_of_the_whole(be, case, rows):
    np.testing.assert_array_equal(*part_and_whole(be, "nrelu_forward", (rows,), case))


@each_backend
@pytest.mark.parametrize("whole, first, last", [(1, 0, 1), (33, 5, 8), (64, 33, 64), (10, 0, 3), (10, 9, 10), (66, 33, 66)])
def test_a_part_of_a_minibatch_picks_members_as_the_whole(be, whole, first, last):
    case = whole, slice(first, last)
    np.testing.assert_array_equal(*part_and_whole(be, "pool_rand_forward", (2, 4, 4), case, window=Window(3, -1, 1)))


@each_backend
@pytest.mark.parametrize("pitch, first", [(9, 0), (12, 3), (10, -1), (0, 1), (1 << 30, 0)])
def test_a_part_lies_in_its_minibatch(be, pitch, first):
    x, key = be.upload(np.ones((2, 10))), philox.key_for(5, "layer", 2)._replace(pitch=pitch, first=first)
    with pytest.raises(ArrayError, match=f"has no 10 from case {first} on"):
        be.dropout(x, x, keep=0.5, gain=1.0, key=key)
