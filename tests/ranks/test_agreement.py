import pytest
from ranks.threads import on_ranks

from convnet.errors import ConvnetError, DataError, LayerFileError, OptionError
from convnet.ranks.agreement import agree, fail, is_common, together


def refused(size, work):
    """The error of each rank."""

    def one(communicator):
        communicator.hosts = [f"machine{rank // 2}" for rank in range(size)]
        with pytest.raises(ConvnetError) as caught:
            work(communicator)
        assert caught.value.is_agreed
        return caught.value

    return on_ranks(size, one)


def test_ranks_that_are_alike_go_on():
    on_ranks(3, lambda communicator: agree(communicator, {"convnet": "1.0", "batches": 5}))


def test_what_differs_is_named_with_its_ranks():
    def work(communicator):
        own = {"convnet": "1.0", "layer files": f"digest {communicator.rank == 3}", "data": 5}
        agree(communicator, own | ({"NumPy": "2.4"} if communicator.rank else {"data": 6}))

    for error in refused(4, work):
        assert isinstance(error, OptionError)
        assert str(error).split("\n    ") == [
            "ranks differ, where all must be alike:",
            "layer files: digest False on ranks 0, 1, 2 (machine0, machine1), digest True on rank 3 (machine1)",
            "data: 6 on rank 0 (machine0), 5 on ranks 1, 2, 3 (machine0, machine1)",
            "NumPy: nothing on rank 0 (machine0), 2.4 on ranks 1, 2, 3 (machine0, machine1)",
        ]


def test_of_many_ranks_few_are_named():
    [error, *_] = refused(12, lambda communicator: agree(communicator, {"data": "\x1b" if communicator.rank else 7}))
    assert r"data: 7 on rank 0 (machine0), \x1b on 11 ranks, such as 1 (machine0)" in str(error)


def test_work_that_succeeds_is_each_rank_s_own():
    assert on_ranks(3, lambda communicator: together(communicator, lambda: communicator.rank)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("data_batch_3 is damaged"), DataError, "data_batch_3 is damaged"),
        (FileNotFoundError(2, "No such file", "a/b"), ConvnetError, "a/b: No such file"),
        (LayerFileError([]), ConvnetError, ""),
    ],
)
def test_an_error_of_one_rank_is_that_of_all(error, kind, text):
    def fail(communicator):
        def work():
            if communicator.rank >= 1:
                raise error

        together(communicator, work)

    for raised in refused(3, fail):
        assert type(raised) is kind and str(raised) == f"rank 1 on machine0: {text}"


def test_an_error_that_ranks_meet_together_is_common():
    def work(communicator):
        together(communicator, lambda: (_ for _ in ()).throw(DataError("data_batch_3 is damaged")))

    assert all(map(is_common, refused(2, work)))
    assert not is_common(DataError("of one rank")) and not is_common(OSError("of the system"))


def test_an_error_of_a_rank_that_ends_is_sudden():
    """The others hear of it anywhere, so nobody may save."""

    def work(communicator):
        if communicator.rank == 1:
            fail(communicator, DataError("data_batch_3 is damaged"), 5.0)
        communicator.all_gather(None)

    for error in refused(3, work):
        assert error.is_sudden and not is_common(error)


def test_an_error_of_all_ranks_stays_what_it_is():
    problems = ["the first", "the second"]

    def fail(communicator):
        def work():
            raise LayerFileError(problems)

        together(communicator, work)

    assert all(error.problems is problems for error in refused(2, fail))


def test_different_errors_of_all_ranks_become_the_first():
    def fail(communicator):
        def work():
            raise DataError(f"part {communicator.rank} is missing")

        together(communicator, work)

    assert [str(error) for error in refused(2, fail)] == ["rank 0 on machine0: part 0 is missing"] * 2
