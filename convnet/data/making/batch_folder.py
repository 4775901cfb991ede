"""A folder of batches is replaced as a whole: new ones are written aside and take the place of the old ones at the end.

So no batch of an earlier call is ever used with the description of a later one, and a call that is killed leaves the old
batches, or a folder that says that it holds none, and aside what it has made so far. What makebatches did not write is
never removed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convnet.data.batches import read_meta
from convnet.data.making.manifest import PICTURES, SKIPPED, SUMS, read_sums
from convnet.data.making.unfinished import is_unfinished
from convnet.errors import DataError, reason_of
from convnet.storage import Claim
from convnet.texts import listed

_ASIDE, _SWITCHING = ".making", "switching"
_FOREIGN = ("test_batch", "train", "test", "meta")  # which readers would take for batches beside ours
_MADE = {"img_size", "batch_size", "color_pca"}, {"num_cases_per_batch", "num_colors", "num_vis", "label_names", "data_mean"}


@contextmanager
def replacing(out: Path, resumes: bool = False) -> Iterator[Path]:
    """Yield a folder to write batches and their description to; at the end they are all that ``out`` holds of batches.

    If it ``resumes``, the folder may hold what a call that was killed has written, for the same call to go on with.
    Raises ``DataError`` if ``out`` holds batches that makebatches did not write, if another call writes there, or if a
    file cannot be written. After an error the old batches are as they were.
    """
    aside = out / _ASIDE
    with Claim("batch", DataError, "name another folder with --out").taken(out):
        try:
            old = _old_files(out, (aside / _SWITCHING).exists())
            aside.mkdir(exist_ok=True)
            if not (resumes and is_unfinished(aside)):
                _empty(aside)
            try:
                yield aside
            except BaseException as error:
                if not is_unfinished(aside):
                    shutil.rmtree(aside, ignore_errors=True)
                if isinstance(error, DataError):
                    raise DataError(f"{error}{_hint(aside)}") from None
                raise
            _switch(aside, old, out)
        except OSError as error:
            raise DataError(f"{error.filename or out} cannot be written: {reason_of(error)}{_hint(aside)}") from None


def _hint(aside: Path) -> str:
    """Return what becomes of batches that an error has left."""
    return "; the same command goes on after the batches that are whole" if is_unfinished(aside) else ""


def _old_files(out: Path, interrupted: bool) -> list[Path]:
    """Return what an earlier call wrote, to be replaced; raises ``DataError`` for batches of somebody else.

    ``interrupted``: an earlier call was killed while it replaced its own batches, when there is no description.
    """
    batches = [path for path in out.iterdir() if path.name.startswith("data_batch_")]
    foreign = [out / name for name in _FOREIGN if (out / name).exists()]
    meta = out / "batches.meta"
    sums = _sums_in(out) if meta.exists() else {}
    beside = [out / name for name in (SUMS, PICTURES) if (out / name).exists()]
    if meta.exists() or not interrupted:
        made = _made(out) if meta.exists() and not sums else 0
        ours = {f"data_batch_{number}" for number in range(1, made + 1)} | set(sums)
        foreign += [path for path in batches if not _all_in(path, out, ours)]
        foreign += [meta] if meta.exists() and not made and meta.name not in sums else []
        foreign += [] if sums else beside
    if foreign:
        names = listed(sorted(path.name for path in foreign), 5)
        raise DataError(f"{out} holds {names}, which this makebatches did not write; give a folder without batches")
    return [path for path in (meta, *batches, *beside, out / SKIPPED) if path.exists()]


def _sums_in(out: Path) -> dict[str, str]:
    """Return the manifest of ``out``; none where its file is another's."""
    try:
        return read_sums(out)
    except DataError:
        return {}


def _all_in(path: Path, out: Path, names: set[str]) -> bool:
    """Return whether a batch, or every part in a folder of one, is among ``names``."""
    files = [*path.iterdir()] if path.is_dir() and not path.is_symlink() else [path]
    return bool(files) and all(str(file.relative_to(out)) in names and file.is_file() for file in files)


def _made(out: Path) -> int:
    """Return how many batches the description in ``out`` is of, if makebatches wrote it; else 0."""
    try:
        meta: dict[str, Any] = read_meta(out)
    except DataError:
        return 0
    tests = meta.get("test_batches")
    if isinstance(tests, list) and tests and all(isinstance(number, int) for number in tests):
        return max(tests)
    if not any(meta.keys() == keys | meta.keys() & {"data_mean", "num_vis", "label_names"} for keys in _MADE):
        return 0
    count = 0  # early descriptions do not say: all that follow each other
    while (out / f"data_batch_{count + 1}").is_file():
        count += 1
    return count


def _switch(aside: Path, old: list[Path], out: Path) -> None:
    """Remove the old files and move the new ones, the description first and last, so that no mixture is ever described."""
    (aside / _SWITCHING).touch()
    for path in old:
        _remove(path)
    new = [path for path in aside.iterdir() if path.name != _SWITCHING]
    for path in sorted(new, key=lambda path: path.name == "batches.meta"):
        path.replace(out / path.name)
    shutil.rmtree(aside)


def _empty(aside: Path) -> None:
    """Remove what a call that was killed left aside."""
    for path in aside.iterdir():
        if path.name != _SWITCHING:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder of parts."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
