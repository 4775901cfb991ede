"""conv and local: the host side of ``cuda/conv.cu``. It chooses tiles, grids, and how weight gradients are shared out.

Letters: C channels, H, W sides of the image, N cases, F filters, MY, MX sides of the output, G groups, CF channels and FG
filters of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.launch import Launcher, blocks_for, ceil_div

_PASSES = ("FORWARD", "INPUT_GRAD", "WEIGHT_GRAD", "SPARSE_INPUT_GRAD", "ADD_PARTS")
_HEIGHTS = (32, 48, 64, 96, 128)  # rows of a tile that a block can own
_TENSOR_HEIGHTS = (32, 64, 128)
_MOST_PARTS_BYTES = 256 << 20  # of memory for the parts of a weight gradient


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
        vector_f = int(self.FG % 4 == 0 and self.F % 4 == 0)
        extra = {"FG": self.FG, "NK": ceil_div(self.N, 4) * 4, "VECTOR_F": vector_f, "VECTOR_N": int(self.N % 4 == 0)}
        return {**vars(self), **extra}


class ConvOps(Launcher, Backend):
    """conv_* and local_*."""

    _inverse: dict[tuple, tuple[DeviceArray, DeviceArray]]

    def conv_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(images, filters, out, padding, stride, groups, conns, False)
        self._filter_forward(shape, images, filters, out, conns, scale_targets, scale_output)

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
        self, images, filters, out, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        shape = Shape.of(images, filters, out, padding, stride, groups, conns, True)
        self._filter_forward(shape, images, filters, out, conns, scale_targets, scale_output)

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

    def _filter_forward(self, s: Shape, images, filters, out, conns, scale_targets, scale_output) -> None:
        tiles = self._tiles("FORWARD", s.FG, s.N)
        grid = (s.MY * s.MX * ceil_div(s.FG, tiles["BM"]) * s.G, ceil_div(s.N, tiles["BN"]))
        self._conv("conv_forward", s, tiles, grid, images, filters, out, conns, scale_targets, scale_output)

    def _filter_input_grad(self, s: Shape, grad, filters, into, conns, scale_targets, scale_output) -> None:
        if conns is not None:
            starts, places = self._places(conns, len(into))
            tiles, count = self._tiles("SPARSE_INPUT_GRAD", 32, 32), into.size
            args = (grad, filters, into, starts, places, count, scale_targets, scale_output)
            self._conv("conv_sparse_input_grad", s, tiles, (blocks_for(count, tiles["THREADS"]),), *args)
            return
        tiles = self._tiles("INPUT_GRAD", s.CF, s.N)
        grid = (s.H * s.W * ceil_div(s.CF, tiles["BM"]) * s.G, ceil_div(s.N, tiles["BN"]))
        self._conv("conv_input_grad", s, tiles, grid, grad, filters, into, scale_targets, scale_output)

    def _filter_weight_grad(self, s: Shape, images, grad, into, conns, scale_targets, scale_output) -> None:
        tiles = self._tiles("WEIGHT_GRAD", s.rows, s.FG)
        blocks, windows = ceil_div(s.rows, tiles["BM"]) * ceil_div(s.FG, tiles["BN"]) * s.G, s.MY * s.MX
        if s.LOCAL:
            args = (images, grad, into, conns, 1, scale_targets, scale_output)
            self._conv("conv_weight_grad", s, tiles, (blocks, 1, windows), *args)
            return
        share = self._windows_per_part(blocks, windows, into.nbytes)
        parts = ceil_div(windows, share)
        if parts == 1:
            args = (images, grad, into, conns, share, scale_targets, scale_output)
            self._conv("conv_weight_grad", s, tiles, (blocks,), *args)
            return
        sums = self.device.empty((parts, into.size))
        self._conv("conv_weight_grad", s, tiles, (blocks, 1, parts), images, grad, sums, conns, share, 0.0, 1.0)
        adding = self._tiles("ADD_PARTS", 32, 32)
        args = (sums, into, parts, into.size, scale_targets, scale_output)
        self._conv("conv_add_parts", s, adding, (blocks_for(into.size, adding["THREADS"]),), *args)

    def _conv(self, kernel: str, s: Shape, tiles: dict[str, int], grid, *args: Any) -> None:
        self.run("conv", kernel, grid, (tiles["THREADS"],), *args, shapes=s.constants, tiles=tiles)

    def _tiles(self, name: str, rows: int, columns: int) -> dict[str, int]:
        return tiles_for(name, rows, columns, self.device.math == "tf32")

    def _windows_per_part(self, blocks: int, windows: int, nbytes: int) -> int:
        """So many windows that the blocks of all parts fill the device twice, within a limit of memory."""
        wanted = ceil_div(2 * self.device.processors, blocks)
        parts = max(1, min(wanted, windows, _MOST_PARTS_BYTES // max(nbytes, 1)))
        return ceil_div(windows, parts)

    def _places(self, conns: DeviceArray, channels: int) -> tuple[DeviceArray, DeviceArray]:
        """For each channel the indices into ``conns`` that name it: where its list starts, and the lists. Made once."""
        key = (conns.pointer, conns.size, channels)
        if key not in self._inverse:
            host = self.device.download(conns)
            starts = np.searchsorted(np.sort(host), np.arange(channels + 1)).astype(np.int32)
            places = np.argsort(host, kind="stable").astype(np.int32)
            self._inverse[key] = self.device.upload(starts), self.device.upload(places), conns
        return self._inverse[key][:2]


@cache
def tiles_for(name: str, rows: int, columns: int, tensor: bool = False) -> dict[str, int]:
    """The tile of a block for a product of ``rows`` x ``columns``: the largest that wastes little."""
    BM = _best(rows, _TENSOR_HEIGHTS if tensor else _HEIGHTS)
    BN = _best(columns, _TENSOR_HEIGHTS)
    along_k = {"FORWARD": (0, 0), "INPUT_GRAD": (1, 0), "WEIGHT_GRAD": (1, 1)}.get(name, (0, 0))
    tiles = {pass_name: i for i, pass_name in enumerate(_PASSES)}
    tiles |= {"PASS": tiles[name], "TF32": int(tensor), "A_ALONG_K": along_k[0], "B_ALONG_K": along_k[1], "BM": BM, "BN": BN}
    if tensor:
        WM, WN = (64, 32) if BM == 128 and BN == 128 else (32, 32)
        return {**tiles, "BK": 16, "WM": WM, "WN": WN, "THREADS": 32 * (BM // WM) * (BN // WN)}
    TM, TN = (8 if BM >= 64 else 4), (8 if BN >= 64 else 4)
    return {**tiles, "BK": 8, "TM": TM, "TN": TN, "THREADS": BM // TM * (BN // TN)}


def _best(length: int, sizes: tuple[int, ...]) -> int:
    """The size whose tiles cover ``length`` with least waste; larger ones, which reuse more, may waste a little more."""
    return min(sizes, key=lambda size: (ceil_div(length, size) * size * (1 + 4 / size), -size))
