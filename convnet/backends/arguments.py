"""Arguments of ops besides arrays: sizes and constants that belong together. No NumPy: layers build them."""

from typing import Any, NamedTuple

Array = Any  # a backend's own array


class Geometry(NamedTuple):
    """How the windows of a convolution lie on its images, and which channels its groups read (numerics 2.1)."""

    padding: int
    stride: int
    groups: int = 1
    conns: Array | None = None  # channel of each slot of each group, from ``Backend.connections``; None: all in order


class Window(NamedTuple):
    """Output ``o`` of a pooling reads [start + o*stride, start + o*stride + size) of its input, clipped (numerics 8.1)."""

    size: int
    start: int
    stride: int


class Response(NamedTuple):
    """Constants of a response normalisation; ``scale`` is already divided by the values of a window (numerics 9.0)."""

    size: int
    scale: float
    power: float
    min_div: float
    blocked: bool = False  # cmrnorm: windows are fixed blocks of channels


# Kinds of ``Activation``, in the order of the numbers by which kernels know them.
NEURONS = ("ident", "logistic", "relu", "brelu", "abs", "tanh", "drelu", "softrelu", "square", "sqrt", "linear", "log")


class Activation(NamedTuple):
    """A function of one value, by name, with up to two parameters (numerics 7)."""

    kind: str
    a: float = 0.0
    b: float = 0.0


class Slope(NamedTuple):
    """The derivative of a neuron whose outputs are an op's inputs; the gradient that the op makes is multiplied by it.

    Only of functions whose derivative follows from their output ``y``.
    """

    activation: Activation
    y: Array


class Criterion(NamedTuple):
    """A cost by name, its weight in the total, and the constants that some costs have (numerics 12)."""

    kind: str
    coeff: float = 1.0
    topk: int = 1
    pos_weight: float = 1.0
    set_size: int = 1


class Rates(NamedTuple):
    """How one update moves weights (numerics 13.1)."""

    momentum: float
    rate: float
    decay: float
