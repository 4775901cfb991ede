"""Whether a net fits into the memory of what it is to run on; asked before anything is allocated there."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.errors import BackendError
from convnet.explain import Memory, memories
from convnet.graph import Graph

_SLACK = 0.9  # of the estimate must fit: buffers are shared in ways that it does not know of
_NAMED = 3  # layers in the message
_MULTIPLE = 16  # suggested minibatches are multiples of it


def check_room(graph: Graph, be: Backend, mini: int, training: bool = True) -> None:
    """Raise ``BackendError`` if minibatches of ``mini`` cases certainly do not fit: with the largest layers, and a ``mini``
    that would fit."""
    known = be.memory()
    if known is None:
        return
    free, needed = known[0], _needed(graph, mini, training)
    if needed * _SLACK <= free:
        return
    what = "train on" if training else "test"
    large = sorted(memories(graph, mini).items(), key=lambda item: -item[1].total)[:_NAMED]
    lines = [
        f"{graph.definition.path} needs about {_size(needed)} to {what} {mini} cases at a time; "
        f"{be.describe()} has {_size(free)} free",
        f"largest layers: {', '.join(_described(name, memory) for name, memory in large)}",
        _advice(graph, free, training),
    ]
    raise BackendError("\n    ".join(lines))


def _needed(graph: Graph, mini: int, training: bool) -> int:
    """Bytes for all of a training step; in testing for the weights and the layer with most to read and write."""
    found = memories(graph, mini)
    if training:
        return sum(memory.total for memory in found.values())
    widest = max(layer.outputs + sum(layer.num_inputs) for layer in graph.layers.values())
    return sum(memory.weights for memory in found.values()) + 4 * mini * widest


def _advice(graph: Graph, free: int, training: bool) -> str:
    weights = _needed(graph, 0, training)
    fitting = max(free - weights, 0) // max(_needed(graph, 1, training) - weights, 1)
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
