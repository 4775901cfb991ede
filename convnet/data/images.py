"""Cropping, mirroring and colour noise: what happens to pictures between a batch file and the net (numerics 11.8, 11.9).

Pictures stay bytes (N, H, W, C) until a minibatch is packed; ``Crops`` says what to cut out of each.
Letters: C channels, H, W sides of the stored picture, S side of the crop, N cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convnet.data.provider import Batch, Request
from convnet.errors import DataError
from convnet.generation import COMPAT, Compat


@dataclass
class Crops:
    """How pictures become maps: value = (pixel - mean + shift) * gain, at a corner and maybe mirrored.

    ``mean`` is (C, S, S) float32; ``shifts`` (N, C); ``tops``, ``lefts`` and ``flips`` one value per picture.
    """

    tops: np.ndarray
    lefts: np.ndarray
    flips: np.ndarray
    mean: np.ndarray
    shifts: np.ndarray
    gain: float = 1.0

    def part(self, start: int, stop: int) -> Crops:
        """The crops of cases ``start`` to ``stop``."""
        at = slice(start, stop)
        return Crops(self.tops[at], self.lefts[at], self.flips[at], self.mean, self.shifts[at], self.gain)


@dataclass
class Pixels:
    """Pictures of one minibatch and their crops, packed when a net asks."""

    pixels: np.ndarray
    crops: Crops

    def prefetch(self, be: Any) -> Pixels:
        """Begin to bring the pictures to where ``be`` packs them; what is returned fills in their place, once."""
        return Pixels(be.prefetch(self.pixels), self.crops)

    def fill(self, be: Any, out: Any) -> None:
        """Pack into ``out``, a backend's (features, N)."""
        C, S = self.crops.mean.shape[:2]
        be.pack_images(self.pixels, self.crops, out.reshape(C, S, S, len(self.pixels)))


class PictureBatch(Batch):
    """Pictures, labels, and one ``Crops`` per view."""

    def __init__(self, pixels: np.ndarray, labels: list[np.ndarray], crops: list[Crops]) -> None:
        self.pixels, self.labels, self.crops = pixels, labels, crops
        self.cases, self.views = len(pixels), len(crops)

    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Any]:
        pictures = Pixels(self.pixels[start:stop], self.crops[view].part(start, stop))
        return [pictures, *(matrix[:, start:stop] for matrix in self.labels)]


class Cropper:
    """Decides crops for pictures of ``side`` with ``channels`` maps, as a ``Request`` wants them.

    ``ten_views``: corners and centre and their mirrors (2011, image data), else nine places without mirrors. ``offset``
    is added to every pixel. Of ``compat``, image data follow what pictures share.
    """

    def __init__(
        self,
        request: Request,
        channels: int,
        side: int,
        mean: np.ndarray,
        ten_views: bool = True,
        offset: float = 0.0,
        compat: Compat = COMPAT[""],
    ) -> None:
        self.request, self.channels, self.side, self.offset, self.compat = request, channels, side, offset, compat
        self.size = request.inner_size or side - 2 * request.crop_border
        if not 0 < self.size <= side:
            wanted = f"--inner-size {request.inner_size}" if request.inner_size else f"--crop-border {request.crop_border}"
            raise DataError(f"{wanted} does not fit pictures of side {side}")
        self.slack = side - self.size
        self.mean = self._mean(mean)
        self.places = self._places(ten_views) if request.multiview else [(self.slack // 2, self.slack // 2, False)]

    @property
    def features(self) -> int:
        return self.channels * self.size**2

    def crops(self, cases: int, random: np.random.Generator, color_pca: tuple | None = None) -> list[Crops]:
        """One ``Crops`` in training, one per view in testing."""
        if not self.request.training:
            return [self._fixed(cases, *place) for place in self.places]
        which = self._draws(cases)
        draws = int(which.max(initial=-1)) + 1
        flips = random.integers(0, 2, draws)[which] if self._mirrors else np.zeros(cases, int)
        tops = random.integers(0, self.slack + 1, draws)[which]
        lefts = random.integers(0, self.slack + 1, draws)[which]
        shifts, gain = self._noise(cases, random, color_pca)
        return [Crops(tops, lefts, flips.astype(np.uint8), self.mean, shifts, gain)]

    def _draws(self, cases: int) -> np.ndarray:
        """Which draw each picture follows."""
        part = -(-cases // self.compat.crop_streams)
        return np.arange(cases) % max(part, 1) // self.compat.crop_group

    @property
    def _mirrors(self) -> bool:
        return self.slack > 0

    def _fixed(self, cases: int, top: int, left: int, flip: bool) -> Crops:
        shifts = np.zeros((cases, self.channels), np.float32)
        flips = np.full(cases, flip, np.uint8)
        return Crops(np.full(cases, top), np.full(cases, left), flips, self.mean, shifts)

    def _noise(self, cases: int, random: np.random.Generator, color_pca: tuple | None) -> tuple[np.ndarray, float]:
        """Shifts c * E (stdev * z), and the division of the whole picture by 1 + c (numerics 11.8)."""
        c = self.request.color_noise
        if c <= 0 or color_pca is None:
            return np.zeros((cases, self.channels), np.float32), 1.0
        stdevs, vectors = (np.asarray(part, np.float64) for part in color_pca)
        z = random.standard_normal((cases, len(stdevs)))
        return (c * (z * stdevs) @ vectors.T).astype(np.float32), 1.0 / (1.0 + c)

    def _mean(self, mean: np.ndarray) -> np.ndarray:
        """The centre of the mean picture, whatever the crop (numerics 11.9); or one number for all of it."""
        shape = (self.channels, self.size, self.size)
        if self.request.scalar_mean >= 0:
            return np.full(shape, self.request.scalar_mean, np.float32)
        border = self.slack // 2
        whole = mean.reshape(self.channels, self.side, self.side)
        return (whole[:, border : border + self.size, border : border + self.size] - self.offset).astype(np.float32)

    def _places(self, ten: bool) -> list[tuple[int, int, bool]]:
        last, middle = self.slack, self.slack // 2
        if ten:
            corners = [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]
            return [(top, left, flip) for flip in (False, True) for top, left in corners]
        return [(top, left, False) for top in (0, middle, last) for left in (0, middle, last)]

    def pictures(self, matrix: np.ndarray) -> np.ndarray:
        """Cases of the packed matrix as (N, S, S, C) in 0 to 1."""
        maps = matrix.reshape(self.channels, self.size, self.size, -1) + self.mean[..., None]
        return np.clip(maps.transpose(3, 1, 2, 0) / 255.0, 0, 1)
