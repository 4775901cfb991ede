"""Batches of JPEG pictures: ImageNet as 2012 and 2014 packed it, one's own folders, and the demonstration set.

[pixels, label, labels as 0/1] of every case (io 6.4). They are decoded in several threads (``decoding``); those
that cannot be decoded are left out and named.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from convnet.data.batches import bytes_of, tree_of
from convnet.data.decoding import Look, is_square, read_square
from convnet.data.folder import FolderProvider
from convnet.data.images import Cropper, PictureBatch, picture_shape
from convnet.data.provider import Batch, Request
from convnet.data.scaling import scale_mean, scale_pictures
from convnet.data.targets import Targets
from convnet.errors import DataError
from convnet.texts import listed

_INNER = 224  # of 256, the crop of the paper
_STORED = 256
LARGEST = 4096  # pixels of a side
_NAMED = 8  # of the pictures that cannot be decoded
_KEPT = 256 << 20  # bytes of decoded pictures that stay in memory


_Decoded = tuple[np.ndarray, Targets]  # pictures (N, side, side, C), and what belongs to each


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
        self.classes = self.count_classes()
        self.tree = tree_of(self.meta, self.classes, self.folder)
        self._decoded: dict[int, _Decoded] = {}
        self.cropper = self._make_cropper(description)
        pca = self.meta.get("color_pca") if self.cropper.channels == 3 else None
        self.color_pca = None if pca is None else (np.asarray(pca[0]), np.asarray(pca[1]))
        self.dims = {0: self.cropper.features} | self.label_dims
        if request.color_noise > 0 and request.training and self.color_pca is None:
            colour = self.cropper.channels == 3
            lacks = (
                f"color_pca in {description}, which has none"
                if colour
                else f"pictures in colour, and those of {self.folder} are grey"
            )
            raise DataError(f"--color-noise needs {lacks}; --color-noise 0 goes without it")

    def _make_cropper(self, description: Path) -> Cropper:
        # The mean is all that tells the size in what other makers wrote (io 5.1).
        values = np.size(self.meta.get("data_mean", 0))
        usual = int(self.meta.get("num_colors", 3)) * _STORED**2
        features = int(self.meta.get("num_vis", values if values > 3 else usual))
        channels, side = picture_shape(features, self.meta) or (3, 0)
        if channels not in (1, 3) or not 0 < side <= LARGEST:
            most = f" of at most {LARGEST} pixels a side" * (side > LARGEST)
            raise DataError(f"{description}: num_vis={features} is not a square picture of 3 channels or 1{most}")
        mean, request = self.described_mean(features, channels), self.request
        if no_crop := bool(self.meta.get("no_crop")):
            if mean is None:
                raise DataError(f"{description}: no_crop needs data_mean, which fills what a picture leaves of its square")
            mean = np.full_like(mean, mean.mean())
        self._stored_side, self._canvas = side, int(np.clip(mean[0], 0, 255)) if no_crop and mean is not None else None
        side = request.picture_size or side
        if not request.inner_size and not request.crop_border and side == _STORED:
            request = replace(request, inner_size=_INNER)
        shown = self._find_mean if mean is None else scale_mean(mean, channels, side)
        return Cropper(request, channels, side, shown, compat=request.compat)

    def _find_mean(self) -> np.ndarray:
        """Return the mean of the training pictures that can be decoded, (features,)."""
        C, side = self.cropper.channels, self.cropper.side

        def sums_of(number: int) -> tuple[np.ndarray, int]:
            strings, labels = self._stored(number)
            pictures, _ = self._decode(strings, labels, np.full(len(strings), 0.5), str(self.files[number][0]))
            return pictures.sum(axis=0, dtype=np.float64).transpose(2, 0, 1).reshape(-1), len(pictures)

        return self.find_mean(sums_of, C * side**2, C, side, self.request.compat.upright, self.request.picture_size > 0)

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
        rows = self.target_rows(labels, random, where)
        return PictureBatch(pictures, rows, self.cropper.crops(len(pictures), random, self.color_pca))

    def _can_keep(self, pictures: np.ndarray, strings: list[bytes]) -> bool:
        """Return whether there is room to keep a batch for later epochs, and its pictures are the same in all of them."""
        room = _KEPT - sum(kept.nbytes for kept, _ in self._decoded.values())
        if pictures.nbytes > room or len(pictures) < len(strings):
            return False
        return (
            not self.request.training or self._canvas is not None or all(is_square(io.BytesIO(string)) for string in strings)
        )

    def _stored(self, number: int) -> tuple[list[bytes], Targets]:
        """Return the JPEG files of a batch, and their labels."""
        strings: list[bytes] = []
        parts = self.read_parts(number)
        for path, part in parts:
            if not isinstance(part["data"], list):
                raise DataError(f"{path}: holds no JPEG pictures; for matrices use --data-provider cifar")
            strings += map(bytes_of, part["data"])
        return strings, self.checked_targets(parts, self.cases(parts), "picture")

    def _decode(self, strings: list[bytes], labels: Targets, offsets: np.ndarray, where: str) -> _Decoded:
        """Return the pictures that can be decoded, and their labels."""
        C, side = self.cropper.channels, self.cropper.side
        read_side = side if self._canvas is None else self._stored_side  # a canvas is scaled as a whole
        look = Look(upright=self.request.compat.upright, smooth=self.request.picture_size > 0, canvas=self._canvas)
        look["mode"] = "RGB" if C == 3 else "L"

        try:
            pictures = np.empty((len(strings), side, side, C), np.uint8)
        except (MemoryError, ValueError):
            raise DataError(f"{where}: {len(strings)} pictures of {side}x{side} need more memory than there is") from None
        missing: dict[int, DataError] = {}
        numbers = iter(range(len(strings)))  # whose ``next`` only one thread at a time can be in

        def decode(_: int) -> None:
            for i in numbers:
                room = pictures[i] if read_side == side else None
                try:
                    pixels = read_square(io.BytesIO(strings[i]), read_side, offsets[i], room, **look)
                except DataError as error:
                    missing[i] = error
                else:
                    pictures[i] = scale_pictures(pixels.reshape(1, *pixels.shape[:2], C), side)[0]

        threads = self.request.threads
        with ThreadPoolExecutor(threads) as workers:
            list(workers.map(decode, range(threads)))
        if not missing:
            return pictures, labels
        count = f"{len(missing)} of {len(strings)} pictures cannot be decoded and are left out"
        named = [f"number {i} ({missing[i]})" for i in sorted(missing)]
        self.tell(f"{where}: {count}: {listed(named, _NAMED)}, counted from 0")
        if len(missing) == len(strings):
            raise DataError(f"{where}: none of its {len(strings)} pictures can be decoded")
        left = [i for i in range(len(strings)) if i not in missing]
        for place, i in enumerate(left):  # not a copy of them all
            pictures[place] = pictures[i]
        return pictures[: len(left)], labels.of(left)


class TaggedPictures(Pictures):
    """2012's provider of Flickr's pictures: [pixels, classes of the tags as 0/1] (io 5.4)."""

    name, target_row = "flickr-ce-cropped", 1
