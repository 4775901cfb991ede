"""The convolutions of nets: what each pass computes, found by running it on a device that only records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from convolutions import OPS, Sizes, convolutions

from convnet.backends.arguments import Geometry
from convnet.backends.base import Backend
from convnet.backends.cuda import Cuda
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tile_table import Choice, Products

NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct")


@dataclass
class ConvPass:
    """A pass of a convolution: its products, the op and the shapes of its three arrays, and the layers that have it."""

    products: Products
    op: str
    shapes: tuple[tuple[int, ...], ...]
    geometry: Geometry
    layers: list[str] = field(default_factory=list)

    def arrays(self, be: Backend) -> list[Any]:
        """Return arrays of its shapes, zeros."""
        return [be.zeros(shape) for shape in self.shapes]

    def run(self, be: Backend, arrays: list[Any]) -> None:
        """Issue the pass."""
        getattr(be, self.op)(*arrays, geometry=self.geometry)


class Forced(Cuda):
    """A backend whose convolutions take the choice that is given, if one is; notes the products of the last one."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.choice: Choice | None = None
        self.products: Products | None = None

    def _choice(self, kind: str, shapes: dict[str, int], *sizes: int) -> Choice:
        self.products = Products(kind.lower(), self.device.math, *sizes, shapes["G"])
        return self.choice or super()._choice(kind, shapes, *sizes)


def conv_passes(nets: Iterable[str], maths: Iterable[str], mini: int) -> list[ConvPass]:
    """Return the passes of all plain convolutions of ``nets``, each of its sizes once."""
    found: dict[Products, ConvPass] = {}
    listed = [(net, convolution) for net in nets for convolution in convolutions(f"{net}.cfg", mini)]
    for math in maths:
        be = Forced(Recorder(math))
        for net, convolution in listed:
            for kind in convolution.passes:
                own = pass_of(convolution.sizes, kind, be)
                entry = found.setdefault(own.products, own)
                entry.layers = list(dict.fromkeys([*entry.layers, *(f"{net}/{layer}" for layer in convolution.layers)]))
    return list(found.values())


def pass_of(sizes: Sizes, kind: str, be: Forced) -> ConvPass:
    """Return a pass of a convolution, with its products in the math mode of ``be``, a recorder."""
    images, weights, out, geometry = sizes
    shapes = {"forward": (images, weights, out), "input grad": (out, weights, images), "weight grad": (images, out, weights)}
    arrays = [be.device.empty(shape) for shape in shapes[kind]]
    getattr(be, OPS[kind])(*arrays, geometry=geometry)
    assert be.products is not None
    return ConvPass(be.products, OPS[kind], shapes[kind], geometry)
