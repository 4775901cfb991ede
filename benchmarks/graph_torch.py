"""A PyTorch module made from a layer graph, with its weights: what our steps are compared with; needs ``torch``.

It is written as one would for PyTorch: layers of two towers that can be one are one, as groups of a convolution or as a
larger one; inputs of several layers are joined before a convolution; border pixels that the last window hangs over are added
to the pictures beforehand. Dropout scales in training alone. What the four networks measured do not have is refused, or
found when outputs and gradients are compared.

Letters: N cases, C channels, S side of a square image, k side of a filter, F filters, M windows of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from convnet.graph.graph import Graph

NEURONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
Arrays = dict[tuple[str, str], np.ndarray]  # of each layer, by "weights[0]", ... and "biases"


class CannotSayError(Exception):
    """A layer that this module does not know in PyTorch."""


class Block(NamedTuple):
    """Where weights of a layer lie in a parameter of its module, and how they are turned to lie there."""

    key: tuple[str, str]
    parameter: nn.Parameter
    place: tuple[slice, ...]
    turn: Callable[[np.ndarray], np.ndarray]
    kept: float = 1.0  # what ours are multiplied by in inference, behind dropout

    def gradient(self) -> np.ndarray:
        return self.parameter.grad[self.place].numpy()


class Norm(nn.Module):
    """x times (k + scale * mean of squares) ^ -pow: cmrnorm over maps of each of some towers, rnorm over pixels of a map."""

    def __init__(self, layer: Any, towers: int) -> None:
        super().__init__()
        self.across, self.towers, self.size = layer.type == "cmrnorm", towers, layer.size
        self.numbers = layer.minDiv, layer.scale, -layer.pow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (k, scale, power), size = self.numbers, self.size
        if self.across:
            maps = (x * x).unflatten(1, (self.towers, -1))
            mean = functional.avg_pool3d(maps, (size, 1, 1), 1, (size // 2, 0, 0)).flatten(1, 2)
        else:
            mean = functional.avg_pool2d(x * x, size, 1, size // 2)
        return x * (k + scale * mean).pow(power)


class Local(nn.Module):
    """local: a product of matrices for each window."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        M, rows, self.side = layer.modulesX**2, layer.channels[0] * layer.filterSize[0] ** 2, layer.modulesX
        self.window = {"kernel_size": layer.filterSize[0], "padding": layer.padding[0], "stride": layer.stride[0]}
        self.weight = nn.Parameter(torch.empty(M, rows, layer.num_filters))
        self.bias = nn.Parameter(torch.empty(M, 1, layer.num_filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = functional.unfold(x, **self.window).permute(2, 0, 1)  # (M, N, C * k * k)
        return torch.baddbmm(self.bias, patches, self.weight).permute(1, 2, 0).unflatten(2, (self.side, self.side))


class Unit(nn.Module):
    """A layer, or those of two towers that are one here, with its neuron: ``layers`` in the order of its output's maps."""

    def __init__(self, layers: list[Any], reads: list[int], starts: dict[str, int], grouped: bool) -> None:
        super().__init__()
        self.layers, self.reads, self.starts, self.grouped = layers, reads, starts, grouped
        self.type, neuron = layers[0].type, layers[0].neuron
        self.main = self._main(layers[0], len(layers))
        self.neuron = NEURONS[neuron.type]() if neuron else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.main(x))

    def _main(self, layer: Any, towers: int) -> nn.Module:
        if self.type == "conv":
            apart = towers if self.grouped else 1
            shape = sum(layer.channels) * apart, layer.num_filters * towers, layer.filterSize[0]
            return nn.Conv2d(*shape, layer.stride[0], layer.padding[0], groups=layer.groups[0] * apart)
        if self.type == "fc":
            return nn.Sequential(nn.Flatten(), nn.Linear(sum(layer.num_inputs), layer.outputs * towers))
        if self.type == "local":
            return Local(layer)
        if self.type == "pool" and layer.pool == "max":
            return nn.MaxPool2d(layer.sizeX, layer.stride, ceil_mode=True)
        if self.type == "pool":
            return nn.AvgPool2d(layer.sizeX, layer.stride, ceil_mode=True, count_include_pad=False)
        if self.type in ("cmrnorm", "rnorm"):
            return Norm(layer, towers)
        if self.type in ("hs", "dropout", "dropout2"):
            return nn.Dropout(1 - layer.keep if layer.enable else 0.0)
        raise CannotSayError(f"layer '{layer.name}' ({self.type}): no module for it")

    def blocks(self) -> Iterator[Block]:
        """Yield where the weights of its layers lie."""
        main = self.main[1] if self.type == "fc" else self.main
        for t, layer in enumerate(self.layers if hasattr(main, "weight") else ()):
            maps = layer.outputs if self.type == "fc" else layer.num_filters
            own = slice(t * maps, (t + 1) * maps)
            if self.type == "local":
                yield Block((layer.name, "weights[0]"), main.weight, (), lambda w: w.reshape(len(w), -1, w.shape[-1]))
                yield Block((layer.name, "biases"), main.bias, (), lambda b, maps=maps: b.reshape(maps, -1).T[:, None])
                continue
            for i, source in enumerate(layer.sources):
                start = 0 if self.grouped else self.starts[source.written_name]
                width, turn = source.outputs, lambda w: w
                if self.type == "conv":
                    width, turn = layer.filterChannels[i], lambda w: w.transpose(3, 0, 1, 2)
                place, kept = (own, slice(start, start + width)), source.gains()[1] if hasattr(source, "gains") else 1.0
                yield Block((layer.name, f"weights[{i}]"), main.weight, place, turn, kept)
            yield Block((layer.name, "biases"), main.bias, (own,), np.ravel)


class GraphNet(nn.Module):
    """The layers of a graph that stand between its pictures and the softmax below its only cost, logreg."""

    def __init__(self, graph: Graph, towers_as_groups: bool = True) -> None:
        super().__init__()
        self.units, self.border = nn.ModuleList(), 0
        self._member: dict[str, tuple[int, int]] = {}  # of each layer, its unit and which of those in it it is
        layers = [layer for layer in graph.layers.values() if not layer.detached_from]
        self.label_layer = layers[-1].sources[0]
        self.data_layer = next(layer for layer in layers if layer.type == "data" and layer is not self.label_layer)
        self._member[self.data_layer.name] = -1, 0
        waiting = [layer for layer in layers[:-2] if layer.type != "data"]
        while waiting:
            count = 2 if towers_as_groups and len(waiting) > 1 and self._are_one(*waiting[:2]) else 1
            self._add(waiting[:count])
            waiting = waiting[count:]
        self._last = {at: i for i, unit in enumerate(self.units) for at in unit.reads}  # the unit that reads a value last

    def _read(self, layer: Any) -> list[tuple[int, int]]:
        return [self._member[source.written_name] for source in layer.sources]

    def _width(self, unit: int) -> int:
        return len(self.units[unit].layers) if unit >= 0 else 1

    def _are_one(self, a: Any, b: Any) -> bool:
        """Whether two layers are two towers of one: both read all of a unit, or each its own half of one."""
        if a.type != b.type or a in b.sources or any(source.written_name == a.name for source in b.sources):
            return False
        if any(getattr(a, key.name) != getattr(b, key.name) for key in a.keys if key.name not in ("inputs", "gpu")):
            return False
        read = self._read(a), self._read(b)
        whole = sorted(read[0]) == sorted(read[1]) and len(read[0]) == self._width(read[0][0][0])
        return (whole and a.type in ("conv", "fc")) or (self._halves(*read) and a.type not in ("fc", "local"))

    def _halves(self, a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> bool:
        return len(a) == len(b) == 1 and a[0][0] == b[0][0] and (a[0][1], b[0][1]) == (0, 1) and self._width(a[0][0]) == 2

    def _add(self, layers: list[Any]) -> None:
        """Add the unit of a layer or of two."""
        first, read = layers[0], self._read(layers[0])
        grouped = len(layers) == 2 and self._halves(read, self._read(layers[1]))
        whole = sorted(read) == [(read[0][0], j) for j in range(self._width(read[0][0]))]
        starts, at = {}, 0  # where each source's values begin among those read, in maps or, of fc, in features
        for i in sorted(range(len(read)), key=lambda i: read[i]) if whole else range(len(read)):
            source = first.sources[i]
            starts[source.written_name] = at
            at += source.outputs if first.type == "fc" else first.channels[i] if first.type == "conv" else 0
        if first.type == "conv" and read == [(-1, 0)]:
            last = (first.modulesX - 1) * first.stride[0] + first.filterSize[0]
            self.border = max(0, last - first.imgSize[0] - 2 * first.padding[0])
        self._member.update((layer.name, (len(self.units), j)) for j, layer in enumerate(layers))
        reads = [read[0][0]] if grouped or whole else [unit for unit, _ in read]
        self.units.append(Unit(layers, reads, starts, grouped))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the softmax reads, (N, classes), of pictures as ``pictures`` makes them."""
        values = {-1: x}
        for i, unit in enumerate(self.units):
            parts = [values.pop(at) if self._last[at] == i else values[at] for at in unit.reads]
            x = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            del parts
            values[i] = x = unit(x)
        return x

    def pictures(self, matrix: np.ndarray, layout: str) -> torch.Tensor:
        """Return a matrix of a minibatch (features, N) as (N, C, S, S) with the border that the first layer reads."""
        first = self.units[0].layers[0]
        C, S = first.channels[0], first.imgSize[0]
        images = torch.from_numpy(np.ascontiguousarray(matrix.reshape(C, S, S, -1).transpose(3, 0, 1, 2)))
        return functional.pad(images, (0, self.border, 0, self.border)).contiguous(memory_format=LAYOUTS[layout])

    def blocks(self) -> Iterator[Block]:
        for unit in self.units:
            yield from unit.blocks()

    @torch.no_grad()
    def take(self, weights: Arrays) -> None:
        """Copy weights in; in inference those behind dropout count for the units that stay in training."""
        for block in self.blocks():
            values = torch.from_numpy(np.ascontiguousarray(block.turn(weights[block.key])))
            block.parameter[block.place] = values if self.training else values * block.kept
