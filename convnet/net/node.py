"""One layer in a running net: what its ``forward`` and ``backward`` see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.backends import philox
from convnet.backends.base import Array, Backend
from convnet.generation import Generation
from convnet.layers.base import Layer
from convnet.layers.modes import Mode
from convnet.net.peers import PeerCopies
from convnet.net.weights import Weights

if TYPE_CHECKING:
    from convnet.net.net import Net


class Node:
    """One layer in a running net: its inputs, buffers, weights, and random numbers."""

    def __init__(self, net: Net, layer: Layer, be: Backend, inputs: list[Node]) -> None:
        self.net, self.layer, self.be, self.inputs = net, layer, be, inputs
        self.consumers: list[Node] = []
        self.peers = PeerCopies(self)
        self.weights: list[Weights] = []
        self.biases: Weights = None  # type: ignore[assignment]
        self.conns: list[Array | None] = []
        self.costs: Array = be.cost_vector(layer.num_values) if layer.is_cost else None  # type: ignore[attr-defined]
        self.wants_grad = False
        self.acts_in_place = self.grad_in_place = False
        self.reached = self.started = False
        self.acts: tuple[int, Array] | None = None  # the buffer of the output, while there is one
        self._grad: tuple[int, Array] | None = None
        self._scratch: dict[str, Array] = {}
        self._prefetched: Any = None  # what ``prefetch`` began to bring

    # -- what layers use ----------------------------------------------------------------------------------------

    @property
    def cases(self) -> int:
        """N of this minibatch."""
        return self.net.cases

    @property
    def mode(self) -> Mode:
        """Why the net runs."""
        return self.net.mode

    @property
    def generation(self) -> Generation:
        """Generation of the layer files, where engines differ."""
        return self.net.graph.generation

    @property
    def x(self) -> list[Array]:
        """The inputs, each (features, N)."""
        return [node.out if node.be is self.be else node.peers.acts(self.be) for node in self.inputs]

    @property
    def out(self) -> Array:
        """The output, (features, N)."""
        return self.view(self.take_acts())

    @property
    def grad(self) -> Array:
        """The gradient of minus the cost at the output, (features, N)."""
        if self._grad is None:
            self._grad = self.net.pool(self.be).take(self._floats())
        return self.view(self._grad)

    def image(self, i: int, channels: int) -> Array:
        """Input ``i`` as maps (channels, S, S, N)."""
        return _as_maps(self.x[i], channels)

    def out_image(self, channels: int) -> Array:
        return _as_maps(self.out, channels)

    def grad_image(self, channels: int) -> Array:
        return _as_maps(self.grad, channels)

    def wants(self, i: int) -> bool:
        """Whether input ``i`` wants a gradient."""
        return self.inputs[i].wants_grad

    def input_grad(self, i: int) -> tuple[Array, float]:
        """(gradient of input ``i``, scale_targets): 0 for the first to write it, 1 for those that add."""
        source = self.inputs[i]
        if source.be is not self.be:
            return source.peers.gradient(self.be)
        if source.grad_in_place:
            source._grad = self._grad
        scale_targets = float(source.started)
        source.started = True
        return source.grad, scale_targets

    def image_input_grad(self, i: int, channels: int) -> tuple[Array, float]:
        grad, scale_targets = self.input_grad(i)
        return _as_maps(grad, channels), scale_targets

    def key(self, draw: int = 0) -> philox.Key:
        """Names the random numbers of this layer in this step."""
        offset = 0 if self.mode is Mode.TRAIN else 128
        step = 0 if self.net.capturing else self.net.step  # which the device counts for what is captured
        return philox.key_for(self.net.seed, self.layer.name, step, draw + offset)

    def prefetch(self, index: int, start: int, end: int) -> None:
        """Begin to bring rows ``start`` to ``end`` of the coming minibatch's matrix ``index`` for ``feed``."""
        values = self.net.next_inputs[index]
        self._prefetched = (
            self.be.prefetch(values[start:end]) if isinstance(values, np.ndarray) else values.prefetch(self.be)
        )

    def feed(self, index: int, start: int, end: int) -> None:
        """Fill the output with rows ``start`` to ``end`` of the minibatch's matrix ``index``."""
        values, prefetched = self.net.inputs[index], None
        if self.net.inputs is self.net.next_inputs:
            prefetched, self._prefetched = self._prefetched, None
        if isinstance(values, np.ndarray):
            self.be.copy_in(values[start:end] if prefetched is None else prefetched, self.out)
            return
        filling, rows = prefetched or values, self.net.graph.data_dims[index]
        if (start, end) == (0, rows):
            filling.fill(self.be, self.out)
        else:
            whole = self.scratch("whole", (rows, self.cases))
            filling.fill(self.be, whole)
            self.be.add(whole[start:end], self.out)

    def uniforms(self, count: int) -> list[float]:
        """A few numbers in [0, 1) on the host, one draw for the whole minibatch."""
        return [float(1 - u) for u in philox.uniform(self.key(draw=64), count)]

    def scratch(self, name: str, shape: Sequence[int]) -> Array:
        """Working memory that lasts from forward to backward."""
        floats = math.prod(shape)
        held = self._scratch.get(name)
        if held is None or held.shape[0] < floats:
            held = self._scratch[name] = self.be.empty((floats,))
        return held[:floats].reshape(*shape)

    # -- what the net uses --------------------------------------------------------------------------------------

    @property
    def all_weights(self) -> list[Weights]:
        return [*self.weights, self.biases] if self.biases else []

    def take_acts(self) -> tuple[int, Array]:
        """The buffer of the output: that of the input, or one of the pool's."""
        if self.acts is None:
            self.acts = self.inputs[0].acts if self.acts_in_place else self.net.pool(self.be).take(self._floats())
        return self.acts

    def scratch_arrays(self) -> list[Array]:
        return list(self._scratch.values())

    def forward(self) -> None:
        self.layer.forward(self)
        if self.layer.dropout > 0:
            self._drop(self.out)
        self.peers.send()

    def backward(self) -> None:
        if self.layer.dropout > 0:
            self._drop(self.grad)
        self.layer.backward(self)

    def deliver_grads(self) -> None:
        """Send the gradients of inputs on other devices to where they belong."""
        for source in dict.fromkeys(self.inputs):
            source.peers.collect(self.be)

    def release_acts(self) -> None:
        self.peers.release_acts()
        if self.acts is not None and not any(node.acts_in_place for node in self.consumers):
            self.net.pool(self.be).give(*self.acts)
        self.acts = None

    def release_grad(self) -> None:
        taken_over = any(node.grad_in_place for node in self.inputs)
        if self._grad is not None and not taken_over:
            self.net.pool(self.be).give(*self._grad)
        self._grad = None
        self.started = self.reached = False

    def _drop(self, values: Array) -> None:
        """The 2011 fork's dropout on any layer: masks in every pass but TEST, which scales (numerics 10.4)."""
        keep = 1 - self.layer.dropout
        if self.mode in (Mode.TRAIN, Mode.GRADCHECK):
            self.be.dropout(values, values, keep=keep, gain=1.0, key=self.key(draw=32))
        else:
            self.be.add(values, values, 0.0, keep)

    def _floats(self) -> int:
        return self.layer.outputs * self.net.minibatch

    def view(self, held: tuple[int, Array]) -> Array:
        """A buffer of a pool as (features, N)."""
        return held[1][: self.layer.outputs * self.cases].reshape(self.layer.outputs, self.cases)


def _as_maps(array: Array, channels: int) -> Array:
    features, cases = array.shape
    side = math.isqrt(features // channels)
    return array.reshape(channels, side, side, cases)
