"""What a run on ranks begins with and ends with. MPI is imported only where this process was started as one of several."""

from __future__ import annotations

import os
import platform
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from convnet.errors import ConvnetError, OptionError, first_line
from convnet.ranks.agreement import fail
from convnet.ranks.communicator import Communicator, Failed, Solo, Unreachable
from convnet.ranks.heartbeat import Heartbeat
from convnet.ranks.started import is_first_of_machine, started

_PATIENCE = 5.0  # seconds that an error waits for other ranks to hear of it
INSTALL = "pip install '.[mpi]'"


@contextmanager
def world() -> Iterator[Communicator]:
    """Give the communicator of all ranks, and see that they end together, whatever ends one of them.

    An error of this rank becomes that of all, if they come to an ``all_gather``; else it is said here, and ends all.
    Raises ``OptionError`` where several ranks were started but cannot talk.
    """
    rank, size = started()
    if size == 1:
        yield Solo()
        return
    try:
        communicator = _of_mpi(size)
    except OptionError as error:
        if rank and is_first_of_machine():  # what its machine lacks, rank 0 may have
            os.write(2, f"convnet: rank {rank} on {platform.node()}: {error}\n".encode(errors="replace"))
        raise
    try:
        with Heartbeat(communicator):
            try:
                yield communicator
            except BaseException as error:
                _end_all(communicator, error)
            communicator.all_gather(None)  # none leaves while another could still need it
    finally:
        finish()


def finish() -> None:
    """End MPI, if it has begun: before the process leaves, or what started it takes that for a crash."""
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        if MPI.Is_initialized() and not MPI.Is_finalized():
            MPI.Finalize()


def threads_of(communicator: Communicator, cores: set[int]) -> int:
    """Return how many threads this rank has if nobody says so: of the ``cores`` it may run on, its part.

    Where what starts ranks has bound each to cores of its own, these are all of them. All ranks call this.
    """
    host = communicator.hosts[communicator.rank]
    others = zip(communicator.hosts, communicator.all_gather(cores), strict=True)
    return max(1, len(cores) // sum(other == host and not cores.isdisjoint(theirs) for other, theirs in others))


def idle_cores(communicator: Communicator, cores: set[int]) -> str:
    """Return a remark where the ranks of this machine are bound to fewer cores than what has started them may use."""
    host = communicator.hosts[communicator.rank]
    everyones = zip(communicator.hosts, communicator.all_gather(cores), strict=True)
    used, there = set().union(*(theirs for other, theirs in everyones if other == host)), cores
    with suppress(AttributeError, OSError):
        there = os.sched_getaffinity(os.getppid())
    if communicator.size == 1 or len(used) >= len(there):
        return ""
    return f"The ranks on {host} are bound to {len(used)} of {len(there)} cores; mpiexec --bind-to none gives them all."


def gpu_of(communicator: Communicator, gpus: Sequence[int]) -> int:
    """Return the GPU of this rank among ``gpus``: ranks of a machine take them in turn."""
    number, _ = communicator.local_rank()
    return gpus[number % len(gpus)]


def _of_mpi(size: int) -> Communicator:
    """Return the communicator of MPI's world, which has ``size`` ranks as the program that started them says."""
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # of MPICH: we say why
    try:
        import mpi4py

        mpi4py.rc.initialize = False  # before it is known to be the right library
        from mpi4py import MPI
    except ImportError as error:
        raise OptionError(f"{size} ranks were started, which need mpi4py: {INSTALL}") from error
    except RuntimeError as error:  # it finds no library
        raise OptionError(f"{size} ranks were started, but mpi4py finds no MPI ({first_line(error)}): {INSTALL}") from error
    library, version = MPI.get_vendor()
    is_other = "OMPI_COMM_WORLD_SIZE" in os.environ and library != "Open MPI"  # beginning would end this process
    if not is_other and not MPI.Is_initialized():
        with warnings.catch_warnings(action="ignore"):  # of what is an error below
            MPI.Init_thread(MPI.THREAD_MULTIPLE)
    if is_other or MPI.COMM_WORLD.Get_size() != size:
        name = f"{library} {'.'.join(map(str, version))}"
        raise OptionError(
            f"{size} ranks were started by another MPI than mpi4py has, {name}: take the mpiexec of that one, or srun with "
            f"--mpi=pmi2 or --mpi=pmix"
        )
    from convnet.ranks.mpi import MpiCommunicator

    return MpiCommunicator(MPI.COMM_WORLD)


def _end_all(communicator: Communicator, error: BaseException) -> NoReturn:
    """Have all ranks raise an error of this one, or say it and end all of them; a mistake of the program at once."""
    if isinstance(error, ConvnetError | OSError | MemoryError):
        text = Failed.by(error).text
        with suppress(TimeoutError, Unreachable):
            fail(communicator, error, _PATIENCE)
    elif isinstance(error, Unreachable):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {first_line(error)}"
        traceback.print_exception(error, file=sys.__stderr__)
    communicator.abort(f"{communicator.name(communicator.rank)}: {text}")
