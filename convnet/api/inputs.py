"""From what a program has in hand (arrays, Pillow images, files) to the matrices of a net, and batches of them.

Letters: C channels, S side that the net sees, H, W height and width of the pictures given, N cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from convnet.api.arguments import numbers
from convnet.checkpoint import Checkpoint
from convnet.data.decoding import Look, read_square, square_of
from convnet.data.images import Cropper, Crops, Matrix, PictureBatch, PictureMatrix, square_side, ten_positions
from convnet.data.provider import Batch, MatrixBatch, Provider, Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.graph.graph import Graph
from convnet.graph.infer import channels_of
from convnet.graph.needs import Need, needs_of
from convnet.pickles import text_of
from convnet.texts import counted

Images = Any  # one picture or several: arrays, Pillow images, paths
Mean = np.ndarray | float | str | Path | None


@dataclass
class Preprocessor:
    """How pictures become matrix 0 of a net: ``features`` values per case, ``channels`` maps of side ``size``.

    ``side`` is that of stored pictures, from whose middle ``size`` is cut; ``picture_size`` is 0, or the same where these
    were scaled to it. ``mean`` (C, S, S) is subtracted; ``None`` where it is not known, which is an error if the net
    ``needs_mean``.
    """

    features: int
    channels: int
    size: int  # 0: the data are not square pictures
    side: int
    mean: np.ndarray | None = None
    label_names: list[str] = field(default_factory=list)
    head_names: dict[str, list[str]] = field(default_factory=dict)  # of the labels in other matrices than the first
    value_mean: np.ndarray | None = None  # of data in batches that are not pictures, (features,)
    needs_mean: bool = False
    picture_size: int = 0
    needs: dict[int, Need] = field(default_factory=dict)  # what the net reads of data, by matrix

    @classmethod
    def of(cls, graph: Graph, checkpoint: Checkpoint | None = None) -> Self:
        """Return that of a graph; with the mean that its checkpoint holds, or that of the data folder it names."""
        features, channels = graph.data_dims.get(0, 0), channels_of(graph)
        size = square_side(features, channels)
        side, needs = 256 if size == 224 else size, needs_of(graph, graph.data_dims)
        preprocessor = cls(features, channels, size, side, needs=needs)
        scaled = graph.run.get("picture_size", 0)
        if scaled and size == graph.run.get("inner_size", scaled):
            preprocessor.side = preprocessor.picture_size = scaled
        if checkpoint is None:
            return preprocessor
        preprocessor.needs_mean = True
        folder, number = checkpoint.option("data_path"), checkpoint.option("scalar_mean")
        if metadata := checkpoint.data:
            preprocessor.load_metadata(metadata)
            preprocessor.needs_mean = preprocessor.mean is not None
            return preprocessor
        if size and folder and isinstance(folder, str) and Path(folder).is_dir():
            preprocessor.set_mean(folder)
        if size and number is not None and number >= 0:
            preprocessor.set_mean(number)
        return preprocessor

    def load_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over what a provider or a checkpoint says of its pictures (``Provider.description``)."""
        self.mean, self.side = metadata["mean"], int(metadata["side"]) or self.side
        self.label_names = [text_of(name) for name in metadata["label_names"]]
        self.head_names = metadata.get("head_names", {})
        self.value_mean, self.picture_size = metadata.get("value_mean"), int(metadata.get("picture_size", 0))

    def metadata(self) -> dict[str, Any]:
        """Return what ``load_metadata`` takes."""
        described: dict[str, Any] = {"mean": self.mean, "side": self.side, "picture_size": self.picture_size}
        described |= {"head_names": self.head_names} if self.head_names else {}
        return described | {"label_names": self.label_names, "value_mean": self.value_mean}

    def set_mean(self, value: Mean) -> None:
        """Subtract the middle of ``value`` from now on: an array, a number, or that of a folder of batches."""
        C, S = self.channels, self.size
        if isinstance(value, str | Path):
            self.load_metadata(open_provider("", self.request(str(value))).description())
            return
        array = numbers("means", 0 if value is None else value).astype(np.float32)
        if array.ndim == 0:
            self.mean = np.full((C, S, S), array, np.float32)
            return
        side = square_side(array.size, C)
        if side < S:
            raise DataError(f"a mean of shape {array.shape} does not fit pictures of {counted(C, 'channel')} and side {S}")
        border = (side - S) // 2
        self.mean = array.reshape(C, side, side)[:, border : border + S, border : border + S]

    def request(self, folder: str, **more: Any) -> Request:
        """Return what the net wants of a folder of batches."""
        return Request(folder, inner_size=self.size, picture_size=self.picture_size, needs=self.needs, **more)

    def fit_mean(self, images: Images) -> None:
        """Subtract the mean of these training pictures from now on."""
        if self.size:
            plain = replace(self, mean=None, needs_mean=False)
            matrix = plain.matrix(images)
            if not matrix.shape[1]:
                raise DataError("no pictures to train on, and to take the mean of")
            mean = matrix.mean(axis=1, dtype=np.float64).astype(np.float32)
            self.mean = mean.reshape(self.channels, self.size, self.size)

    def known_mean(self) -> np.ndarray:
        """Return the mean, or zeros for a net that does not need one; raises ``DataError``."""
        shape = (self.channels, self.size, self.size)
        if self.mean is not None:
            if self.mean.shape != shape:
                raise DataError(f"the mean picture has shape {self.mean.shape}; the net needs {shape}")
            return self.mean
        if self.needs_mean:
            raise DataError("no mean picture is known: the checkpoint holds none and its data are not here; set mean=...")
        return np.zeros(shape, np.float32)

    def cropper(self, side: int, request: Request) -> Cropper:
        """Return what cuts pictures of ``side`` at random places; the mean beyond their middle is never used."""
        border = (side - self.size) // 2
        mean = np.pad(self.known_mean(), [(0, 0), (border, side - self.size - border), (border, side - self.size - border)])
        return Cropper(replace(request, inner_size=self.size), self.channels, side, mean)

    def matrix(self, images: Images) -> np.ndarray:
        """Return ``images`` as a float32 matrix (features, N), centre cut out and mean subtracted; raises ``DataError``.

        A matrix of floats (features, N) is taken to be that already; one of bytes holds pixels as batch files do.
        """
        if isinstance(images, np.ndarray) and images.ndim == 2:
            side = square_side(len(images), self.channels) if images.dtype == np.uint8 and self.size else 0
            if not side and len(images) != self.features:
                raise DataError(f"a matrix of shape {images.shape} does not fit; the net needs ({self.features}, cases)")
            if not side:
                return np.ascontiguousarray(numbers("data", images, finite=False), np.float32)
            images = images.reshape(self.channels, side, side, -1).transpose(3, 1, 2, 0)
        pixels = self.pixels(images)
        return self._cut(pixels, *self._centre(pixels))

    def packable(self, images: Images) -> Matrix:
        """Return what ``matrix`` does; several pictures of bytes stay so until a backend packs them."""
        if isinstance(images, np.ndarray) and images.ndim == 2:
            return self.matrix(images)
        pixels = self.pixels(images)
        return self._part(pixels, *self._centre(pixels))

    def views(self, images: Images) -> Iterator[Matrix]:
        """Yield ten matrices of the same pictures: corners and centre, then their mirrors (numerics 11.9)."""
        pixels = self.pixels(images)
        bottom, right = (length - self.size for length in pixels.shape[1:3])
        for position in ten_positions(bottom, right):
            yield self._part(pixels, *position)

    def pixels(self, images: Images) -> np.ndarray:
        """Return ``images`` as one array (N, H, W, C), at least as large as the net wants; raises ``DataError``."""
        if not self.size:
            values = counted(self.features, "value")
            raise DataError(f"the net's {values} per case are not square pictures; give a matrix of floats")
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        if not isinstance(images, np.ndarray):
            if not isinstance(images, Sequence) or isinstance(images, bytes):
                raise DataError(
                    f"a {type(images).__name__} is not pictures; give arrays, Pillow images, paths, or a list of these"
                )
            if not images:
                raise DataError("no pictures: the list is empty")
            pictures = [self.picture(image) for image in images]
            shapes = {picture.shape for picture in pictures}
            if len(shapes) > 1:
                raise DataError(f"pictures of one call must have one size, not {', '.join(map(str, sorted(shapes)))}")
            images = np.stack(pictures)
        images = numbers("pictures", images)
        if images.dtype.kind in "ui" and images.size and (images.min() < 0 or images.max() > 255):
            raise DataError(f"pixels are from {images.min()} to {images.max()}; expected 0 to 255")
        if images.ndim == 3:
            images = images[None] if images.shape[-1] == self.channels else images[..., None]
        if images.ndim != 4 or images.shape[3] != self.channels or min(images.shape[1:3]) < self.size:
            wanted = f"(N, H, W, {self.channels}) with H and W at least {self.size}"
            raise DataError(f"pictures of shape {images.shape} do not fit; expected {wanted}, or ({self.features}, N)")
        return images

    def _centre(self, pixels: np.ndarray) -> tuple[int, int]:
        return (pixels.shape[1] - self.size) // 2, (pixels.shape[2] - self.size) // 2

    def _part(self, pixels: np.ndarray, top: int, left: int, flip: bool = False) -> Matrix:
        if pixels.dtype != np.uint8 or len(pixels) == 1:  # of one NumPy is faster, which needs no second thread
            return self._cut(pixels, top, left, flip)
        tops, lefts, flips = (np.full(len(pixels), value) for value in (top, left, flip))
        shifts = np.zeros((len(pixels), self.channels), np.float32)
        mean = self.known_mean().copy()  # which backends keep as long as this array lives; that one may be changed in place
        return PictureMatrix(pixels, Crops(tops, lefts, flips, mean, shifts))

    def _cut(self, pixels: np.ndarray, top: int, left: int, flip: bool = False) -> np.ndarray:
        part = pixels[:, top : top + self.size, left : left + self.size, :].astype(np.float32)
        part = part[:, :, ::-1] if flip else part
        maps = part.transpose(3, 1, 2, 0) - self.known_mean()[..., None]  # maps[c, y, x, n]
        return np.ascontiguousarray(maps).reshape(self.features, -1)

    def picture(self, image: Any) -> np.ndarray:
        """Return pixels (H, W, C) of an array, and of a Pillow image or a file scaled to ``side``; raises ``DataError``."""
        if not isinstance(image, np.ndarray | str | Path | Image.Image):
            raise DataError(f"a {type(image).__name__} is not a picture; give arrays, Pillow images, or paths")
        if not isinstance(image, np.ndarray):
            mode, file = "RGB" if self.channels == 3 else "L", getattr(image, "filename", "") or image
            try:
                look = Look(mode=mode, smooth=self.picture_size > 0)
                if isinstance(image, Image.Image):
                    image = square_of(image, self.side, **look)
                else:
                    image = read_square(image, self.side, **look)
            except DataError as error:
                raise DataError(f"{file} is not a picture that can be read: {error}") from None
        return image if image.ndim == 3 else image[..., None]


class Arrays(Provider):
    """One batch of pictures in memory and what belongs to them; in training larger pictures are cut at random places."""

    name, numbers = "arrays", [1]

    def __init__(self, preprocessor: Preprocessor, images: Images, labels: Sequence[np.ndarray], request: Request) -> None:
        super().__init__(request)
        self.dims = {0: preprocessor.features} | {i: len(matrix) for i, matrix in enumerate(labels, 1)}
        self.label_names, self.labels = preprocessor.label_names, list(labels)
        self.cropper: Cropper | None = None
        is_matrix = isinstance(images, np.ndarray) and images.ndim == 2
        self._data = images if is_matrix else preprocessor.pixels(images)
        if not is_matrix and request.training and self._data.dtype == np.uint8:
            height, width = self._data.shape[1:3]
            if height == width > preprocessor.size:
                self.cropper = preprocessor.cropper(height, request)
        if self.cropper is None:
            self._data = preprocessor.matrix(self._data)
        cases = len(self._data) if self.cropper else self._data.shape[1]
        for matrix in labels:
            if matrix.shape[1] != cases:
                raise DataError(f"{counted(cases, 'picture')} but {counted(matrix.shape[1], 'label')}")

    def batch(self, epoch: int, number: int) -> Batch:
        if self.cropper is None:
            return MatrixBatch([self._data, *self.labels])
        crops = self.cropper.crops(len(self._data), self.request.random(epoch, number))
        return PictureBatch(np.ascontiguousarray(self._data), self.labels, crops)
