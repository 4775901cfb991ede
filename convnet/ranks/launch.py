"""Whether this process is one of several ranks, as the program that started it says, and what a run on ranks begins with.

``mpiexec`` of Open MPI and MPICH, and Slurm's ``srun``, tell each process its number in the environment. Only where one of
them has, MPI is imported.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from convnet.errors import ConvnetError, OptionError, first_line
from convnet.ranks.agreement import is_agreed, text_of
from convnet.ranks.communicator import Communicator, Solo
from convnet.ranks.heartbeat import Heartbeat

# (rank, size): Open MPI; MPICH, Intel MPI and others that start by Hydra; a step of Slurm, but not its batch script
_STARTERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
INSTALL = "pip install 'convnet[mpi]'"


def started(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return (rank, size) of this process as the environment says; (0, 1) where it was not started as one of several."""
    for names in _STARTERS:
        rank, size = (environment.get(name, "") for name in names)
        if rank.isdecimal() and size.isdecimal():
            return int(rank), int(size)
    return 0, 1


@contextmanager
def world() -> Iterator[Communicator]:
    """Give the communicator of all ranks, and see that they end together, whatever ends one of them.

    An error that all ranks raise (see ``agreement.py``) goes on; one that this rank has alone is said here, and ends all.
    Raises ``OptionError`` where several ranks were started but cannot talk.
    """
    _, size = started()
    if size == 1:
        yield Solo()
        return
    communicator = _of_mpi(size)
    try:
        with Heartbeat(communicator):
            try:
                yield communicator
            except BaseException as error:
                if not is_agreed(error):
                    _end_all(communicator, error)
                raise
            finally:
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


def _end_all(communicator: Communicator, error: BaseException) -> None:
    """Say what this rank alone has met, and end all ranks."""
    if isinstance(error, MemoryError):
        text = "out of memory; lower --mini"
    elif isinstance(error, ConvnetError | OSError):
        text = text_of(error)
    else:
        text = f"{type(error).__name__}: {first_line(error)}"
        traceback.print_exception(error)
    communicator.abort(f"{communicator.name(communicator.rank)}: {text}")
