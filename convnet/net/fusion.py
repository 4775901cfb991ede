"""Neurons that the layers beside them include in their ops, where the ops of a backend may (``Backend.includes_neurons``).

Forward, the layer before a neuron stores f(x) instead of x, so that its map is written once. Backward, every reader of a
neuron multiplies the gradient that it makes by f', and the neuron only passes on the sum of these. 2012 ran neurons as
kernels of their own.
"""

from collections.abc import Iterable

from convnet.net.node import Node


def include_neurons(nodes: Iterable[Node]) -> None:
    """Set ``neuron`` of the nodes that can include the one behind them, and ``readers_multiply`` of neurons."""
    for node in nodes:
        if node.layer.activation is None or node.layer.dropout:
            continue
        (source,) = node.inputs
        if source.be is node.be and source.be.includes_neurons and source.consumers == [node] and not source.layer.dropout:
            source.neuron = node
        # Its own backward then has nothing left to do: the gradients lie in one buffer, and f' follows from its output.
        only_passes_on = source.grad_in_place and not node.layer.uses_inputs and not node.layer.fused_cost
        can_multiply = [reader.layer.multiplies_slope and reader.be.includes_neurons for reader in node.consumers]
        node.readers_multiply = only_passes_on and bool(can_multiply) and all(can_multiply)
