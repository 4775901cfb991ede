"""Normalisation: the host side of ``cuda/norm.cu``."""

from __future__ import annotations

from typing import Any

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div

_MOST_SLID = 16  # values of a window that a thread keeps in registers
_BUSY_THREADS = 2048  # of a processor
_LEAST_RUN = 4  # windows that a thread goes through, of which the first is read twice


class NormOps(Launcher, Backend):
    """cmrnorm_*, rnorm_*, cnorm_*."""

    def cmrnorm_forward(self, images, out, *, size, scale, power, min_div, blocked):
        shapes = _shapes(images, scale, power, min_div, True, blocked)
        if blocked or size > _MOST_SLID:
            self._norm_forward(images, images, out, shapes | {"SIZE": size})
        else:
            self._slide("slide_forward", size, shapes, images, out)

    def cmrnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div, blocked):
        shapes = _shapes(images, scale, power, min_div, True, blocked)
        if blocked or size > _MOST_SLID:
            self._norm_grad(images, images, grad, into, scale_targets, shapes | {"SIZE": size})
        else:
            self._slide("slide_input_grad", size, shapes, images, grad, into, scale_targets)

    def rnorm_forward(self, images, out, *, size, scale, power, min_div):
        self._norm_forward(images, images, out, _shapes(images, scale, power, min_div) | {"SIZE": size})

    def rnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        shapes = _shapes(images, scale, power, min_div) | {"SIZE": size}
        self._norm_grad(images, images, grad, into, scale_targets, shapes)

    def cnorm_forward(self, images, out, *, size, scale, power, min_div):
        shapes = _shapes(images, scale, power, min_div) | {"SIZE": size}
        self._norm_forward(images, self._deviation(images, shapes), out, shapes)

    def cnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        shapes = _shapes(images, scale, power, min_div) | {"SIZE": size}
        self._norm_grad(images, self._deviation(images, shapes), grad, into, scale_targets, shapes)

    def _slide(self, kernel: str, size: int, shapes: dict[str, int | float], images, *args: Any) -> None:
        """Each thread goes through as many channels as leaves enough threads."""
        C, H, W, N = images.shape
        wanted = ceil_div(self.device.processors * _BUSY_THREADS, H * W * N)
        run = ceil_div(C, max(1, min(wanted, C // (_LEAST_RUN * size))))
        grid, tiles = (blocks_for(H * W * N), ceil_div(C, run)), {"THREADS": THREADS, "SLIDES": 1, "SIZE": size}
        self.run("norm", kernel, grid, (THREADS,), images, *args, shapes=shapes | {"RUN": run}, tiles=tiles)

    def _norm_forward(self, images, deviation, out, shapes) -> None:
        self.each("norm", "norm_forward", out.size, images, deviation, out, out.size, shapes=shapes)

    def _norm_grad(self, images, deviation, grad, into, scale_targets, shapes) -> None:
        u, count = self.device.empty(images.shape), images.size
        args = (images, deviation, grad, u, into, count, scale_targets)
        self.each("norm", "norm_shares", count, *args, shapes=shapes)
        self.each("norm", "norm_gather", count, deviation, u, into, count, shapes=shapes)

    def _deviation(self, images, shapes):
        m = self.device.empty(images.shape)
        self.each("norm", "norm_deviation", m.size, images, m, m.size, shapes=shapes)
        return m


def _shapes(images, scale, power, min_div, across=False, blocked=False) -> dict[str, int | float]:
    C, H, W, N = images.shape
    kind = {"ACROSS": int(across), "BLOCKED": int(blocked)}
    numbers = {"SCALE": float(scale), "POWER": float(power), "MIN_DIV": float(min_div)}
    return {"C": C, "H": H, "W": W, "N": N, **kind, **numbers}
