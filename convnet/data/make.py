"""Makes batches: of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

Pictures are resized so that the short side fits and cut square, shuffled with --seed, and spread over batches; the last
batches are for testing. A picture that cannot be read is left out and named in ``skipped.txt``.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from convnet.data.batches import write_file
from convnet.data.decoding import UNREAD, WHITE, Color, read_square
from convnet.data.images import color_axes
from convnet.data.picture_folder import find_pictures
from convnet.data.provider import batch_bounds
from convnet.errors import DataError
from convnet.storage import write_atomically
from convnet.texts import counted, listed, printable

_DIGIT_BATCHES = 6
_PCA_PIXELS = 512  # of each picture, for the colour axes
_AT_A_TIME = 256  # pictures that are read before they are written
_LISTED, _NAMED = 20, 5  # classes, and files, that are said one by one
_TEST = "test_part_"  # names of batches for testing until it is known how many others there are


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

    ``background`` shows where pictures are transparent. ``say`` gets a line on each batch, and on what there is in all.
    Raises ``DataError`` if fewer than two pictures can be read, or those of fewer than two classes.
    """
    files, classes, remarks = find_pictures(source)
    train, test = set_aside(files, test_share, seed)
    skipped: list[str] = []
    readable = _readable([files[i] for i in (*test, *train)], size, background, skipped)
    sums = _Sums(size)

    def write(name: str, pictures: Iterator[_Picture]) -> list[list[int]]:
        """Write batches ``name`` 1, 2, ...; return the labels of each."""
        labels = []
        while part := list(islice(pictures, batch_size)):
            labels.append([picture.label for picture in part])
            content = {"data": [picture.data for picture in part], "labels": [[label] for label in labels[-1]]}
            content["files"] = [printable(str(picture.path.relative_to(source))) for picture in part]
            write_file(out / f"{name}{len(labels)}", content)
            say(f"{'test ' if name == _TEST else ''}batch {len(labels)}: {counted(len(part), 'picture')}")
        return labels

    test_labels = write(_TEST, islice(readable, len(test)))
    train_labels = write("data_batch_", map(sums.add, readable))
    _check_classes(classes, [*chain(*train_labels, *test_labels)], skipped)
    if not train_labels:
        few = f"only {len(files) - len(skipped)} of {len(files)} files can be read"
        raise DataError(f"{few}, too few to train and to test on: {skipped[0]}; and more")
    first_test, total = len(train_labels) + 1, len(train_labels) + len(test_labels)
    for number in range(first_test, total + 1):  # which come last, and were read first
        (out / f"{_TEST}{number - first_test + 1}").rename(out / f"data_batch_{number}")
    meta = {
        "data_mean": sums.mean(),
        "color_pca": color_axes(np.concatenate(sums.sample).astype(np.float64)),
        "num_vis": 3 * size**2,
        "img_size": size,
        "label_names": [printable(name) for name in classes],
        "batch_size": batch_size,
        "test_batches": list(range(first_test, total + 1)),
    }
    write_file(out / "batches.meta", meta)
    if skipped:
        lines = "".join(f"{printable(line)}\n" for line in skipped).encode()
        write_atomically(out / "skipped.txt", lambda file: file.write(lines))
    for line in (*remarks, *_summary(classes, Counter(chain(*train_labels)), Counter(chain(*test_labels)), skipped)):
        say(printable(line))  # folders may have names of several lines
    say(f"Train with {_numbered(1, first_test - 1)}, test with {_numbered(first_test, total)}, as runs do by themselves.")
    return total


def set_aside(files: Sequence[tuple[Path, int]], test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return which files are to train on and which for testing: of each class one is to train on, if possible."""
    order: list[int] = np.random.RandomState(seed).permutation(len(files)).tolist()
    usable = {i for i, (path, _) in enumerate(files) if path.suffix.lower() not in UNREAD}
    left = Counter(files[i][1] for i in usable)
    chosen: list[int] = []
    for i in order:
        if len(chosen) < max(1, round(len(usable) * test_share)) and i in usable and left[files[i][1]] > 1:
            left[files[i][1]] -= 1
            chosen.append(i)
    chosen = chosen or order[:1]  # where there is one picture of every class
    taken = set(chosen)
    return [i for i in order if i not in taken], chosen


class _Picture(NamedTuple):
    """A picture that could be read: as JPEG, and as pixels (size, size, 3)."""

    path: Path
    label: int
    data: bytes
    pixels: np.ndarray | None


class _Sums:
    """What the description says of the pixels of training pictures."""

    def __init__(self, size: int) -> None:
        self.total, self.step = np.zeros((size, size, 3)), max(1, size**2 // _PCA_PIXELS)
        self.sample: list[np.ndarray] = []

    def add(self, picture: _Picture) -> _Picture:
        """Count a picture, and return it without its pixels, which a batch need not keep."""
        assert picture.pixels is not None
        self.total += picture.pixels
        self.sample.append(picture.pixels.reshape(-1, 3)[:: self.step])  # (N, 3)
        return picture._replace(pixels=None)

    def mean(self) -> np.ndarray:
        """Return the mean picture, channel by channel, (3 size size, 1)."""
        return (self.total / len(self.sample)).transpose(2, 0, 1).reshape(-1, 1).astype(np.float32)


def _readable(files: Sequence[tuple[Path, int]], size: int, background: Color, skipped: list[str]) -> Iterator[_Picture]:
    """Yield the pictures of files that can be read, in order; a line on each of the others goes to ``skipped``."""

    def encode(file: tuple[Path, int]) -> _Picture | str:
        path, label = file
        try:
            pixels = read_square(path, size, background=background)
        except DataError as error:
            return f"{path}: {error}"
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "JPEG", quality=95)
        return _Picture(path, label, data.getvalue(), pixels)

    with ThreadPoolExecutor() as workers:
        for start, stop in batch_bounds(len(files), _AT_A_TIME):
            for item in workers.map(encode, files[start:stop]):
                if isinstance(item, str):
                    skipped.append(item)
                else:
                    yield item


def _check_classes(classes: Sequence[str], labels: Sequence[int], skipped: Sequence[str]) -> None:
    """Raise ``DataError`` unless pictures of two classes could be read."""
    if len(there := sorted(set(labels))) < 2:
        what = f"only pictures of '{classes[there[0]]}' can be read" if there else "none of the pictures can be read"
        raise DataError(f"{what}: {skipped[0]}" + (f"; and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""))


def _summary(classes: Sequence[str], train: Counter[int], test: Counter[int], skipped: Sequence[str]) -> list[str]:
    """Return lines on how many pictures of each class there are, and which were left out."""
    counts = {name: train[label] + test[label] for label, name in enumerate(classes)}
    lines = [f"{counted(sum(counts.values()), 'picture')} of {counted(len(classes), 'class')}: "]
    if len(classes) <= _LISTED:
        lines[0] += ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        few, many = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
        lines[0] += f"from {counts[few]:,} ({few}) to {counts[many]:,} ({many})"
    if untrained := [name for label, name in enumerate(classes) if not train[label]]:
        lines.append(f"Nothing to train on is left of {listed(untrained, _NAMED)}: add pictures.")
    if skipped:
        lines.append(f"Left out, as skipped.txt says: {counted(len(skipped), 'file')} that cannot be read")
        lines += [f"    {line}" for line in skipped[:_NAMED]] + ["    ..."] * (len(skipped) > _NAMED)
    return lines


def _numbered(first: int, last: int) -> str:
    """Return ``batch 8`` or ``batches 1 to 7``."""
    return f"batch {first}" if first == last else f"batches {first} to {last}"
