"""conv and local: the host side of ``cuda/conv.cu``. It chooses tiles, grids, and how weight gradients are shared out.

Letters: C channels, H, W sides of the image, N cases, F filters, MY, MX sides of the output, G groups, CF channels and FG
filters of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convnet.backends.arguments import Geometry
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.device import Dim
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div
from convnet.backends.cuda.tiles import Tile, share_of_windows, tile_for

_PASSES = {"FORWARD": 0, "TURN": 1, "INPUT_GRAD": 2, "WEIGHT_GRAD": 3, "SPARSE_INPUT_GRAD": 4, "ADD_PARTS": 5}
_TRANSPOSE_SIDE = 32  # of the squares in which weights are transposed


@dataclass(frozen=True)
class Shape:
    """The sizes of one convolution, as ``conv.cu`` calls them."""

    H: int
    W: int
    N: int
    F: int
    MY: int
    MX: int
    SIZE: int
    CF: int
    G: int
    PADDING: int
    STRIDE: int
    LOCAL: int
    HAS_CONNS: int

    @classmethod
    def of(cls, images: Array, weights: Array, out: Array, geometry: Geometry) -> Shape:
        (_, H, W, N), (F, MY, MX, _), (Cf, k) = images.shape, out.shape, weights.shape[-4:-2]
        padding, stride, groups, conns = geometry
        return cls(H, W, N, F, MY, MX, k, Cf, groups, padding, stride, int(len(weights.shape) == 5), int(conns is not None))

    @property
    def FG(self) -> int:
        return self.F // self.G

    @property
    def rows(self) -> int:
        """Weights of a filter."""
        return self.CF * self.SIZE**2

    @property
    def constants(self) -> dict[str, int]:
        return {**vars(self), "FG": self.FG, "VECTOR_N": int(self.N % 4 == 0)}


class ConvOps(Launcher, Backend):
    """conv_*."""

    _inverse: dict[tuple, tuple[Array, Array, Array]]

    def conv_forward(
        self,
        images: Array,
        weights: Array,
        out: Array,
        scale_targets: float = 0.0,
        *,
        geometry: Geometry,
        biases: Array | None = None,
    ) -> None:
        s = Shape.of(images, weights, out, geometry)
        tile = self._tile(s.FG, s.N, s.MY * s.MX * s.G)
        grid = (s.MY * s.MX * ceil_div(s.FG, tile.BM) * s.G, ceil_div(s.N, tile.BN))
        each = 0 if biases is None else biases.size // s.F  # one per filter, or for each window of a filter
        shapes = {**s.constants, **_alignment(s.FG), "BIASES": min(each, 2)}
        self._product("FORWARD", shapes, tile, grid, images, weights, out, geometry.conns, biases, scale_targets, 1.0)

    def conv_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0.0, *, geometry: Geometry
    ) -> None:
        s = Shape.of(input_grad, weights, grad, geometry)
        if geometry.conns is not None:
            starts, places = self._places(geometry.conns, len(input_grad))
            args = (grad, weights, input_grad, starts, places, input_grad.size, scale_targets, 1.0)
            self._plain(
                "SPARSE_INPUT_GRAD", "conv_sparse_input_grad", s.constants, (blocks_for(input_grad.size),), (THREADS,), *args
            )
            return
        weights_t = self.device.empty((weights.size,))
        taps = s.SIZE**2 * (s.MY * s.MX if s.LOCAL else 1)
        blocks = ceil_div(s.F, _TRANSPOSE_SIDE) * ceil_div(s.CF, _TRANSPOSE_SIDE) * taps
        shapes, block = {"CF": s.CF, "SIZE": s.SIZE, "F": s.F}, (_TRANSPOSE_SIDE, 8)
        self._plain("TURN", "conv_turn", shapes, (blocks,), block, weights, weights_t)
        tile = self._tile(s.CF, s.N, s.H * s.W * s.G)
        grid = (s.H * s.W * ceil_div(s.CF, tile.BM) * s.G, ceil_div(s.N, tile.BN))
        shapes = {**s.constants, **_alignment(s.CF)}
        self._product("INPUT_GRAD", shapes, tile, grid, grad, weights_t, input_grad, scale_targets, 1.0)

    def conv_weight_grad(
        self,
        images: Array,
        grad: Array,
        weight_grad: Array,
        scale_targets: float = 0.0,
        scale_output: float = 1.0,
        *,
        geometry: Geometry,
    ) -> None:
        s = Shape.of(images, weight_grad, grad, geometry)
        tile, windows = self._tile(s.rows, s.FG, 0, along_k=True), s.MY * s.MX
        machine = self.device.processors, self.device.shared_memory
        share = 1 if s.LOCAL else share_of_windows(tile, s.rows, s.FG, s.G, windows, s.N, *machine)
        parts = ceil_div(windows, share)
        grid = (tile.blocks(s.rows, s.FG) * s.G * parts,)
        if s.LOCAL or parts == 1:
            args = (images, grad, weight_grad, geometry.conns, share, scale_targets, scale_output)
            self._product("WEIGHT_GRAD", s.constants, tile, grid, *args)
            return
        sums, count = self.device.empty((parts, weight_grad.size)), weight_grad.size
        self._product("WEIGHT_GRAD", s.constants, tile, grid, images, grad, sums, geometry.conns, share, 0.0, 1.0)
        scales = scale_targets, scale_output
        self._plain(
            "ADD_PARTS", "conv_add_parts", {}, (blocks_for(count),), (THREADS,), sums, weight_grad, parts, count, *scales
        )

    def _product(self, name: str, shapes: dict[str, int], tile: Tile, grid: Dim, *args: Any) -> None:
        """Start the kernel of a pass, a matrix product by tiles."""
        kernel, tiles = f"conv_{name.lower()}", {"PASS": _PASSES[name], **tile.constants}
        self.run("conv", kernel, grid, (tile.threads,), *args, shapes=shapes, tiles=tiles, names=_PASSES, shared=tile.shared)

    def _plain(self, name: str, kernel: str, shapes: dict[str, int], grid: Dim, block: Dim, *args: Any) -> None:
        """Start another kernel of a pass."""
        self.run("conv", kernel, grid, block, *args, shapes=shapes, tiles={"PASS": _PASSES[name]}, names=_PASSES)

    def _tile(self, rows: int, columns: int, places: int, along_k: bool = False) -> Tile:
        tensor = self.device.math == "tf32"
        return tile_for(rows, columns, places, self.device.processors, tensor=tensor, along_k=along_k)

    def _places(self, conns: Array, channels: int) -> tuple[Array, Array]:
        """Return where each channel's list of the indices into ``conns`` that name it starts, and the lists; cached."""
        key = (conns.pointer, conns.size, channels)
        if key not in self._inverse:
            host = self.device.download(conns)
            starts = np.searchsorted(np.sort(host), np.arange(channels + 1)).astype(np.int32)
            places = np.argsort(host, kind="stable").astype(np.int32)
            self._inverse[key] = self.device.upload(starts), self.device.upload(places), conns
        return self._inverse[key][:2]


def _alignment(length: int) -> dict[str, int]:
    """Whether rows of the first matrix, of weights, begin at 16-byte boundaries and have multiples of four values."""
    return {"VECTOR_A": int(length % 4 == 0)}
