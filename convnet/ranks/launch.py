"""Whether this process is one of several ranks, as the program that started it says, and what a run on ranks begins with.

``mpiexec`` of Open MPI and MPICH, and Slurm's ``srun``, tell each process its number in the environment. Only where one of
them has, MPI is imported.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from convnet.errors import ConvnetError, OptionError, first_line
from convnet.ranks.agreement import text_of
from convnet.ranks.communicator import Communicator, Solo
from convnet.ranks.heartbeat import Heartbeat

# (number of ranks, this rank): Open MPI; MPICH, Intel MPI and others with Hydra; a step of Slurm, not its batch script
_STARTERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
INSTALL = "pip install 'convnet[mpi]'"


def started(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return (rank, size) of this process as the environment says; (0, 1) where it was not started as one of several."""
    for size, rank in _STARTERS:
        if environment.get(size, "").isdecimal() and environment.get(rank, "").isdecimal():
            return int(environment[rank]), int(environment[size])
    return 0, 1


@contextmanager
def world() -> Iterator[Communicator]:
    """Give the communicator of all ranks, and see that they end together, whatever ends one of them.

    An error that all ranks raise (see ``agreement.py``) goes on; one that this rank has alone is said here, and ends all.
    Raises ``OptionError`` where several ranks were started but cannot talk.
    """
    size = started()[1]
    if size == 1:
        yield Solo()
        return
    communicator = _of_mpi(size)
    with Heartbeat(communicator):
        try:
            yield communicator
        except BaseException as error:
            if not getattr(error, "is_agreed", False):
                _end_all(communicator, error)
            raise
        finally:
            communicator.all_gather(None)  # none leaves while another could still need it
    finish()


def finish() -> None:
    """End MPI, if it has begun: before the process leaves, or what started it takes that for a crash."""
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        if MPI.Is_initialized() and not MPI.Is_finalized():
            MPI.Finalize()


def threads_of(communicator: Communicator, cores: set[int]) -> int:
    """Return how many threads this rank has if nobody says so: of the ``cores`` it may run on, its part.

    Where what starts ranks has bound each to cores of its own, these are all of them.
    """
    host = communicator.hosts[communicator.rank]
    others = zip(communicator.hosts, communicator.all_gather(cores), strict=True)
    return max(1, len(cores) // sum(other == host and not cores.isdisjoint(theirs) for other, theirs in others))


def gpu_of(communicator: Communicator, gpus: Sequence[int]) -> int:
    """Return the GPU of this rank: of those named, or there, the one with its number among the ranks of its machine."""
    number, ranks = communicator.local_rank()
    if ranks > len(gpus):
        host = communicator.hosts[communicator.rank]
        raise OptionError(f"{ranks} ranks on {host} have {len(gpus)} GPUs: start one rank for each GPU")
    return gpus[number]


def _of_mpi(size: int) -> Communicator:
    """Return the communicator of MPI's world, which has ``size`` ranks as the program that started them says."""
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # of MPICH: we say why
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise OptionError(f"{size} ranks were started, which need mpi4py: {INSTALL}") from error
    except RuntimeError as error:  # it finds no library
        raise OptionError(f"{size} ranks were started, but mpi4py finds no MPI ({first_line(error)}): {INSTALL}") from error
    if MPI.COMM_WORLD.Get_size() != size:
        library = MPI.Get_library_version().splitlines()[0].strip()
        raise OptionError(
            f"{size} ranks were started by the program of another MPI than mpi4py's, {library}: start them by its mpiexec, "
            f"or by srun --mpi=pmi2 or pmix"
        )
    from convnet.ranks.mpi import MpiCommunicator

    return MpiCommunicator(MPI.COMM_WORLD)


def _end_all(communicator: Communicator, error: BaseException) -> None:
    """Say what this rank alone has met, and end all ranks."""
    if isinstance(error, MemoryError):
        text = "out of memory; lower --mini"
    elif isinstance(error, ConvnetError | OSError):
        text = text_of(error)
    else:
        text = first_line(error)
        traceback.print_exception(error)
    communicator.abort(f"{communicator.name(communicator.rank)}: {text}")
