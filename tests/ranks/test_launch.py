"""Ranks started by a real MPI: what they exchange, what they find to differ, and how they end. Slow, but few starts."""

import builtins

import pytest
from ranks.started import has_mpi, ranks
from ranks.threads import on_ranks
from support import ROOT

from convnet.errors import OptionError
from convnet.ranks import launch
from convnet.ranks.communicator import Solo
from convnet.ranks.launch import gpu_of, idle_cores, threads_of, world
from convnet.ranks.started import is_first_of_machine, started

REST = "all ranks end; the last checkpoint is RUN/3.4"
PROGRAM = ROOT / "tests" / "ranks" / "rank_program.py"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "3"}, (3, 4)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}, (5, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # a batch script, which starts ranks
        ({"PMI_RANK": "", "PMI_SIZE": "x"}, (0, 1)),
    ],
)
def test_the_environment_says_who_is_a_rank(environment, expected):
    assert started(environment) == expected


def test_the_first_of_a_machine_is_told():
    assert is_first_of_machine({"MPI_LOCALRANKID": "0"}) and not is_first_of_machine({"SLURM_LOCALID": "2"})
    assert not is_first_of_machine({})


def test_alone_there_is_no_mpi():
    with world() as communicator:
        assert isinstance(communicator, Solo)


def test_a_missing_mpi4py_is_named(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **settings):
        if name == "mpi4py":
            raise ImportError(name)
        return original(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(OptionError, match=r"2 ranks were started, which need mpi4py: pip install '\.\[mpi\]'"), world():
        raise AssertionError


@pytest.mark.parametrize(
    ("cores", "hosts", "expected"),
    [
        ([{0, 1, 2, 3}] * 2, "aa", [2, 2]),
        ([{0, 1, 2, 3}] * 3, "aab", [2, 2, 4]),
        ([{0, 1}, {2, 3}], "aa", [2, 2]),  # bound by what started them
        ([{0}] * 3, "aaa", [1, 1, 1]),
    ],
)
def test_ranks_of_a_machine_share_its_cores(cores, hosts, expected):
    def threads(communicator):
        communicator.hosts = list(hosts)
        return threads_of(communicator, cores[communicator.rank])

    assert on_ranks(len(cores), threads) == expected


def test_ranks_that_are_bound_to_few_cores_are_told(monkeypatch):
    def remark(communicator):
        communicator.hosts = list("aab")
        return idle_cores(communicator, {communicator.rank})

    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    text = "The ranks on a are bound to 2 of 4 cores; mpiexec --bind-to none gives them all."
    assert on_ranks(3, remark) == [text, text, text.replace("on a", "on b").replace("2 of", "1 of")]
    assert idle_cores(Solo(), {0}) == ""


def test_each_rank_of_a_machine_has_a_gpu():
    def gpu(communicator):
        communicator.hosts = list("aba")
        return gpu_of(communicator, [4, 2])

    assert on_ranks(3, gpu) == [4, 4, 2]
    assert on_ranks(3, lambda communicator: gpu_of(communicator, [4, 2])) == [4, 2, 4]


def run(size, what, limit=15):
    return ranks(size, PROGRAM, what, limit, seconds=30)


def said(ended):
    """What convnet itself said, without what the program that starts ranks adds."""
    return [line for line in ended.error.replace("\0", "").splitlines() if line.startswith("convnet: ")]


@has_mpi
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_mpi_carries_what_a_communicator_does(size):
    ended = run(size, "exchanges")
    assert ended.status == 0, ended.error
    assert sorted(ended.out.split()) == sorted(" ".join(f"{rank} of {size} is through" for rank in range(size)).split())
    assert ended.error == ""


@has_mpi
@pytest.mark.slow
def test_an_error_of_one_rank_ends_all():
    ended = run(3, "fail_alone")
    assert ended.status != 0 and "Traceback" not in ended.error
    [line] = said(ended)
    assert line.startswith("convnet: rank 1 on ") and line.endswith(": data_batch_3 is missing")


@has_mpi
@pytest.mark.slow
def test_a_mistake_of_the_program_ends_all():
    ended = run(2, "crash")
    assert ended.status != 0 and "in crash" in ended.error
    assert said(ended)[0].endswith(": KeyError: 'a mistake of the program'")


@has_mpi
@pytest.mark.slow
@pytest.mark.parametrize(("what", "status"), [("differ", 2), ("fail", 1), ("fail_together", 1)])
def test_what_ranks_agree_on_is_an_error_of_all(what, status):
    ended = run(3, what)
    assert ended.status == status and "Traceback" not in ended.error and "Abort" not in ended.error.title()
    assert len(said(ended)) == 3


@has_mpi
@pytest.mark.slow
def test_a_killed_rank_ends_all():
    """Open MPI leaves rank 0 a moment to say it; MPICH kills the others at once, and says it itself."""
    ended = run(3, "kill")
    assert ended.status != 0 and "Traceback" not in ended.error
    if lines := said(ended):
        [line] = lines
        assert line.startswith("convnet: rank 1 on ") and line.endswith(f" has ended by itself or was killed: {REST}")
    else:
        assert "EXIT STRING: Killed (signal 9)" in ended.out


@has_mpi
@pytest.mark.slow
def test_a_stopped_rank_ends_all():
    ended = run(3, "stop", limit=1.5)
    assert ended.status != 0 and "Traceback" not in ended.error
    [line] = said(ended)
    assert line.startswith("convnet: rank 1 on ") and line.endswith(f" does not answer any more (2 s): {REST}")


@has_mpi
@pytest.mark.slow
def test_a_rank_that_computes_is_not_missed():
    ended = run(2, "compute", limit=2)
    assert (ended.status, ended.out, ended.error) == (0, "nobody was missed\n" * 2, "")
