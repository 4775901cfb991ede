"""Which backend each layer runs on: ``gpu=`` of the layer files over the devices of ``--gpu`` (numerics 18.1).

``gpu=`` names a logical device, a place in the list of ``--gpu``; a list too short is gone through again from its start,
so a net of two towers runs on one device, two, or twice the same. The result is the same wherever layers run.

2014's ``gpu=0,1`` asked for replicas, each with its part of the minibatch. In one process such a layer runs on the first
device named, for one part after the other where others have fewer replicas (``convnet.net.parallel``).
"""

from collections.abc import Sequence

from convnet.backends.base import Backend
from convnet.graph import replicas
from convnet.graph.graph import Graph
from convnet.layers.base import Layer
from convnet.layers.weighted import WeightLayer
from convnet.net.layout import Layout
from convnet.texts import counted


def place(graph: Graph, backends: Sequence[Backend]) -> dict[str, Backend]:
    """Return the backend of every layer; ``backends[d]`` is logical device d, from the start again where the list ends.

    Layers that share weights keep together, at the first of them; a cost whose gradient is fused with that of the layer
    below runs where that layer does; what names no device (data) goes to its first reader.
    """
    return {name: backends[device % len(backends)] for name, device in logical_devices(graph).items()}


def logical_devices(graph: Graph) -> dict[str, int]:
    """Return the logical device of every layer, after the rules of ``place``."""
    devices: dict[str, int] = {}
    for layer in graph.layers.values():
        neighbour = _colocated_with(layer)
        devices[layer.name] = devices[neighbour.name] if neighbour else layer.gpu[0]
    for name, layer in reversed(graph.layers.items()):
        if devices[name] < 0:
            devices[name] = next((devices[reader.name] for reader in layer.consumers), 0)
    return devices


def remarks(graph: Graph, gpus: Sequence[int]) -> list[str]:
    """Say what users should know of how the logical devices of a graph lie on the real ones ``gpus``."""
    devices, lines = logical_devices(graph), []
    used = sorted(set(devices.values()))
    if used[-1] >= len(gpus):
        places = ", ".join(f"{device} on GPU {gpus[device % len(gpus)]}" for device in used)
        lines.append(f"The layer file names devices {', '.join(map(str, used))}; --gpu lists {len(gpus)}: {places}.")
    moved = [name for name, layer in graph.layers.items() if layer.gpu[0] >= 0 and devices[name] != layer.gpu[0]]
    if moved:
        lines.append(f"On another device than gpu= says, to be with what they share or fuse: {', '.join(moved)}.")
    several = [layer.name for layer in graph.declared if len(set(layer.gpu)) > 1 and layer.sources]
    if several:
        first = f"'{several[0]}'" + (f" and {len(several) - 1} more" if len(several) > 1 else "")
        text = (
            f"In one process replicas (several numbers in gpu=, at {first}) are computed as one, on the first device named"
        )
        lines.append(f"{text}; mpiexec -n {replicas.most(graph)} convnet run gives each a device.")
    return lines


def remarks_on_ranks(graph: Graph, layout: Layout, mini: int) -> list[str]:
    """Say which rank computes what of a minibatch and of the net, and in which passes."""
    own, size, ranks = len(layout.own_shards), layout.part_size(mini), counted(layout.groups, "rank")
    most = "" if mini % (layout.shards * layout.passes) == 0 else "up to "
    if layout.passes > 1:
        return _remarks_on_passes(graph, layout, mini)
    parts = f" in {own} parts of {most}{size}" if own > 1 else ""
    lines = [] if layout.size > 1 or not parts else [f"Each minibatch of {mini} cases is computed{parts}."]
    if layout.groups > 1:
        each = ranks if layout.width == 1 else f"{layout.groups} groups of {layout.width} ranks"
        lines.append(f"Each of {each} has the whole net, and {most}{own * size} of the {mini} cases of a minibatch{parts}.")
    elif layout.width > 1:
        lines.append(f"{layout.size} ranks hold the net together; each sees all {mini} cases of a minibatch{parts}.")
    return lines + _remarks_on_devices(graph, layout)


def _remarks_on_passes(graph: Graph, layout: Layout, mini: int) -> list[str]:
    """Say what layers with several replicas do, and those that take the cases of these in passes (numerics 18.5)."""
    wide = set(replicas.wide(graph))
    several = [layer.name for layer in graph.declared if layer.sources and layer.name in wide]
    narrow = [layer.name for layer in graph.declared if layer.sources and layer.name not in wide]
    count = replicas.most(graph)
    lines = [
        f"{_some_of(several)}: {count} replicas, each with {-(-mini // count)} of the {mini} cases of a minibatch.",
        f"{_some_of(narrow)}: {-(-mini // layout.passes)} cases at a time, in {layout.passes} passes.",
    ]
    if layout.size > layout.width:
        groups = f"{layout.groups} ranks" if layout.width == 1 else f"{layout.groups} groups of {layout.width} ranks"
        lines.insert(0, f"{groups} divide each minibatch, in parts of up to {layout.part_size(mini)} cases.")
    return lines + _remarks_on_devices(graph, layout)


def _remarks_on_devices(graph: Graph, layout: Layout) -> list[str]:
    if layout.width == 1:
        return []
    on = ", ".join(f"{device} on rank {layout.place_of(device, graph)}" for device in replicas.devices(graph))
    return [f"Devices that gpu= names: {on}{' of each group' if layout.groups > 1 else ''}."]


def _some_of(names: Sequence[str]) -> str:
    """Return the first and the last of some layers."""
    return f"'{names[0]}' to '{names[-1]}'" if names[1:] else f"'{names[0]}'"


def _colocated_with(layer: Layer) -> Layer | None:
    """Return the earlier layer on whose device this one has to be, if any."""
    if isinstance(layer, WeightLayer):
        return next((owner[0] for owner in layer.owners if owner and owner[0] is not layer), None)
    if layer.is_cost and layer.sources and layer.sources[-1].fused_cost is layer:
        return layer.sources[-1]
    if layer.detached_from:
        return layer.sources[0]
    return None
