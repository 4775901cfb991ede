"""Which tile of a convolution a block of ``cuda/conv.cu`` computes: the one with which a device is done soonest.

That is reckoned, for a device like those of 2022: a processor issues instructions, multiplies, and is brought values, each
at a rate of its own; the slowest of the three tells. Nothing but speed depends on the outcome.

Letters: BM, BN, BK the sides of a tile and the depth of a slice (``cuda/product.cuh``), N cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

from convnet.backends.cuda.launch import ceil_div

LIST = 1024  # rows that a block finds at a time
_FLOAT = 4
_LISTS_BYTES = (2 * _FLOAT * LIST) + (1 << 10)  # of shared memory beside the slices, with what the system takes
_SIDES = (32, 48, 64, 96, 128)
_TENSOR_SIDES = (32, 64, 128)
# BM, BN, and what a warp owns of them; for the numbers of filters that the networks of 2012 and 2014 have
_TENSOR_TILES = ((96, 128, 96, 32), (192, 128, 96, 32))
_TENSOR_TILES_ALONG_K = ((64, 96, 32, 48), (128, 96, 64, 48), (128, 192, 64, 48), (256, 128, 64, 64))

# Of a processor, per cycle:
_ISSUED = 128  # instructions of threads
_TENSOR_SUMS = 640  # multiply-adds of tensor cores, as far as warps can ask for them
_BYTES = 27  # that come from the second-level cache
_CLASH = 0.2  # of the time of the units that are not the slowest is lost nevertheless
_BUSY_THREADS = 256  # below which it waits for memory more than memory waits for it
_REGISTERS = 1 << 16
_THREADS = 2048
_OWN_REGISTERS = 72  # of a thread, beside its sums
_ADDED = 300  # parts of sums per cycle, written and read again by the whole device
_MOST_PARTS_BYTES = 256 << 20  # of memory for the parts of a weight gradient


@dataclass(frozen=True)
class Tile:
    """A block's share of a matrix product, and a warp's (TF32) or thread's share of that, ``own_m`` x ``own_n``."""

    BM: int
    BN: int
    own_m: int
    own_n: int
    tensor: bool
    along_k: bool

    @property
    def depth(self) -> int:
        return 16 if self.tensor else 8

    @property
    def stages(self) -> int:
        return 3 if self.tensor else 4

    @property
    def threads(self) -> int:
        return (32 if self.tensor else 1) * (self.BM // self.own_m) * (self.BN // self.own_n)

    @cached_property
    def constants(self) -> dict[str, int]:
        """By the names of ``product.cuh``."""
        own = {"WM": self.own_m, "WN": self.own_n} if self.tensor else {"TM": self.own_m, "TN": self.own_n}
        sides = {"BM": self.BM, "BN": self.BN, "BK": self.depth, "STAGES": self.stages, "THREADS": self.threads, **own}
        return {"TF32": int(self.tensor), "ALONG_K": int(self.along_k), "LIST": LIST, **sides}

    @cached_property
    def shared(self) -> int:
        """Bytes of shared memory for the slices, as ``product.cuh`` lays them out."""
        if self.along_k:
            floats = (self.BM + self.BN) * (self.depth + (0 if self.tensor else 4))
        else:
            floats = self.depth * (self.BM + self.BN + (16 if self.tensor else 0))
        return _FLOAT * floats * self.stages

    def resident(self, shared_memory: int) -> int:
        """Blocks that a processor with so many bytes of shared memory has room for."""
        registers = min(255, self.BM * self.BN // self.threads + _OWN_REGISTERS)
        rooms = (
            _REGISTERS // (registers * self.threads),
            shared_memory // (self.shared + _LISTS_BYTES),
            _THREADS // self.threads,
        )
        return max(1, min(rooms))

    def blocks(self, rows: int, columns: int) -> int:
        """Tiles of a matrix."""
        return ceil_div(rows, self.BM) * ceil_div(columns, self.BN)

    def cycles(self, rows: int, columns: int) -> float:
        """Of a processor, for one slice of one block among others that share a matrix."""
        pieces = ceil_div(self.BM * self.depth, 4 * self.threads) + ceil_div(self.BN * self.depth, 4 * self.threads)
        products = self.BM * self.BN * self.depth
        values = rows / ceil_div(rows, self.BM) + columns / ceil_div(columns, self.BN)
        brought = values * self.depth * _FLOAT / _BYTES
        # Instructions as counted in machine code for sm_90; there, multiply-adds of float32 are among them.
        if self.tensor:
            issued = self.threads * (60 + 11 * pieces) + products * 5 / 64
            units = [issued / _ISSUED, brought, products / _TENSOR_SUMS]
        else:
            issued = self.threads * (20 + 12 * pieces) + products * (1 + 0.5 / self.own_m)
            units = [issued / _ISSUED, brought]
        return max(units) + _CLASH * (sum(units) - max(units))


@cache
def tile_for(
    rows: int, columns: int, places: int, processors: int, shared_memory: int, *, tensor: bool, along_k: bool
) -> Tile:
    """The tile for ``places`` products of ``rows`` x ``columns``; with 0 places they can be shared out as one likes."""

    def cycles(tile: Tile) -> tuple[float, int]:
        blocks = tile.blocks(rows, columns)
        turns = _turns(blocks * places, processors, tile, shared_memory) if places else blocks / _busy(tile, 2)
        return turns * tile.cycles(rows, columns), -tile.BM * tile.BN

    return min(_tiles(tensor, along_k), key=cycles)


def _tiles(tensor: bool, along_k: bool) -> Iterator[Tile]:
    sides = _TENSOR_SIDES if tensor else _SIDES
    for BM, BN in product(sides, sides if along_k else _TENSOR_SIDES):
        side = 8 if BM * BN >= 2048 else 4
        own = (max(BM // 2, 32), max(BN // 2, 32)) if tensor else (side, side)
        tile = Tile(BM, BN, *own, tensor, along_k)
        if tile.threads % 32 == 0 and tile.threads >= 64:
            yield tile
    if tensor:
        for sizes in _TENSOR_TILES_ALONG_K if along_k else _TENSOR_TILES:
            yield Tile(*sizes, tensor, along_k)


def _busy(tile: Tile, blocks: int) -> float:
    """The share of a processor's speed that so many blocks make use of."""
    return min(1.0, blocks * tile.threads / _BUSY_THREADS)


def _turns(blocks: int, processors: int, tile: Tile, shared_memory: int) -> float:
    """Blocks that the busiest processor does one after the other, if it were always busy."""
    resident = tile.resident(shared_memory)
    full, rest = divmod(ceil_div(blocks, processors), resident)
    return full * resident / _busy(tile, resident) + (rest / _busy(tile, rest) if rest else 0)


@cache
def share_of_windows(
    tile: Tile, rows: int, columns: int, groups: int, windows: int, N: int, processors: int, shared_memory: int
) -> int:
    """Windows that a part of a weight gradient, ``groups`` matrices of ``rows`` x ``columns``, sums over: so that the blocks
    of all parts end at about the same time, and the parts are soon added up."""
    weights = rows * columns * groups
    most = max(1, min(windows, _MOST_PARTS_BYTES // (_FLOAT * weights)))
    window = ceil_div(N, tile.depth) * tile.cycles(rows, columns)

    def cycles(parts: int) -> float:
        turns = _turns(tile.blocks(rows, columns) * groups * parts, processors, tile, shared_memory)
        return turns * ceil_div(windows, parts) * window + parts * weights / _ADDED

    return ceil_div(windows, min(range(1, most + 1), key=cycles))
