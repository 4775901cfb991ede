"""Batches of which every rank decodes its share: on any number of ranks the cases, crops, noise and labels of one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_shares import SIDE, assert_share, count_decodes, opened, picture, wanted_by, write_batches
from support import write_cifar, write_net

from convnet.cli import main
from convnet.data import pictures as pictures_module
from convnet.data import providers as providers_module
from convnet.data import survey
from convnet.data.provider import MatrixBatch, Request, all_cases, alone
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.training.session import RunInputs, Session

RANKS = [1, 2, 3, 4]


class Threads:
    """The ranks of a run as threads, of which one that fails ends all."""

    def __init__(self, size):
        self.size, self.values, self.barrier = size, [None] * size, threading.Barrier(size)
        self.calls = [0] * size

    def all_gather(self, rank, value):
        self.values[rank] = value
        self.calls[rank] += 1
        self.barrier.wait(20)
        gathered = list(self.values)
        self.barrier.wait(20)
        return gathered

    def run(self, work):
        """What ``work`` returns, or raises as ``DataError``, on each rank."""

        def on(rank):
            ranks = SimpleNamespace(rank=rank, size=self.size, all_gather=lambda value: self.all_gather(rank, value))
            try:
                return work(ranks)
            except DataError as error:
                return error
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as workers:
            return list(workers.map(on, range(self.size)))


def settled(folder, size, epochs=(1,), numbers=(1,), first=0, **wanted):
    """By rank, the provider and its batches."""

    def work(ranks):
        provider = opened(folder, **wanted)
        batches = []
        for epoch in epochs:
            for number in numbers:
                share = provider.share(epoch, number, wanted_by(ranks.rank, size, first))
                batches.append(share.settle(ranks.all_gather))
        return provider, batches

    return Threads(size).run(work)


@pytest.fixture
def tried(monkeypatch):
    """The files that were decoded, one behind the other."""
    return count_decodes(monkeypatch)


FAULTS = {
    "none": [],
    "first": [0],
    "last": [20],
    "boundary": [3, 4],
    "between minibatches": [7, 8],
    "whole parts": [0, 1, 2, 3],
    "last minibatch": [16, 17, 18, 19, 20],
    "all but one": [i for i in range(21) if i != 11],
}


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_shares_are_of_the_whole(tmp_path, faults, training, size):
    folder = write_batches(tmp_path, [21], [(1, i) for i in faults], wide=[(1, 5), (1, 9), (1, 18)])
    whole = opened(folder, training=training)
    expected = [whole.batch(epoch, 1) for epoch in (1, 2)]
    assert expected[0].cases == 21 - len(faults) and len(whole.problems) == bool(faults)
    for rank, (provider, found) in enumerate(settled(folder, size, (1, 2), training=training)):
        for batch, other in zip(found, expected, strict=True):
            assert_share(batch, other, wanted_by(rank, size))
        assert provider.problems == whole.problems


@pytest.mark.parametrize("size", RANKS)
def test_nothing_else_is_decoded(tmp_path, tried, size):
    folder = write_batches(tmp_path, [21])
    settled(folder, size)
    assert sorted(tried) == sorted(picture(100 + i) for i in range(21))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_rank_decodes_what_moves_to_it(tmp_path, tried, size):
    """Of 16 pictures without the first, those behind it move one place: one more for each part that begins behind it."""
    folder = write_batches(tmp_path, [16], [(1, 0)])
    found = settled(folder, size)
    again = [mask for rank in range(size) for mask in [wanted_by(rank, size)(15)]]
    before = [wanted_by(rank, size)(16)[1:] for rank in range(size)]
    moved = sum(int((now & ~then).sum()) for now, then in zip(again, before, strict=True))
    assert len(tried) == 16 + moved and 0 < moved < 8 and found[0][1][0].cases == 15


@pytest.mark.parametrize("size", RANKS)
def test_a_batch_of_no_pictures(tmp_path, size, caplog):
    folder = write_batches(tmp_path, [5], [(1, i) for i in range(5)])
    for error in settled(folder, size):
        assert str(error) == f"{folder}/data_batch_1: none of its 5 pictures can be decoded"
    assert len({record.getMessage() for record in caplog.records}) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(0, 33),
    st.booleans(),
)
def test_any_faults_anywhere(tmp_path_factory, planted, size, mini, first, training):
    count, faults = planted
    folder = write_batches(tmp_path_factory.mktemp("shares"), [count], [(1, i) for i in faults], wide=[(1, 2), (1, 3)])

    def work(ranks):
        share = opened(folder, training=training).share(3, 1, wanted_by(ranks.rank, size, first, mini))
        return share.settle(ranks.all_gather)

    found = Threads(size).run(work)
    if len(faults) == count:
        assert all(isinstance(batch, DataError) for batch in found)
        return
    whole = opened(folder, training=training).batch(3, 1)
    for rank, batch in enumerate(found):
        assert_share(batch, whole, wanted_by(rank, size, first, mini))


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("faults", [[], [2, 9, 14]])
def test_a_run_that_goes_on_within_a_batch(tmp_path, tried, faults, size):
    """Cases before it are read by no rank, and each is tried by one, since those that fail move the others."""
    folder = write_batches(tmp_path, [24], [(1, i) for i in faults])
    found = settled(folder, size, first=11)
    assert len(tried) == 24 if not faults else 24 <= len(tried) < 24 + 4 * size
    whole = opened(folder).batch(1, 1)
    for rank, (_, [batch]) in enumerate(found):
        assert_share(batch, whole, wanted_by(rank, size, 11))


@pytest.mark.parametrize("first", [24, 30])
def test_a_batch_that_is_over(tmp_path, first):
    folder = write_batches(tmp_path, [24], [(1, 3)])
    assert [found[1][0].cases for found in settled(folder, 3, first=first)] == [23] * 3


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("wide", [(), [(1, 4)]], ids=["squares", "one is wide"])
@pytest.mark.parametrize("training", [True, False])
def test_shares_are_decoded_once_where_that_changes_nothing(tmp_path, tried, training, wide, size):
    folder = write_batches(tmp_path, [16, 8], wide=wide)
    found = settled(folder, size, epochs=(1, 2, 3), numbers=(1, 2), training=training)
    of_one = sum(wanted_by(rank, size)(16).sum() for rank in range(size) if wanted_by(rank, size)(16)[4])
    assert len(tried) == 24 + (2 * of_one if wide and training else 0)
    whole = opened(folder, training=training)
    expected = [whole.batch(epoch, n) for epoch in (1, 2, 3) for n in (1, 2)]
    for rank, (_, batches) in enumerate(found):
        for batch, other in zip(batches, expected, strict=True):
            assert_share(batch, other, wanted_by(rank, size))


def test_what_was_kept_serves_the_same_share(tmp_path, tried, monkeypatch):
    monkeypatch.setattr(pictures_module, "_KEPT", 16 * 3 * SIDE**2)
    folder = write_batches(tmp_path, [16])
    provider, whole = opened(folder), opened(folder).batch(1, 1)
    tried.clear()
    share, other = wanted_by(0, 2), wanted_by(1, 2)
    for wanted, decoded in ((share, 8), (share, 8), (wanted_by(0, 4), 8), (other, 16), (share, 24), (all_cases, 40)):
        assert_share(provider.share(1, 1, wanted).settle(lambda value: [value, (bytes([1] * 16), {})]), whole, wanted)
        assert len(tried) == decoded
    assert_share(provider.batch(1, 1), whole, all_cases)
    assert len(tried) == 40


@pytest.mark.parametrize("said", [{3: "gone"}, {3: "gone", 12: "gone"}])
def test_what_was_kept_and_fails_elsewhere(tmp_path, said):
    """As where a disk fails: what was kept stays as it was for whoever has it, and the batch is without the picture."""
    folder = write_batches(tmp_path, [16])
    provider, wanted = opened(folder), wanted_by(0, 1)
    before = provider.batch(1, 1)
    pixels = before.pixels.copy()
    batch = provider.share(1, 1, wanted).settle(lambda value: [value, (bytes([1] * 16), said)])
    np.testing.assert_array_equal(batch.pixels, np.delete(pixels, [*said], axis=0))
    np.testing.assert_array_equal(before.pixels, pixels)


def test_ranks_that_do_not_find_the_same(tmp_path):
    for count, name in ((6, "a"), (7, "b")):
        (tmp_path / name).mkdir()
        write_batches(tmp_path / name, [count])

    def work(ranks):
        share = opened(tmp_path / "ab"[ranks.rank]).share(1, 1, wanted_by(ranks.rank, 2))
        return share.settle(ranks.all_gather)

    for error in Threads(2).run(work):
        assert "the ranks find 6, 7 pictures in it; expected the same file on all" in str(error)


def test_a_picture_that_only_another_rank_can_decode(tmp_path):
    """It moves to a rank on which it fails."""
    folder = write_batches(tmp_path, [8], [(1, 0)])

    def work(ranks):
        provider = opened(folder)
        decode = provider.decode

        def decode_here(string, *args):
            if ranks.rank == 0 and string == picture(104):
                raise DataError("no room")
            decode(string, *args)

        provider.decode = decode_here
        return provider.share(1, 1, wanted_by(ranks.rank, 2)).settle(ranks.all_gather)

    error, batch = Threads(2).run(work)
    assert str(error).endswith("data_batch_1: number 4 (no room) can be decoded on another rank only")
    assert batch.cases == 7


@pytest.mark.parametrize("size", RANKS)
def test_several_views(tmp_path, size):
    folder = write_batches(tmp_path, [11], [(1, 4)])
    whole = opened(folder, training=False, multiview=True).batch(1, 1)
    assert whole.views == 10
    for rank, (_, [batch]) in enumerate(settled(folder, size, training=False, multiview=True)):
        assert_share(batch, whole, wanted_by(rank, size))


@pytest.mark.parametrize("training", [True, False])
def test_matrices_are_read_whole(tmp_path, training):
    write_cifar(tmp_path, 2, 20)
    provider = open_provider("", Request(str(tmp_path), training=training, inner_size=24))
    share = provider.share(1, 1, wanted_by(1, 2)).settle(alone)
    assert_share(share, provider.batch(1, 1), all_cases)


def test_a_provider_of_a_package_goes_through_its_batch(tmp_path, monkeypatch):
    """Also one that builds on ours, whose batches would not be checked else."""

    class Theirs(pictures_module.Pictures):
        def batch(self, epoch, number):
            return MatrixBatch([np.zeros((2, 5))])

    point = SimpleNamespace(load=lambda: Theirs, value="theirs:Theirs")
    monkeypatch.setattr(providers_module, "_installed", lambda: {"theirs": [point]})
    provider = open_provider("theirs", Request(str(write_batches(tmp_path, [5]))))
    with pytest.raises(DataError, match=r"data provider 'theirs' .*: batch 1: matrix 0 is \(2, 5\); expected"):
        provider.share(1, 1, wanted_by(0, 2))


# -- what ranks find out together


def means(folder, size, **wanted):
    """By rank, the provider and its mean."""

    def work(ranks):
        provider = opened(folder, ranks, **wanted)
        return provider, provider.cropper.mean

    return Threads(size).run(work)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("counts", [[9], [4, 5, 6], [3, 1, 4, 1, 5, 9]])
def test_the_mean_is_that_of_one_rank(tmp_path, tried, counts, size):
    """Its bits and what is told of damaged pictures, though each batch is decoded by one rank."""
    faults = [(1, 0), (len(counts), 2)]
    folder = write_batches(tmp_path, counts, faults, wide=[(1, 2)], data_mean=None)
    found = means(folder, size, batches=[*range(1, len(counts) + 1)])
    assert len(tried) == sum(counts)
    alone = opened(folder, batches=[*range(1, len(counts) + 1)])
    for provider, mean in found:
        np.testing.assert_array_equal(mean, alone.cropper.mean)
        assert sorted(provider.problems) == sorted(alone.problems)
    assert found[0][0].problems == alone.problems and len(alone.problems) == len(counts[:2])


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("bad", ["pictures", "file"])
def test_a_mean_of_what_cannot_be_read(tmp_path, bad, size):
    """The first batch that fails is told of, on all ranks."""
    folder = write_batches(tmp_path, [4] * 5, [(number, i) for number in (3, 4) for i in range(4)], data_mean=None)
    if bad == "file":
        (folder / "data_batch_3").write_bytes(b"no batch")
    with pytest.raises(DataError) as alone:
        opened(folder, batches=[1, 2, 3, 4, 5]).cropper.mean
    assert "data_batch_3" in str(alone.value)
    assert {str(error) for error in means(folder, size, batches=[1, 2, 3, 4, 5])} == {str(alone.value)}


@pytest.mark.parametrize("size", RANKS)
def test_the_mean_of_matrices(tmp_path, size):
    folder = write_cifar(tmp_path, 5, 7, rows=True)

    def work(ranks):
        return open_provider("", Request(str(folder), ranks=ranks)).cropper.mean

    expected = open_provider("", Request(str(folder))).cropper.mean
    for mean in Threads(size).run(work):
        np.testing.assert_array_equal(mean, expected)


@pytest.mark.parametrize("size", RANKS)
def test_classes_are_counted_as_by_one_rank(tmp_path, size):
    folder = write_batches(tmp_path, [2, 5, 3], label_names=None)
    alone = opened(folder)
    for provider in Threads(size).run(lambda ranks: opened(folder, ranks)):
        assert (provider.classes, provider.problems) == (5, alone.problems)


@pytest.mark.parametrize("has", [{0}, {1}, {0, 1}, set()])
def test_what_is_kept_in_the_cache_of_some_ranks(tmp_path, monkeypatch, has):
    """A mean is found by all ranks, or by none."""
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(survey, "LARGE", 0)
    (tmp_path / "data").mkdir()
    folder = write_batches(tmp_path / "data", [4, 5], data_mean=None)
    expected = opened(folder, batches=[1, 2]).cropper.mean
    here, read = threading.local(), survey._kept
    monkeypatch.setattr(survey, "_kept", lambda *args: read(*args) if here.has else None)

    def work(ranks):
        here.has = ranks.rank in has
        return opened(folder, ranks, batches=[1, 2]).cropper.mean

    group = Threads(2)
    for mean in group.run(work):
        np.testing.assert_array_equal(mean, expected)
    assert group.calls == [2 + (len(has) < 2)] * 2


@pytest.mark.parametrize("goes_on", [False, True])
def test_means_are_found_where_a_session_is_opened(tmp_path, goes_on, capsys):
    """Not in a thread that loads batches, while the ranks exchange other things."""
    folder = write_cifar(tmp_path / "data", 4, 12, rows=True)
    given = {"layer_def": str(write_net(tmp_path)), "data_path": str(folder)}
    if goes_on:  # with the mean of its data, in place of the checkpoint's
        words = ["--save-file", str(tmp_path / "before"), "--epochs", "1", "--scalar-mean", "100", "--mini", "12"]
        assert main(["run", "--layer-def", given["layer_def"], "--data-path", str(folder), *words]) == 0
        given = {"load_file": str(tmp_path / "before"), "scalar_mean": -1.0}

    def session(ranks):
        inputs = RunInputs(given | {"save_path": str(tmp_path / f"runs{ranks.rank if ranks else ''}")})
        inputs.request = replace(inputs.request, ranks=ranks)
        return Session(inputs)

    expected = session(None).train.cropper.mean
    for found in Threads(2).run(session):
        for data in (found.train, found.test):
            assert data.has_mean
            np.testing.assert_array_equal(data.cropper.mean, expected)
