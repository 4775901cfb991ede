"""Cropping, mirroring and colour noise: what happens to pictures between a batch file and the net (numerics 11.8, 11.9).

Pictures stay bytes (N, H, W, C) until a minibatch is packed; ``Crops`` says what to cut out of each.
Letters: C channels, H, W sides of the stored picture, S side of the crop, N cases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.data.provider import Batch, Request
from convnet.errors import DataError
from convnet.generation import COMPAT, Compat


@dataclass
class Crops:
    """How pictures become maps: value = (pixel - mean + shift) * gain, cut at (top, left) and maybe mirrored.

    ``mean`` is (C, S, S) float32; ``shifts`` (N, C); ``tops``, ``lefts`` and ``flips`` one value per picture.
    """

    tops: np.ndarray
    lefts: np.ndarray
    flips: np.ndarray
    mean: np.ndarray
    shifts: np.ndarray
    gain: float = 1.0

    def part(self, start: int, stop: int) -> Self:
        """Return the crops of cases ``start`` to ``stop``."""
        return replace(self, **{name: getattr(self, name)[start:stop] for name in ("tops", "lefts", "flips", "shifts")})


@dataclass
class PictureMatrix:
    """The pictures of a minibatch and their crops; packed into a matrix where a backend computes."""

    pixels: np.ndarray
    crops: Crops

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's shape, (features, N)."""
        return self.crops.mean.size, len(self.pixels)

    def prefetch(self, be: Backend) -> Self:
        """Begin to copy the pixels to where ``be`` packs them; the result fills in place of this object, once."""
        return replace(self, pixels=be.prefetch(self.pixels))

    def fill(self, be: Backend, out: Array) -> None:
        """Pack into ``out``, a backend's (features, N)."""
        C, S = self.crops.mean.shape[:2]
        be.pack_images(self.pixels, self.crops, out.reshape(C, S, S, len(self.pixels)))


Matrix = np.ndarray | PictureMatrix  # of a minibatch, (features, cases)


class PictureBatch(Batch):
    """Pictures, the matrices that belong to them (labels), and one ``Crops`` per view."""

    def __init__(self, pixels: np.ndarray, labels: list[np.ndarray], crops: list[Crops]) -> None:
        self.pixels, self.labels, self.crops = pixels, labels, crops
        self.cases, self.views = len(pixels), len(crops)

    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Matrix]:
        pictures = PictureMatrix(self.pixels[start:stop], self.crops[view].part(start, stop))
        return [pictures, *(matrix[:, start:stop] for matrix in self.labels)]


class Cropper:
    """Chooses crops of pictures of ``channels`` maps and side ``side``, as a ``Request`` wants them.

    Of a ``mean`` that has to be found first it is a function that does, called when it is asked for. ``ten_views``: corners,
    centre and their mirrors (2011, image data), else nine positions without mirrors. ``offset`` is added to every pixel.
    ``compat`` says which pictures share a crop (image data only).
    """

    def __init__(
        self,
        request: Request,
        channels: int,
        side: int,
        mean: np.ndarray | Callable[[], np.ndarray],
        ten_views: bool = True,
        offset: float = 0.0,
        compat: Compat = COMPAT[""],
    ) -> None:
        self.request, self.channels, self.side, self.compat = request, channels, side, compat
        self.size = request.inner_size or side - 2 * request.crop_border
        if not 0 < self.size <= side:
            option = f"--inner-size {request.inner_size}" if request.inner_size else f"--crop-border {request.crop_border}"
            raise DataError(f"{option} does not fit pictures of side {side}")
        self.features = channels * self.size**2  # values per case of the packed matrix
        self.slack = side - self.size  # positions of a crop along a side, less one
        self._offset, self._find_mean = offset, mean if callable(mean) else None
        self._mean: np.ndarray | None = None
        if request.scalar_mean >= 0:  # nor where it is not a number
            self._mean = np.full((channels, self.size, self.size), request.scalar_mean, np.float32)
        elif not callable(mean):
            self._mean = self._middle_of(mean)
        last, middle = self.slack, self.slack // 2
        self.views = [(middle, middle, False)]  # (top, left, mirrored) of every view (io 6.4)
        if request.multiview and ten_views:
            self.views = ten_positions(last, last)
        elif request.multiview:
            self.views = [(top, left, False) for top in (0, middle, last) for left in (0, middle, last)]

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted, (C, S, S) float32: the centre of the mean picture, or --scalar-mean for all of it."""
        if self._mean is None:
            assert self._find_mean
            self._mean = self._middle_of(self._find_mean())
        return self._mean

    @mean.setter
    def mean(self, value: np.ndarray) -> None:
        self._mean = value

    @property
    def has_mean(self) -> bool:
        """Whether the mean is known, and need not be found."""
        return self._mean is not None

    def crops(self, cases: int, random: np.random.Generator, color_pca: tuple | None = None) -> list[Crops]:
        """Return one random ``Crops`` in training, one per view in testing."""
        if not self.request.training:
            shifts = np.zeros((cases, self.channels), np.float32)
            positions = [[np.full(cases, value) for value in position] for position in self.views]
            return [Crops(top, left, flip.astype(np.uint8), self.mean, shifts) for top, left, flip in positions]
        # Which draw each picture follows: one of its own, or with 2012 and 2014 that of others (io 6.4).
        stream = max(-(-cases // self.compat.crop_streams), 1)
        which = np.arange(cases) % stream // self.compat.crop_group
        draws = int(which.max(initial=-1)) + 1
        flips = random.integers(0, 2, draws)[which] if self.slack else np.zeros(cases, int)
        tops = random.integers(0, self.slack + 1, draws)[which]
        lefts = random.integers(0, self.slack + 1, draws)[which]
        shifts, gain = self._color_noise(cases, random, color_pca)
        return [Crops(tops, lefts, flips.astype(np.uint8), self.mean, shifts, gain)]

    def images(self, matrix: np.ndarray) -> np.ndarray:
        """Return cases of the packed matrix as pictures (N, S, S, C) in 0 to 1."""
        maps = matrix.reshape(self.channels, self.size, self.size, -1) + self.mean[..., None]
        return np.clip(maps.transpose(3, 1, 2, 0) / 255.0, 0, 1)

    def _middle_of(self, mean: np.ndarray) -> np.ndarray:
        """Return the centre of a mean picture, wherever crops lie (numerics 11.9)."""
        inner = slice(self.slack // 2, self.slack // 2 + self.size)
        middle = mean.reshape(self.channels, self.side, self.side)[:, inner, inner]
        return (middle - self._offset if self._offset else middle).astype(np.float32)

    def _color_noise(self, cases: int, random: np.random.Generator, color_pca: tuple | None) -> tuple[np.ndarray, float]:
        """Return the shifts c * E (stdev * z), and the gain that divides the whole picture by 1 + c (numerics 11.8)."""
        c = self.request.color_noise
        if c <= 0 or color_pca is None:
            return np.zeros((cases, self.channels), np.float32), 1.0
        stdevs, vectors = color_pca
        z = random.standard_normal((cases, len(stdevs)))
        return (c * (z * stdevs) @ vectors.T).astype(np.float32), 1.0 / (1.0 + c)


def ten_positions(bottom: int, right: int) -> list[tuple[int, int, bool]]:
    """Return (top, left, mirrored) of ten views: corners and centre, then their mirrors (numerics 11.9)."""
    corners = [(0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right)]
    return [(top, left, flip) for flip in (False, True) for top, left in corners]


def square_side(features: int, channels: int) -> int:
    """Return the side of ``channels`` square maps of ``features`` values together; 0 if they are not square."""
    side = math.isqrt(features // channels)
    return side if side * side * channels == features else 0


def picture_shape(features: int, meta: dict[str, Any]) -> tuple[int, int] | None:
    """Return (channels, side) if ``features`` values can be a square picture of three channels or one.

    ``num_colors`` of a description decides where it is there.
    """
    for channels in [int(meta["num_colors"])] if "num_colors" in meta else [3, 1]:
        if side := square_side(features, channels):
            return channels, side
    return None


def color_axes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``color_pca`` of colours whose covariance is (3, 3): deviations along the principal axes, which are columns."""
    variances, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(variances, 0)), vectors
