"""Batches whose data are matrices of pixels or numbers: CIFAR in both editions, digits, and whatever users packed alike.

Bytes that form square pictures of one or three channels can be cropped; anything else goes to the net minus its mean.
Layouts: io 5.1; providers: io 6.4.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import numpy as np

from convnet.data.batches import matrix_of, pixels_of, tree_of
from convnet.data.folder import FolderProvider
from convnet.data.images import Cropper, PictureBatch, picture_shape
from convnet.data.labels import Part
from convnet.data.provider import Batch, MatrixBatch, Request
from convnet.data.scaling import scale_mean, scale_pictures
from convnet.data.schema import check_finite
from convnet.data.targets import Targets
from convnet.errors import DataError
from convnet.texts import counted

_CACHE_BYTES = 1 << 30


class Matrices(FolderProvider):
    """[data, label, one-hot labels] of every case, or what else the net needs.

    Pictures are cropped with --inner-size or --crop-border. ``features`` are the values of a case before that, after
    --picture-size.
    """

    name = "cifar"
    ten_views = False
    default_border = 0

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._cache: dict[int, tuple[np.ndarray, Targets]] = {}
        self._value_mean: np.ndarray | None = None
        self._stored = self._count_features()
        self._shape = picture_shape(self._stored, self.meta)
        side = request.picture_size
        if side and self._shape is None:
            raise DataError(f"--picture-size: only square pictures can be scaled; {self.folder} holds {self._stored} values")
        self.features = self._shape[0] * side**2 if side and self._shape else self._stored
        self.classes = self.count_classes()
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self.cropper = self._make_cropper()
        if (self.folder / "test_batch").is_file():
            self.test_numbers = self.numbers[-1:]
        self.reads = frozenset(
            {"data_path", *(("crop_border", "inner_size", "picture_size", "scalar_mean") if self.cropper else ())}
        )
        self.dims = {0: self.cropper.features if self.cropper else self.features} | self.label_dims

    def batch(self, epoch: int, number: int) -> Batch:
        pixels, targets = self._read(number)
        random = self.request.random(epoch, number)
        rows = self.target_rows(targets, random, str(self.files[number][0]))
        if self.request.compat.labels_of_batch and 2 in self.dims and 2 not in targets.held:
            rows[1][:] = rows[1].max(axis=1, keepdims=True)
        if self.cropper is None:
            mean = self.value_mean
            assert mean is not None
            return MatrixBatch([pixels - mean[:, None], *rows])
        if pixels.dtype != np.uint8:
            first = self.files[self.numbers[0]][0]
            raise DataError(f"{self.files[number][0]}: holds values, but {first} pixels, from 0 to 255")
        C, S = self.cropper.channels, self.cropper.side
        pictures = pixels.reshape(C, S, S, -1).transpose(3, 1, 2, 0)
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), random))

    def cases(self, parts: Sequence[Part]) -> list[int]:
        return [pixels.shape[1] for pixels in self._pixels(parts)]

    def _pixels(self, parts: Sequence[Part]) -> list[np.ndarray]:
        return pixels_of(parts, self._stored, "source_model" in self.meta)

    def _read(self, number: int) -> tuple[np.ndarray, Targets]:
        """Return data (features, cases) and labels of one batch, checked; batches of small sets stay in memory."""
        if number in self._cache:
            return self._cache[number]
        parts = self.read_parts(number)
        matrices = self._pixels(parts)
        pixels = np.concatenate(matrices, axis=1)
        targets = self.checked_targets(parts, [matrix.shape[1] for matrix in matrices])
        check_finite(pixels, parts[0][0])
        # Whole numbers that a byte holds are pixels, whatever type they were stored in.
        if pixels.dtype != np.uint8 and pixels.size and (pixels == np.clip(np.round(pixels), 0, 255)).all():
            pixels = pixels.astype(np.uint8)
        if self.features != self._stored:
            pixels = self._scaled(pixels)
        if pixels.nbytes * len(self.files) <= _CACHE_BYTES:
            self._cache[number] = (pixels, targets)
        return pixels, targets

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels (stored features, N) scaled to --picture-size."""
        if pixels.dtype != np.uint8 or self._shape is None:
            raise DataError(f"--picture-size: only pictures in bytes can be scaled; {self.folder} holds values")
        (C, S), side = self._shape, self.request.picture_size
        pictures = scale_pictures(pixels.reshape(C, S, S, -1).transpose(3, 1, 2, 0), side)
        return np.ascontiguousarray(pictures.transpose(3, 1, 2, 0)).reshape(self.features, -1)

    def _count_features(self) -> int:
        if "num_vis" in self.meta:
            return int(self.meta["num_vis"])
        parts = self.read_parts(self.numbers[0])
        matrices = [matrix_of(part, path) for path, part in parts]
        rows, values = [len(matrix) for matrix in matrices], np.size(self.meta.get("data_mean", 0))
        if values > 1 and values in (*matrices[0].shape, sum(rows)):
            return values
        with suppress(DataError):  # of labels that do not fit the rows, or are not there at all
            if self.targets(parts, rows).holds_all():
                return matrices[0].shape[1]
        return rows[0]

    @cached_property
    def _described(self) -> np.ndarray | None:  # asked for when data of so many values have been seen
        return self.described_mean(self._stored, self._shape[0] if self._shape else 1)

    @property
    def mean(self) -> np.ndarray:
        """The description's mean, or that of the training batches (the standard CIFAR edition has none), (features,)."""
        if self._described is None:
            return self.find_mean(self._sums, self.features, self.request.picture_size)
        if self.features != self._stored and self._shape:
            return scale_mean(self._described, self._shape[0], self.request.picture_size)
        return self._described.astype(np.float32)

    @property
    def value_mean(self) -> np.ndarray | None:
        if self.cropper is None and self._value_mean is None:
            self._value_mean = self.mean - self.request.compat.pixel_offset
        return self._value_mean

    @value_mean.setter
    def value_mean(self, value: np.ndarray | None) -> None:
        self._value_mean = value

    @property
    def has_mean(self) -> bool:
        if self.cropper:
            return self.cropper.has_mean
        return self._value_mean is not None or self._described is not None

    def _sums(self, number: int) -> tuple[np.ndarray, int]:
        pixels = self._read(number)[0]
        return pixels.sum(axis=1, dtype=np.float64), pixels.shape[1]

    def _make_cropper(self) -> Cropper | None:
        shape = (self._shape[0], self.request.picture_size or self._shape[1]) if self._shape else None
        border = self.request.crop_border or (0 if self.request.inner_size else self.default_border)
        is_bytes = self._read(self.numbers[0])[0].dtype == np.uint8
        is_described = self._described is not None
        if shape is not None and is_bytes:
            request = replace(self.request, crop_border=border)
            mean = self.mean if is_described else lambda: self.mean
            return Cropper(request, *shape, mean, self.ten_views, request.compat.pixel_offset)
        if border or self.request.inner_size not in (0, shape[1] if shape else 0):
            content = "values" if shape else f"{counted(self.features, 'value')} per case"
            raise DataError(f"only pictures in bytes can be cropped; {self.folder} holds {content}")
        return None


class TargetMatrices(Matrices):
    """2012's provider of numbers: [data, one-hot labels]."""

    name, target_row = "flatmem", 1


class CroppedMatrices(Matrices):
    """2011's cropped provider: a border of 4 unless another is given, ten views with mirrors."""

    name = "cifar-cropped"
    ten_views = True
    default_border = 4
