"""A folder with one sub-folder of pictures per class: which files count, and what is said of a folder that is none."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from convnet.data.batches import description_in
from convnet.data.decoding import UNREAD
from convnet.errors import DataError, reason_of
from convnet.texts import counted, listed

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"} | UNREAD  # whose files are named as left out
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # of a set, not classes
_NAMED = 5


class PictureFolder(NamedTuple):
    """Pictures as (file, class), the names of the classes, and sentences on what does not count."""

    files: Sequence[tuple[Path, int]]
    classes: Sequence[str]
    remarks: Sequence[str]


def find_pictures(source: Path) -> PictureFolder:
    """Return the pictures below ``source``; its sub-folders with pictures are the classes, in alphabetical order.

    Raises ``DataError`` that says how to sort them where there are not two classes.
    """
    _check_folder(source)
    folders = _shown(path.name for path in source.iterdir() if path.is_dir())
    found = {name: pictures_below(source / name) for name in folders}
    classes = [name for name in folders if found[name]]
    loose = _shown(path.name for path in source.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())
    if len(classes) < 2:
        raise DataError(_advice(source, classes, loose))
    if all(name.lower() in _PARTS for name in classes):
        advice = f"give one of them, such as {source / classes[-1]}"
        raise DataError(f"{listed(classes)} in {source} are parts of a set, not classes; {advice}")
    remarks = []
    if empty := [name for name in folders if not found[name]]:
        remarks.append(f"No class, without a picture in it: {listed(empty, _NAMED)}.")
    if loose:
        remarks.append(f"Left out: {counted(len(loose), 'picture')} directly in {source}, in no sub-folder of a class.")
    files = [(path, label) for label, name in enumerate(classes) for path in found[name]]
    return PictureFolder(files, classes, remarks)


def _check_folder(source: Path) -> None:
    if source.is_dir():
        if description_in(source):
            raise DataError(f"{source} holds batches already; train on them with --data-path")
        return
    what = f"{source} is a file" if source.exists() else f"no folder {source}"
    raise DataError(f"{what}; give a folder with one sub-folder of pictures per class, or 'digits'")


def _advice(source: Path, classes: Sequence[str], loose: Sequence[str]) -> str:
    """Say how to sort pictures into classes, of which there are not two."""
    if classes:
        other = source / ("other" if classes[0] != "other" else "more")
        only = f"{source} has pictures in one sub-folder only, '{classes[0]}'"
        inside = source / classes[0]
        if sum(path.is_dir() and bool(pictures_below(path)) for path in inside.iterdir()) > 1:
            return f"{only}; if the classes are the folders in that one, give {inside}"
        return f"{only}; a net tells classes apart, so make a second one beside it, such as {other}"
    if loose:
        places = [str(source / name / picture) for name, picture in zip(("cat", "dog"), loose, strict=False)]
        count = counted(len(loose), "picture")
        return (
            f"{source} holds {count} in no sub-folder, so that nobody knows what is on them; "
            f"sort them into one folder per class, such as {' and '.join(places)}"
        )
    return f"no pictures in the sub-folders of {source}; expected one sub-folder per class, with .jpg files, say"


def pictures_below(folder: Path) -> list[Path]:
    """Return what is called as pictures are, sorted, but for hidden files, as macOS writes beside pictures.

    Links to folders are not followed, so that there are no loops.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = _shown(folders)
        found += [Path(parent, name) for name in _shown(names) if Path(name).suffix.lower() in SUFFIXES]
    return sorted(path for path in found if not path.is_dir())


def _shown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _raise_unreadable(error: OSError) -> None:
    raise DataError(f"the folder {error.filename} cannot be read: {reason_of(error)}") from None
