"""Batches of JPEG pictures: ImageNet as 2012 and 2014 packed it, one's own folders, and the demonstration set.

[pixels, label, labels as 0/1] of every case (io 6.4). They are decoded in several threads (``decoding``); those
that cannot be decoded are left out and named. Of several ranks each decodes its share of them (``picture_share``).

Letters: N pictures of a batch, S side, C channels.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from convnet.data.batches import bytes_of, tree_of
from convnet.data.decoding import Look, is_square, read_square
from convnet.data.folder import FolderProvider
from convnet.data.images import Cropper, picture_shape
from convnet.data.picture_share import Decoded, PictureShare
from convnet.data.provider import Batch, BatchShare, Own, Request, Wanted, all_cases, alone
from convnet.data.scaling import scale_mean, scale_pictures
from convnet.data.targets import Targets
from convnet.errors import DataError

_INNER = 224  # of 256, the crop of the paper
_STORED = 256
LARGEST = 4096  # pixels of a side
_KEPT = 256 << 20  # bytes of decoded pictures that stay in memory


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
        self.kept: dict[int, Decoded] = {}
        self.cropper = self._make_cropper(description)
        self._look = Look(upright=request.compat.upright, smooth=request.picture_size > 0, canvas=self._canvas)
        self._look["mode"] = "RGB" if self.cropper.channels == 3 else "L"
        # A canvas is scaled as a whole.
        self._read_side = self.cropper.side if self._canvas is None else self._stored_side
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
            pictures, _ = PictureShare(self, number).pictures(alone)
            return pictures.sum(axis=0, dtype=np.float64).transpose(2, 0, 1).reshape(-1), len(pictures)

        return self.find_mean(sums_of, C * side**2, C, side, self.request.compat.upright, self.request.picture_size > 0)

    def batch(self, epoch: int, number: int) -> Batch:
        return self.share(epoch, number, None).settle(alone)

    def share(self, epoch: int, number: int, wanted: Wanted | None, own: Own | None = None) -> BatchShare:
        return PictureShare(self, number, self.request.random(epoch, number), wanted or all_cases, own)

    def keep(self, number: int, decoded: Decoded, strings: Sequence[bytes]) -> None:
        """Keep a batch for later epochs if there is room, and its pictures are the same in all of them."""
        room = _KEPT - sum(other.pixels.nbytes for n, other in self.kept.items() if n != number)
        changes = self.request.training and self._canvas is None
        tried = (string for string, tried in zip(strings, decoded.tried, strict=True) if tried)
        if decoded.pixels.nbytes <= room and not (changes and not all(is_square(io.BytesIO(one)) for one in tried)):
            self.kept[number] = decoded

    def stored(self, number: int) -> tuple[list[bytes], Targets]:
        """Return the JPEG files of a batch, and their labels."""
        strings: list[bytes] = []
        parts = self.read_parts(number)
        for path, part in parts:
            if not isinstance(part["data"], list):
                raise DataError(f"{path}: holds no JPEG pictures; for matrices use --data-provider cifar")
            strings += map(bytes_of, part["data"])
        return strings, self.checked_targets(parts, self.cases(parts), "picture")

    def room_for(self, count: int, where: str) -> np.ndarray:
        """Return an array (N, S, S, C) for pictures, which takes memory where it is written to; raises ``DataError``."""
        C, side = self.cropper.channels, self.cropper.side
        try:
            return np.empty((count, side, side, C), np.uint8)
        except (MemoryError, ValueError):
            raise DataError(f"{where}: {count} pictures of {side}x{side} need more memory than there is") from None

    def decode(self, string: bytes, offset: float, out: np.ndarray) -> None:
        """Decode a picture to ``out`` (S, S, C); raises ``DataError``."""
        C, side = self.cropper.channels, self.cropper.side
        room = out if self._read_side == side else None
        pixels = read_square(io.BytesIO(string), self._read_side, offset, room, **self._look)
        out[:] = scale_pictures(pixels.reshape(1, *pixels.shape[:2], C), side)[0]


class TaggedPictures(Pictures):
    """2012's provider of Flickr's pictures: [pixels, classes of the tags as 0/1] (io 5.4)."""

    name, target_row = "flickr-ce-cropped", 1
