"""Whether a net fits into the memory of what it is to run on; asked before anything is allocated there."""

import gc
from collections.abc import Collection, Sequence

from convnet.backends.base import Backend
from convnet.errors import BackendError
from convnet.graph.analysis import memories
from convnet.graph.graph import Graph
from convnet.net.placement import place
from convnet.texts import bytes_text

_SLACK = 0.9  # of the estimate must fit: buffers are shared in ways that it does not know of
_NAMED = 3  # layers in the message
_MULTIPLE = 16  # suggested minibatches are multiples of it


def check_memory(graph: Graph, backends: Sequence[Backend], mini: int, training: bool = True) -> None:
    """Raise ``BackendError`` if minibatches of ``mini`` cases certainly do not fit on a backend with its layers.

    The message names the largest layers, and a ``mini`` that would fit.
    """
    places = place(graph, backends)
    for be in dict.fromkeys(backends):
        names = {name: None for name, other in places.items() if other is be}
        known = be.memory() if names else None
        if known is None:
            continue
        needed, free = _needed(graph, mini, training, names), known[0]
        if needed * _SLACK > free:
            gc.collect()  # a net that nothing refers to may still hold memory
            free = (be.memory() or known)[0]
        if needed * _SLACK > free:
            lines = [
                f"{graph.definition.path} needs about {bytes_text(needed)} to {'train on' if training else 'test'} "
                f"{mini} cases at a time; {be.describe()} has {bytes_text(free)} free",
                f"largest layers: {_largest(graph, mini, names)}",
                _advice(graph, free, training, names),
            ]
            raise BackendError("\n    ".join(lines))


def _largest(graph: Graph, mini: int, names: Collection[str]) -> str:
    used = {name: memory for name, memory in memories(graph, mini).items() if name in names}
    texts = []
    for name in sorted(used, key=lambda name: -used[name].total)[:_NAMED]:
        parts = {part: getattr(used[name], part) for part in ("outputs", "gradients", "weights")}
        texts.append(f"{name} ({bytes_text(used[name].total)}, most of it {max(parts, key=parts.__getitem__)})")
    return ", ".join(texts)


def _needed(graph: Graph, mini: int, training: bool, names: Collection[str]) -> int:
    """Return bytes for all of a training step; in testing for the weights and the layer with most to read and write."""
    used = [memory for name, memory in memories(graph, mini).items() if name in names]
    if training:
        return sum(memory.total for memory in used)
    widest = max(graph.layers[name].outputs + sum(graph.layers[name].num_inputs) for name in names)
    return sum(memory.weights for memory in used) + 4 * mini * widest


def _advice(graph: Graph, free: int, training: bool, names: Collection[str]) -> str:
    """Say which minibatch would fit: what each case needs beside the weights is the same."""
    weights = _needed(graph, 0, training, names)
    fitting = max(free - weights, 0) // max(_needed(graph, 1, training, names) - weights, 1)
    if fitting >= _MULTIPLE:
        fitting -= fitting % _MULTIPLE
    if fitting:
        return f"--mini {fitting} would fit"
    return f"no minibatch fits: weights and momenta alone take {bytes_text(weights)}" if weights else "no minibatch fits"
