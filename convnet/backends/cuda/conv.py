"""conv and local: the host side of ``cuda/conv.cu``. It chooses tiles, grids, and how weight gradients are shared out.

Letters: C channels, H, W sides of the image, N cases, F filters, MY, MX sides of the output, G groups, CF channels and FG
filters of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div
from convnet.backends.cuda.tiles import Tile, share_of_windows, tile_for

_PASSES = {"FORWARD": 0, "TURN": 1, "INPUT_GRAD": 2, "WEIGHT_GRAD": 3, "SPARSE_INPUT_GRAD": 4, "ADD_PARTS": 5}
_TURNED = 32  # side of the squares in which filters are turned around


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
    def of(cls, images, filters, out, padding: int, stride: int, groups: int, conns, local: bool) -> Shape:
        (_, H, W, N), (F, MY, MX, _) = images.shape, out.shape
        Cf, k = filters.shape[1:3] if local else filters.shape[:2]
        return cls(H, W, N, F, MY, MX, k, Cf, groups, padding, stride, int(local), int(conns is not None))

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
    """conv_* and local_*."""

    _inverse: dict[tuple, tuple[DeviceArray, DeviceArray]]

    def conv_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        shape = Shape.of(images, filters, out, padding, stride, groups, conns, False)
        self._filter_forward(shape, images, filters, out, conns, biases, scale_targets, scale_output)

    def conv_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(into, filters, grad, padding, stride, groups, conns, False)
        self._filter_input_grad(shape, grad, filters, into, conns, scale_targets, scale_output)

    def conv_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(images, into, grad, padding, stride, groups, conns, False)
        self._filter_weight_grad(shape, images, grad, into, conns, scale_targets, scale_output)

    def local_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        shape = Shape.of(images, filters, out, padding, stride, groups, conns, True)
        self._filter_forward(shape, images, filters, out, conns, biases, scale_targets, scale_output)

    def local_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(into, filters, grad, padding, stride, groups, conns, True)
        self._filter_input_grad(shape, grad, filters, into, conns, scale_targets, scale_output)

    def local_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(images, into, grad, padding, stride, groups, conns, True)
        self._filter_weight_grad(shape, images, grad, into, conns, scale_targets, scale_output)

    # -- launches -----------------------------------------------------------------------------------------------

    def _filter_forward(self, s: Shape, images, filters, out, conns, biases, scale_targets, scale_output) -> None:
        tile = self._tile(s.FG, s.N, s.MY * s.MX * s.G)
        grid = (s.MY * s.MX * ceil_div(s.FG, tile.BM) * s.G, ceil_div(s.N, tile.BN))
        each = 0 if biases is None else biases.size // s.F  # one per filter, or for each window of a filter
        shapes = {**_whole(s.FG), "BIASES": min(each, 2)}
        args = (images, filters, out, conns, biases, scale_targets, scale_output)
        self._conv("FORWARD", s, tile, grid, *args, shapes=shapes)

    def _filter_input_grad(self, s: Shape, grad, filters, into, conns, scale_targets, scale_output) -> None:
        if conns is not None:
            starts, places = self._places(conns, len(into))
            args = (grad, filters, into, starts, places, into.size, scale_targets, scale_output)
            self._plain(
                "SPARSE_INPUT_GRAD", "conv_sparse_input_grad", s.constants, (blocks_for(into.size),), (THREADS,), *args
            )
            return
        turned = self.device.empty((filters.size,))
        taps = s.SIZE**2 * (s.MY * s.MX if s.LOCAL else 1)
        blocks = ceil_div(s.F, _TURNED) * ceil_div(s.CF, _TURNED) * taps
        self._plain("TURN", "conv_turn", {"CF": s.CF, "SIZE": s.SIZE, "F": s.F}, (blocks,), (_TURNED, 8), filters, turned)
        tile = self._tile(s.CF, s.N, s.H * s.W * s.G)
        grid = (s.H * s.W * ceil_div(s.CF, tile.BM) * s.G, ceil_div(s.N, tile.BN))
        self._conv("INPUT_GRAD", s, tile, grid, grad, turned, into, scale_targets, scale_output, shapes=_whole(s.CF))

    def _filter_weight_grad(self, s: Shape, images, grad, into, conns, scale_targets, scale_output) -> None:
        tile, windows = self._tile(s.rows, s.FG, 0, along_k=True), s.MY * s.MX
        blocks = tile.blocks(s.rows, s.FG) * s.G
        share = 1 if s.LOCAL else share_of_windows(tile, s.rows, s.FG, s.G, windows, s.N, *self._means)
        parts = ceil_div(windows, share)
        if s.LOCAL or parts == 1:
            args = (images, grad, into, conns, share, scale_targets, scale_output)
            self._conv("WEIGHT_GRAD", s, tile, (blocks * parts,), *args)
            return
        sums = self.device.empty((parts, into.size))
        self._conv("WEIGHT_GRAD", s, tile, (blocks * parts,), images, grad, sums, conns, share, 0.0, 1.0)
        args = (sums, into, parts, into.size, scale_targets, scale_output)
        self._plain("ADD_PARTS", "conv_add_parts", {}, (blocks_for(into.size),), (THREADS,), *args)

    def _conv(self, name: str, s: Shape, tile: Tile, grid, *args: Any, shapes: dict[str, int] | None = None) -> None:
        """A product by tiles."""
        shapes, tiles = {**s.constants, **(shapes or {})}, {"PASS": _PASSES[name], **tile.constants}
        given = {"shapes": shapes, "tiles": tiles, "names": _PASSES, "shared": tile.shared}
        self.run("conv", f"conv_{name.lower()}", grid, (tile.threads,), *args, **given)

    def _plain(self, name: str, kernel: str, shapes: dict[str, int], grid, block, *args: Any) -> None:
        self.run("conv", kernel, grid, block, *args, shapes=shapes, tiles={"PASS": _PASSES[name]}, names=_PASSES)

    def _tile(self, rows: int, columns: int, places: int, along_k: bool = False) -> Tile:
        tensor = self.device.math == "tf32"
        return tile_for(rows, columns, places, self.device.processors, tensor=tensor, along_k=along_k)

    @property
    def _means(self) -> tuple[int, int]:
        return self.device.processors, self.device.shared_memory

    def _places(self, conns: DeviceArray, channels: int) -> tuple[DeviceArray, DeviceArray]:
        """For each channel the indices into ``conns`` that name it: where its list starts, and the lists. Made once."""
        key = (conns.pointer, conns.size, channels)
        if key not in self._inverse:
            host = self.device.download(conns)
            starts = np.searchsorted(np.sort(host), np.arange(channels + 1)).astype(np.int32)
            places = np.argsort(host, kind="stable").astype(np.int32)
            self._inverse[key] = self.device.upload(starts), self.device.upload(places), conns
        return self._inverse[key][:2]


def _whole(length: int) -> dict[str, int]:
    """Whether rows of the first matrix, of weights, begin at 16-byte boundaries and have multiples of four values."""
    return {"VECTOR_A": int(length % 4 == 0)}
