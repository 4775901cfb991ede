"""One layer in a running net: what its ``forward`` and ``backward`` see (``convnet.layers.node.LayerNode``)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from convnet.backends import philox
from convnet.backends.arguments import Activation, Slope
from convnet.backends.base import Array, Backend
from convnet.graph.graph import Graph
from convnet.layers.base import Layer
from convnet.layers.cost import Cost
from convnet.layers.modes import Mode
from convnet.net.buffers import BufferPool
from convnet.net.peers import PeerCopies
from convnet.net.weights import Share, Weights


class Filler(Protocol):
    """A matrix of a minibatch that fills an array of a backend itself, as pictures do that are packed there."""

    def prefetch(self, be: Backend) -> Filler:
        """Begin to copy to ``be`` what ``fill`` needs; the result fills in place of this object, once."""

    def fill(self, be: Backend, out: Array) -> None:
        """Fill ``out``, (features, N)."""


Inputs = Sequence[np.ndarray | Filler]  # the matrices of one minibatch, each float32 (features, N) or one that fills such


@dataclass
class Context:
    """What the nodes of a net share: buffers, and the pass that is under way."""

    graph: Graph
    minibatch: int  # the largest number of cases
    seed: int
    pools: dict[Backend, BufferPool]
    cases: int
    mode: Mode = Mode.TEST
    step: int = 0  # numbers the random streams; 0 while ops are captured, since the device adds the step to those
    whole: int = 0  # cases of the minibatch that this pass is a part of; 0: it is the whole
    first: int = 0  # of those cases, the first one of this pass
    keep: Collection[str] = ()  # layers whose outputs somebody wants, as they are without the neurons behind them
    inputs: Inputs = ()
    next_inputs: Inputs = ()  # of the pass to come, for which ``prefetch`` has begun


class Node:
    """One layer in a running net: its inputs, buffers, weights, and random numbers."""

    biases: Weights  # of layers that have weights

    def __init__(self, context: Context, layer: Layer, be: Backend, inputs: list[Node], wants_grad: bool) -> None:
        self.context, self.layer, self.be, self.inputs, self.wants_grad = context, layer, be, inputs, wants_grad
        self.generation = context.graph.generation
        self.consumers: list[Node] = []
        self.peers = PeerCopies(self)
        self.weights: list[Weights] = []  # one per input
        self.shares: list[Share | None] = []  # in those weights, where another layer owns them
        self.own_weights: list[Weights] = []  # those that no earlier layer owns, and the biases
        self.conns: list[Array | None] = []
        self.costs: Array = be.cost_vector(layer.num_values) if isinstance(layer, Cost) else None
        self.works_in_place = self.grad_in_place = False  # in the buffer of its input's output; of its consumer's gradient
        self.neuron: Node | None = None  # a neuron behind this layer that its ops can include (``fusion.py``)
        self.readers_multiply = False  # of a neuron: the gradient that arrives is multiplied by its derivative
        self.reached = self.started = False  # whether a consumer has run backward, and whether the gradient has a value
        self.acts: Array | None = None  # the buffer of the output, while there is one
        self._grad: Array | None = None
        self.scratch_buffers: dict[str, Array] = {}
        self._prefetched: Any = None  # what ``prefetch`` began to copy

    # -- what layers use ----------------------------------------------------------------------------------------

    @property
    def cases(self) -> int:
        return self.context.cases

    @property
    def mode(self) -> Mode:
        return self.context.mode

    @property
    def x(self) -> list[Array]:
        return [self.input(i) for i in range(len(self.inputs))]

    def input(self, i: int) -> Array:
        source = self.inputs[i]
        return source.out if source.be is self.be else source.peers.acts(self.be)

    @property
    def out(self) -> Array:
        return self.view(self.take_acts())

    @property
    def grad(self) -> Array:
        if self._grad is None:
            self._grad = self.take_buffer(self.be)
        return self.view(self._grad)

    @property
    def has_grad(self) -> bool:
        return self.started

    def image(self, i: int, channels: int) -> Array:
        return _as_maps(self.input(i), channels)

    def out_image(self, channels: int) -> Array:
        return _as_maps(self.out, channels)

    def grad_image(self, channels: int) -> Array:
        return _as_maps(self.grad, channels)

    def wants(self, i: int) -> bool:
        return self.inputs[i].wants_grad

    def input_grad(self, i: int) -> tuple[Array, float]:
        source = self.inputs[i]
        if source.be is not self.be:
            return source.peers.gradient(self.be)
        if source.grad_in_place:
            source._grad = self._grad
        scale_targets = float(source.started)
        source.started = True
        return source.grad, scale_targets

    def learns(self, i: int) -> bool:
        return self.weights[i].learns_from(self.shares[i])

    def weight_grad(self, i: int) -> tuple[Array, float, float]:
        return self.weights[i].grad_target(self.shares[i])

    def image_input_grad(self, i: int, channels: int) -> tuple[Array, float]:
        grad, scale_targets = self.input_grad(i)
        return _as_maps(grad, channels), scale_targets

    @property
    def activation(self) -> Activation | None:
        if self.neuron is None or self.layer.name in self.context.keep:
            return None
        training, neuron = self.mode.goes_back, self.neuron.layer
        if neuron.activation is None or (training and neuron.uses_inputs):  # backward would want what is not stored
            return None
        return neuron.activation if self.layer.can_include(neuron.activation, training) else None

    def slope(self, i: int, channels: int | None = None) -> Slope | None:
        source = self.inputs[i]
        activation = source.layer.activation if source.readers_multiply else None
        return Slope(activation, self.image(i, channels) if channels else self.input(i)) if activation else None

    def key(self, draw: int = 0) -> philox.Key:
        offset = 0 if self.mode is Mode.TRAIN else 128
        key = philox.key_for(self.context.seed, self.layer.name, self.context.step, draw + offset)
        return key._replace(pitch=self.context.whole, first=self.context.first)

    def uniforms(self, count: int) -> list[float]:
        return [float(1 - u) for u in philox.uniform(self.key(draw=64)._replace(pitch=0, first=0), (count,))]

    def scratch(self, name: str, shape: Sequence[int]) -> Array:
        floats = math.prod(shape)
        buffer = self.scratch_buffers.get(name)
        if buffer is None or buffer.shape[0] < floats:
            buffer = self.scratch_buffers[name] = self.be.empty((floats,))
        return buffer[:floats].reshape(*shape)

    def prefetch(self, index: int, start: int, end: int) -> None:
        values = self.context.next_inputs[index]
        if isinstance(values, np.ndarray):
            self._prefetched = self.be.prefetch(values[start:end])
        else:
            self._prefetched = values.prefetch(self.be)

    def feed(self, index: int, start: int, end: int) -> None:
        values, prefetched = self.context.inputs[index], None
        if self.context.inputs is self.context.next_inputs:
            prefetched, self._prefetched = self._prefetched, None
        if isinstance(values, np.ndarray):
            self.be.copy_in(values[start:end] if prefetched is None else prefetched, self.out)
            return
        filler, rows = prefetched or values, self.context.graph.data_dims[index]
        if (start, end) == (0, rows):
            filler.fill(self.be, self.out)
        else:
            matrix = self.scratch("matrix", (rows, self.cases))
            filler.fill(self.be, matrix)
            self.be.add(matrix[start:end], self.out)

    # -- what the net uses --------------------------------------------------------------------------------------

    @property
    def named_weights(self) -> dict[str, Weights]:
        """Matrices as ``weights[0]``, ... by input, and ``biases``; empty for layers without weights."""
        matrices = {f"weights[{i}]": weights for i, weights in enumerate(self.weights)}
        return matrices | {"biases": self.biases} if matrices else {}

    @property
    def all_weights(self) -> list[Weights]:
        """Matrices by input, then the biases."""
        return list(self.named_weights.values())

    def forward(self) -> None:
        """Compute the output, and copy it to the devices that read it."""
        if self.is_included:
            self.take_acts()
        else:
            self.layer.forward(self)
        if self.layer.dropout > 0:
            self._drop(self.out)
        self.peers.send()

    def backward(self) -> None:
        """Compute the gradients of weights and inputs."""
        self.peers.settle()
        if self.layer.dropout > 0:
            self._drop(self.grad)
        if self.readers_multiply:
            self.input_grad(0)
        else:
            self.layer.backward(self)

    def update(self, noise: np.random.Generator | None = None) -> None:
        """Change the node's own weights by their gradients."""
        for weights in self.own_weights:
            weights.update(noise)

    @property
    def is_included(self) -> bool:
        """Whether this is a neuron that the layer before it includes in this pass."""
        return bool(self.inputs) and self.inputs[0].neuron is self and self.inputs[0].activation is not None

    @property
    def acts_in_place(self) -> bool:
        """Whether the output lies in the buffer of the input's."""
        wanted = bool(self.inputs) and self.inputs[0].layer.name in self.context.keep
        return (self.works_in_place and not wanted) or self.is_included

    def take_acts(self) -> Array:
        """Return the buffer of the output: that of the input, or one of the pool's."""
        if self.acts is None:
            self.acts = self.inputs[0].take_acts() if self.acts_in_place else self.take_buffer(self.be)
        return self.acts

    def take_buffer(self, be: Backend) -> Array:
        """Take a buffer on ``be`` that holds the output of a whole minibatch."""
        return self.context.pools[be].take(self.layer.outputs * self.context.minibatch)

    def view(self, buffer: Array) -> Array:
        """Return a buffer of ``take_buffer`` as (features, N)."""
        return buffer[: self.layer.outputs * self.cases].reshape(self.layer.outputs, self.cases)

    def release_acts(self, backward: bool = False) -> None:
        """Return the output's buffer to its pool, unless another node does that: those that work in place share a buffer.

        Forward, the consumer returns it. ``backward``, where consumers come first, the input if it reads its outputs there.
        """
        self.peers.release_acts()
        if backward:
            shared = self.acts_in_place and self.inputs[0].layer.uses_acts
            shared |= not self.layer.uses_acts and any(node.acts_in_place for node in self.consumers)
        else:
            shared = any(node.acts_in_place for node in self.consumers)
        if self.acts is not None and not shared:
            self.context.pools[self.be].give(self.acts)
        self.acts = None

    def release_grad(self) -> None:
        """Return the gradient's buffer to its pool, unless the input's gradient lies in it."""
        if self._grad is not None and not any(node.grad_in_place for node in self.inputs):
            self.context.pools[self.be].give(self._grad)
        self._grad = None
        self.started = self.reached = False
        self.peers.release_grads()

    def _drop(self, values: Array) -> None:
        """Apply the 2011 fork's dropout on any layer: masks in every pass but TEST, which scales (numerics 10.4)."""
        keep = 1 - self.layer.dropout
        if self.mode in (Mode.TRAIN, Mode.GRADCHECK):
            self.be.dropout(values, values, keep=keep, gain=1.0, key=self.key(draw=32))
        else:
            self.be.add(values, values, 0.0, keep)


def _as_maps(array: Array, channels: int) -> Array:
    features, cases = array.shape
    side = math.isqrt(features // channels)
    return array.reshape(channels, side, side, cases)
