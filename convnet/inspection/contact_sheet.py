"""What pictures lie in a folder of batches: a sheet with a row for each class, and how many cases there are of each."""

import io
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from convnet.data.batches import bytes_of, pixels_of
from convnet.data.decoding import read_square
from convnet.data.folder import FolderProvider
from convnet.data.labels import Labels, Part
from convnet.data.matrices import Matrices
from convnet.data.provider import Request, class_names, first_synonyms, range_text
from convnet.data.providers import open_provider
from convnet.drawing.sheet import LIGHT, Sheet, fitted, headed, resized
from convnet.errors import DataError
from convnet.inspection.batch_files import holds_values
from convnet.inspection.found import Tell, silent
from convnet.texts import counted, printable

_SIDE, _GAP, _PER_CLASS, _CLASSES = 72, 4, 10, 40  # pixels, pictures in a row, and rows
_MARGIN, _NAMES = 12, 200  # pixels, at most for names


class Shown(NamedTuple):
    """Cases of each class by its name, for training and for testing; the ``sheet``, ``None`` where data are no pictures."""

    counts: dict[str, tuple[int, int]]
    sheet: Image.Image | None
    remarks: list[str]


def show_batches(path: str | Path, tell: Tell = silent) -> Shown:
    """Return what lies in a folder of batches; raises ``DataError``."""
    folder = Path(path)
    if holds_values(folder):
        raise DataError(f"{folder}: its cases have values, not labels of classes")
    provider = open_provider("", Request(str(folder)))
    if not isinstance(provider, FolderProvider):
        raise DataError(f"{folder} is not a folder of batches")
    _, test = provider.default_ranges()
    test = test if len(provider.numbers) > 1 else []
    counts = np.zeros((provider.classes, 2), int)
    rows: dict[int, list[Image.Image]] = {}
    for done, number in enumerate(provider.numbers):
        tell(done, len(provider.numbers))
        parts = provider.read_parts(number)
        labels = provider.checked_targets(parts, provider.cases(parts)).held.get(1)
        if not isinstance(labels, Labels):
            raise DataError(f"{folder}: its cases have values, not labels of classes")
        each = (labels.values + provider.label_offset).astype(int)
        counts[:, int(number in test)] += np.bincount(each, minlength=provider.classes)
        _take(rows, provider, parts, labels, each)
    names = first_synonyms(class_names(provider.label_names, provider.classes))
    remarks = list(provider.problems)
    shown = sorted(rows)[:_CLASSES]
    if len(rows) > _CLASSES:
        remarks.append(f"The sheet shows {_CLASSES} of {counted(len(rows), 'class')}.")
    title = f"{printable(folder.resolve().name)}: {counted(int(counts.sum()), 'label')} of {counted(len(names), 'class')}"
    train = [number for number in provider.numbers if number not in test]
    caption = f"batches {range_text(train)} for training, {range_text(test)} for testing"
    sheet = _sheet({names[label]: rows[label] for label in shown}, title, caption) if rows else None
    return Shown({name: (int(a), int(b)) for name, (a, b) in zip(_apart(names), counts, strict=True)}, sheet, remarks)


def _apart(names: list[str]) -> list[str]:
    """Return names of which no two are the same."""
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]


def _take(
    rows: dict[int, list[Image.Image]], provider: FolderProvider, parts: list[Part], labels: Labels, each: np.ndarray
) -> None:
    """Add pictures of a batch to the row of their class, until that is full; none of data that are no pictures.

    Only those are drawn that the sheet can show, of the classes that come first.
    """
    if provider.cropper is None:
        return
    if isinstance(provider, Matrices):
        matrices = pixels_of(parts, provider.features, "source_model" in provider.meta)
        items: list[Any] = [column for matrix in matrices for column in matrix.T]
    else:
        items = [item for _, part in parts for item in part["data"]]
    first = {*sorted({*rows, *each.tolist()})[:_CLASSES]}
    for case, label in zip(labels.cases, each.tolist(), strict=True):
        row = rows.setdefault(label, [])
        if label in first and len(row) < _PER_CLASS and (picture := _drawn(items[case], provider.cropper.channels)):
            row.append(picture)


def _drawn(item: Any, channels: int) -> Image.Image | None:
    """Return the picture in the bytes of a file, ``None`` if they are none, or of pixels, one channel behind the other."""
    if isinstance(item, np.ndarray):
        side = isqrt(item.size // channels)
        return resized(item.reshape(channels, side, side).transpose(1, 2, 0) / 255, _SIDE)
    try:
        pixels = read_square(io.BytesIO(bytes_of(item)), _SIDE, mode="L" if channels == 1 else "RGB")
    except DataError:
        return None
    return Image.fromarray(pixels)


def _sheet(rows: dict[str, list[Image.Image]], title: str, caption: str) -> Image.Image:
    """Draw a row for each class: its name and its pictures."""
    wide = max(int(fitted(name, 12, _NAMES)[1].getlength(fitted(name, 12, _NAMES)[0])) for name in rows) + 2 * _MARGIN
    step = _SIDE + _GAP
    body = Sheet(wide + step * max(1, *map(len, rows.values())) + _MARGIN, step * len(rows) + _MARGIN, LIGHT)
    for i, (name, pictures) in enumerate(rows.items()):
        body.write((_MARGIN, i * step + _SIDE / 2), name, anchor="lm", width=_NAMES)
        for j, picture in enumerate(pictures):
            body.paste(picture, wide + j * step, i * step)
    return headed(body.image, title, caption, LIGHT)
