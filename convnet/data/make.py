"""Makes batches: of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

    convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
    convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels

Pictures are resized so that the short side fits and cut square, shuffled with --seed, and spread over batches; the last
batches are for testing. A picture that cannot be read is left out and named in ``skipped.txt``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet import pickles
from convnet.data.pictures import resize_and_crop
from convnet.errors import DataError
from convnet.storage import write_atomically

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_DIGIT_BATCHES = 6
_PCA_PIXELS = 512  # of each picture, for the colour axes


def pack_digits(out: Path) -> int:
    """Write the handwritten digits as six batches, the last for testing; returns the number of batches."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install scikit-learn") from None
    digits = load_digits()
    # The grey values run from 0 to 16; writers follow each other, so the cases are shuffled.
    pixels = np.round(digits.data.T * 255 / 16).astype(np.uint8)
    order = np.random.RandomState(0).permutation(pixels.shape[1])
    parts = np.array_split(order, _DIGIT_BATCHES)
    _folder(out)
    for number, part in enumerate(parts, 1):
        labels = [int(label) for label in digits.target[part]]
        _write(out / f"data_batch_{number}", {"data": np.ascontiguousarray(pixels[:, part]), "labels": labels})
    meta = {
        "num_vis": 64,
        "num_colors": 1,
        "num_cases_per_batch": len(parts[0]),
        "label_names": [str(digit) for digit in range(10)],
        "data_mean": pixels[:, np.concatenate(parts[:-1])].mean(axis=1, dtype=np.float64).astype(np.float32)[:, None],
    }
    _write(out / "batches.meta", meta)
    return _DIGIT_BATCHES


def pack_folder(
    source: Path,
    out: Path,
    size: int,
    batch_size: int,
    test_share: float,
    seed: int,
    say: Callable[[str], Any] = lambda text: None,
) -> int:
    """Write the pictures below ``source`` (one folder per class) as JPEG batches; returns the number of batches.

    Raises ``DataError`` if there are no pictures or fewer than two classes.
    """
    files, classes = find_pictures(source)
    order = np.random.RandomState(seed).permutation(len(files))
    test_cases = max(1, round(len(files) * test_share))
    train, test = order[test_cases:], order[:test_cases]
    groups = [*_chunks(train, batch_size), *_chunks(test, batch_size)]
    first_test = len(groups) - len(list(_chunks(test, batch_size))) + 1
    _folder(out)
    sums = _Sums(size)
    skipped: list[str] = []
    for number, group in enumerate(groups, 1):
        with ThreadPoolExecutor() as workers:
            done = list(workers.map(lambda i: _encode(files[i][0], size), group))
        kept = [(i, data, pixels) for i, (data, pixels) in zip(group, done, strict=True) if data is not None]
        skipped += [str(files[i][0]) for i, (data, _) in zip(group, done, strict=True) if data is None]
        if not kept:
            raise DataError(f"none of the pictures of batch {number} can be read, the first {files[group[0]][0]}")
        if number < first_test:
            sums.add([pixels for _, _, pixels in kept])
        part = {
            "data": [data for _, data, _ in kept],
            "labels": [[files[i][1]] for i, _, _ in kept],
            "files": [str(files[i][0].relative_to(source)) for i, _, _ in kept],
        }
        _write(out / f"data_batch_{number}", part)
        say(f"batch {number} of {len(groups)}: {len(kept)} pictures")
    _write(out / "batches.meta", sums.describe() | {"label_names": classes, "batch_size": batch_size})
    if skipped:
        (out / "skipped.txt").write_text("\n".join(skipped) + "\n", encoding="utf-8")
        say(f"{len(skipped)} pictures cannot be read; they are named in {out / 'skipped.txt'}")
    say(f"{len(classes)} classes; test with batches {first_test} to {len(groups)} (--test-range {first_test}-{len(groups)})")
    return len(groups)


def find_pictures(source: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """((picture, class), ...) and the names of the classes, which are the sub-folders in alphabetical order."""
    if not source.is_dir():
        raise DataError(f"no folder {source}; give a folder with one sub-folder of pictures per class, or 'digits'")
    classes = sorted(path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((source / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if len(classes) < 2 or len(files) < 2:
        raise DataError(
            f"{source} holds {len(files)} pictures in {len(classes)} sub-folders; expected one sub-folder per class"
        )
    return files, classes


class _Sums:
    """Mean picture and colour axes of the training pictures."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.total = np.zeros((size, size, 3))
        self.pixels: list[np.ndarray] = []

    def add(self, pictures: list[np.ndarray]) -> None:
        step = max(1, self.size**2 // _PCA_PIXELS)
        for picture in pictures:
            self.total += picture
            self.pixels.append(picture.reshape(-1, 3)[::step])
        self.count += len(pictures)

    def describe(self) -> dict[str, Any]:
        """data_mean, channel by channel, and color_pca as (standard deviations, axes in columns)."""
        mean = (self.total / max(self.count, 1)).transpose(2, 0, 1).reshape(-1, 1).astype(np.float32)
        sample = np.concatenate(self.pixels).astype(np.float64) if self.pixels else np.zeros((2, 3))
        variances, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
        pca = (np.sqrt(np.maximum(variances, 0)), vectors)
        return {"data_mean": mean, "color_pca": pca, "num_vis": 3 * self.size**2, "img_size": self.size}


def _encode(path: Path, size: int) -> tuple[bytes | None, np.ndarray]:
    try:
        with Image.open(path) as opened:
            pixels = resize_and_crop(opened.convert("RGB"), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, np.empty(0)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=95)
    return data.getvalue(), pixels


def _chunks(items: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} cannot be made: {error.strerror}") from None


def _write(path: Path, value: dict[str, Any]) -> None:
    try:
        write_atomically(path, lambda file: pickles.dump(value, file))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
