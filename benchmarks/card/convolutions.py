"""The convolutions of a net as single ops: their sizes, arrays for them, and the three passes.

Letters: C channels, H, W sides of the image, N cases, F filters, k side of a filter, MY, MX sides of the output, CF channels
of a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convnet.backends.arguments import Geometry
from convnet.backends.base import Array, Backend
from convnet.data.random import synthesize
from convnet.graph.loading import LayerFiles, parse
from convnet.layers.conv import Conv

# The op of each pass.
OPS = {"forward": "conv_forward", "input grad": "conv_input_grad", "weight grad": "conv_weight_grad"}


class Sizes(NamedTuple):
    """What a convolution's time depends on."""

    images: tuple[int, int, int, int]  # (C, H, W, N)
    weights: tuple[int, int, int, int]  # (CF, k, k, F)
    out: tuple[int, int, int, int]  # (F, MY, MX, N)
    geometry: Geometry


class Convolution(NamedTuple):
    """All convolutions of a net that have the same sizes, such as those of two towers."""

    net: str
    layers: tuple[str, ...]  # a layer with two such inputs stands here twice
    sizes: Sizes
    passes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The layers, each once."""
        return ", ".join(dict.fromkeys(self.layers))


def convolutions(net: str, mini: int) -> list[Convolution]:
    """List the convolutions of a layer file at minibatches of ``mini``, in running order; raises ``ConvnetError``.

    Convolutions with random connections are left out. What reads the data has no input gradient.
    """
    graph = synthesize(parse(LayerFiles.open(net))).graph
    found: dict[tuple[Sizes, tuple[str, ...]], list[str]] = {}
    for layer in graph.layers.values():
        if not isinstance(layer, Conv):
            continue
        for i, source in enumerate(layer.sources):
            if layer.randSparse[i]:
                continue
            images = (layer.channels[i], layer.imgSize[i], layer.imgSize[i], mini)
            out = (layer.num_filters, layer.modulesX, layer.modulesX, mini)
            geometry = Geometry(layer.padding[i], layer.stride[i], layer.groups[i])
            passes = tuple(kind for kind in OPS if kind != "input grad" or source.type != "data")
            found.setdefault((Sizes(images, layer.kernel_shape(i), out, geometry), passes), []).append(layer.name)
    return [Convolution(net, tuple(layers), sizes, passes) for (sizes, passes), layers in found.items()]


class Arrays:
    """Random inputs of a convolution on a device, and room for the result of each pass."""

    def __init__(self, be: Backend, sizes: Sizes, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.be, self.geometry = be, sizes.geometry
        self.images, self.weights, self.grad = (
            be.upload(random.standard_normal(shape, np.float32)) for shape in (sizes.images, sizes.weights, sizes.out)
        )
        self.results = {
            kind: be.zeros(shape) for kind, shape in zip(OPS, (sizes.out, sizes.images, sizes.weights), strict=True)
        }

    def inputs(self, kind: str) -> tuple[Array, Array]:
        """Return what a pass reads."""
        read = {"forward": (self.images, self.weights), "input grad": (self.grad, self.weights)}
        return read.get(kind, (self.images, self.grad))

    def ours(self, kind: str) -> Callable[[], Any]:
        """Return the call of our op for a pass."""
        op = getattr(self.be, OPS[kind])
        return lambda: op(*self.inputs(kind), self.results[kind], geometry=self.geometry)
