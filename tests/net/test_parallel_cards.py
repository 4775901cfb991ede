"""A net in parts on emulated cards: by NCCL or through the host, whatever is late, it learns what it does on one card."""

import numpy as np
import pytest
from emulator import LazyStreams
from ranks.nccl_stand_in import World
from ranks.threads import on_ranks
from test_parallel import CASES, graph_of, hybrid, plain, towers, train

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.transfers import COMPUTE, COPY, EXCHANGE
from convnet.net.layout import Layout
from convnet.net.parallel import ParallelNet
from convnet.net.parts import Ranks
from convnet.ranks import nccl
from convnet.ranks.carriers import carrier_for

ALL = COMPUTE, COPY, EXCHANGE
STEPS = 2
SCHEDULES = [(), (COMPUTE,), (EXCHANGE,), ALL]


@pytest.fixture
def world(monkeypatch):
    stand_in = World()
    monkeypatch.setattr(nccl, "load_nccl", lambda: stand_in)
    return stand_in


def on_cards(cards, early, files, shards=0, cases=CASES):
    def work(communicator):
        graph = graph_of(files)
        device = LazyStreams(early)
        device.card = cards[communicator.rank]
        layout = Layout.of(graph, communicator.rank, communicator.size, shards)
        return train(ParallelNet(graph, Cuda(device), Ranks(communicator, layout, carrier_for), cases, 3), STEPS, cases)

    return on_ranks(len(cards), work)


@pytest.fixture(scope="module")
def whole():
    return on_cards("a", ALL, plain(), 4)[0]


@pytest.mark.parametrize("early", SCHEDULES, ids=str)
@pytest.mark.parametrize("cards", ["ab", "abcd", "aa", "abca"])
def test_shards_give_the_same_bits(whole, world, early, cards):
    for costs, test, output, state in on_cards(cards, early, plain(), 4):
        assert costs == whole[0] and test == whole[1]
        np.testing.assert_array_equal(state, whole[3])
        np.testing.assert_array_equal(output, whole[2])
    assert bool(world.log) == (len(set(cards)) == len(cards))


@pytest.mark.parametrize("early", SCHEDULES[1:], ids=str)  # a card does its work though its host waits for a message
@pytest.mark.parametrize(
    "net, cards", [("towers", "ab"), ("towers", "abcd"), ("replicas", "ab"), ("replicas", "abcd"), ("replicas", "abac")]
)
def test_towers_and_replicas(world, early, net, cards):
    """Of groups of ranks, whose carriers share a device with those of all ranks."""
    files = towers() if net == "towers" else hybrid(4)
    one = on_cards("a", ALL, files, cases=16)[0]
    results = on_cards(cards, early, files, cases=16)
    np.testing.assert_allclose(results[0][3], one[3], atol=2e-6)
    for _, _, output, _ in results:
        np.testing.assert_allclose(output, one[2], atol=1e-5)
