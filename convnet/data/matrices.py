"""Batches whose data are matrices of pixels or numbers: CIFAR in both editions, digits, and whatever users packed alike.

Bytes that form square pictures of one or three channels can be cropped; anything else goes to the net minus its mean.
Layouts: io 5.1; providers: io 6.4.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from convnet.data.batches import labels_of, pixels_of, read_batch, tree_of
from convnet.data.images import Cropper, PictureBatch, square_side
from convnet.data.provider import (
    Batch,
    FolderProvider,
    MatrixBatch,
    Request,
    check_counts,
    check_labels,
    check_targets,
    one_hot,
)
from convnet.data.scaling import scale_mean, scale_pictures
from convnet.data.schema import check_finite
from convnet.errors import DataError
from convnet.texts import counted

_CACHE_BYTES = 1 << 30
_CLASSES = 1 << 20  # that are counted by their labels alone; each case has as many targets


class Matrices(FolderProvider):
    """[data, label, one-hot labels] of every case; pictures are cropped with --inner-size or --crop-border.

    ``features`` are the values of a case before that, after --picture-size.
    """

    name = "cifar"
    ten_views = False
    default_border = 0

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._stored = self._count_features()
        self._shape = _picture_shape(self._stored, self.meta)
        side = request.picture_size
        if side and self._shape is None:
            raise DataError(f"--picture-size: only square pictures can be scaled; {self.folder} holds {self._stored} values")
        self.features = self._shape[0] * side**2 if side and self._shape else self._stored
        self.classes = len(self.label_names)
        if not self.classes:
            parts = self.read_parts(self.numbers[0])
            self.classes = int(max(labels_of(part, path).max(initial=0) for path, part in parts)) + 1
            if self.classes > _CLASSES:
                raise DataError(
                    f"{parts[0][0]}: a label of {self.classes - 1}; without label_names at most {_CLASSES} are classes"
                )
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self.mean = self._find_mean()
        self.cropper = self._make_cropper()
        self.value_mean = None if self.cropper else self.mean - request.compat.pixel_offset
        if (self.folder / "test_batch").is_file():
            self.test_numbers = self.numbers[-1:]
        self.reads = frozenset(
            {"data_path", *(("crop_border", "inner_size", "picture_size", "scalar_mean") if self.cropper else ())}
        )
        self.dims = {0: self.cropper.features if self.cropper else self.features, 1: 1, 2: self.classes}

    def batch(self, epoch: int, number: int) -> Batch:
        pixels, labels = self._read(number)
        labels = self.net_labels(labels)
        check_targets(self.classes, len(labels), str(self.files[number][0]))
        targets = one_hot(labels, self.classes)
        if self.request.compat.labels_of_batch:
            targets[:] = targets.max(axis=1, keepdims=True)
        rows = [labels[None].astype(np.float32), targets]
        if self.cropper is None:
            assert self.value_mean is not None
            return MatrixBatch([pixels - self.value_mean[:, None], *rows])
        C, S = self.cropper.channels, self.cropper.side
        pictures = pixels.reshape(C, S, S, -1).transpose(3, 1, 2, 0)
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), self.request.random(epoch, number)))

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return data (features, cases) and labels of one batch, checked; batches of small sets stay in memory."""
        if number in self._cache:
            return self._cache[number]
        parts = self.read_parts(number)
        cases_first = "source_model" in self.meta
        pixels = np.concatenate([pixels_of(part, path, self._stored, cases_first) for path, part in parts], axis=1)
        labels = np.concatenate([labels_of(part, path) for path, part in parts])
        where = str(parts[0][0])
        check_counts(pixels.shape[1], len(labels), where)
        check_labels(labels, self.own_classes, where)
        check_finite(pixels, where)
        # Whole numbers that a byte holds are pixels, whatever type they were stored in.
        if pixels.dtype != np.uint8 and pixels.size and (pixels == np.clip(np.round(pixels), 0, 255)).all():
            pixels = pixels.astype(np.uint8)
        if self.features != self._stored:
            pixels = self._scaled(pixels)
        if pixels.nbytes * len(self.files) <= _CACHE_BYTES:
            self._cache[number] = (pixels, labels)
        return pixels, labels

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
        path = self.files[self.numbers[0]][0]
        part = read_batch(path)
        data = part.get("data")
        if not isinstance(data, np.ndarray) or data.ndim != 2:
            raise DataError(f"{path}: no data matrix in it; for pictures use --data-provider image")
        return data.shape[1] if data.shape[0] == len(labels_of(part, path)) else data.shape[0]

    def _find_mean(self) -> np.ndarray:
        """Return the description's mean, or that of the training batches (the standard CIFAR edition has none)."""
        mean = self.described_mean(self._stored)
        if mean is not None and self.features != self._stored and self._shape:
            mean = scale_mean(mean, self._shape[0], self.request.picture_size)
        if mean is not None:
            return mean.astype(np.float32)
        train = [n for n in (self.request.batches if self.request.training else self.numbers[:-1]) if n in self.files]
        sums, cases = np.zeros(1), 0  # as many as there are values, which the first batch shows
        for number in train or self.numbers:
            pixels = self._read(number)[0]
            sums = sums + pixels.sum(axis=1, dtype=np.float64)
            cases += pixels.shape[1]
        return (sums / max(cases, 1)).astype(np.float32)

    def _make_cropper(self) -> Cropper | None:
        shape = (self._shape[0], self.request.picture_size or self._shape[1]) if self._shape else None
        border = self.request.crop_border or (0 if self.request.inner_size else self.default_border)
        is_bytes = self._read(self.numbers[0])[0].dtype == np.uint8
        if shape is not None and is_bytes:
            request = replace(self.request, crop_border=border)
            return Cropper(request, *shape, self.mean, self.ten_views, request.compat.pixel_offset)
        if border or self.request.inner_size:
            content = "values" if shape else f"{counted(self.features, 'value')} per case"
            raise DataError(f"only pictures in bytes can be cropped; {self.folder} holds {content}")
        return None


class CroppedMatrices(Matrices):
    """2011's cropped provider: a border of 4 unless another is given, ten views with mirrors."""

    name = "cifar-cropped"
    ten_views = True
    default_border = 4


def _picture_shape(features: int, meta: dict[str, Any]) -> tuple[int, int] | None:
    """Return (channels, side) if ``features`` values can be a square picture of three channels or one."""
    for channels in [int(meta["num_colors"])] if "num_colors" in meta else [3, 1]:
        if side := square_side(features, channels):
            return channels, side
    return None
