"""Whether a net fits into the memory of what it is to run on; asked before anything is allocated there."""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence

from convnet.backends.base import Backend
from convnet.errors import BackendError
from convnet.graph.analysis import Memory, memories
from convnet.graph.graph import Graph
from convnet.net.placement import place

_SLACK = 0.9  # of the estimate must fit: buffers are shared in ways that it does not know of
_NAMED = 3  # layers in the message
_MULTIPLE = 16  # suggested minibatches are multiples of it


def check_backend_memory(
    graph: Graph, be: Backend, mini: int, training: bool = True, names: Collection[str] | None = None
) -> None:
    """Raise ``BackendError`` if minibatches of ``mini`` cases certainly do not fit: with the largest layers, and a ``mini``
    that would fit. ``names`` are the layers that run on ``be``, all if none are given."""
    known = be.memory()
    names = list(graph.layers) if names is None else names
    if known is None or not names:
        return
    free, needed = known[0], _needed(graph, mini, training, names)
    if needed * _SLACK > free:
        gc.collect()  # a net that nobody holds any more may still hold memory
        free = (be.memory() or known)[0]
    if needed * _SLACK <= free:
        return
    what = "train on" if training else "test"
    found = [(name, memory) for name, memory in memories(graph, mini).items() if name in names]
    large = sorted(found, key=lambda item: -item[1].total)[:_NAMED]
    lines = [
        f"{graph.definition.path} needs about {_size(needed)} to {what} {mini} cases at a time; "
        f"{be.describe()} has {_size(free)} free",
        f"largest layers: {', '.join(_described(name, memory) for name, memory in large)}",
        _advice(graph, free, training, names),
    ]
    raise BackendError("\n    ".join(lines))


def check_memory(graph: Graph, backends: Sequence[Backend], mini: int, training: bool = True) -> None:
    """``check_backend_memory`` on every backend for the layers that it is to run; raises ``BackendError``."""
    places = place(graph, backends)
    for be in dict.fromkeys(backends):
        check_backend_memory(graph, be, mini, training, [name for name, own in places.items() if own is be])


def _needed(graph: Graph, mini: int, training: bool, names: Collection[str]) -> int:
    """Bytes for all of a training step; in testing for the weights and the layer with most to read and write."""
    found = [memory for name, memory in memories(graph, mini).items() if name in names]
    if training:
        return sum(memory.total for memory in found)
    widest = max(graph.layers[name].outputs + sum(graph.layers[name].num_inputs) for name in names)
    return sum(memory.weights for memory in found) + 4 * mini * widest


def _advice(graph: Graph, free: int, training: bool, names: Collection[str]) -> str:
    weights = _needed(graph, 0, training, names)
    fitting = max(free - weights, 0) // max(_needed(graph, 1, training, names) - weights, 1)
    if fitting >= _MULTIPLE:
        fitting -= fitting % _MULTIPLE
    if fitting:
        return f"--mini {fitting} would fit"
    return f"no minibatch fits: weights and momenta alone take {_size(weights)}" if weights else "no minibatch fits"


def _described(name: str, memory: Memory) -> str:
    parts = [("outputs", memory.outputs), ("gradients", memory.gradients), ("weights", memory.weights)]
    largest = max(parts, key=lambda part: part[1])
    return f"{name} ({_size(memory.total)}, most of it {largest[0]})"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
