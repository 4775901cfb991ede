"""Normalisation: the host side of ``cuda/norm.cu``."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import Launcher


class NormOps(Launcher, Backend):
    """cmrnorm_*, rnorm_*, cnorm_*."""

    def cmrnorm_forward(self, images, out, *, size, scale, power, min_div, blocked):
        self._norm_forward(images, images, out, _shapes(images, size, scale, power, min_div, True, blocked))

    def cmrnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div, blocked):
        shapes = _shapes(images, size, scale, power, min_div, True, blocked)
        self._norm_grad(images, images, grad, into, scale_targets, shapes)

    def rnorm_forward(self, images, out, *, size, scale, power, min_div):
        self._norm_forward(images, images, out, _shapes(images, size, scale, power, min_div))

    def rnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        self._norm_grad(images, images, grad, into, scale_targets, _shapes(images, size, scale, power, min_div))

    def cnorm_forward(self, images, out, *, size, scale, power, min_div):
        shapes = _shapes(images, size, scale, power, min_div)
        self._norm_forward(images, self._deviation(images, shapes), out, shapes)

    def cnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        shapes = _shapes(images, size, scale, power, min_div)
        self._norm_grad(images, self._deviation(images, shapes), grad, into, scale_targets, shapes)

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


def _shapes(images, size, scale, power, min_div, across=False, blocked=False) -> dict[str, int | float]:
    C, H, W, N = images.shape
    kind = {"ACROSS": int(across), "BLOCKED": int(blocked)}
    numbers = {"SCALE": float(scale), "POWER": float(power), "MIN_DIV": float(min_div)}
    return {"C": C, "H": H, "W": W, "N": N, "SIZE": size, **kind, **numbers}
