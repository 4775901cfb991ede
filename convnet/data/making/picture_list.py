"""Pictures that a table names, with their labels: a CSV file, with or without a head, perhaps with a column of the split.

The first column, or the one whose head says so, is the path, from the folder of the table; one whose head is ``split`` or
the like, or whose cells all are words such as ``train`` and ``val``, says what is for testing; all others are labels.
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnet.data.making.picture_folder import PARTS, SUFFIXES, TESTING
from convnet.data.making.source import Source, stamp_of
from convnet.errors import DataError, reason_of
from convnet.texts import counted, did_you_mean

LISTS = {".csv", ".tsv", ".txt"}  # endings of tables
_PATHS = {"path", "file", "filename", "file_name", "image", "picture", "img", "image_path", "filepath"}
_SPLITS = {"split", "set", "subset", "part", "partition"}
_EXPECTED = "expected lines of a path and its label, such as cats/1.jpg,cat"
_SHOWN = 20  # mistakes that are said; all are counted
_LONGEST = 1 << 16  # letters of a cell


class _Row(NamedTuple):
    line: int
    cells: list[str]


class _Columns(NamedTuple):
    path: int
    split: int  # -1: none
    cells: int


def find_listed(path: Path) -> Source:
    """Return the pictures that a table names; their classes are its labels in order, of numbers or of letters.

    Raises ``DataError`` with every mistake and its line: cells too few or too many, no label, a path twice, another word
    than those of a split.
    """
    first = next(_rows(path), None)
    if first is None:
        raise DataError(f"{path} is empty; {_EXPECTED}")
    has_head = not _is_picture(path.parent, first.cells)
    columns = _columns_of(path, first, has_head)
    names: list[str] = []
    words: list[tuple[str, ...]] = []
    is_test: list[bool] = []
    lines: dict[str, int] = {}
    mistakes: list[str] = []
    for line, cells in islice(_rows(path), int(has_head), None):
        if len(cells) != columns.cells:
            mistakes.append(f"{path}:{line}: {counted(len(cells), 'cell')}; expected {columns.cells}")
            continue
        name, split = cells[columns.path], cells[columns.split].lower() if columns.split >= 0 else ""
        several = [cell for i, cell in enumerate(cells) if cell and i not in (columns.path, columns.split)]
        mistake, same = "", os.path.normpath(name)
        if not name or "\0" in name:
            mistake = "no path of a picture"
        elif same in lines:
            mistake = f"{name} stands in line {lines[same]} already"
        elif not several:
            mistake = f"{name} has no label"
        elif columns.split >= 0 and split not in PARTS:
            mistake = f"'{split:.40}' is no part of a set, such as train or test{did_you_mean(split, PARTS)}"
        mistakes += [f"{path}:{line}: {mistake}"] * bool(mistake)
        lines.setdefault(same, line)
        names.append(name)
        words.append(tuple(dict.fromkeys(several)))
        is_test.append(split in TESTING)
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN:,} more"] * (len(mistakes) > _SHOWN)
        raise DataError("\n    ".join([*mistakes[:_SHOWN], *more]))
    classes = sorted({word for several in words for word in several}, key=_in_order(words))
    number = {word: label for label, word in enumerate(classes)}
    shared: dict[tuple[str, ...], tuple[int, ...]] = {}  # one object for all pictures of the same labels
    labels = [shared.setdefault(several, tuple(number[word] for word in several)) for several in words]
    tests = np.array(is_test, bool) if columns.split >= 0 else None
    return Source(path.parent, names, labels, classes, tests, stamp=stamp_of(path.parent, names, path.name, labels, is_test))


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the rows that are not empty, with their lines; raises ``DataError``."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            first = next((line for line in iter(partial(file.readline, _LONGEST), "") if line.strip()), "")
            if "\0" in first:
                raise DataError(f"{path} is no text in UTF-8; save the table as that")
            file.seek(0)
            by_count = sorted(",;", key=first.count, reverse=True)
            separator = next((sign for sign in ("\t", *by_count) if sign in first), " ")
            reader = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=True)
            line = 1
            for cells in reader:
                if any(cells := [cell.strip() for cell in cells]):
                    yield _Row(line, cells)
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f'{path}:{reader.line_num}: {error}; expected lines such as "a, b.jpg",cat') from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from None


def _is_picture(folder: Path, cells: Sequence[str]) -> bool:
    """Return whether a row names a picture, and is not the head of the columns."""
    return any(Path(cell).suffix.lower() in SUFFIXES for cell in cells) or (folder / cells[0]).is_file()


def _columns_of(path: Path, first: _Row, has_head: bool) -> _Columns:
    """Return which column is what; raises ``DataError`` for a table without a column of labels, or without pictures."""
    count = len(first.cells)
    names = [cell.lower() for cell in first.cells] if has_head else []
    place = next((i for i, name in enumerate(names) if name in _PATHS), 0)
    split = next((i for i, name in enumerate(names) if name in _SPLITS), -1)
    if not has_head and count > 2 and all(row.cells[-1].lower() in PARTS for row in _rows(path)):
        split = count - 1
    if count - (split >= 0) < 2:
        raise DataError(f"{path}:{first.line}: '{','.join(first.cells):.80}' has no column of labels; {_EXPECTED}")
    if has_head and next(islice(_rows(path), 1, None), None) is None:
        raise DataError(f"{path}: no picture follows its first line; {_EXPECTED}")
    return _Columns(place, split, count)


def _in_order(words: Sequence[tuple[str, ...]]) -> Callable[[str], tuple[int, str]]:
    """Return by what labels are sorted: as numbers where all are whole ones, else as texts."""
    are_numbers = all(word.isascii() and word.removeprefix("-").isdigit() and len(word) < 19 for s in words for word in s)
    return lambda word: (int(word) if are_numbers else 0, word)
