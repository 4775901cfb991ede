"""Which backend each layer runs on: ``gpu=`` of the layer files over the devices of ``--gpu`` (numerics 18.1).

``gpu=`` names a logical device, a place in the list of ``--gpu``; a list too short is gone through again from its start,
so a net of two towers runs on one device, two, or twice the same. The result is the same wherever layers run.

2014's ``gpu=0,1`` asked for replicas, each with its part of the minibatch. Here such a layer runs on the first device
named, with the whole minibatch, which gives the gradient that the replicas' parts added up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convnet.graph.graph import Graph
from convnet.layers.base import Layer
from convnet.layers.weighted import WeightLayer

if TYPE_CHECKING:
    from convnet.backends.base import Backend


def place(graph: Graph, backends: Sequence[Backend]) -> dict[str, Backend]:
    """The backend of every layer; ``backends[d]`` is logical device d, from the start again where the list ends.

    Layers that share weights keep together, at the first of them; a cost whose gradient is fused with that of the layer
    below runs where that layer does; what has no device of its own (data) goes to whoever reads it first.
    """
    devices = logical_devices(graph)
    return {name: backends[number % len(backends)] for name, number in devices.items()}


def logical_devices(graph: Graph) -> dict[str, int]:
    """The logical device of every layer, after the rules of ``place``."""
    found: dict[str, int] = {}
    for layer in graph.layers.values():
        together = _colocated_with(layer)
        found[layer.name] = found[together.name] if together else layer.gpu[0]
    for name, layer in reversed(graph.layers.items()):
        if found[name] < 0:
            found[name] = next((found[reader.name] for reader in layer.consumers), 0)
    return found


def remarks(graph: Graph, gpus: Sequence[int]) -> list[str]:
    """What a person should know of how the logical devices of a graph lie on the real ones ``gpus``."""
    found, said = logical_devices(graph), []
    named = sorted(set(found.values()))
    if named[-1] >= len(gpus):
        places = ", ".join(f"{number} on GPU {gpus[number % len(gpus)]}" for number in named)
        said.append(f"The layer file names devices {_list(named)}; --gpu lists {len(gpus)}: {places}.")
    moved = [name for name, layer in graph.layers.items() if layer.gpu[0] >= 0 and found[name] != layer.gpu[0]]
    if moved:
        said.append(f"On another device than gpu= says, to be with what they share or fuse: {_list(moved)}.")
    replicas = [layer.name for layer in graph.declared if len(set(layer.gpu)) > 1 and layer.most_inputs != 0]
    if replicas:
        first = f"'{replicas[0]}'" + (f" and {len(replicas) - 1} more" if len(replicas) > 1 else "")
        said.append(f"Replicas (several numbers in gpu=, at {first}) run as one, on the first device named.")
    return said


def _colocated_with(layer: Layer) -> Layer | None:
    """The earlier layer on whose device this one has to be, if any."""
    if isinstance(layer, WeightLayer):
        return next((owner[0] for owner in layer.owners if owner and owner[0] is not layer), None)
    if layer.is_cost and layer.sources and layer.sources[-1].fused_cost is layer:
        return layer.sources[-1]
    if layer.detached_from:
        return layer.sources[0]
    return None


def _list(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))
