"""Pooling: the host side of ``cuda/pool.cu``."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import Launcher

_KINDS = {"MAX": 0, "ABS": 1, "AVG": 2, "SUM": 3, "RAND": 4}
_NO_KEY = (0, 0, 0, 0)


class PoolOps(Launcher, Backend):
    """pool_* and cmpool_*."""

    def pool_max_forward(self, images, out, by_magnitude, *, size, start, stride):
        self._pool_forward("ABS" if by_magnitude else "MAX", images, out, size, start, stride)

    def pool_avg_forward(self, images, out, undivided, *, size, start, stride):
        self._pool_forward("SUM" if undivided else "AVG", images, out, size, start, stride)

    def pool_rand_forward(self, images, out, key, *, size, start, stride):
        self._pool_forward("RAND", images, out, size, start, stride, key)

    def pool_max_input_grad(self, images, out, grad, into, scale_targets=0.0, *, size, start, stride):
        shapes = _shapes("MAX", into.shape, grad.shape, size, start, stride)
        args = (images, out, grad, into, into.size, scale_targets)
        self.each("pool", "pool_input_grad", into.size, *args, shapes=shapes, names=_KINDS)

    def pool_avg_input_grad(self, grad, into, undivided, scale_targets=0.0, *, size, start, stride):
        shapes = _shapes("SUM" if undivided else "AVG", into.shape, grad.shape, size, start, stride)
        args = (None, None, grad, into, into.size, scale_targets)
        self.each("pool", "pool_input_grad", into.size, *args, shapes=shapes, names=_KINDS)

    def cmpool_forward(self, images, out, *, size, start, stride):
        shapes = _across(images.shape, out.shape, size, start, stride)
        self.each("pool", "cmpool_forward", out.size, images, out, out.size, shapes=shapes, names=_KINDS)

    def cmpool_input_grad(self, images, out, grad, into, scale_targets=0.0, *, size, start, stride):
        shapes = _across(images.shape, out.shape, size, start, stride)
        args = (images, out, grad, into, into.size, scale_targets)
        self.each("pool", "cmpool_input_grad", into.size, *args, shapes=shapes, names=_KINDS)

    def _pool_forward(self, kind: str, images, out, size: int, start: int, stride: int, key=_NO_KEY) -> None:
        shapes = _shapes(kind, images.shape, out.shape, size, start, stride)
        self.each("pool", "pool_forward", out.size, images, out, out.size, *key, self.now, shapes=shapes, names=_KINDS)


def _shapes(kind: str, image: tuple, out: tuple, size: int, start: int, stride: int) -> dict[str, int]:
    (_, H, W, N), (_, OY, OX, _) = image, out
    window = {"SIZE": size, "START": start, "STRIDE": stride}
    return {"KIND": _KINDS[kind], "H": H, "W": W, "N": N, "OY": OY, "OX": OX, **window}


def _across(image: tuple, out: tuple, size: int, start: int, stride: int) -> dict[str, int]:
    """Channels in the place of rows, and all the values of a map in that of cases."""
    values = image[1] * image[2] * image[3]
    return _shapes("MAX", (1, image[0], 1, values), (1, out[0], 1, values), size, start, stride)
