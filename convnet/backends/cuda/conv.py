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
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div

_PASSES = ("FORWARD", "TURN", "INPUT_GRAD", "WEIGHT_GRAD", "SPARSE_INPUT_GRAD", "ADD_PARTS")
_SIDES = (32, 48, 64, 96, 128)  # of the tile that a block can own
_TENSOR_SIDES = (32, 64, 128)
_ISSUED_PER_CYCLE = 128  # instructions of a processor's threads
_BUSY_THREADS = 256  # of a processor, below which they wait for memory more than it waits for them
_SUMS_PER_CYCLE = 128  # multiply-adds of a processor
_BYTES_PER_CYCLE = 32  # that a processor gets from the second-level cache
_ADDED_PER_CYCLE = 300  # parts of sums, written and read again by the whole device
_NUMBERS = {name: i for i, name in enumerate(_PASSES)}
_LIST = 1024  # rows that a block finds at a time
_TURNED = 32  # side of the squares in which filters are turned around
_FLOAT = 4
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
        return {**vars(self), "FG": self.FG, "VECTOR_N": int(self.N % 4 == 0)}


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
        tiles = self._tiles("FORWARD", s.FG, s.N, s.MY * s.MX * s.G)
        grid = (s.MY * s.MX * ceil_div(s.FG, tiles["BM"]) * s.G, ceil_div(s.N, tiles["BN"]))
        self._conv("conv_forward", s, tiles, grid, images, filters, out, conns, scale_targets, scale_output, whole=s.FG)

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
        tiles = self._tiles("INPUT_GRAD", s.CF, s.N, s.H * s.W * s.G)
        grid = (s.H * s.W * ceil_div(s.CF, tiles["BM"]) * s.G, ceil_div(s.N, tiles["BN"]))
        self._conv("conv_input_grad", s, tiles, grid, grad, turned, into, scale_targets, scale_output, whole=s.CF)

    def _filter_weight_grad(self, s: Shape, images, grad, into, conns, scale_targets, scale_output) -> None:
        tiles = self._tiles("WEIGHT_GRAD", s.rows, s.FG, 0)
        blocks, windows = ceil_div(s.rows, tiles["BM"]) * ceil_div(s.FG, tiles["BN"]) * s.G, s.MY * s.MX
        area, threads, processors = tiles["BM"] * tiles["BN"], tiles["THREADS"], self.device.processors
        share = 1 if s.LOCAL else share_of_windows(blocks, windows, area, threads, s.N, into.size, processors)
        parts = ceil_div(windows, share)
        if s.LOCAL or parts == 1:
            args = (images, grad, into, conns, share, scale_targets, scale_output)
            self._conv("conv_weight_grad", s, tiles, (blocks * parts,), *args)
            return
        sums = self.device.empty((parts, into.size))
        self._conv("conv_weight_grad", s, tiles, (blocks * parts,), images, grad, sums, conns, share, 0.0, 1.0)
        args = (sums, into, parts, into.size, scale_targets, scale_output)
        self._plain("ADD_PARTS", "conv_add_parts", {}, (blocks_for(into.size),), (THREADS,), *args)

    def _conv(self, kernel: str, s: Shape, tiles: dict[str, int], grid, *args: Any, whole: int = 0) -> None:
        """A product by tiles; ``whole`` is the length of the rows of its first matrix, unless those are rows of cases."""
        shapes = {**s.constants, "VECTOR_A": int(whole % 4 == 0)}
        self.run("conv", kernel, grid, (tiles["THREADS"],), *args, shapes=shapes, tiles=tiles, shared=shared_bytes(tiles))

    def _plain(self, name: str, kernel: str, shapes: dict[str, int], grid, block, *args: Any) -> None:
        self.run("conv", kernel, grid, block, *args, shapes=shapes, tiles={**_NUMBERS, "PASS": _NUMBERS[name]})

    def _tiles(self, name: str, rows: int, columns: int, places: int) -> dict[str, int]:
        return tiles_for(name, rows, columns, places, self.device.processors, self.device.math == "tf32")

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
def tiles_for(name: str, rows: int, columns: int, places: int, processors: int, tensor: bool = False) -> dict[str, int]:
    """The tile of a block for ``places`` products of ``rows`` x ``columns``, so that a device of so many processors is done
    soonest; with 0 places they can be shared out as one likes."""
    along_k = int(name == "WEIGHT_GRAD")
    sides = _TENSOR_SIDES if tensor else _SIDES
    tiles = [_tile(BM, BN, tensor) for BM in sides for BN in (sides if along_k else _TENSOR_SIDES)]

    def cycles(tile: dict[str, int]) -> tuple[float, int]:
        blocks = ceil_div(rows, tile["BM"]) * ceil_div(columns, tile["BN"])
        turns = _turns(blocks * places, processors, tile["THREADS"]) if places else blocks
        return turns * _cycles_of_slice(tile), -tile["BM"] * tile["BN"]

    best = min((tile for tile in tiles if tile["THREADS"] % 32 == 0 and tile["THREADS"] >= 64), key=cycles)
    return {**_NUMBERS, "PASS": _NUMBERS[name], "ALONG_K": along_k, "LIST": _LIST, **best}


def _tile(BM: int, BN: int, tensor: bool) -> dict[str, int]:
    sides = {"TF32": int(tensor), "BM": BM, "BN": BN}
    if tensor:
        WM, WN = max(BM // 2, 32), max(BN // 2, 32)
        return {**sides, "BK": 16, "STAGES": 3, "WM": WM, "WN": WN, "THREADS": 32 * (BM // WM) * (BN // WN)}
    side = 8 if BM * BN >= 2048 else 4
    return {**sides, "BK": 8, "STAGES": 4, "TM": side, "TN": side, "THREADS": BM * BN // side**2}


def _turns(blocks: int, processors: int, threads: int) -> float:
    """How many blocks the busiest processor has, which needs a number of threads to be busy at all."""
    return max(ceil_div(blocks, processors), _BUSY_THREADS / threads)


def _cycles_of_slice(tile: dict[str, int]) -> float:
    """Cycles of a processor for one slice: to issue its instructions, as counted in machine code for sm_90, and to bring its
    values, half of which goes on meanwhile."""
    BM, BN, BK, threads = tile["BM"], tile["BN"], tile["BK"], tile["THREADS"]
    pieces = ceil_div(BM * BK, 4 * threads) + ceil_div(BN * BK, 4 * threads)
    if tile["TF32"]:
        products = BM * BN * BK // (threads * 64)  # each keeps the tensor cores busy for several cycles
        issued = 5 * products + 60 + 11 * pieces
    else:
        products = BM * BN * BK // threads
        issued = products * (1 + 1 / (2 * tile["TM"])) + 20 + 12 * pieces
    return threads * issued / _ISSUED_PER_CYCLE + (BM + BN) * BK * _FLOAT / _BYTES_PER_CYCLE / 2


@cache
def share_of_windows(blocks: int, windows: int, area: int, threads: int, N: int, weights: int, processors: int) -> int:
    """Windows that a part of a weight gradient sums over: so that blocks of all parts, each of a tile of ``area`` sums, end
    at about the same time, and the parts, of so many ``weights`` each, are soon added up."""
    most = max(1, min(windows, _MOST_PARTS_BYTES // (_FLOAT * weights)))
    window = area * N / _SUMS_PER_CYCLE

    def cycles(parts: int) -> float:
        turns = _turns(blocks * parts, processors, threads)
        return turns * ceil_div(windows, parts) * window + parts * weights / _ADDED_PER_CYCLE

    return ceil_div(windows, min(range(1, most + 1), key=cycles))


def shared_bytes(tiles: dict[str, int]) -> int:
    """Shared memory for the slices of a product, as ``product.cuh`` lays them out."""
    BM, BN, BK = tiles["BM"], tiles["BN"], tiles["BK"]
    if tiles["ALONG_K"]:
        floats = (BM + BN) * (BK + (0 if tiles["TF32"] else 4))
    else:
        floats = BK * (BM + BN + (16 if tiles["TF32"] else 0))
    return _FLOAT * floats * tiles["STAGES"]
