"""Whether this process is one of several ranks, as the program that started it says.

``mpiexec`` of Open MPI and MPICH, and Slurm's ``srun``, tell each process its number in the environment.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # see ``convnet``
if TYPE_CHECKING:
    from collections.abc import Mapping

# (rank, size, number on its machine): Open MPI; MPICH, Intel MPI and others that start by Hydra; a step of Slurm, but not
# its batch script
_STARTERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


def started(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return (rank, size) of this process as the environment says; (0, 1) where it was not started as one of several."""
    for names in _STARTERS:
        rank, size, _ = (environment.get(name, "") for name in names)
        if rank.isdecimal() and size.isdecimal():
            return int(rank), int(size)
    return 0, 1


def is_first_of_machine(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether no rank with a lower number runs on this machine, as far as the environment says."""
    return any(environment.get(names[2]) == "0" for names in _STARTERS)
