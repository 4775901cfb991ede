"""A step on a backend that only records what it is asked to run: what a net's kernels are, before it runs."""

from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.layers.weighted import WeightLayer
from convnet.net.net import Net


def dry_run(graph: Graph, be: Backend, cases: int, training: bool = True) -> None:
    """Run a training step (unless not ``training``), a test and the checks of weights, each once, on ``be``."""
    net = Net(graph, be, cases, state=empty_state(graph))
    inputs = blank_inputs(graph, cases)
    if training:
        net.train(inputs, cases)
    net.test(inputs, cases)
    net.check_weights()
    for weights in net.weights:
        be.mean_magnitude(weights.value)


def blank_inputs(graph: Graph, cases: int) -> list[np.ndarray]:
    """Return zeros for every matrix of a minibatch; one that no layer reads has a single row."""
    dims, read = graph.data_dims, {layer.dataIdx for layer in graph.declared if isinstance(layer, Data)}
    return [np.zeros((dims[i] if i in read else 1, cases), np.float32) for i in range(max(dims, default=-1) + 1)]


def empty_state(graph: Graph) -> dict[str, dict[str, Any]]:
    """Return weights of the right shapes for a net that will not run."""
    state = {}
    for layer in graph.layers.values():
        if isinstance(layer, WeightLayer):
            arrays = [np.zeros(layer.weight_shape(i), np.float32) for i in range(len(layer.inputs))]
            biases = np.zeros(layer.bias_shape(), np.float32)
            state[layer.name] = {"weights": arrays, "weightsInc": arrays, "biases": biases, "biasesInc": biases}
    return state
