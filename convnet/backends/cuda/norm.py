"""Normalisation: the host side of ``cuda/norm.cu``."""

from typing import Any

from convnet.backends.arguments import Response, Slope
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.launch import NEURON_NAMES, THREADS, Launcher, blocks_for, ceil_div, neuron_constants

_MAX_SLID, _MAX_STRIPPED = 16, 9  # sides of a window, across and within maps, that a thread keeps in registers
_TARGET_THREADS = 2048  # of a multiprocessor
_LANES = (32, 16, 8)  # cases of a strip: 8 fill a sector of memory
_STRIP_THREADS = 512

_Shapes = dict[str, int | float]
_NAMES = {"SLOPE": NEURON_NAMES}


class NormOps(Launcher, Backend):
    """norm_*."""

    def norm_forward(self, kind: str, images: Array, out: Array, *, response: Response) -> None:
        shapes = _shapes(kind, images, response)
        path = _path(kind, response)
        if path == "slide":
            self._slide("slide_forward", response.size, shapes, images, out)
            return
        squared = self._squared(kind, images, response, shapes)
        if path == "strip":
            self._strip("strip_forward", response.size, shapes, images, squared, out)
        else:
            self._by_value("norm_forward", out.size, shapes | {"SIZE": response.size}, images, squared, out, out.size)

    def norm_input_grad(
        self, kind: str, images: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        response: Response, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        shapes, size = _shapes(kind, images, response, slope), response.size
        path = _path(kind, response)
        if path == "slide":
            self._slide("slide_input_grad", size, shapes, images, grad, input_grad, scale_targets)
            return
        squared = self._squared(kind, images, response, shapes)
        if path == "strip":
            self._strip("strip_input_grad", size, shapes, images, squared, grad, input_grad, scale_targets)
            return
        u, count, shapes = self.device.empty(images.shape), images.size, shapes | {"SIZE": size}
        self._by_value("norm_shares", count, shapes, images, squared, grad, u, input_grad, count, scale_targets)
        self._by_value("norm_gather", count, shapes, images, squared, u, input_grad, count)

    def _squared(self, kind: str, images: Array, response: Response, shapes: _Shapes) -> Array:
        """Return what the denominators sum the squares of: for cnorm, the images minus their local means."""
        if kind != "cnorm":
            return images
        m, size = self.device.empty(images.shape), response.size
        if size > _MAX_STRIPPED:
            self._by_value("norm_deviation", m.size, shapes | {"SIZE": size}, images, m, m.size)
        else:
            self._strip("strip_deviation", size, shapes, images, m)
        return m

    def _by_value(self, kernel: str, count: int, shapes: _Shapes, *args: Any) -> None:
        """Start a kernel with a thread for each value."""
        self.each("norm", kernel, count, *args, shapes=shapes, names=_NAMES)

    def _slide(self, kernel: str, size: int, shapes: _Shapes, images: Array, *args: Any) -> None:
        """Start a kernel whose threads each go through a run of channels, the window in registers."""
        C, H, W, N = images.shape
        run = self._run_of(C, size, H * W * N)
        grid, tiles = (blocks_for(H * W * N), ceil_div(C, run)), {"THREADS": THREADS, "SLIDES": 1, "SIZE": size}
        self.run("norm", kernel, grid, (THREADS,), images, *args, shapes=shapes | {"RUN": run}, tiles=tiles, names=_NAMES)

    def _strip(self, kernel: str, size: int, shapes: _Shapes, images: Array, *args: Any) -> None:
        """Launch a kernel whose blocks each walk down a strip of a map, the window in registers."""
        C, H, W, N = images.shape
        lanes, columns, halo = _strip_of(W, size)
        number, run = ceil_div(W, columns - 2 * halo), self._run_of(H, size, C * W * N)
        grid, tiles = (C * ceil_div(N, lanes) * number, ceil_div(H, run)), {"COLUMNS": columns, "LANES": lanes, "SIZE": size}
        shapes = shapes | {"HALO": halo, "TILES": number, "RUN": run}
        self.run("norm", kernel, grid, (columns * lanes,), images, *args, shapes=shapes, tiles=tiles, names=_NAMES)

    def _run_of(self, length: int, size: int, threads: int) -> int:
        """Return how much of ``length`` a thread walks: as much as leaves enough threads, but ``size`` at least."""
        wanted = ceil_div(self.device.multiprocessors * _TARGET_THREADS, threads)
        return ceil_div(length, max(1, min(wanted, length // size)))


def _path(kind: str, response: Response) -> str:
    """Choose the kernels: ``slide`` across maps, ``strip`` within them, ``plain`` for blocks and large windows."""
    if kind == "cmrnorm":
        return "plain" if response.blocked or response.size > _MAX_SLID else "slide"
    return "plain" if response.size > _MAX_STRIPPED else "strip"


def _strip_of(W: int, size: int) -> tuple[int, int, int]:
    """Return cases and columns of a strip, and how many columns at either side only serve their neighbours."""
    for lanes in _LANES:
        if W * lanes <= _STRIP_THREADS:
            return lanes, W, 0
    return lanes, _STRIP_THREADS // lanes, size - 1


def _shapes(kind: str, images: Array, response: Response, slope: Slope | None = None) -> _Shapes:
    C, H, W, N = images.shape
    across = kind == "cmrnorm"
    kinds = {"ACROSS": int(across), "BLOCKED": int(across and response.blocked), "DEVIATES": int(kind == "cnorm")}
    numbers = {"SCALE": float(response.scale), "POWER": float(response.power), "MIN_DIV": float(response.min_div)}
    neurons = {"SLOPE": neuron_constants(slope=slope)["SLOPE"]}
    return {"C": C, "H": H, "W": W, "N": N, **kinds, **neurons, **numbers}
