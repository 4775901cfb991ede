"""Batches whose data are matrices of pixels or numbers: CIFAR in both editions, digits, and whatever users packed alike.

Bytes that form square pictures of one or three channels can be cropped; anything else goes to the net minus its mean.
Layouts: io 5.1; providers: io 6.4.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from convnet.data.batches import find_batches, label_names_of, labels_of, mean_of, pixels_of, read_batch, read_meta, tree_of
from convnet.data.images import Cropper, PictureBatch
from convnet.data.provider import Batch, MatrixBatch, Provider, Request, check_labels
from convnet.errors import DataError

_CACHE_BYTES = 1 << 30


class Matrices(Provider):
    """[data, label, one-hot labels] of every case; see the module."""

    name = "cifar"
    help = "matrices of pixels: CIFAR-10 in either layout, digits; cropped with --inner-size or --crop-border"
    ten_views = False
    default_border = 0

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.folder = Path(request.path)
        self.meta = read_meta(self.folder)
        self.files = find_batches(self.folder)
        if not self.files:
            raise DataError(f"{self.folder} holds batches.meta but no data_batch_1; make batches with 'convnet makebatches'")
        self._held: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.features = self._count_features()
        self.label_names = label_names_of(self.meta)
        self.classes = len(self.label_names) or self._count_classes()
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self.mean = self._find_mean()
        self.cropper = self._make_cropper()
        self.views = len(self.cropper.places) if self.cropper else 1
        if (self.folder / "test_batch").is_file():
            self.test_numbers = self.numbers[-1:]
        features = self.cropper.features if self.cropper else self.features
        self.dims = {0: features, 1: 1, 2: self.classes}

    @property
    def numbers(self) -> list[int]:
        return list(self.files)

    def batch(self, epoch: int, number: int) -> Batch:
        pixels, labels = self._read(number)
        one_hot = (np.arange(self.classes)[:, None] == labels).astype(np.float32)
        if self.request.compat.labels_of_batch:
            one_hot[:] = one_hot.max(axis=1, keepdims=True)
        rows = [labels[None].astype(np.float32), one_hot]
        if self.cropper is None:
            return MatrixBatch([pixels - (self.mean - self.request.compat.pixel_offset)[:, None], *rows])
        C, S = self.cropper.channels, self.cropper.side
        pictures = pixels.reshape(C, S, S, -1).transpose(3, 1, 2, 0)
        crops = self.cropper.crops(len(pictures), self.request.random(epoch, number))
        return PictureBatch(pictures, rows, crops)

    def images(self, matrix: np.ndarray) -> np.ndarray:
        if self.cropper is None:
            return super().images(matrix)
        return self.cropper.pictures(matrix)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(features, cases) and labels of one batch, checked; small sets stay in memory."""
        if number in self._held:
            return self._held[number]
        if number not in self.files:
            self.check_range([number], "data")
        parts = list(zip(self.files[number], read_batch(self.files[number]), strict=True))
        pixels = np.concatenate(
            [pixels_of(part, path, self.features, "source_model" in self.meta) for path, part in parts], axis=1
        )
        labels = np.concatenate([labels_of(part, path) for path, part in parts])
        where = str(self.files[number][0])
        if len(labels) != pixels.shape[1]:
            raise DataError(f"{where}: {pixels.shape[1]} cases but {len(labels)} labels; the file is truncated or damaged")
        check_labels(labels, self.classes, where)
        if pixels.dtype != np.uint8 and pixels.size and (pixels == np.clip(np.round(pixels), 0, 255)).all():
            pixels = pixels.astype(np.uint8)
        if pixels.nbytes * len(self.files) <= _CACHE_BYTES:
            self._held[number] = (pixels, labels)
        return pixels, labels

    def _count_features(self) -> int:
        if "num_vis" in self.meta:
            return int(self.meta["num_vis"])
        path = next(iter(self.files.values()))[0]
        part = read_batch([path])[0]
        data = part.get("data")
        if not isinstance(data, np.ndarray) or data.ndim != 2:
            raise DataError(f"{path}: no data matrix in it; for pictures use --data-provider image")
        cases = len(labels_of(part, path))
        return data.shape[1] if data.shape[0] == cases else data.shape[0]

    def _count_classes(self) -> int:
        first = next(iter(self.files.values()))
        return (
            int(max(labels_of(part, path).max(initial=0) for path, part in zip(first, read_batch(first), strict=True))) + 1
        )

    def _find_mean(self) -> np.ndarray:
        """The description's mean, or that of the training batches (the standard CIFAR edition has none)."""
        mean = mean_of(self.meta, self.features, self.folder)
        if mean is not None:
            return mean.astype(np.float32)
        train = [n for n in (self.request.batches if self.request.training else self.numbers[:-1]) if n in self.files]
        sums, cases = np.zeros(self.features), 0
        for number in train or self.numbers:
            pixels = self._read(number)[0]
            sums += pixels.sum(axis=1, dtype=np.float64)
            cases += pixels.shape[1]
        return (sums / max(cases, 1)).astype(np.float32)

    def _make_cropper(self) -> Cropper | None:
        shape = picture_shape(self.features, self.meta)
        border = self.request.crop_border or (0 if self.request.inner_size else self.default_border)
        is_bytes = self._read(self.numbers[0])[0].dtype == np.uint8
        if shape is None or not is_bytes:
            if border or self.request.inner_size:
                kind = "values" if shape else f"{self.features} values per case"
                raise DataError(f"only pictures in bytes can be cropped; {self.folder} holds {kind}")
            return None
        request = Request(**{**vars(self.request), "crop_border": border})
        return Cropper(request, *shape, self.mean, self.ten_views, request.compat.pixel_offset)


class CroppedMatrices(Matrices):
    """2011's cropped provider: border 4 unless told otherwise, ten views."""

    name = "cifar-cropped"
    help = "as cifar, cropped by 4 pixels a side; ten test views, mirrors among them"
    ten_views = True
    default_border = 4


def picture_shape(features: int, meta: dict[str, Any]) -> tuple[int, int] | None:
    """(channels, side) if ``features`` values can be a square picture of three channels or one."""
    for channels in [int(meta["num_colors"])] if "num_colors" in meta else [3, 1]:
        side = math.isqrt(features // channels)
        if side * side * channels == features:
            return channels, side
    return None
