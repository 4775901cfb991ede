"""Pooling: the host side of ``cuda/pool.cu``."""

from typing import Any

from convnet.backends.arguments import Activation, Slope, Window
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.launch import NEURON_NAMES, Launcher, neuron_constants
from convnet.backends.philox import Key

_KINDS = ["MAX", "MAXABS", "AVG", "SUM", "RAND"]
_NAMES = {"KIND": _KINDS, "NEURON": NEURON_NAMES, "SLOPE": NEURON_NAMES}
_NO_KEY = Key(0, 0, 0, 0)


class PoolOps(Launcher, Backend):
    """pool_* and cmpool_*."""

    def pool_forward(
        self, kind: str, images: Array, out: Array, *, window: Window, activation: Activation | None = None
    ) -> None:
        shapes = _shapes(kind.upper(), images.shape, out.shape, window) | neuron_constants(activation)
        self._each("pool_forward", shapes, out, images, out, out.size, *_NO_KEY, self.now)

    def pool_rand_forward(self, images: Array, out: Array, *, window: Window, key: Key) -> None:
        shapes = _shapes("RAND", images.shape, out.shape, window) | neuron_constants()
        key = key._replace(pitch=key.pitch or out.shape[-1])
        self._each("pool_forward", shapes, out, images, out, out.size, *key, self.now)

    def pool_max_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        shapes = _shapes("MAX", input_grad.shape, grad.shape, window) | neuron_constants(slope=slope)
        args = (images, out, grad, input_grad, input_grad.size, scale_targets)
        self._each("pool_input_grad", shapes, input_grad, *args)

    def pool_avg_input_grad(
        self, kind: str, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        shapes = _shapes(kind.upper(), input_grad.shape, grad.shape, window) | neuron_constants(slope=slope)
        args = (slope.y if slope else None, None, grad, input_grad, input_grad.size, scale_targets)
        self._each("pool_input_grad", shapes, input_grad, *args)

    def cmpool_forward(self, images: Array, out: Array, *, window: Window) -> None:
        shapes = _across(images.shape, out.shape, window)
        self._each("cmpool_forward", shapes, out, images, out, out.size)

    def cmpool_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, window: Window
    ) -> None:
        shapes = _across(images.shape, out.shape, window)
        args = (images, out, grad, input_grad, input_grad.size, scale_targets)
        self._each("cmpool_input_grad", shapes, input_grad, *args)

    def _each(self, kernel: str, shapes: dict[str, int], target: Array, *args: Any) -> None:
        self.each("pool", kernel, target.size, *args, shapes=shapes, names=_NAMES)


def _shapes(kind: str, image: tuple[int, ...], out: tuple[int, ...], window: Window) -> dict[str, int]:
    (_, H, W, N), (_, OY, OX, _), (size, start, stride) = image, out, window
    return {
        "KIND": _KINDS.index(kind),
        "H": H,
        "W": W,
        "N": N,
        "OY": OY,
        "OX": OX,
        "SIZE": size,
        "START": start,
        "STRIDE": stride,
    }


def _across(image: tuple[int, ...], out: tuple[int, ...], window: Window) -> dict[str, int]:
    """Treat channels as rows, and all values of a map as cases."""
    values = image[1] * image[2] * image[3]
    return _shapes("MAX", (1, image[0], 1, values), (1, out[0], 1, values), window) | neuron_constants()
