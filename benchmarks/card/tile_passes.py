"""The convolutions of nets: what each pass computes, found by a step on a device that only records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from convnet.backends.arguments import Geometry
from convnet.backends.base import Backend
from convnet.backends.cuda import Cuda
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tile_table import Choice, Products
from convnet.data.random import synthesize
from convnet.graph.loading import LayerFiles, parse
from convnet.net.dry_run import blank_inputs, empty_state
from convnet.net.net import Net

NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct")
OPS = ("conv_forward", "conv_input_grad", "conv_weight_grad")


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
    for math in maths:
        for net in nets:
            _note(net, math, mini, found)
    return list(found.values())


def _note(name: str, math: str, mini: int, found: dict[Products, ConvPass]) -> None:
    graph = synthesize(parse(LayerFiles.open(f"{name}.cfg"))).graph
    be = Forced(Recorder(math))
    running: list[str] = []

    def noting(op: str) -> Any:
        plain = getattr(be, op)

        def noted(a: Any, b: Any, out: Any, *args: Any, geometry: Geometry, **more: Any) -> None:
            plain(a, b, out, *args, geometry=geometry, **more)
            if geometry.conns is None and be.products:
                shapes = tuple(tuple(array.shape) for array in (a, b, out))
                entry = found.setdefault(be.products, ConvPass(be.products, op, shapes, geometry))
                if running and f"{name}/{running[-1]}" not in entry.layers:
                    entry.layers.append(f"{name}/{running[-1]}")

        return noted

    for op in OPS:
        setattr(be, op, noting(op))
    net = Net(graph, be, minibatch=mini, state=empty_state(graph))

    def around(node: Any, _kind: str, work: Any) -> None:
        running.append(node.layer.name)
        work()
        running.pop()

    net.around = around
    net.train(blank_inputs(graph, mini), mini, check_finite=False)
