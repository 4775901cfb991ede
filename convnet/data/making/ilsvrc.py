"""ILSVRC-2012 as its organisers hand it out: two archives of pictures and a kit, read as the maker of 2014 did (io 5.3).

Nothing is unpacked: pictures are read from where they stand in the archives.
"""

import gzip
import io
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convnet.data.making.matlab import read_table
from convnet.data.making.source import Layout, Place, Source, stamp_of
from convnet.data.making.tar import Member, members
from convnet.errors import DataError, reason_of
from convnet.texts import counted, listed

TRAIN, VALIDATION, KIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_CLASSES = 1000  # what follows in the kit are groups of them
_LAYOUT = Layout(batch_size=3072, first=0, parts=1024, tests_from=1000)
_MOST = 256 << 20  # bytes of the kit, once unpacked
_NAMED = 5


class Ilsvrc(Source):
    """The pictures of both archives; ``where`` are their numbers of the archive, first bytes and sizes."""

    where: tuple[array, array, array]

    def place(self, picture: int) -> Place:
        archive, start, size = (column[picture] for column in self.where)
        return Place(str(self.root / (TRAIN, VALIDATION)[archive]), start, size)


def is_ilsvrc(folder: Path) -> bool:
    """Return whether a folder holds one of the three files."""
    return any((folder / name).is_file() for name in (TRAIN, VALIDATION, KIT))


def find_ilsvrc(folder: Path) -> Ilsvrc:
    """Return the pictures of the archives in ``folder``, those for validation in the order of their names, for testing.

    A class is its number in the kit less one. Raises ``DataError`` naming files that are missing, damaged or do not fit.
    """
    if missing := [name for name in (TRAIN, VALIDATION, KIT) if not (folder / name).is_file()]:
        raise DataError(f"{folder} lacks {listed(missing)}; ILSVRC-2012 comes as {TRAIN}, {VALIDATION} and {KIT}")
    numbers, classes, truth = _read_kit(folder / KIT)
    names: list[str] = []
    labels: list[tuple[int, ...]] = []
    where = array("b"), array("q"), array("q")

    def add(archive: int, member: Member, label: tuple[int, ...]) -> None:
        names.append(member.name)
        labels.append(label)
        for column, value in zip(where, (archive, member.start, member.size), strict=True):
            column.append(value)

    one_label = [(label,) for label in range(len(classes))]  # which pictures share
    for member in _training_pictures(folder / TRAIN):
        word = member.name.rpartition("/")[2][:9]
        if word not in numbers:
            raise DataError(f"{folder / TRAIN}: {member.name} is of no class that {KIT} names")
        add(0, member, one_label[numbers[word]])
    tested = sorted(_pictures(folder / VALIDATION), key=lambda member: member.name)
    if len(tested) != len(truth):
        said = f"{counted(len(tested), 'picture')}, but {KIT} has {counted(len(truth), 'label')} for them"
        raise DataError(f"{folder / VALIDATION}: {said}")
    first = len(names)
    for member, label in zip(tested, truth, strict=True):
        add(1, member, one_label[label])
    is_test = np.arange(len(names)) >= first
    found = Ilsvrc(folder, names, labels, classes, is_test, layout=_LAYOUT)
    found.where, found.stamp = where, stamp_of(folder, (TRAIN, VALIDATION, KIT))
    return found


def _pictures(path: Path) -> list[Member]:
    """Return the pictures that stand in an archive itself."""
    with _opened(path) as file:
        return [*members(file, 0, file.seek(0, io.SEEK_END), str(path))]


def _training_pictures(path: Path) -> Iterator[Member]:
    """Yield the pictures in the archives that an archive consists of, one for each class."""
    with _opened(path) as file:
        for inner in members(file, 0, file.seek(0, io.SEEK_END), str(path)):
            yield from members(file, inner.start, inner.start + inner.size, f"{path}: {inner.name}")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from None


def _read_kit(path: Path) -> tuple[dict[str, int], list[str], list[int]]:
    """Return the classes by the nine letters of their word, their names, and those of the pictures for validation."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as packed:
            data = packed.read(_MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from None
    if len(data) > _MOST:
        raise DataError(f"{path}: more than {_MOST >> 20} MiB once unpacked, which the kit is not")
    for member in members(io.BytesIO(data), 0, len(data), str(path)):
        for name in (_META, _TRUTH):
            if member.name.endswith(name):
                found[name] = data[member.start : member.start + member.size]
    if missing := [name for name in (_META, _TRUTH) if name not in found]:
        raise DataError(f"{path}: no {listed(missing)} in it")
    try:
        table = read_table(found[_META], "synsets", ("ILSVRC2012_ID", "WNID", "words"))
    except DataError as error:
        raise DataError(f"{path}: {_META}: {error}") from None
    rows = sorted((row for row in table if _is_class(row[0])), key=lambda row: row[0])
    if [row[0] for row in rows] != list(range(1, len(rows) + 1)) or not rows:
        raise DataError(f"{path}: {_META}: ILSVRC2012_ID is not 1 to {_CLASSES}, once each")
    truth = found[_TRUTH].split()
    bad = [f"line {n} ({line!r:.20})" for n, line in enumerate(truth, 1) if not _is_label(line, len(rows))]
    if bad:
        raise DataError(f"{path}: {_TRUTH}: {listed(bad, _NAMED)}; expected numbers from 1 to {len(rows)}")
    numbers = {str(word): label for label, (_, word, _) in enumerate(rows)}
    return numbers, [str(name) for *_, name in rows], [int(number) - 1 for number in truth]


def _is_class(number: object) -> bool:
    return isinstance(number, float) and 1 <= number <= _CLASSES


def _is_label(line: bytes, most: int) -> bool:
    return line.isdigit() and len(line) < 10 and 1 <= int(line) <= most
