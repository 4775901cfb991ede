"""A step of a net whose layer file places its layers on devices (``gpu=``, 2012), a rank or several devices on each.

Every rank runs its layers in order. One waits until its inputs are there: those of another rank are sent when they are made,
4 N K bytes to each rank that reads them, over the sender's link, one after the other. Backward goes the same way back, each
reader sending its share of the gradient. ``steps.py`` has the letters, and how long arithmetic takes.
"""

from convnet.graph import replicas
from convnet.graph.analysis import memories
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.net.layout import Layout
from convnet.net.placement import logical_devices
from convnet.planning.machines import Machine
from convnet.planning.steps import LayerStep, Step, compute


def devices_named(graph: Graph) -> int:
    """Return on how many devices the file places its layers; 0 where it has replicas, each with its part of the cases."""
    return len(replicas.devices(graph)) if replicas.most(graph) == 1 else 0


def is_placed(graph: Graph, ranks: int) -> bool:
    """Whether the file places its layers on devices that so many ranks share evenly, as those of a run do."""
    return ranks > 1 and devices_named(graph) > 1 and devices_named(graph) % ranks == 0


def towers_step(graph: Graph, machine: Machine, ranks: int, mini: int) -> Step:
    """Return what a step costs with devices on the ranks in turn; times and bytes are the busiest rank's."""
    layout = Layout(width=ranks)
    rank = {name: layout.place_of(device, graph) for name, device in logical_devices(graph).items()}
    layers = {name: LayerStep(name, f"rank {rank[name]}") for name, layer in graph.layers.items() if layer.sources}
    with_gradient = graph.gradient_layers()
    clock, link, busy, sent = ([0.0] * ranks for _ in range(4))
    outputs: dict[tuple[str, int], float] = {}  # when those of a layer have come to a rank

    def send(layer: Layer, sender: int, to: int, step: LayerStep) -> float:
        """Return when all of the outputs of a layer, or their gradient, have come to another rank."""
        size = 4.0 * mini * layer.outputs
        seconds = machine.link.latency + size / machine.rate(sender, to)
        link[sender] = max(link[sender], clock[sender]) + seconds
        busy[sender], sent[sender], step.sent = busy[sender] + seconds, sent[sender] + size, step.sent + size
        step.latency += machine.link.latency
        return link[sender]

    def run(step: LayerStep, seconds: float, begins: float) -> None:
        here = rank[step.name]
        step.waits += max(0.0, begins - clock[here])
        clock[here] = max(clock[here], begins) + seconds

    for name, step in layers.items():
        layer = graph.layers[name]
        compute(step, layer, with_gradient, machine.device, 1, mini)
        run(step, step.forward, max(outputs.get((source.name, rank[name]), 0.0) for source in layer.sources))
        for to in {rank[reader.name] for reader in layer.consumers} - {rank[name]}:
            outputs[name, to] = send(layer, rank[name], to, step)
    gradient = dict.fromkeys(layers, 0.0)
    for name, step in reversed(layers.items()):
        run(step, step.backward, gradient[name])
        for source in dict.fromkeys(graph.layers[name].sources):
            there = rank[source.name]
            readers = [reader.name for reader in source.consumers if rank[reader.name] == rank[name]]
            is_last = name == min(readers, key=graph.places.__getitem__)  # all others of this rank have added theirs
            if source.name in with_gradient and there != rank[name] and is_last:
                came = send(source, rank[name], there, step)
                gradient[source.name] = max(gradient[source.name], came)
    for step in layers.values():
        run(step, step.update, 0.0)
    arithmetic, memory = [0.0] * ranks, [0.0] * ranks
    for name, used in memories(graph, mini).items():
        memory[rank[name]] += used.total + (ranks > 1) * used.weights / 2  # gradients beside momenta
        arithmetic[rank[name]] += layers[name].arithmetic if name in layers else 0.0
    most = max(arithmetic)
    steps = [*layers.values()]
    return Step("model", ranks, mini, steps, most, max(0.0, max(clock) - most), max(busy), max(sent), max(memory))
