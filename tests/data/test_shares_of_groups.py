"""Ranks of a group that read the same pictures decode each once together: every rank has the bits of the whole."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_shares import SIDE, assert_share, count_decodes, opened, picture, wanted_by, write_batches
from ranks.threads import on_ranks
from support import write_cifar

from convnet.data import picture_share
from convnet.data.provider import Request, all_cases, alone
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.ranks.agreement import together
from convnet.ranks.communicator import Solo

GROUPS = [(2, 2), (4, 2), (4, 4)]  # ranks, and how many are a group
COUNT = 21
FAULTS = {
    "none": [],
    "first": [0],
    "last": [20],
    "neighbours": [3, 4],
    "of one rank": list(range(0, COUNT, 2)),
    "between minibatches": [7, 8],
    "all but one": [i for i in range(COUNT) if i != 11],
}
BYTES = 3 * SIDE**2  # of a picture


def own_of(group):
    """Those that this rank of a group decodes."""
    return lambda numbers: numbers[group.rank :: group.size]


def wants(world, width, first=0, mini=8):
    return wanted_by(world.rank // width, world.size // width, first, mini)


def settled(folder, size, width, epochs=(1,), numbers=(1,), **wanted):
    """By rank, its batches, the bytes that it had sent behind each of them, and what its provider says."""

    def work(world):
        group, provider = world.split(world.rank // width), opened(folder, **wanted)
        batches, sent = [], []
        for epoch in epochs:
            for number in numbers:
                share = provider.share(epoch, number, wants(world, width), own_of(group))
                batches.append(share.settle(world.all_gather, group))
                sent.append(group.bytes_sent)
        return batches, sent, provider.problems

    return on_ranks(size, work)


def wanted_of(rank, size, width):
    return wanted_by(rank // width, size // width)


@pytest.fixture
def tried(monkeypatch):
    return count_decodes(monkeypatch)


@pytest.mark.parametrize(("size", "width"), GROUPS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_groups_have_the_whole(tmp_path, tried, faults, training, size, width):
    folder = write_batches(tmp_path, [COUNT], [(1, i) for i in faults], wide=[(1, 5), (1, 9), (1, 18)])
    whole = opened(folder, training=training)
    expected = [whole.batch(epoch, 1) for epoch in (1, 2)]
    tried.clear()
    for rank, (batches, _, problems) in enumerate(settled(folder, size, width, (1, 2), training=training)):
        for batch, other in zip(batches, expected, strict=True):
            assert_share(batch, other, wanted_of(rank, size, width))
        assert problems == whole.problems
    times = Counter(tried)
    epochs = 2 if faults or training else 1  # as pictures that are not square are cut elsewhere
    assert len(times) == COUNT and min(times.values()) >= 1
    if width == size:
        assert set(times.values()) == {epochs}
    else:
        assert max(times.values()) <= epochs * (size // width)


@pytest.mark.parametrize(("size", "width"), GROUPS)
def test_bytes_that_travel(tmp_path, size, width):
    """Each rank sends what it has decoded to the others of its group."""
    folder = write_batches(tmp_path, [16])
    each = 16 // size
    assert [sent for _, sent, _ in settled(folder, size, width)] == [[each * (width - 1) * BYTES]] * size


@pytest.mark.parametrize("at_once", [1, BYTES, 3 * BYTES])
@pytest.mark.parametrize("faults", [[], [0, 9]])
def test_pieces(tmp_path, monkeypatch, faults, at_once):
    monkeypatch.setattr(picture_share, "_AT_ONCE", at_once)
    folder = write_batches(tmp_path, [COUNT], [(1, i) for i in faults])
    whole = opened(folder).batch(1, 1)
    longest = []

    def work(world):
        begin = world.exchange
        world.exchange = lambda pieces, out: longest.append(max(map(len, pieces))) or begin(pieces, out)
        return opened(folder).share(1, 1, None, own_of(world)).settle(world.all_gather, world)

    for batch in on_ranks(2, work):
        assert_share(batch, whole, all_cases)
    assert max(longest) == max(at_once // BYTES, 1)


@pytest.mark.parametrize(("size", "width"), GROUPS)
@pytest.mark.parametrize("wide", [(), [(1, 4)]], ids=["squares", "one is wide"])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_kept_does_not_travel_again(tmp_path, tried, training, wide, size, width):
    folder = write_batches(tmp_path, [16, 8], wide=wide)
    found = settled(folder, size, width, (1, 2, 3), (1, 2), training=training)
    changes = wanted_of(0, size, width)(16).sum() if wide and training else 0  # in each epoch, for the group that has it
    assert len(tried) == 24 + 2 * changes
    whole = opened(folder, training=training)
    expected = [whole.batch(epoch, n) for epoch in (1, 2, 3) for n in (1, 2)]
    for rank, (batches, sent, _) in enumerate(found):
        for batch, other in zip(batches, expected, strict=True):
            assert_share(batch, other, wanted_of(rank, size, width))
        travels = changes > 0 and bool(wanted_of(rank, size, width)(16)[4])
        assert sent[0] < sent[1] and (sent[1] < sent[2] < sent[4]) == travels and sent[4] == sent[5]
        assert travels or sent[1] == sent[5]


@pytest.mark.parametrize("has", [0, 1])
@pytest.mark.parametrize("faults", [{}, {6: "gone"}])
def test_what_only_some_ranks_have_kept(tmp_path, tried, has, faults):
    """As where one thread that loads ahead asks before the batch is kept, and another after."""
    (tmp_path / "left").mkdir()
    folder = write_batches(tmp_path, [16])
    left = write_batches(tmp_path / "left", [16], [(1, i) for i in faults])
    whole, expected = opened(folder).batch(1, 1), opened(left).batch(2, 1)
    tried.clear()

    def work(world):
        provider = opened(folder)
        first = provider.share(1, 1, None, own_of(world)).settle(world.all_gather, world)
        if world.rank != has:
            provider.kept.clear()
        share = provider.share(2, 1, None, own_of(world))
        if world.rank != has:
            share.failed |= faults
        return first, share.settle(world.all_gather, world)

    for first, second in on_ranks(2, work):
        assert_share(first, whole, all_cases)
        assert_share(second, expected, all_cases)
    assert len(tried) == 16 + (16 if faults else 8)


def test_a_batch_that_is_gone_when_one_rank_reads_it_anew_ends_all(tmp_path):
    """The other rank, which had not kept it, does not wait for the first in the exchanges of their group."""
    folder = write_batches(tmp_path, [16])

    def gone(number):
        raise DataError(f"data_batch_{number} is gone")

    def work(world):
        provider, group = opened(folder), world.split(0)
        provider.share(1, 1, None, own_of(group)).settle(world.all_gather, group)
        if world.rank == 1:
            provider.kept.clear()
        share = provider.share(2, 1, None, own_of(group))
        if world.rank == 1:
            share.failed[3] = "damaged"
        provider.stored = gone
        with pytest.raises(DataError, match=r"^rank 0 on .*: data_batch_1 is gone"):
            together(world, lambda: share.settle(world.all_gather, group))

    on_ranks(2, work)


def test_ranks_of_a_group_that_read_other_pictures(tmp_path, tried):
    """What moves to a rank comes from the one that had it."""
    folder = write_batches(tmp_path, [16], [(1, 0), (1, 9)])
    whole = opened(folder).batch(1, 1)
    tried.clear()

    def work(world):
        return opened(folder).share(1, 1, wants(world, 1)).settle(world.all_gather, world)

    for rank, batch in enumerate(on_ranks(4, work)):
        assert_share(batch, whole, wanted_by(rank, 4))
    assert len(tried) == len(set(tried)) == 16


@pytest.mark.parametrize("failing", [[0], [1], [0, 1]])
def test_a_picture_that_only_another_group_can_decode(tmp_path, failing):
    """Without number 0, number 4 moves to the ranks 0 and 1, of which the first is to decode it."""
    folder = write_batches(tmp_path, [8], [(1, 0)])

    def work(world):
        provider, group = opened(folder), world.split(world.rank // 2)
        decode = provider.decode

        def decode_here(string, *args):
            if world.rank in failing and string == picture(104):
                raise DataError("no room")
            decode(string, *args)

        provider.decode = decode_here
        try:
            return provider.share(1, 1, wants(world, 2), own_of(group)).settle(world.all_gather, group)
        except DataError as error:
            return str(error)

    found = on_ranks(4, work)
    told = [each for each in found if isinstance(each, str)]
    assert told in ([], found[:2])
    assert bool(told) == (1 in failing)
    assert all(text.endswith("data_batch_1: number 4 (no room) can be decoded on another rank only") for text in told)
    assert [batch.cases for batch in found[2:]] == [7, 7]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.sampled_from([*GROUPS, (2, 1), (3, 3)]),
    st.integers(1, 9),
    st.integers(0, 33),
    st.booleans(),
)
def test_any_faults_in_groups(tmp_path_factory, planted, group, mini, first, training):
    (count, faults), (size, width) = planted, group
    folder = write_batches(tmp_path_factory.mktemp("groups"), [count], [(1, i) for i in faults], wide=[(1, 2), (1, 3)])

    def work(world):
        group = world.split(world.rank // width)
        share = opened(folder, training=training).share(3, 1, wants(world, width, first, mini), own_of(group))
        try:
            return share.settle(world.all_gather, group)
        except DataError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patched:
        tried = count_decodes(patched)
        found = on_ranks(size, work)
    if width == size and count >= first + size:  # else some ranks want nothing, and do not know of each other
        assert len(tried) == len(set(tried)) == count
    if len(faults) == count:
        assert all(str(text).endswith(f"none of its {count} pictures can be decoded") for text in found)
        return
    whole = opened(folder, training=training).batch(3, 1)
    for rank, batch in enumerate(found):
        assert_share(batch, whole, wanted_by(rank // width, size // width, first, mini))


@pytest.mark.parametrize("faults", [[], [2, 11]])
def test_a_group_of_one(tmp_path, faults):
    folder = write_batches(tmp_path, [16], [(1, i) for i in faults])
    solo = Solo()
    batch = opened(folder).share(1, 1, None, own_of(solo)).settle(solo.all_gather, solo)
    assert_share(batch, opened(folder).batch(1, 1), all_cases)


@pytest.mark.parametrize("faults", [[], [2, 11]])
def test_without_its_group_a_rank_decodes_the_others_late(tmp_path, faults):
    folder = write_batches(tmp_path, [16], [(1, i) for i in faults])
    batch = opened(folder).share(1, 1, None, lambda numbers: numbers[1::3]).settle(alone)
    assert_share(batch, opened(folder).batch(1, 1), all_cases)


def test_matrices_do_not_travel(tmp_path):
    write_cifar(tmp_path, 2, 20)

    def work(world):
        provider = open_provider("", Request(str(tmp_path), inner_size=24))
        return provider.share(1, 1, None, own_of(world)).settle(world.all_gather, world), world.bytes_sent

    expected = open_provider("", Request(str(tmp_path), inner_size=24)).batch(1, 1)
    for batch, sent in on_ranks(2, work):
        assert_share(batch, expected, all_cases)
        assert not sent
        np.testing.assert_array_equal(batch.pixels, expected.pixels)
