"""Batches of JPEG pictures: ImageNet as 2012 and 2014 packed it, one's own folders, and the demonstration set.

[pixels, label, labels as 0/1] of every case (io 6.4). Pillow decodes, in several threads (``decoding``); pictures that
cannot be decoded are left out and named.
"""

import io
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from convnet.data.batches import label_lists, tree_of
from convnet.data.decoding import read_square
from convnet.data.images import Cropper, PictureBatch, square_side
from convnet.data.provider import Batch, FolderProvider, Request, check_counts, check_labels, check_targets
from convnet.errors import DataError, listed, printable

_INNER = 224  # of 256, the crop of the paper
_STORED = 256
LARGEST = 4096  # pixels of a side
_NAMED = 8  # of the pictures that cannot be decoded


class Pictures(FolderProvider):
    """JPEG batches; see the module. By default 256 pixels are cropped to 224, and other sizes not at all."""

    name = "image"
    reads = frozenset({"data_path", "crop_border", "inner_size", "scalar_mean", "color_noise", "threads"})
    cropper: Cropper

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        description = self.folder / "batches.meta"
        self.classes = len(self.label_names)
        if not self.classes:
            raise DataError(f"{description} has no label_names, so the classes are unknown")
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self.label_offset = int(self.meta.get("label_offset", 0))
        pca = self.meta.get("color_pca")
        self.color_pca = None if pca is None else (np.asarray(pca[0]), np.asarray(pca[1]))
        self.cropper = self._make_cropper(description)
        self.dims = {0: self.cropper.features, 1: 1, 2: self.classes}
        if request.color_noise > 0 and request.training and self.color_pca is None:
            raise DataError(f"--color-noise needs color_pca in {description}, which has none")

    def _make_cropper(self, description: Path) -> Cropper:
        features = int(self.meta.get("num_vis", 3 * _STORED**2))
        side = square_side(features, 3)
        if not side or side > LARGEST:
            most = f" of at most {LARGEST} pixels a side" * (side > LARGEST)
            raise DataError(f"{description}: num_vis={features} is not a square picture of 3 channels{most}")
        mean = self.described_mean(features)
        if mean is None:
            mean = np.full(features, 127.0, np.float32)
            self.problems.append(f"{description} has no data_mean; 127 is subtracted from every pixel")
        request = self.request
        if not request.inner_size and not request.crop_border and side == _STORED:
            request = replace(request, inner_size=_INNER)
        return Cropper(request, 3, side, mean, compat=request.compat)

    def batch(self, epoch: int, number: int) -> Batch:
        random = self.request.random(epoch, number)
        strings: list[bytes] = []
        labels: list[list[int]] = []
        for path, part in self.read_parts(number):
            data = part.get("data")
            if not isinstance(data, list) or not all(isinstance(item, str | bytes) for item in data):
                raise DataError(f"{path}: holds no JPEG pictures; for matrices use --data-provider cifar")
            strings += [item.encode("latin1") if isinstance(item, str) else item for item in data]
            labels += label_lists(part, path)
        where = str(self.files[number][0])
        check_counts(len(strings), len(labels), where, "picture")
        offsets = random.random(len(strings)) if self.request.training else np.full(len(strings), 0.5)
        pictures, decoded = self._decode(strings, offsets, where)
        rows = self._label_rows([labels[i] for i in decoded], random, where)
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), random, self.color_pca))

    def _decode(self, strings: list[bytes], offsets: np.ndarray, where: str) -> tuple[np.ndarray, list[int]]:
        """Return the pictures (N, side, side, 3), and the numbers of those that can be decoded."""

        def decode(string: bytes, offset: float) -> np.ndarray | DataError:
            try:
                return read_square(io.BytesIO(string), self.cropper.side, offset, upright=self.request.compat.upright)
            except DataError as error:
                return error

        with ThreadPoolExecutor(self.request.threads) as workers:
            results = dict(enumerate(workers.map(decode, strings, offsets)))
        pictures = {i: result for i, result in results.items() if isinstance(result, np.ndarray)}
        missing = [f"number {i} ({result})" for i, result in results.items() if i not in pictures]
        if missing:
            count = f"{len(missing)} of {len(strings)} pictures cannot be decoded and are left out"
            self._warn(f"{where}: {count}: {listed(missing, _NAMED)}, counted from 0")
        if not pictures:
            raise DataError(f"{where}: none of its {len(strings)} pictures can be decoded")
        return np.stack(list(pictures.values())), list(pictures)

    def _warn(self, problem: str) -> None:
        """Report what is wrong with a batch, once, however often the batch is used."""
        problem = printable(problem)
        if problem not in self.problems:
            self.problems.append(problem)
            logging.getLogger(__name__).warning(problem)

    def _label_rows(self, labels: list[list[int]], random: np.random.Generator, where: str) -> list[np.ndarray]:
        """Return one label per case, drawn where it has several, and all of them as 0/1 (io 6.4)."""
        drawn = [item[int(random.integers(len(item)))] if item else 0 for item in labels]
        one = np.array(drawn, np.float64) + self.label_offset
        every = np.array([label for item in labels for label in item], np.float64) + self.label_offset
        check_labels(every, self.own_classes, where, np.repeat(np.arange(len(labels)), list(map(len, labels))))
        check_labels(one, self.own_classes, where)
        check_targets(self.classes, len(labels), where)
        many = np.zeros((self.classes, len(labels)), np.float32)
        for n, item in enumerate(labels):
            many[self.net_labels(np.asarray(item, int) + self.label_offset), n] = 1
        return [self.net_labels(one)[None].astype(np.float32), many]
