"""Makes batches: of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

Pictures are resized so that the short side fits and cut square, shuffled with --seed, and spread over batches; the last
batches are for testing. A picture that cannot be read is left out and named in ``skipped.txt``.
"""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet.data.batches import write_file
from convnet.data.decoding import WHITE, Color, read_square
from convnet.data.images import color_axes
from convnet.data.provider import batch_bounds
from convnet.errors import DataError, printable, reason_of
from convnet.storage import write_atomically

_READ = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_READ |= {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
_NAMED = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".psd", ".dds", ".ico", ".svg", ".eps"}  # as left out
SUFFIXES = _READ | _NAMED
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
    groups = np.array_split(order, _DIGIT_BATCHES)
    for number, group in enumerate(groups, 1):
        labels = [int(label) for label in digits.target[group]]
        write_file(out / f"data_batch_{number}", {"data": np.ascontiguousarray(pixels[:, group]), "labels": labels})
    meta = {
        "num_vis": 64,
        "num_colors": 1,
        "num_cases_per_batch": len(groups[0]),
        "label_names": [str(digit) for digit in range(10)],
        "test_batches": [_DIGIT_BATCHES],
        "data_mean": pixels[:, np.concatenate(groups[:-1])].mean(axis=1, dtype=np.float64).astype(np.float32)[:, None],
    }
    write_file(out / "batches.meta", meta)
    return _DIGIT_BATCHES


def pack_folder(
    source: Path,
    out: Path,
    size: int,
    batch_size: int,
    test_share: float,
    seed: int,
    say: Callable[[str], object],
    *,
    background: Color = WHITE,
) -> int:
    """Write the pictures below ``source`` (one folder per class) as JPEG batches; returns the number of batches.

    ``background`` shows where pictures are transparent. ``say`` gets a line on each batch.
    Raises ``DataError`` if there are no pictures or fewer than two classes.
    """
    files, classes = find_pictures(source)
    train, test = (
        [part[start:stop] for start, stop in batch_bounds(len(part), batch_size)]
        for part in shuffled(len(files), test_share, seed)
    )
    total, first_test = len(train) + len(test), len(train) + 1
    total_pixels, sample, skipped = np.zeros((size, size, 3)), [], []
    for number, group in enumerate([*train, *test], 1):
        part, pictures, unreadable = _pack([files[i] for i in group], source, size, background)
        if not pictures:
            raise DataError(f"none of the pictures of batch {number} can be read: {unreadable[0]}")
        if number < first_test or not train:  # a mean of what there is
            for picture in pictures:
                total_pixels += picture
                sample.append(picture.reshape(-1, 3)[:: max(1, size**2 // _PCA_PIXELS)])  # (N, 3)
        skipped += unreadable
        write_file(out / f"data_batch_{number}", part)
        say(f"batch {number} of {total}: {len(pictures)} pictures")
    mean = (total_pixels / max(len(sample), 1)).transpose(2, 0, 1)
    meta = {
        "data_mean": mean.reshape(-1, 1).astype(np.float32),  # channel by channel
        "color_pca": color_axes(np.concatenate(sample).astype(np.float64) if sample else np.zeros((2, 3))),
        "num_vis": 3 * size**2,
        "img_size": size,
        "label_names": [printable(name) for name in classes],
        "batch_size": batch_size,
        "test_batches": list(range(first_test, total + 1)),
    }
    write_file(out / "batches.meta", meta)
    if skipped:
        names = "".join(f"{printable(line)}\n" for line in skipped).encode()
        write_atomically(out / "skipped.txt", lambda file: file.write(names))
        say(f"{len(skipped)} pictures cannot be read; they are named in skipped.txt")
    say(f"{len(classes)} classes; test with batches {first_test} to {total} (--test-range {first_test}-{total})")
    return total


def shuffled(count: int, test_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the pictures to train on, and of those set aside for testing, in their order in batches."""
    order = np.random.RandomState(seed).permutation(count)
    test_cases = min(max(1, round(count * test_share)), count - 1)
    return order[test_cases:], order[:test_cases]


def find_pictures(source: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """Return (picture, class) pairs and the names of the classes, which are the sub-folders in alphabetical order."""
    if not source.is_dir():
        raise DataError(f"no folder {source}; give a folder with one sub-folder of pictures per class, or 'digits'")
    classes = sorted(path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(path, label) for label, name in enumerate(classes) for path in _files_below(source / name)]
    if len(classes) < 2 or len(files) < 2:
        raise DataError(
            f"{source} holds {len(files)} pictures in {len(classes)} sub-folders; expected one sub-folder per class"
        )
    return files, classes


def _files_below(folder: Path) -> list[Path]:
    """Return what is called as pictures are, sorted; links to folders are not followed, so that there are no loops."""
    found = []
    for parent, _, names in os.walk(folder, onerror=_raise_unreadable):
        found += [Path(parent, name) for name in names if Path(name).suffix.lower() in SUFFIXES]
    return sorted(path for path in found if not path.is_dir())


def _raise_unreadable(error: OSError) -> None:
    raise DataError(f"the folder {error.filename} cannot be read: {reason_of(error)}") from None


def _pack(
    files: Sequence[tuple[Path, int]], source: Path, size: int, background: Color
) -> tuple[dict[str, Any], list[np.ndarray], list[str]]:
    """Return the contents of a batch, its pictures (size, size, 3), and a line for each file that cannot be read."""

    def encode(file: tuple[Path, int]) -> tuple[bytes, np.ndarray] | str:
        try:
            return _encode(file[0], size, background)
        except DataError as error:
            return f"{file[0]}: {error}"

    with ThreadPoolExecutor() as workers:
        encoded = list(workers.map(encode, files))
    readable = [(*file, *item) for file, item in zip(files, encoded, strict=True) if not isinstance(item, str)]
    part = {
        "data": [data for _, _, data, _ in readable],
        "labels": [[label] for _, label, _, _ in readable],
        "files": [printable(str(path.relative_to(source))) for path, _, _, _ in readable],
    }
    return part, [picture for _, _, _, picture in readable], [item for item in encoded if isinstance(item, str)]


def _encode(path: Path, size: int, background: Color) -> tuple[bytes, np.ndarray]:
    """Return a picture as JPEG and as pixels (size, size, 3); raises ``DataError``."""
    pixels = read_square(path, size, background=background)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=95)
    return data.getvalue(), pixels
