"""Normalisation: the host side of ``cuda/norm.cu``."""

from __future__ import annotations

from typing import Any

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div

_MOST_SLID, _MOST_STRIPPED = 16, 9  # sides of a window, across and within maps, that a thread keeps in registers
_BUSY_THREADS = 2048  # of a processor
_LANES = (32, 16, 8)  # cases of a strip: 8 fill a sector of memory
_STRIP_THREADS = 512


class NormOps(Launcher, Backend):
    """cmrnorm_*, rnorm_*, cnorm_*."""

    def cmrnorm_forward(self, images, out, *, size, scale, power, min_div, blocked):
        shapes = _shapes(images, scale, power, min_div, ACROSS=1, BLOCKED=int(blocked))
        if blocked or size > _MOST_SLID:
            self._norm_forward(images, images, out, shapes | {"SIZE": size})
        else:
            self._slide("slide_forward", size, shapes, images, out)

    def cmrnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div, blocked):
        shapes = _shapes(images, scale, power, min_div, ACROSS=1, BLOCKED=int(blocked))
        if blocked or size > _MOST_SLID:
            self._norm_grad(images, images, grad, into, scale_targets, shapes | {"SIZE": size})
        else:
            self._slide("slide_input_grad", size, shapes, images, grad, into, scale_targets)

    def rnorm_forward(self, images, out, *, size, scale, power, min_div):
        self._within_forward(images, images, out, size, _shapes(images, scale, power, min_div))

    def rnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        self._within_grad(images, images, grad, into, scale_targets, size, _shapes(images, scale, power, min_div))

    def cnorm_forward(self, images, out, *, size, scale, power, min_div):
        shapes = _shapes(images, scale, power, min_div, DEVIATES=1)
        self._within_forward(images, self._deviation(images, size, shapes), out, size, shapes)

    def cnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        shapes = _shapes(images, scale, power, min_div, DEVIATES=1)
        self._within_grad(images, self._deviation(images, size, shapes), grad, into, scale_targets, size, shapes)

    def _within_forward(self, images, deviation, out, size, shapes) -> None:
        if size > _MOST_STRIPPED:
            self._norm_forward(images, deviation, out, shapes | {"SIZE": size})
        else:
            self._strip("strip_forward", size, shapes, images, deviation, out)

    def _within_grad(self, images, deviation, grad, into, scale_targets, size, shapes) -> None:
        if size > _MOST_STRIPPED:
            self._norm_grad(images, deviation, grad, into, scale_targets, shapes | {"SIZE": size})
        else:
            self._strip("strip_input_grad", size, shapes, images, deviation, grad, into, scale_targets)

    def _deviation(self, images, size, shapes):
        m = self.device.empty(images.shape)
        if size > _MOST_STRIPPED:
            self.each("norm", "norm_deviation", m.size, images, m, m.size, shapes=shapes | {"SIZE": size})
        else:
            self._strip("strip_deviation", size, shapes, images, m)
        return m

    def _slide(self, kernel: str, size: int, shapes: dict[str, int | float], images, *args: Any) -> None:
        C, H, W, N = images.shape
        run = self._run_of(C, size, H * W * N)
        grid, tiles = (blocks_for(H * W * N), ceil_div(C, run)), {"THREADS": THREADS, "SLIDES": 1, "SIZE": size}
        self.run("norm", kernel, grid, (THREADS,), images, *args, shapes=shapes | {"RUN": run}, tiles=tiles)

    def _strip(self, kernel: str, size: int, shapes: dict[str, int | float], images, *args: Any) -> None:
        C, H, W, N = images.shape
        lanes, columns, halo = _strip_of(W, size)
        number, run = ceil_div(W, columns - 2 * halo), self._run_of(H, size, C * W * N)
        grid, tiles = (C * ceil_div(N, lanes) * number, ceil_div(H, run)), {"COLUMNS": columns, "LANES": lanes, "SIZE": size}
        shapes = shapes | {"HALO": halo, "TILES": number, "RUN": run}
        self.run("norm", kernel, grid, (columns * lanes,), images, *args, shapes=shapes, tiles=tiles)

    def _run_of(self, length: int, size: int, threads: int) -> int:
        """Each of ``threads`` goes through as much of ``length`` as leaves enough threads, but through ``size`` at least."""
        wanted = ceil_div(self.device.processors * _BUSY_THREADS, threads)
        return ceil_div(length, max(1, min(wanted, length // size)))

    def _norm_forward(self, images, deviation, out, shapes) -> None:
        self.each("norm", "norm_forward", out.size, images, deviation, out, out.size, shapes=shapes)

    def _norm_grad(self, images, deviation, grad, into, scale_targets, shapes) -> None:
        u, count = self.device.empty(images.shape), images.size
        args = (images, deviation, grad, u, into, count, scale_targets)
        self.each("norm", "norm_shares", count, *args, shapes=shapes)
        self.each("norm", "norm_gather", count, deviation, u, into, count, shapes=shapes)


def _strip_of(W: int, size: int) -> tuple[int, int, int]:
    """Cases and columns of a strip, and how many columns at either side only serve their neighbours."""
    for lanes in _LANES:
        if W * lanes <= _STRIP_THREADS:
            return lanes, W, 0
    return lanes, _STRIP_THREADS // lanes, size - 1


def _shapes(images, scale, power, min_div, **kind: int) -> dict[str, int | float]:
    C, H, W, N = images.shape
    kind = {"ACROSS": 0, "BLOCKED": 0, "DEVIATES": 0} | kind
    numbers = {"SCALE": float(scale), "POWER": float(power), "MIN_DIV": float(min_div)}
    return {"C": C, "H": H, "W": W, "N": N, **kind, **numbers}
