"""Philox4x32-10: random numbers that are a function of (seed, layer, step, position), the same on every backend.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A ``Key`` holds the two key words and two
counter words; the first counter word is the position divided by four, the last is zero. The C and CUDA twins must give
the same words; ``uniform`` is exact in float32, so masks agree bit for bit.

The position counts the values of a whole minibatch, so that a part of its cases draws what the whole would have drawn.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Key(NamedTuple):
    """Names a stream of numbers, and those of it that an array takes, which is seen as (rows, N): N cases of a minibatch.

    The value of row r and case j takes number r * pitch + first + j.
    """

    k0: int  # the key words
    k1: int
    c1: int  # counter words 1 and 2
    c2: int
    pitch: int = 0  # cases of the whole minibatch; 0: those of the array
    first: int = 0  # of its cases, the first one of the array

    def runs(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return in how many runs an array's numbers follow each other, ``pitch`` apart, how long each is, and its blocks.

        Those are of four numbers; there may be one or two more than a run needs.
        """
        rows, cases = math.prod(shape[:-1]), shape[-1]
        if self.pitch in (0, cases):
            return 1, rows * cases, -(-rows * cases // 4)
        return rows, cases, (cases + (6 if (self.pitch | self.first) % 4 else 3)) // 4


_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def key_for(seed: int, layer: str, step: int, draw: int = 0) -> Key:
    """Return the key of one layer's numbers at one training step; ``draw`` tells several draws of a step apart."""
    low, high = step_words(step)
    return Key(seed & 0xFFFFFFFF, zlib.crc32(layer.encode()), low, high | draw)


def step_words(step: int) -> tuple[int, int]:
    """Return what a step adds to the two counter words of a key of step 0."""
    return step & 0xFFFFFFFF, (step >> 32 << 8) & 0xFFFFFFFF


def words(key: Key, blocks: np.ndarray) -> np.ndarray:
    """Return the four words of each of ``blocks``, which are numbers of blocks of any shape, as uint32 (..., 4)."""
    x0 = blocks.astype(np.uint64) & _LOW
    x1, x2, x3 = (np.full(blocks.shape, word, np.uint64) for word in (key.c1, key.c2, 0))
    k0, k1 = key.k0, key.k1
    for _ in range(10):
        p0, p1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1 = (p1 >> np.uint64(32)) ^ x1 ^ np.uint64(k0), p1 & _LOW
        x2, x3 = (p0 >> np.uint64(32)) ^ x3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def uniform(key: Key, shape: Sequence[int]) -> np.ndarray:
    """Numbers in (0, 1] for an array, as float32, in steps of 2^-24."""
    return _draw(key, shape, _uniform)


def gaussian(key: Key, shape: Sequence[int]) -> np.ndarray:
    """Numbers from N(0, 1) for an array, as float64, by Box-Muller over pairs of words."""
    return _draw(key, shape, _gaussian)


def _draw(key: Key, shape: Sequence[int], numbers: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return what ``numbers`` makes of the blocks (..., 4) of an array, at its values' places."""
    runs, length, blocks = key.runs(shape)
    starts = key.first + key.pitch * np.arange(runs)[:, None]
    drawn = numbers(words(key, starts // 4 + np.arange(blocks))).reshape(runs, -1)
    if key.pitch:
        return np.take_along_axis(drawn, starts % 4 + np.arange(length), axis=1).reshape(shape)
    return drawn[:, :length].reshape(shape)


def _uniform(drawn: np.ndarray) -> np.ndarray:
    return ((drawn >> np.uint32(8)) + np.uint32(1)).astype(np.float32) * np.float32(2**-24)


def _gaussian(drawn: np.ndarray) -> np.ndarray:
    u = _uniform(drawn).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log(u[..., ::2])), 2 * np.pi * u[..., 1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
