"""The gradient of a cost, or of one output of a layer, at the data: which pixels move a prediction, and which way.

Training goes back to the first layer that learns and no further, so a second set of nodes is made for it: on the same
weights, none of which learn, over the same buffers. Units are as in testing: none is dropped. The 2012 program had an option
for it, ``--show-data-grad``, whose native half was taken out of the release.

Letters: D features of a matrix of the data, N cases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

import numpy as np

from convnet.errors import ConvnetError
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.cost import Cost
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.net.net import Inputs, Net
from convnet.net.node import Context, Node
from convnet.net.weights import Learning, Weights


class InputGradient:
    """Goes back from ``start``, a cost or another layer, to matrix ``index`` of the data of ``net``.

    It sees weights that change, but not those that are loaded later. Raises ``ConvnetError`` where there is no way back.
    """

    def __init__(self, net: Net, start: str, index: int = 0) -> None:
        self.index = index
        self._start = start
        self._net = copy(net)
        self._net.around = None
        context = Context(net.graph, net.minibatch, net.seed, net.pools, net.minibatch)
        self._net._context = context
        self._net.nodes = self._net.make_nodes(layers_between(net.graph, start, index), context)
        for name, node in self._net.nodes.items():
            _borrow(net.nodes[name], node)
        self._net.nodes[start].readers_multiply = False  # nobody behind it runs backward

    def __call__(self, inputs: Inputs, cases: int, outputs: np.ndarray | None = None) -> np.ndarray:
        """Return the gradient (D, N) of one minibatch, of each case by its own data.

        That is of the cost itself, whatever its ``coeff``; of another layer ``outputs`` (N,) says which output of each case.
        """
        start = self._net.nodes[self._start]
        with self._released():
            self._net.forward(inputs, cases, Mode.INPUTS)
            if isinstance(start.layer, Cost):
                return self._back(start) / -start.layer.coeff  # what layers pass on is of minus the cost, weighed
            chosen = np.zeros((start.layer.outputs, cases))
            chosen[np.asarray(outputs, int), np.arange(cases)] = 1
            start.be.copy_in(chosen, start.grad)
            start.started = start.reached = True
            return self._back(start)

    def _back(self, start: Node) -> np.ndarray:
        """Run backward from ``start``; returns what arrives at the data, (D, N)."""
        total = np.zeros((self._net.graph.data_dims[self.index], start.cases))
        for node in reversed(self._net.nodes.values()):
            layer = node.layer
            if isinstance(layer, Data):
                if node.wants_grad and node.started:
                    total[layer.start : layer.end] += node.be.download(node.grad)
            elif node is start or (node.wants_grad and node.reached):
                node.backward()
                for source in dict.fromkeys(node.inputs):
                    source.reached = True
                    source.peers.collect(node.be)
            node.release_grad()
            node.release_acts(backward=True)
        return total

    @contextmanager
    def _released(self) -> Iterator[None]:
        """Return all buffers at the end, also of a pass that an exception ends."""
        try:
            yield
        finally:
            for node in self._net.nodes.values():
                node.release_grad()
                node.release_acts()


def layers_between(graph: Graph, start: str, index: int) -> set[str]:
    """Return the layers whose outputs need a gradient on the way from ``start`` back to matrix ``index`` of the data.

    Raises ``ConvnetError`` where ``start`` does not depend on it, or not in a way that could be told.
    """
    layers = graph.layers
    below = {layers[start]}
    for layer in reversed(layers.values()):
        if layer in below:
            below.update(layer.sources)
    names: set[str] = set()
    for name, layer in layers.items():
        reads = isinstance(layer, Data) and layer.dataIdx == index
        if layer in below and (reads or any(source.name in names for source in layer.sources)):
            names.add(name)
    if start not in names:
        raise ConvnetError(f"'{start}' does not depend on matrix {index} of the data, and has no gradient there")
    _check_way(layers[start], [layers[name] for name in names])
    return names


def _check_way(start: Layer, way: list[Layer]) -> None:
    if isinstance(start, Cost) and not start.coeff:
        raise ConvnetError(f"cost '{start.name}' has coeff=0, so that no gradient comes from it; name a layer and an output")
    if deaf := sorted(layer.name for layer in way if not layer.gradient):
        kinds = ", ".join(f"'{layer.name}' ({layer.type})" for layer in way if layer.name in deaf)
        raise ConvnetError(f"no gradient reaches the data: {kinds} passes none on")


def _borrow(owner: Node, node: Node) -> None:
    """Give ``node`` the weights of ``owner``, of which none learn."""
    if not owner.weights:
        return
    node.weights, node.biases = list(map(_frozen, owner.weights)), _frozen(owner.biases)
    node.shares, node.conns = owner.shares, owner.conns


def _frozen(weights: Weights) -> Weights:
    return replace(weights, learning=Learning(), checking=False)
