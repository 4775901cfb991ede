"""Replicas of 2014: how many devices share the cases of a layer, and in how many passes a minibatch goes through the net.

``gpu=0,1,2,3`` are four replicas of a layer, each with a part of the minibatch, which is cut into as many parts as the
layers with the ``most`` replicas have. Layers with fewer go through those parts in several ``passes``, and may learn after
each: fc layers of one replica over convolutions of four see four parts, one after the other (numerics 18.5). The layers with
the ``fewest`` replicas see the parts in the order of their cases, also where others lie between: in pass p these are the
parts from ``p * fewest`` to ``(p + 1) * fewest - 1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convnet.layers.weighted import WeightLayer
from convnet.texts import counted

if TYPE_CHECKING:
    from convnet.graph.graph import Graph
    from convnet.layers.base import Layer


def replicas(layer: Layer) -> int:
    """Return how many replicas of a layer there are; data have as many as the readers with the most."""
    return len(layer.gpu) if layer.sources else max(map(replicas, layer.consumers), default=1)


def most(graph: Graph) -> int:
    """Return the number of parts of a minibatch: the largest number of replicas that a layer has."""
    return max(map(replicas, graph.layers.values()), default=1)


def fewest(graph: Graph) -> int:
    """Return the smallest number of replicas that a layer has."""
    return min(map(replicas, graph.layers.values()), default=1)


def passes(graph: Graph) -> int:
    """Return in how many passes a minibatch goes through the layers with the fewest replicas."""
    return most(graph) // fewest(graph)


def wide(graph: Graph) -> list[str]:
    """Return the layers that see a minibatch at once while others need several passes, in running order; else none."""
    parts = most(graph)
    return [name for name, layer in graph.layers.items() if replicas(layer) == parts] if passes(graph) > 1 else []


def active_passes(layer: Layer, low: int) -> int:
    """Return in how many passes a layer sees all its replicas' cases once; ``low`` is ``fewest`` of its net."""
    return replicas(layer) // low


def update_passes(layer: WeightLayer, low: int) -> int:
    """Return the passes from one update of a layer's weights to the next: ``updatePeriod``, but all its cases at least.

    0, the default, is as often as can be (numerics 13.10). ``low`` is ``fewest`` of its net.
    """
    return max(layer.updatePeriod, active_passes(layer, low))


def devices(graph: Graph) -> list[int]:
    """Return the logical devices that the files name, in ascending order."""
    return sorted({device for layer in graph.layers.values() for device in layer.gpu if device >= 0})


def check_replicas(graph: Graph) -> None:
    """Report numbers of replicas that do not fit each other, for each layer at the key that says them."""
    layers = [layer for layer in graph.declared if layer.sources]
    fitting = [layer for layer in layers if _takes_cases(layer)]
    if len(fitting) == len(layers):
        _check_passes(graph, layers)


def _takes_cases(layer: Layer) -> bool:
    """Report replicas on one device, and inputs whose cases a layer cannot take (2014's rules); data give what is wanted."""
    own = {device for device in layer.gpu if device >= 0}
    if "gpu" in layer.check.places and len(own) < len(layer.gpu) > 1:
        text = f"{_gpu(layer)}: each replica runs on a device of its own"
        layer.check.error("gpu", text, expected="different numbers from 0")
        return False
    sources, count = [source for source in layer.sources if source.sources], counted(replicas(layer), "replica")
    for source in sources:
        first, reader, name = sources[0], source.consumers[0], source.written_name
        if replicas(source) != replicas(first):
            text = f"inputs of different numbers of replicas: '{first.written_name}' has {replicas(first)}"
            layer.check.error("inputs", f"{text}, '{name}' has {replicas(source)}", expected="equal numbers")
        elif replicas(source) % replicas(layer):
            text = f"{_gpu(layer)} is {count}, but input '{name}' has {replicas(source)}"
            layer.check.error("gpu", text, expected=f"a number of devices that divides {replicas(source)}")
        elif replicas(reader) != replicas(layer):
            text = f"{_gpu(layer)} is {count}, but '{reader.written_name}', which reads '{name}' too, has {replicas(reader)}"
            layer.check.error("gpu", text, expected="equal numbers, or a layer of type=pass between")
        else:
            continue
        return False
    return True


def _check_passes(graph: Graph, layers: list[Layer]) -> None:
    """Report layers, right by themselves, that cannot keep step with the others, or share weights out of step."""
    high, low = most(graph), fewest(graph)
    for layer in layers:
        count = replicas(layer)
        if "gpu" in layer.check.places and (high % count or count % low):
            text = f"{_gpu(layer)} is {counted(count, 'replica')}, in a net with layers of {low} and of {high}"
            layer.check.error("gpu", text, expected=f"a multiple of {low} that divides {high}")
        if not isinstance(layer, WeightLayer) or layer.check.failed:  # a period that is no number is reported already
            continue
        whole = active_passes(layer, low)
        if layer.updatePeriod > whole and layer.updatePeriod % whole:
            text = f"updatePeriod={layer.updatePeriod} counts passes, of which the layer needs {whole} to see new cases"
            layer.check.error("updatePeriod", text, expected=f"a multiple of {whole}")
        owner = next((owner[0] for owner in layer.owners if owner and replicas(owner[0]) != count), None)
        if owner:
            text = f"shares weights of '{owner.name}', which has {counted(replicas(owner), 'replica')}, not {count}"
            layer.check.error("weightSource", text, expected="equal numbers")


def _gpu(layer: Layer) -> str:
    return f"gpu={','.join(map(str, layer.gpu))}"
