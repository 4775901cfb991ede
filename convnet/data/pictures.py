"""Batches of JPEG pictures: ImageNet as 2012 and 2014 packed it, one's own folders, and the demonstration set.

[pixels, label, labels as 0/1] of every case (io 6.4). Pillow decodes, in several threads; pictures that cannot be decoded
are left out and counted.
"""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from convnet.data.batches import find_batches, label_lists, label_names_of, mean_of, read_batch, read_meta, tree_of
from convnet.data.images import Cropper, PictureBatch
from convnet.data.provider import Batch, Provider, Request, check_labels
from convnet.errors import DataError

_INNER = 224  # of 256, the crop of the paper
_STORED = 256


class Pictures(Provider):
    """JPEG batches; see the module. Unless told otherwise, 256 pixels are cropped to 224 and other sizes not at all."""

    name = "image"
    help = "JPEG pictures packed by makebatches or by cuda-convnet2: random crop, mirror, colour noise"

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.folder = Path(request.path)
        self.meta = read_meta(self.folder)
        self.files = find_batches(self.folder)
        if not self.files:
            raise DataError(f"{self.folder} holds batches.meta but no data_batch_1; make batches with 'convnet makebatches'")
        self.label_names = label_names_of(self.meta)
        self.classes = len(self.label_names)
        if not self.classes:
            raise DataError(f"{self.folder / 'batches.meta'} has no label_names, so the classes are unknown")
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self.offset = int(self.meta.get("label_offset", 0))
        self._prepare(int(self.meta.get("num_vis", 3 * _STORED**2)))

    def _prepare(self, features: int) -> None:
        side = math.isqrt(features // 3)
        if 3 * side * side != features:
            raise DataError(f"{self.folder / 'batches.meta'}: num_vis={features} is no square picture of 3 channels")
        mean = mean_of(self.meta, features, self.folder)
        if mean is None:
            mean = np.full(features, 127.0)
            self.problems.append(f"{self.folder / 'batches.meta'} has no data_mean; 127 is subtracted from every pixel")
        request = self.request
        if not request.inner_size and not request.crop_border and side == _STORED:
            request = Request(**{**vars(request), "inner_size": _INNER})
        self.cropper = Cropper(request, 3, side, mean, compat=request.compat)
        self.views = len(self.cropper.places)
        self.dims = {0: self.cropper.features, 1: 1, 2: self.classes}
        self.color_pca = self.meta.get("color_pca")
        if request.color_noise > 0 and request.training and self.color_pca is None:
            raise DataError(f"--color-noise needs color_pca in {self.folder / 'batches.meta'}, which has none")

    @property
    def numbers(self) -> list[int]:
        return list(self.files)

    def batch(self, epoch: int, number: int) -> Batch:
        random = self.request.random(epoch, number)
        strings: list[bytes] = []
        labels: list[list[int]] = []
        paths = self._paths(number)
        for path, part in zip(paths, read_batch(paths), strict=True):
            given = part.get("data")
            if not isinstance(given, list) or not all(isinstance(item, str | bytes) for item in given):
                raise DataError(f"{path}: holds no JPEG pictures; for matrices use --data-provider cifar")
            strings += [item.encode("latin1") if isinstance(item, str) else item for item in given]
            labels += label_lists(part, path)
        if len(labels) != len(strings):
            raise DataError(
                f"{paths[0]}: {len(strings)} pictures but {len(labels)} labels; the file is truncated or damaged"
            )
        offsets = random.random(len(strings)) if self.request.training else np.full(len(strings), 0.5)
        pictures, kept = self._decode(strings, offsets, str(paths[0]))
        chosen = [labels[i] for i in kept]
        rows = self._label_rows(chosen, random, str(paths[0]))
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), random, self.color_pca))

    def images(self, matrix: np.ndarray) -> np.ndarray:
        return self.cropper.pictures(matrix)

    def _paths(self, number: int) -> list[Path]:
        if number not in self.files:
            self.check_range([number], "data")
        return self.files[number]

    def _decode(self, strings: list[bytes], offsets: np.ndarray, where: str) -> tuple[np.ndarray, list[int]]:
        side = self.cropper.side
        with ThreadPoolExecutor(self.request.threads) as workers:
            decoded = list(workers.map(lambda pair: decode(pair[0], side, pair[1]), zip(strings, offsets, strict=True)))
        kept = [i for i, picture in enumerate(decoded) if picture is not None]
        if len(kept) < len(decoded):
            self.problems.append(
                f"{where}: {len(decoded) - len(kept)} of {len(decoded)} pictures cannot be decoded and are left out"
            )
        if not kept:
            raise DataError(f"{where}: none of its {len(decoded)} pictures can be decoded")
        return np.stack([decoded[i] for i in kept]), kept

    def _label_rows(self, labels: list[list[int]], random: np.random.Generator, where: str) -> list[np.ndarray]:
        """One label per case, drawn where it has several, and all of them as 0/1 (io 6.4)."""
        one = np.array([item[int(random.integers(len(item)))] if item else 0 for item in labels], np.float64) + self.offset
        check_labels(one, self.classes, where)
        many = np.zeros((self.classes, len(labels)), np.float32)
        for n, item in enumerate(labels):
            many[np.asarray(item, int) + self.offset, n] = 1
        return [one[None].astype(np.float32), many]


def decode(data: bytes, side: int, offset: float = 0.5) -> np.ndarray | None:
    """A picture as bytes (side, side, 3), or ``None`` if it cannot be decoded.

    A longer side is cut at ``offset`` (0 to 1); a shorter side that is not ``side`` is resized to it first.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return resize_and_crop(picture, side, offset)


def resize_and_crop(picture: Image.Image, side: int, offset: float = 0.5) -> np.ndarray:
    """Resize the short side to ``side`` where needed, and cut a square out of the long one."""
    width, height = picture.size
    short = min(width, height)
    if short != side:
        scale = side / short
        filtering = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        picture = picture.resize((max(side, round(width * scale)), max(side, round(height * scale))), filtering)
        width, height = picture.size
    left, top = int(offset * (width - side)), int(offset * (height - side))
    return np.asarray(picture.crop((left, top, left + side, top + side)))
