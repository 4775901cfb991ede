"""A folder with one sub-folder of pictures per class: which files count, and what is said of a folder that is none."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from convnet.data.batches import description_in
from convnet.data.decoding import UNREAD
from convnet.data.making.source import Source, stamp_of
from convnet.errors import DataError, reason_of
from convnet.texts import counted, did_you_mean, listed

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"} | UNREAD  # whose files are named as left out
TRAINING, TESTING = ("train", "training"), ("val", "valid", "validation", "test", "testing")  # parts of a set, not classes
PARTS = {*TRAINING, *TESTING}
_NAMED = 5


def find_pictures(source: Path) -> Source:
    """Return the pictures below ``source``; its sub-folders with pictures are the classes, in alphabetical order.

    Where these are called ``train`` and ``val`` or ``test``, they are parts of a set, and the folders in them the classes;
    others beside such parts are left out.
    Raises ``DataError`` that says how to sort them where there are not two classes.
    """
    _check_folder(source)
    found = _folders_in(source)
    classes = [name for name in found if found[name]]
    if len(classes) > 1 and (all(name.lower() in PARTS for name in classes) or _are_parts(source, classes)):
        return _find_parts(source, classes)
    loose = _loose_in(source)
    if len(classes) < 2:
        raise DataError(_advice(source, classes, loose))
    names = [f"{name}/{file}" for name in classes for file in found[name]]
    labels = [one for label, name in enumerate(classes) for one in [(label,)] * len(found[name])]
    return Source(source, names, labels, classes, remarks=_remarks(source, found, loose), stamp=stamp_of(source, names))


def _are_parts(source: Path, names: Sequence[str]) -> bool:
    """Return whether folders to train and to test on are among others, and several classes lie in each of them."""
    return all(
        any(name.lower() in kind and sum(map(bool, _folders_in(source / name).values())) > 1 for name in names)
        for kind in (TRAINING, TESTING)
    )


def _find_parts(source: Path, parts: Sequence[str]) -> Source:
    """Return the pictures of a set that is split already: the classes are those of its part to train on."""
    train = next((name for name in parts if name.lower() in TRAINING), None)
    tests = sorted((name for name in parts if name.lower() in TESTING), key=lambda name: TESTING.index(name.lower()))
    if train is None or not tests:
        raise DataError(f"{listed(parts)} in {source} are parts of a set, but none is 'train', or none 'val' or 'test'")
    test = next((name for name in tests if any(_folders_in(source / name).values())), tests[0])
    found = {part: _folders_in(source / part) for part in (train, test)}
    classes = [name for name, files in found[train].items() if files]
    if len(classes) < 2:
        raise DataError(_advice(source / train, classes, _loose_in(source / train)))
    tested = [name for name, files in found[test].items() if files]
    if unknown := [name for name in tested if name not in classes]:
        hint = did_you_mean(unknown[0], classes) if len(unknown) == 1 else ""
        raise DataError(f"{source / test} has classes that {source / train} lacks: {listed(unknown, _NAMED)}{hint}")
    if not tested:
        raise DataError(f"no pictures in the sub-folders of {source / test}; sort them there, or give {source / train}")
    remarks = [remark for part in (train, test) for remark in _remarks(source / part, found[part], _loose_in(source / part))]
    if untested := [name for name in classes if name not in tested]:
        remarks.append(f"Never tested, being in no folder of {source / test}: {listed(untested, _NAMED)}.")
    if others := [name for name in parts if name not in (train, test)]:
        remarks.append(f"Left out: the folders {listed(others, _NAMED)}; tests are on {test}.")
    names: list[str] = []
    labels: list[tuple[int, ...]] = []
    for part in (train, test):
        for label, name in enumerate(classes):
            files = found[part].get(name, [])
            names += [f"{part}/{name}/{file}" for file in files]
            labels += [(label,)] * len(files)
    is_test = np.arange(len(names)) >= sum(map(len, found[train].values()))
    return Source(source, names, labels, classes, is_test, remarks, stamp=stamp_of(source, names, "parts"))


def _folders_in(folder: Path) -> dict[str, list[str]]:
    """Return the pictures below each sub-folder, by its name."""
    try:
        whole = folder.resolve()
        inside = [path for path in folder.iterdir() if path.is_dir() and not whole.is_relative_to(path.resolve())]
        names = _shown(path.name for path in inside)  # without links to what they lie in
    except OSError as error:
        _raise_unreadable(error)
    return {name: names_below(folder / name) for name in names}


def _loose_in(folder: Path) -> list[str]:
    return _shown(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())


def _remarks(folder: Path, found: dict[str, list[str]], loose: Sequence[str]) -> list[str]:
    """Return sentences on what does not count in a folder of classes."""
    remarks = []
    if empty := [name for name in found if not found[name]]:
        remarks.append(f"No class, without a picture in it: {listed(empty, _NAMED)}.")
    if loose:
        remarks.append(f"Left out: {counted(len(loose), 'picture')} directly in {folder}, in no sub-folder of a class.")
    return remarks


def _check_folder(source: Path) -> None:
    if source.is_dir():
        if description_in(source):
            raise DataError(f"{source} holds batches already; train on them with --data-path")
        return
    what = f"{source} is a file" if source.exists() else f"no folder {source}"
    raise DataError(f"{what}; give a folder with one sub-folder of pictures per class, a table (.csv), or 'digits'")


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
    """Return what is called as pictures are, sorted; see ``names_below``."""
    return [folder / name for name in names_below(folder)]


def names_below(folder: Path) -> list[str]:
    """Return the paths in ``folder`` of what is called as pictures are, sorted, but for hidden files, as macOS writes.

    Links to folders are not followed, so that there are no loops. Raises ``DataError`` for a folder that cannot be read.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_raise_unreadable):
        begin = "" if Path(parent) == folder else f"{Path(parent).relative_to(folder)}{os.sep}"
        found += [begin + name for name in _shown(names) if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = _shown(folders)
    return sorted(found, key=lambda name: Path(name).parts)


def _shown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _raise_unreadable(error: OSError) -> NoReturn:
    raise DataError(f"the folder {error.filename} cannot be read: {reason_of(error)}") from None
