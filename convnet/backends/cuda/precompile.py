"""All kernels of a net compiled before it runs, several at a time.

The net takes one step on a device that only notes what it is asked to run (``recorder``); the compiler, which lets other
threads work, then makes machine code of everything that is not in the cache yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.compile import Compiler, build, find_compiler
from convnet.backends.cuda.recorder import Recorder, blank_inputs, empty_state
from convnet.backends.cuda.source import Source
from convnet.graph.builder import Graph
from convnet.net.net import Net


def sources_of(graph: Graph, cases: int, recorder: Recorder, training: bool = True) -> list[Source]:
    """What a training step, unless there is none, a test and a look at the weights run, each once, in order."""
    net = Net(graph, Cuda(recorder), cases, state=empty_state(graph))
    inputs = blank_inputs(graph, cases)
    if training:
        net.train(inputs, cases)
    net.test(inputs, cases)
    net.check_weights()
    for weights in net.weights:
        weights.be.mean_magnitude(weights.value)
    return list(dict.fromkeys(seen[0] for seen in recorder.seen))


def build_all(sources: Iterable[Source], capability: int, compiler: Compiler | None = None, threads: int = 0) -> int:
    """Compile what the cache lacks; returns how many sources there are. Raises ``BackendError`` for the first that fails."""
    compiler = compiler or find_compiler()
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="convnet-compile") as pool:
        return sum(1 for _ in pool.map(lambda source: build(source, capability, compiler), sources))
