"""Compile all kernels of a net before it runs, in parallel: the compiler releases the interpreter lock."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from convnet.backends.cuda.compile import Compiler, build, find_compiler
from convnet.backends.cuda.source import Source


def compile_all(sources: Iterable[Source], capability: int, compiler: Compiler | None = None, threads: int = 0) -> int:
    """Compile what the cache lacks; returns how many sources there are. Raises ``BackendError`` for the first that fails."""
    compiler = compiler or find_compiler()
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="convnet-compile") as pool:
        return sum(1 for _ in pool.map(lambda source: build(source, capability, compiler), sources))
