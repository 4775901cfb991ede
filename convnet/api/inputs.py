"""From what a program has in hand (arrays, Pillow images, files) to the matrices of a net, and batches of them.

Letters: C channels, S side that the net sees, H, W height and width of the pictures given, N cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet.checkpoint import stored_option
from convnet.data.images import Cropper, PictureBatch
from convnet.data.pictures import resize_and_crop
from convnet.data.provider import Batch, MatrixBatch, Provider, Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.graph.graph import Graph
from convnet.graph.infer import channels_of
from convnet.pickles import text_of

Images = Any  # one picture or several: arrays, Pillow images, paths
Mean = np.ndarray | float | str | Path | None


@dataclass
class Feeding:
    """How pictures become matrix 0 of a net: ``features`` values per case, ``channels`` maps of side ``size``.

    ``side`` is that of whole pictures, from whose middle ``size`` is cut. ``mean`` is what to subtract, (C, S, S);
    ``None`` where nobody has said.
    """

    features: int
    channels: int
    size: int  # 0: the data are no square pictures
    side: int
    mean: np.ndarray | None = None
    label_names: list[str] = field(default_factory=list)
    trained: bool = False  # whether some mean was subtracted that has to be known

    @classmethod
    def of(cls, graph: Graph, checkpoint: dict[str, Any] | None = None) -> Feeding:
        """For a graph; with the mean that its checkpoint holds, or that of the data folder it names."""
        features, channels = graph.data_dims[0], channels_of(graph)
        size = _square(features, channels)
        feeding = cls(features, channels, size, 256 if size == 224 else size, trained=checkpoint is not None)
        own = (checkpoint["model_state"].get("convnet") or {}).get("data") if checkpoint else None
        if own:
            feeding.take_description(own)
            feeding.trained = feeding.mean is not None
        elif checkpoint and size and (folder := _data_folder(checkpoint)):
            feeding.take_mean(folder)
        return feeding

    def take_description(self, described: Mapping[str, Any]) -> None:
        """Take over what a provider or a checkpoint says of its pictures."""
        self.mean, self.side = described["mean"], int(described["side"]) or self.side
        self.label_names = [text_of(name) for name in described["label_names"]]

    def description(self) -> dict[str, Any]:
        """What ``take_description`` takes."""
        return {"mean": self.mean, "side": self.side, "label_names": self.label_names}

    def take_mean(self, value: Mean) -> None:
        """Subtract the middle of ``value`` from now on: an array, a number, or that of a folder of batches."""
        C, S = self.channels, self.size
        if isinstance(value, str | Path):
            self.take_description(open_provider("", Request(str(value), inner_size=S)).description())
            return
        array = np.asarray(0 if value is None else value, np.float32)
        if array.ndim == 0:
            self.mean = np.full((C, S, S), array, np.float32)
            return
        side = _square(array.size, C)
        if side < S:
            raise DataError(f"a mean of shape {array.shape} does not fit pictures of {C} channels and side {S}")
        border = (side - S) // 2
        self.mean = array.reshape(C, side, side)[:, border : border + S, border : border + S]

    def matrix(self, images: Images) -> np.ndarray:
        """``images`` as a float32 matrix (features, N), centre cut out and mean subtracted; raises ``DataError``.

        A matrix of floats (features, N) is taken to be that already; one of bytes holds pixels as batch files do.
        """
        if isinstance(images, np.ndarray) and images.ndim == 2:
            return self._from_matrix(images)
        pixels = self.pixels(images)
        top, left = ((length - self.size) // 2 for length in pixels.shape[1:3])
        return self._cut(pixels, top, left)

    def views(self, images: Images) -> Iterator[np.ndarray]:
        """Ten matrices of the same pictures: corners and centre, then their mirrors (numerics 11.9)."""
        pixels = self.pixels(images)
        bottom, right = (length - self.size for length in pixels.shape[1:3])
        corners = [(0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right)]
        for flip in (False, True):
            for top, left in corners:
                yield self._cut(pixels, top, left, flip)

    def pixels(self, images: Images) -> np.ndarray:
        """``images`` as one array (N, H, W, C), at least as large as the net wants; raises ``DataError``."""
        if not self.size:
            raise DataError(f"the net's {self.features} values per case are no square pictures; give a matrix of floats")
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        if not isinstance(images, np.ndarray):
            pictures = [self._picture(image) for image in images]
            shapes = {picture.shape for picture in pictures}
            if len(shapes) > 1:
                raise DataError(f"pictures of one call must have one size, not {', '.join(map(str, sorted(shapes)))}")
            images = np.stack(pictures)
        if images.ndim == 3:
            images = images[None] if images.shape[-1] == self.channels else images[..., None]
        if images.ndim != 4 or images.shape[3] != self.channels or min(images.shape[1:3]) < self.size:
            wanted = f"(N, H, W, {self.channels}) with H and W at least {self.size}"
            raise DataError(f"pictures of shape {images.shape} do not fit; expected {wanted}, or ({self.features}, N)")
        return images

    def set_mean(self, images: Images) -> None:
        """Take the mean of training pictures as what to subtract."""
        if self.size:
            plain = replace(self, mean=None, trained=False)
            mean = plain.matrix(images).mean(axis=1, dtype=np.float64).astype(np.float32)
            self.mean = mean.reshape(self.channels, self.size, self.size)

    def _cut(self, pixels: np.ndarray, top: int, left: int, flip: bool = False) -> np.ndarray:
        part = pixels[:, top : top + self.size, left : left + self.size, :].astype(np.float32)
        part = part[:, :, ::-1] if flip else part
        maps = part.transpose(3, 1, 2, 0) - self._mean()[..., None]  # maps[c, y, x, n]
        return np.ascontiguousarray(maps).reshape(self.features, -1)

    def _picture(self, image: Any) -> np.ndarray:
        """A Pillow image, a file, or an array, as pixels of the common size."""
        if isinstance(image, np.ndarray):
            return image if image.ndim == 3 else image[..., None]
        if not isinstance(image, str | Path | Image.Image):
            raise DataError(f"a {type(image).__name__} is no picture; give arrays, Pillow images, or paths")
        try:
            opened = image if isinstance(image, Image.Image) else Image.open(image)
            pixels = resize_and_crop(opened.convert("RGB" if self.channels == 3 else "L"), self.side)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{image} is no picture that can be read: {error}") from None
        return pixels if pixels.ndim == 3 else pixels[..., None]

    def _from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.dtype == np.uint8 and self.size:
            side = _square(len(matrix), self.channels)
            if side:
                return self.matrix(matrix.reshape(self.channels, side, side, -1).transpose(3, 1, 2, 0))
        if len(matrix) != self.features:
            raise DataError(f"a matrix of shape {matrix.shape} does not fit; the net needs ({self.features}, cases)")
        return np.ascontiguousarray(matrix, np.float32)

    def _mean(self) -> np.ndarray:
        if self.mean is not None:
            return self.mean
        if self.trained:
            raise DataError("no mean picture is known: the checkpoint holds none and its data are not here; set mean=...")
        return np.zeros((self.channels, self.size, self.size), np.float32)


class Arrays(Provider):
    """One batch of pictures in memory and what belongs to them; in training larger pictures are cut at random places."""

    name = "arrays"

    def __init__(self, feeding: Feeding, images: Images, others: Sequence[np.ndarray], request: Request) -> None:
        super().__init__(request)
        self.dims = {0: feeding.features} | {i: len(matrix) for i, matrix in enumerate(others, 1)}
        self.label_names, self.others = feeding.label_names, list(others)
        self.cropper: Cropper | None = None
        if isinstance(images, np.ndarray) and images.ndim == 2:
            self.held = feeding.matrix(images)
        else:
            self.held = feeding.pixels(images)
            square = self.held.shape[1] == self.held.shape[2]
            if request.training and square and self.held.dtype == np.uint8 and self.held.shape[1] > feeding.size:
                self.cropper = _cropper(feeding, self.held.shape[1], request)
            else:
                self.held = feeding.matrix(self.held)
        cases = self.held.shape[1] if self.cropper is None else len(self.held)
        for matrix in others:
            if matrix.shape[1] != cases:
                raise DataError(f"{cases} pictures but {matrix.shape[1]} labels")

    @property
    def numbers(self) -> list[int]:
        return [1]

    def batch(self, epoch: int, number: int) -> Batch:
        if self.cropper is None:
            return MatrixBatch([self.held, *self.others])
        crops = self.cropper.crops(len(self.held), self.request.random(epoch, number))
        return PictureBatch(np.ascontiguousarray(self.held), self.others, crops)


def label_matrices(labels: Any, dims: Mapping[int, int], classes: int) -> list[np.ndarray]:
    """Matrices 1, 2, ... of a net from (N,) class numbers or a matrix (rows, N); zeros for what labels do not tell.

    A matrix of one row gets the numbers, one of ``classes`` rows a one in the row of each number.
    """
    given = np.asarray(labels)
    if given.ndim == 1:
        if given.size and (given.min() < 0 or (classes and given.max() >= classes)):
            raise DataError(f"labels from {given.min()} to {given.max()}; the net has {classes} classes, from 0")
        row = given[None].astype(np.float32)
        hot = (np.arange(classes)[:, None] == given).astype(np.float32)
        forms = {1: row} | ({classes: hot} if classes > 1 else {})
    else:
        forms = {len(given): given.astype(np.float32)}
    last = max(dims)
    missing = [rows for i, rows in dims.items() if i and rows not in forms]
    if missing:
        raise DataError(f"labels of shape {given.shape} do not fit; the net needs {missing[0]} rows per case")
    return [forms[dims[i]] if i in dims else np.zeros((1, given.shape[-1]), np.float32) for i in range(1, last + 1)]


def _square(features: int, channels: int) -> int:
    """Side of ``channels`` square maps of ``features`` values together; 0 if they are none."""
    side = round((features / channels) ** 0.5)
    return side if side * side * channels == features else 0


def _data_folder(checkpoint: dict[str, Any]) -> str:
    """The folder of the run that saved the checkpoint, if it is here."""
    path = stored_option(checkpoint, "data_path")
    return path if isinstance(path, str) and path and Path(path).is_dir() else ""


def _cropper(feeding: Feeding, side: int, request: Request) -> Cropper:
    """Crops of ``side``; the mean beyond the middle is never used."""
    whole = np.zeros((feeding.channels, side, side), np.float32)
    border = (side - feeding.size) // 2
    whole[:, border : border + feeding.size, border : border + feeding.size] = feeding._mean()
    return Cropper(replace(request, inner_size=feeding.size), feeding.channels, side, whole)
