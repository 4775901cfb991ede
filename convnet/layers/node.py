"""What a layer may ask of the node that runs it: its arrays, its backend, and its place in the step.

The node itself is ``convnet.net.node.Node``; layers know only this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from convnet.backends.arguments import Activation, Array, Slope
from convnet.generation import Generation
from convnet.layers.modes import Mode

if TYPE_CHECKING:
    from convnet.backends.base import Backend


class LayerNode(Protocol):
    """Letters: C channels, S side of a square map, N cases."""

    be: Backend  # whose ops the layer calls
    weights: list[Any]  # ``net.weights.Weights``, one per input of a layer that has them
    biases: Any
    conns: list[Array | None]  # random connections, one per input
    costs: Array  # a cost's sums, one per value

    @property
    def cases(self) -> int: ...  # N of this minibatch
    @property
    def mode(self) -> Mode: ...  # why the net runs
    @property
    def generation(self) -> Generation: ...  # of the layer files, where engines differ
    @property
    def consumers(self) -> Sequence[LayerNode]: ...  # the nodes that read this one's output

    @property
    def x(self) -> list[Array]: ...  # the inputs, each (features, N)
    @property
    def out(self) -> Array: ...  # the output, (features, N)
    @property
    def grad(self) -> Array: ...  # the gradient of minus the cost at the output, (features, N)
    @property
    def has_grad(self) -> bool: ...  # whether anything has been written to it
    def input(self, i: int) -> Array: ...  # one of them, without making views of all
    def image(self, i: int, channels: int) -> Array: ...  # input ``i`` as maps (C, S, S, N)
    def out_image(self, channels: int) -> Array: ...  # the output as maps
    def grad_image(self, channels: int) -> Array: ...  # the gradient at the output as maps

    def learns(self, i: int) -> bool: ...  # whether the weights of input ``i`` want a gradient of this layer
    def weight_grad(self, i: int) -> tuple[Array, float, float]: ...  # (array, scale_targets, scale_output) for it

    def wants(self, i: int) -> bool: ...  # whether input ``i`` wants a gradient
    # (gradient of input ``i``, scale_targets): 0 for the first to write it, 1 for those that add; also as maps
    def input_grad(self, i: int) -> tuple[Array, float]: ...
    def image_input_grad(self, i: int, channels: int) -> tuple[Array, float]: ...

    @property
    def activation(self) -> Activation | None: ...  # of the neuron behind this layer, where ``forward`` includes it
    # of the neuron that is input ``i``, where ``backward`` includes it
    def slope(self, i: int, channels: int | None = None) -> Slope | None: ...

    def key(self, draw: int = 0) -> Any: ...  # names the random numbers of this layer in this step
    def uniforms(self, count: int) -> list[float]: ...  # numbers in [0, 1) on the host, one draw for the whole minibatch
    def scratch(self, name: str, shape: Sequence[int]) -> Array: ...  # working memory, from forward to backward

    # Begin to bring rows ``start`` to ``end`` of the coming minibatch's matrix ``index``; fill the output with them.
    def prefetch(self, index: int, start: int, end: int) -> None: ...
    def feed(self, index: int, start: int, end: int) -> None: ...
