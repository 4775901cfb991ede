"""Choose the size of the tiles of a convolution (``cuda/conv.cu``), and how a weight gradient is split over blocks.

A cost model of a few constants, fitted to the time of every tile for every convolution of the shipped networks on an H100
(``benchmarks/2026-11-26-h100.md``). Only speed depends on the outcome. Measured choices win over it (``tile_table.py``).

Letters: BM, BN, BK the sides of a tile and the depth of a slice (``cuda/product.cuh``), N cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

from convnet.backends.cuda.launch import ceil_div

LIST = 1024  # rows whose addresses a block computes at a time
_FLOAT = 4
_SIDES = (32, 48, 64, 96, 128)
_WARP_SIDES = (32, 64, 128)  # whole rows of vectors for every warp: tensor cores need them, and copies along n
# BM, BN, and what a warp owns of them; for the numbers of filters that the networks of 2012 and 2014 have
_TENSOR_TILES = ((96, 128, 96, 32),)
_TENSOR_TILES_K_MAJOR = ((64, 96, 32, 48), (128, 96, 64, 48))

_SIDE_COST = 8  # multiply-adds that take as long as loading one value of a slice's two sides
_BARRIERS = 1.05  # cost factor of the barriers of 256 threads
_MIN_THREADS = 256  # of a multiprocessor: with fewer it waits for memory
_MULTIPLY_ADDS = {False: 128, True: 640}  # of a multiprocessor per cycle; tensor cores: as many as warps can issue
# Sums of a thread: warps of a multiprocessor for which the compiler must save registers (WARPS in product.cuh)
_WARPS = {16: 36, 32: 24, 64: 16, 96: 12, 128: 8}
_WARPS_K_MAJOR = {16: 24, 32: 16, 64: 12, 128: 8}
_LISTS_BYTES = 2 * _FLOAT * LIST + (1 << 10)  # of shared memory besides the slices, with what the system reserves
_PARTIAL_SUMS_PER_CYCLE = 300  # written and read again by the whole device
_MAX_PARTS_BYTES = 256 << 20  # of memory for the parts of a weight gradient


@dataclass(frozen=True)
class Tile:
    """A block's share of a matrix product, and a warp's (TF32) or thread's share of that, ``own_m`` x ``own_n``.

    Its slices are BK deep; STAGES of them are in shared memory at a time.
    """

    BM: int
    BN: int
    own_m: int
    own_n: int
    tensor: bool
    k_major: bool
    BK: int
    STAGES: int

    @classmethod
    def of(cls, BM: int, BN: int, own_m: int, own_n: int, *, tensor: bool, k_major: bool) -> "Tile":
        """Make a tile with the slices that suit its sides.

        Float32 slices are 16 deep, with half as many barriers; but 64 x 64 was slower with them.
        """
        deep = k_major or (BM, BN) != (64, 64)
        BK, stages = (16, 3) if tensor else (16, 2) if deep else (8, 4)
        return cls(BM, BN, own_m, own_n, tensor, k_major, BK, stages)

    @property
    def threads(self) -> int:
        return (32 if self.tensor else 1) * (self.BM // self.own_m) * (self.BN // self.own_n)

    @cached_property
    def constants(self) -> dict[str, int]:
        """Sizes by their names in ``product.cuh``."""
        own = {"WM": self.own_m, "WN": self.own_n} if self.tensor else {"TM": self.own_m, "TN": self.own_n}
        sides = {"BM": self.BM, "BN": self.BN, "BK": self.BK, "STAGES": self.STAGES, "THREADS": self.threads, **own}
        return {"TF32": int(self.tensor), "K_MAJOR": int(self.k_major), "LIST": LIST, **sides}

    @cached_property
    def shared(self) -> int:
        """Bytes of shared memory for the slices, in the layout of ``product.cuh``."""
        if self.k_major:
            floats = (self.BM + self.BN) * (self.BK + (0 if self.tensor else 4))
        else:
            floats = self.BK * (self.BM + self.BN + (8 if self.tensor else 0))
        return _FLOAT * floats * self.STAGES

    @cached_property
    def cost(self) -> float:
        """Time of one k of a block, in multiply-adds."""
        barriers = _BARRIERS if self.threads >= 256 else 1.0
        return barriers * (self.BM * self.BN + _SIDE_COST * (self.BM + self.BN))

    def blocks(self, rows: int, columns: int) -> int:
        """Count the tiles of a matrix."""
        return ceil_div(rows, self.BM) * ceil_div(columns, self.BN)

    def resident(self, shared_memory: int) -> int:
        """Count the blocks that fit on a multiprocessor with ``shared_memory`` bytes."""
        warps, sums = _WARPS_K_MAJOR if self.k_major else _WARPS, self.BM * self.BN // self.threads
        by_registers = next((count for most, count in warps.items() if sums <= most), 8) * 32 // self.threads
        return max(1, min(by_registers, shared_memory // (self.shared + _LISTS_BYTES)))

    def utilization(self, blocks: int) -> float:
        """Return the share of a multiprocessor's speed that ``blocks`` resident blocks reach."""
        return min(1.0, blocks * self.threads / _MIN_THREADS)


@cache
def tile_for(rows: int, columns: int, places: int, multiprocessors: int, *, tensor: bool, k_major: bool) -> Tile:
    """Choose the tile for products of ``rows`` x ``columns``, one for each of ``places`` output positions.

    ``places`` is 0 for weight gradients, whose number of products ``windows_per_part`` chooses.
    """

    def cost(tile: Tile) -> tuple[float, int]:
        blocks: float = tile.blocks(rows, columns)
        if places:  # halfway between the mean and the busiest multiprocessor: its blocks do not end together
            most = ceil_div(tile.blocks(rows, columns) * places, multiprocessors)
            blocks = (blocks * places / multiprocessors + most) / 2 / tile.utilization(most)
        return blocks * tile.cost, -tile.BM * tile.BN

    return min(tiles_for(tensor, k_major), key=cost)


@cache
def windows_per_part(
    tile: Tile, rows: int, columns: int, groups: int, windows: int, N: int, multiprocessors: int, shared_memory: int
) -> int:
    """Choose how many windows a part of a weight gradient, ``groups`` matrices of ``rows`` x ``columns``, sums over.

    The blocks of all parts are equal: they should fill the device a whole number of times, and leave few parts to add up.
    """
    weights = rows * columns * groups
    most = max(1, min(windows, _MAX_PARTS_BYTES // (_FLOAT * weights)))
    window = N * tile.cost / _MULTIPLY_ADDS[tile.tensor]
    resident = tile.resident(shared_memory)

    def cycles(parts: int) -> float:
        blocks = ceil_div(tile.blocks(rows, columns) * groups * parts, multiprocessors)
        full, rest = divmod(blocks, resident)
        waves = full * resident / tile.utilization(resident) + (rest / tile.utilization(rest) if rest else 0)
        return waves * ceil_div(windows, parts) * window + parts * weights / _PARTIAL_SUMS_PER_CYCLE

    return ceil_div(windows, min(range(1, most + 1), key=cycles))


def tiles_for(tensor: bool, k_major: bool) -> Iterator[Tile]:
    """Return every tile that may be chosen."""
    sides = _WARP_SIDES if tensor else _SIDES
    for BM, BN in product(sides, sides if k_major else _WARP_SIDES):
        side = 8 if BM * BN >= 2048 else 4
        own = (max(BM // 2, 32), max(BN // 2, 32)) if tensor else (side, side)
        tile = Tile.of(BM, BN, *own, tensor=tensor, k_major=k_major)
        if tile.threads % 32 == 0 and tile.threads >= 64:
            yield tile
    if tensor:
        for sizes in _TENSOR_TILES_K_MAJOR if k_major else _TENSOR_TILES:
            yield Tile.of(*sizes, tensor=tensor, k_major=k_major)
