"""How ops launch kernels: grids, blocks, and the one call that all families share."""

from collections.abc import Mapping
from typing import Any

from convnet.backends.arguments import NEURONS, Activation, Slope
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.device import Device, Dim
from convnet.backends.cuda.source import Names, Number, Source

THREADS = 256
NEURON_NAMES = [kind.upper() for kind in NEURONS]
# Blocks of a kernel that strides over its elements: enough to fill any device several times over.
_MOST_BLOCKS = 4096
_MOST_INT = 2**31 - 1


class Launcher:
    """Base of the op families: ``run`` for any kernel, ``each`` for one thread per element."""

    device: Device
    now: DeviceArray | None = None  # during a capture: the step's two words on the device (``philox.key_for``)
    _sources: dict[tuple, Source]

    def run(
        self, file: str, kernel: str, grid: Dim, block: Dim, *args: Any,
        shapes: Mapping[str, Number] | None = None, tiles: Mapping[str, Number] | None = None,
        names: Names | None = None, shared: int = 0,
    ) -> None:  # fmt: skip
        """Launch ``kernel`` of ``cuda/<file>.cu``, specialised by ``shapes``, ``tiles`` and ``names`` (``Source``)."""
        wide = any(arg.size > _MOST_INT for arg in args if arg.__class__ is DeviceArray)
        # A file has always the same names, so that they are not part of the key.
        key = (file, wide, *(shapes.items() if shapes else ()), None, *(tiles.items() if tiles else ()))
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = Source.of(f"{file}.cu", shapes, {**(tiles or {}), "WIDE": int(wide)}, names)
        if all(grid):
            self.device.launch(source, kernel, grid, block, args, shared)

    def each(
        self, file: str, kernel: str, count: int, *args: Any,
        shapes: Mapping[str, Number] | None = None, names: Names | None = None,
    ) -> None:  # fmt: skip
        """Launch ``kernel`` with a thread for each of ``count`` elements (FOR_EACH in the source)."""
        grid, tiles = (blocks_for(count),), {"THREADS": THREADS}
        self.run(file, kernel, grid, (THREADS,), *args, shapes=shapes, tiles=tiles, names=names)


def neuron_constants(activation: Activation | None = None, slope: Slope | None = None) -> dict[str, int]:
    """Return the constants of ``neuron.cuh`` for an op's neurons, which have no parameters."""
    neuron, below = activation.kind if activation else "ident", slope.activation.kind if slope else "ident"
    return {"NEURON": NEURONS.index(neuron), "SLOPE": NEURONS.index(below)}


def rows_for(classes: int) -> int:
    """Return how many threads divide the classes of a case."""
    return 32 if classes > 128 else 8


def blocks_for(count: int, threads: int = THREADS) -> int:
    """Return the blocks of a grid that strides over ``count`` elements."""
    return min(ceil_div(count, threads), _MOST_BLOCKS)


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)
