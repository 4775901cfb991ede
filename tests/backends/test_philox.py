import numpy as np
import pytest
from support import each_backend

from convnet.backends import philox


def test_words_are_those_of_the_paper():
    """Known answers of the authors' library for counter 0 and key 0, ten rounds."""
    assert [hex(word) for word in philox.words((0, 0, 0, 0), 4)] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_a_stream_is_cut_anywhere():
    key = philox.key_for(7, "conv1", 3)
    np.testing.assert_array_equal(philox.words(key, 1001)[:37], philox.words(key, 37))


@pytest.mark.parametrize("other", [(8, "conv1", 3, 0), (7, "conv2", 3, 0), (7, "conv1", 4, 0), (7, "conv1", 3, 1)])
def test_seed_layer_step_and_draw_each_count(other):
    assert (philox.words(philox.key_for(7, "conv1", 3), 8) != philox.words(philox.key_for(*other), 8)).any()


def test_steps_beyond_32_bits_do_not_repeat():
    assert philox.key_for(0, "a", 1 << 32) != philox.key_for(0, "a", 0)


def test_distributions():
    key = philox.key_for(1, "fc", 0)
    u, g = philox.uniform(key, 100_000), philox.gaussian(key, 100_001)
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
    expected = (philox.uniform(key, size[0] * size[1]) < np.float32(0.4)).reshape(size)
    np.testing.assert_array_equal(be.download(out) != 0, expected)
