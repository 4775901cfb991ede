"""How long work takes on a backend, and the most that the backend does in a second.

To issue work to a card, and to wait for it, takes some ten microseconds: there it is repeated between two waits.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from convnet.backends.arguments import Geometry
from convnet.backends.base import Backend

_PRODUCT, _PRODUCT_ON_CARDS = 2048, 8192  # side of the matrices whose product measures the peak
_ROUNDS = 1 << 21  # of multiply-adds: some milliseconds
_LEAST, _MOST = 0.02, 1000  # seconds of a measurement, and repetitions
_STREAM = 1 << 26  # floats in each array of the memory test


def timed(backends: Sequence[Backend], work: Callable[[], object]) -> float:
    """Seconds of ``work`` and of waiting for the devices."""
    begin = time.perf_counter()
    work()
    wait(backends)
    return time.perf_counter() - begin


def wait(backends: Sequence[Backend]) -> None:
    """Until the devices have nothing left to do."""
    for be in backends:
        be.sync()


def measured(backends: Sequence[Backend], work: Callable[[], object]) -> float:
    """Seconds of ``work``, repeated on a card until they are long enough to be measured."""
    seconds = timed(backends, work)
    count = min(int(_LEAST / max(seconds, 1e-9)), _MOST) if backends[0].name == "cuda" else 1
    return timed(backends, lambda: [work() for _ in range(count)]) / count if count > 1 else seconds


def peak_name(be: Backend) -> str:
    """Say what ``peak_flops`` measures."""
    return "multiply-adds in registers" if be.multiply_add(1) else "a large product or convolution"


def peak_flops(be: Backend, tries: int = 3) -> float:
    """Operations per second of multiply-adds in registers, where the backend has such a kernel.

    Elsewhere of a large product of matrices, or of a convolution that suits the machine: the faster.
    """
    if operations := be.multiply_add(_ROUNDS):
        return operations / _least(be, lambda: be.multiply_add(_ROUNDS), 5 * tries)
    K = _PRODUCT_ON_CARDS if be.name == "cuda" else _PRODUCT
    C = K // 8
    a, b, out = (be.upload(np.random.default_rng(i).random((K, K), np.float32)) for i in range(3))
    images, weights = a.reshape(C, 8, 8, -1), b[: 9 * C * C // K].reshape(C, 3, 3, C)
    maps = out.reshape(C, 8, 8, -1)
    product = _least(be, lambda: be.fc_forward(a, b, out), tries)
    convolution = _least(be, lambda: be.conv_forward(images, weights, maps, geometry=Geometry(1, 1)), tries)
    taps = 22 * 22  # of 3 x 3 at 8 x 8 places, those inside the image
    return max(2 * K**3 / product, 2 * C * C * taps * images.shape[-1] / convolution)


def peak_bytes(be: Backend, tries: int = 3) -> float:
    """Bytes per second of out = out + x: two reads and a write."""
    x, out = be.zeros((_STREAM,)), be.zeros((_STREAM,))
    return 3 * 4 * _STREAM / _least(be, lambda: be.add(x, out, 1.0), tries)


def _least(be: Backend, work: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest of some tries, after one that does not count."""
    timed([be], work)
    return min(measured([be], work) for _ in range(tries))
