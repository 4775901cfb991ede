"""Philox4x32-10: random numbers that are a function of (seed, layer, step, position), the same on every backend.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A ``Key`` holds the two key words and two
counter words; the first counter word is the position divided by four, the last is zero. The C and CUDA twins must give
the same words; ``uniform`` is exact in float32, so masks agree bit for bit.
"""

import zlib

import numpy as np

Key = tuple[int, int, int, int]  # key words 0 and 1, counter words 1 and 2

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def key_for(seed: int, layer: str, step: int, draw: int = 0) -> Key:
    """Return the key of one layer's numbers at one training step; ``draw`` tells several draws of a step apart."""
    low, high = step_words(step)
    return seed & 0xFFFFFFFF, zlib.crc32(layer.encode()), low, high | draw


def step_words(step: int) -> tuple[int, int]:
    """Return what a step adds to the two counter words of a key of step 0."""
    return step & 0xFFFFFFFF, (step >> 32 << 8) & 0xFFFFFFFF


def words(key: Key, count: int) -> np.ndarray:
    """Return the first ``count`` 32-bit words of a key's stream, as uint32."""
    blocks = -(-count // 4)
    x0 = np.arange(blocks, dtype=np.uint64)
    x1, x2, x3 = (np.full(blocks, word, np.uint64) for word in (key[2], key[3], 0))
    k0, k1 = key[0], key[1]
    for _ in range(10):
        p0, p1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1 = (p1 >> np.uint64(32)) ^ x1 ^ np.uint64(k0), p1 & _LOW
        x2, x3 = (p0 >> np.uint64(32)) ^ x3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=1).reshape(-1)[:count].astype(np.uint32)


def uniform(key: Key, count: int) -> np.ndarray:
    """``count`` numbers in (0, 1], as float32, in steps of 2^-24."""
    return ((words(key, count) >> np.uint32(8)) + np.uint32(1)).astype(np.float32) * np.float32(2**-24)


def gaussian(key: Key, count: int) -> np.ndarray:
    """``count`` numbers from N(0, 1), as float64, by Box-Muller over pairs of words."""
    u = uniform(key, count + count % 2).astype(np.float64).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]
