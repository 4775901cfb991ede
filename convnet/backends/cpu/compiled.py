"""The compiled kernels, loaded so that threads with nothing to do soon sleep.

GNU OpenMP's threads spin for milliseconds while they wait for each other. On a machine with other work that keeps the very
thread they wait for off the processor: steps of a small net then take up to thirty times as long. 1,000 turns, some
twenty microseconds, cost 3 % on an idle machine (``benchmarks/2026-11-24-waiting.md``).
Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT decides for themselves.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_TURNS = "GOMP_SPINCOUNT"


@contextmanager
def _short_waits() -> Iterator[None]:
    """Limit the waiting of an OpenMP that is loaded inside: it reads the limit then, once."""
    if _TURNS in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ[_TURNS] = "1000"
    try:
        yield
    finally:
        del os.environ[_TURNS]


with _short_waits():
    from convnet.backends.cpu._kernels import KernelOps

__all__ = ["KernelOps"]
