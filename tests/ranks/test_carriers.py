"""Arrays move between ranks, each a thread with a device of its own, by every carrier and whatever is done late or early."""

import sys

import numpy as np
import pytest
from emulator import EmulationError, LazyStreams
from ranks.nccl_stand_in import World
from ranks.started import has_mpi, ranks
from ranks.threads import on_ranks

from convnet.backends import make_backend
from convnet.backends.cuda import Cuda
from convnet.backends.cuda.transfers import COMPUTE, COPY, EXCHANGE
from convnet.errors import BackendError
from convnet.ranks import nccl
from convnet.ranks.carriers import Carrier, carrier_for
from convnet.ranks.communicator import Solo
from convnet.ranks.nccl import Nccl
from convnet.ranks.staged import Staged

SCHEDULES = {"all late": (), "work early": (COMPUTE,), "exchange early": (EXCHANGE,), "all early": (COMPUTE, COPY, EXCHANGE)}
# Lengths of the slices of ranks: equal, odd, with empty ones, of one value for all.
CUTS = {2: [(4, 4), (3, 2), (0, 5)], 3: [(1, 1, 1), (7, 0, 2)], 4: [(5, 5, 5, 3), (0, 0, 1, 0)]}
CASES = [(size, cut) for size, cuts in CUTS.items() for cut in cuts]
ROUNDS = 3


class Forgetful(LazyStreams):
    """Leaves out the waits of one kind: (stream that waits, stream it waits for), or looks at events."""

    forgets = None

    def wait_event(self, stream, event):
        if (stream, event.stream) != self.forgets:
            super().wait_event(stream, event)

    def is_done(self, event):
        return self.forgets == "look" or super().is_done(event)


def device_of(rank, early=(), forgets=None, card=None):
    device = Forgetful(early)
    device.forgets, device.card = forgets, f"card {rank}" if card is None else card
    return device


@pytest.fixture
def world(monkeypatch):
    """Puts the stand-in where nccl4py would be."""
    stand_in = World()
    monkeypatch.setattr(nccl, "load_nccl", lambda: stand_in)
    return stand_in


def slices(flat, cut):
    """Views of a flat array, one for each rank."""
    ends = np.cumsum(cut)
    return [flat[end - length : end] for end, length in zip(map(int, ends), cut, strict=True)]


def moves(communicator, be, carrier, cut):
    """Gradients go to who sums them, are summed by ops, and the sums to all, several matrices at a time.

    The sums of all ranks are added in their order; what is sent is written over as soon as the wait is over.
    """
    rank, size, total = communicator.rank, communicator.size, sum(cut)
    grads, outs, weights = ([be.zeros((total,)) for _ in range(ROUNDS)] for _ in range(3))
    arrivals = [[be.zeros((cut[rank],)) for _ in cut] for _ in range(ROUNDS)]
    begun = []
    for turn, (grad, arrived) in enumerate(zip(grads, arrivals, strict=True)):
        be.fill(grad, 10.0 * turn + rank + 1)
        begun.append(carrier.exchange(slices(grad, cut), arrived))
        carrier.progress()
    shared = []
    for pending, grad, arrived, weight in zip(begun, grads, arrivals, weights, strict=True):
        pending.wait()
        own, mine = slices(weight, cut)[rank], slices(grad, cut)[rank]
        for source in range(size):
            be.add(mine if source == rank else arrived[source], own, 1.0, 1.0)
        be.fill(grad, -1.0)
        shared.append(carrier.share(slices(weight, cut)))
    for pending, weight, out in reversed(list(zip(shared, weights, outs, strict=True))):
        pending.wait()
        be.add(weight, out)
        be.fill(weight, -2.0)
    found = [be.download(out) for out in outs], [be.download(arrived[rank]) for arrived in arrivals]  # the latter left alone
    carrier.close()
    return found


def expected(size, cut):
    return [np.full(sum(cut), sum(10.0 * turn + rank + 1 for rank in range(size)), np.float32) for turn in range(ROUNDS)]


def holds(results, size, cut) -> bool:
    return all(
        np.array_equal(got, wanted) and not np.any(own)
        for found, own in results
        for got, wanted in zip(found, expected(size, cut), strict=True)
    )


def run(size, cut, kind, early=(), forgets=None):
    def program(communicator):
        device = device_of(communicator.rank, early, forgets)
        return moves(communicator, Cuda(device), kind(device, communicator), cut)

    return on_ranks(size, program)


@pytest.mark.parametrize("size, cut", CASES)
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_arrays_of_a_processor(size, cut, name):
    def program(communicator):
        be = make_backend(name, threads=1)
        carrier = carrier_for(be, communicator)
        assert type(carrier) is Carrier
        return moves(communicator, be, carrier, cut)

    assert holds(on_ranks(size, program), size, cut)


@pytest.mark.parametrize("size, cut", CASES)
@pytest.mark.parametrize("early", SCHEDULES)
@pytest.mark.parametrize("kind", [Staged, Nccl])
def test_arrays_of_cards(world, size, cut, early, kind):
    assert holds(run(size, cut, kind, SCHEDULES[early]), size, cut)


@pytest.mark.slow
@has_mpi
def test_messages_of_mpi():
    """Between processes; each has sent what is worked out on paper."""
    ended = ranks(3, "tests/ranks/carrier_program.py")
    assert sorted(ended.out.splitlines()) == [f"rank {rank} is through" for rank in range(3)], ended.error


@pytest.mark.parametrize("kind", [Staged, Nccl])
@pytest.mark.parametrize("forgets", [(COMPUTE, EXCHANGE), (EXCHANGE, COMPUTE), "look"], ids=str)
def test_every_wait_is_needed(world, kind, forgets):
    if (kind, forgets) == (Nccl, "look"):
        pytest.skip("the host looks at no event")
    kept = []
    for early in SCHEDULES.values():
        try:
            kept.append(holds(run(2, (3, 2), kind, early, forgets), 2, (3, 2)))
        except (EmulationError, AssertionError):  # the latter where an array changes on its way
            kept.append(False)
    assert not all(kept)


def test_calls_of_nccl(world):
    """One communicator, groups of sends and receives of bytes; nothing of length 0; freed without waiting, once."""
    sent = {}

    def program(communicator):
        device, rank = device_of(communicator.rank), communicator.rank
        be, carrier = Cuda(device), Nccl(device, communicator)
        parts = slices(be.zeros((5,)), (2, 0, 3))
        carrier.share(parts).wait()
        with pytest.raises(EmulationError, match="captured"), device.capturing():
            carrier.share(parts)
        sent[rank] = communicator.bytes_sent
        carrier.close()
        carrier.close()
        assert device.unsettled is None

    on_ranks(3, program)
    calls = {rank: [entry[1:] for entry in world.log if entry[0] == rank] for rank in range(3)}
    assert calls[0] == [("init", 3), ("send", 1, 8), ("send", 2, 8), ("recv", 2, 12), ("abort",)]
    assert calls[1] == [("init", 3), ("recv", 0, 8), ("recv", 2, 12), ("abort",)]
    assert calls[2] == [("init", 3), ("send", 0, 12), ("send", 1, 12), ("recv", 0, 8), ("abort",)]
    assert sent == {0: 16, 1: 0, 2: 24}


def test_carriers_of_one_device_take_turns(world):
    """Of all ranks and of those that split off: whoever calls waits until the calls of the other one are issued."""

    def program(communicator):
        device = device_of(communicator.rank)
        be, group = Cuda(device), communicator.split(communicator.rank // 2)
        wide, narrow = Nccl(device, communicator), Nccl(device, group)
        whole, half = be.zeros((4,)), be.zeros((2,))
        for own, rank in ((whole, communicator.rank), (half, group.rank)):
            be.fill(own[rank : rank + 1], communicator.rank + 1.0)
        begun = wide.share(slices(whole, (1,) * 4)), narrow.share(slices(half, (1, 1)))
        for pending in begun:
            pending.wait()
        return be.download(whole).tolist(), be.download(half).tolist()

    assert on_ranks(4, program) == [([1, 2, 3, 4], half) for half in ([1, 2], [1, 2], [3, 4], [3, 4])]


def test_an_error_that_nccl_finds_later(world):
    """It is said by the next call or wait; what is left is freed without a wait for the others."""

    def program(communicator):
        device = device_of(communicator.rank)
        carrier, array = Nccl(device, communicator), Cuda(device).zeros((2,))
        earlier, pending = carrier.share(slices(array, (1, 1))), carrier.share(slices(array, (1, 1)))
        assert earlier.arrived is not None and pending.arrived is None
        world.failing[communicator.rank] = 6
        for work in (earlier.wait, pending.wait, pending.done, lambda: carrier.share(slices(array, (1, 1)))):
            with pytest.raises(BackendError, match=r"NCCL: error 6 \(run .*\); CONVNET_NCCL=0 does without it"):
                work()
        carrier.close(failed=True)

    on_ranks(2, program)
    assert sorted(entry for entry in world.log if entry[1] == "abort") == [(0, "abort"), (1, "abort")]


WHERE = "Gradients and weights go through memory of the host, not by NCCL: "


def choose(cards, load=World, environment="", monkeypatch=None):
    monkeypatch.setattr(nccl, "load_nccl", load)
    monkeypatch.setenv("CONVNET_NCCL", environment)

    def program(communicator):
        said = []
        device = device_of(communicator.rank, card=cards[communicator.rank])
        return type(carrier_for(Cuda(device), communicator, said.append)), said

    return on_ranks(len(cards), program)


def test_nccl_is_taken_where_each_rank_has_a_card(monkeypatch):
    world = World()
    assert choose("abc", lambda: world, monkeypatch=monkeypatch) == [(Nccl, [])] * 3


def test_ranks_that_share_a_card(monkeypatch):
    found = choose("aba", monkeypatch=monkeypatch)
    assert found == [(Staged, [WHERE + "3 ranks share 2 cards"]), (Staged, []), (Staged, [])]


def test_nccl_switched_off(monkeypatch):
    (kind, said), _ = choose("ab", environment="0", monkeypatch=monkeypatch)
    assert kind is Staged and said[0].startswith(WHERE + "rank 0 on ") and said[0].endswith(": CONVNET_NCCL is 0")


def test_nccl_missing_or_of_two_versions(monkeypatch):
    versions, calls = [23203, 22809], []

    def load():
        calls.append(World())
        calls[-1].version = versions[len(calls) - 1]
        return calls[-1]

    (kind, said), _ = choose("ab", load, monkeypatch=monkeypatch)
    assert kind is Staged and said == [WHERE + "ranks have its versions 2.28.9 and 2.32.3"]

    def missing():
        raise BackendError("NCCL is missing (it is); pip install '.[nccl]'")

    (kind, said), _ = choose("ab", missing, monkeypatch=monkeypatch)
    assert kind is Staged and said[0].endswith(": NCCL is missing (it is); pip install '.[nccl]'")


def test_without_nccl4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "nccl", None)
    with pytest.raises(BackendError, match=r"NCCL is missing \(.*\); pip install '\.\[nccl\]'"):
        nccl.load_nccl()


def test_bindings_take_these_arguments():
    """Those of nccl4py itself, where it is installed: without a card every call is refused, but for what it is told."""
    pytest.importorskip("nccl.bindings.nccl")
    api = nccl.load_nccl()
    comm, config = api.Comm(), api.Config()
    config.blocking = 0
    assert len(bytes(api.UniqueId.from_buffer(bytes(api.get_unique_id())))) == 128
    api.group_start()
    for call in (api.send, api.recv):
        with pytest.raises(api.NCCLError, match="InvalidArgument"):
            call(0, 8, api.DataType.Uint8, 0, comm, 0)
    for call, arguments in ((api.group_end, ()), (api.comm_get_async_error, (comm,))):
        with pytest.raises(api.NCCLError, match="InvalidArgument"):
            call(*arguments)
    assert api.comm_abort(comm) is None and api.get_error_string(api.Result.RemoteError)


def test_one_rank_moves_nothing():
    be = Cuda(device_of(0))
    carrier, array = carrier_for(be, Solo()), be.zeros((3,))
    assert type(carrier) is Carrier and carrier.exchange([array], [array]).done() and carrier.share([array]).done()


def test_begin_does_not_wait_and_the_device_computes_on():
    """Until someone looks, the device has done nothing of it; messages begin in the order of the exchanges."""

    def program(communicator):
        device = device_of(communicator.rank)
        be, carrier = Cuda(device), Staged(device, communicator)
        arrays = [be.zeros((4,)) for _ in range(3)]
        begun = [carrier.share(slices(array, (2, 2))) for array in arrays]
        waiting = len(device.waiting[COMPUTE]), len(device.waiting[EXCHANGE])
        while not all([pending.done() for pending in begun]):  # noqa: C419, as each has to go on
            started = [moving.messages is not None for moving in carrier.going]
            assert started == sorted(started, reverse=True)
        carrier.progress()
        assert not carrier.going and not device.waiting[EXCHANGE] and len(carrier._buffers) == 3
        carrier.share(slices(arrays[0], (2, 2))).wait()
        assert len(carrier._buffers) == 2
        carrier.close()
        assert not carrier._buffers
        return min(waiting) > 0

    assert on_ranks(2, program) == [True, True]


@pytest.mark.parametrize("kind", [Staged, Nccl])
def test_what_nobody_waits_for_is_kept(world, kind):
    """A step that fails drops what it has begun: memory of its arrays is not used again before they have arrived."""

    def program(communicator):
        device = device_of(communicator.rank, early=(COMPUTE,))
        be = Cuda(device)
        carrier = kind(device, communicator)
        out, other = be.zeros((2, 6)), be.zeros((2, 6))
        begun = carrier.exchange([other[:1], other[1:]], [out[:1], out[1:]])
        while begun.arrived is None:
            begun.done()
        del out, begun
        array = be.empty((2, 6))
        be.fill(array, 5.0)
        carrier.share([other[:1], other[1:]])
        carrier.close()
        return (be.download(array) == 5).all()

    assert on_ranks(2, program) == [True, True]
