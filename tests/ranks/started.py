"""Starts programs as ranks, by the ``mpiexec`` of this environment, on this machine, with no network."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ROOT

_BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(_BESIDE) if _BESIDE.exists() else shutil.which("mpiexec")
has_mpi = pytest.mark.skipif(
    not MPIEXEC or not importlib.util.find_spec("mpi4py"), reason="no mpi4py, or no mpiexec: pip install '.[mpi]'"
)
# Open MPI: more ranks than cores, as root, not bound to cores, and by shared memory alone, which starts in a moment.
SETTINGS = {
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self,sm",
}


@dataclass
class Ended:
    """What ranks that have ended left: the status of ``mpiexec``, what they printed, and seconds from start to end."""

    status: int
    out: str
    error: str
    seconds: float


class Ranks:
    """``size`` ranks of a Python program; inside a ``with``, which kills them in any case."""

    def __init__(self, size, *arguments, folder=ROOT, **environment):
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
        self.begun, self.size = time.monotonic(), size
        self.mark = f"{os.getpid()}-{self.begun}"
        self.process = subprocess.Popen(
            [MPIEXEC, "-n", str(size), sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=dict(os.environ, PYTHONPATH=paths, PYTHONUNBUFFERED="1", **SETTINGS, RANKS_OF=self.mark) | environment,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Both programs end what they have started when they are asked to.
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=10)
            self.process.kill()
        self.process.communicate()

    def pids(self):
        """The process of each rank, once all have begun; Linux alone shows the environments of processes."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                held = dict(line.split("=", 1) for line in path.read_text(errors="replace").split("\0") if "=" in line)
                if held.get("RANKS_OF") == self.mark and (rank := held.get("OMPI_COMM_WORLD_RANK", held.get("PMI_RANK"))):
                    found[int(rank)] = int(path.parent.name)
        return [found[rank] for rank in range(self.size)]

    def wait_for(self, pattern, seconds=30):
        """Wait until files are there; raises ``TimeoutError`` if they do not come, or the ranks have ended without them."""
        folder, name = Path(pattern).parent, Path(pattern).name
        ends = time.monotonic() + seconds
        while not list(folder.glob(name)):
            if self.process.poll() is not None:
                raise TimeoutError(f"no {pattern}: the ranks have ended: {self.process.communicate()}")
            if time.monotonic() > ends:
                raise TimeoutError(f"no {pattern} after {seconds} s")
            time.sleep(0.02)

    def end(self, seconds=60):
        """Wait for the end; raises ``TimeoutExpired``."""
        out, error = self.process.communicate(timeout=seconds)
        return Ended(self.process.returncode, out, error, time.monotonic() - self.begun)


def ranks(size, *arguments, seconds=60, **settings):
    """Run a Python program, ``FILE ARGUMENTS`` or ``-m MODULE ARGUMENTS``, on ``size`` ranks; return how it ended."""
    with Ranks(size, *arguments, **settings) as started:
        return started.end(seconds)
