"""Of the pictures that ranks of a group read, each is decoded by one of them."""

import numpy as np
import pytest
from plans import shipped

from convnet.net.layout import Layout

CASES = 700  # of a batch, whose last minibatch is not whole


def read_and_decoded(name, size, first):
    """By group: the numbers that each of its ranks reads, and those that it decodes."""
    graph, groups = shipped(name), {}
    for rank in range(size):
        layout = Layout.of(graph, rank, size)
        read = np.flatnonzero(layout.wanted(graph, 128, CASES, first))
        groups.setdefault(rank // layout.width, []).append((read, layout.decoded(graph, read)))
    return list(groups.values())


@pytest.mark.parametrize("first", [0, 128, 300, CASES])
@pytest.mark.parametrize(("name", "size", "width"), [("layers-imagenet.cfg", 2, 2), ("layers-imagenet.cfg", 4, 2)])
def test_towers_decode_by_turns(name, size, width, first):
    groups = read_and_decoded(name, size, first)
    assert [len(group) for group in groups] == [width] * (size // width)
    for group in groups:
        for read, _ in group:
            np.testing.assert_array_equal(read, group[0][0])
        np.testing.assert_array_equal(np.sort(np.concatenate([decoded for _, decoded in group])), group[0][0])
        counts = [len(decoded) for _, decoded in group]
        assert max(counts) - min(counts) <= 1
    everyone = np.concatenate([group[0][0] for group in groups])
    np.testing.assert_array_equal(np.sort(everyone), np.arange(first, CASES))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("layers-imagenet-1gpu.cfg", 4),
        ("layers-imagenet-2gpu-data.cfg", 2),
        ("layers-cifar10-2gpu-data-model.cfg", 2),
        ("layers-imagenet-4gpu-data-model.cfg", 4),
    ],
)
def test_where_each_reads_its_own_it_decodes_all_of_it(name, size):
    numbers = []
    for group in read_and_decoded(name, size, 0):
        for read, decoded in group:
            np.testing.assert_array_equal(read, decoded)
            numbers.append(decoded)
    np.testing.assert_array_equal(np.sort(np.concatenate(numbers)), np.arange(CASES))
