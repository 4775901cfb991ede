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
from convnet.data.decoding import Look, is_square, read_square
from convnet.data.images import Cropper, PictureBatch, square_side
from convnet.data.provider import Batch, FolderProvider, Request, check_counts, check_labels, check_targets
from convnet.data.scaling import scale_mean
from convnet.errors import DataError
from convnet.texts import listed, printable

_INNER = 224  # of 256, the crop of the paper
_STORED = 256
LARGEST = 4096  # pixels of a side
_NAMED = 8  # of the pictures that cannot be decoded
_KEPT = 256 << 20  # bytes of decoded pictures that stay in memory


_Decoded = tuple[np.ndarray, list[list[int]]]  # pictures (N, side, side, 3), and the labels of each


class Pictures(FolderProvider):
    """JPEG batches; see the module. By default 256 pixels are cropped to 224, and other sizes not at all.

    Pictures of a small set are decoded once.
    """

    name = "image"
    reads = frozenset({"data_path", "crop_border", "inner_size", "picture_size", "scalar_mean", "color_noise", "threads"})
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
        self._decoded: dict[int, _Decoded] = {}
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
        side = request.picture_size or side
        if not request.inner_size and not request.crop_border and side == _STORED:
            request = replace(request, inner_size=_INNER)
        return Cropper(request, 3, side, scale_mean(mean, 3, side), compat=request.compat)

    def batch(self, epoch: int, number: int) -> Batch:
        random, kept = self.request.random(epoch, number), self._decoded.get(number)
        strings, labels = ([], kept[1]) if kept else self._stored(number)
        self.check_unchanged()
        where, count = str(self.files[number][0]), len(labels)
        # Drawn for pictures that are kept, too, so that the numbers that follow are the same.
        offsets = random.random(count) if self.request.training else np.full(count, 0.5)
        pictures, labels = kept or self._decode(strings, labels, offsets, where)
        if not kept and self._can_keep(pictures, strings):
            self._decoded[number] = pictures, labels
        rows = self._label_rows(labels, random, where)
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), random, self.color_pca))

    def _can_keep(self, pictures: np.ndarray, strings: list[bytes]) -> bool:
        """Return whether there is room to keep a batch for later epochs, and its pictures are the same in all of them."""
        room = _KEPT - sum(kept.nbytes for kept, _ in self._decoded.values())
        if pictures.nbytes > room or len(pictures) < len(strings):
            return False
        return not self.request.training or all(is_square(io.BytesIO(string)) for string in strings)

    def _stored(self, number: int) -> tuple[list[bytes], list[list[int]]]:
        """Return the JPEG files of a batch, and the labels of each."""
        strings: list[bytes] = []
        labels: list[list[int]] = []
        for path, part in self.read_parts(number):
            data = part.get("data")
            if not isinstance(data, list) or not all(isinstance(item, str | bytes) for item in data):
                raise DataError(f"{path}: holds no JPEG pictures; for matrices use --data-provider cifar")
            strings += [item.encode("latin1") if isinstance(item, str) else item for item in data]
            labels += label_lists(part, path)
        check_counts(len(strings), len(labels), str(self.files[number][0]), "picture")
        return strings, labels

    def _decode(self, strings: list[bytes], labels: list[list[int]], offsets: np.ndarray, where: str) -> _Decoded:
        """Return the pictures that can be decoded, and their labels."""
        look = Look(upright=self.request.compat.upright, smooth=self.request.picture_size > 0)

        def decode(string: bytes, offset: float) -> np.ndarray | DataError:
            try:
                return read_square(io.BytesIO(string), self.cropper.side, offset, **look)
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
        return np.stack(list(pictures.values())), [labels[i] for i in pictures]

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
