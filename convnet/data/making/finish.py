"""What belongs to batches of pictures once all are written: their description, lists of what went where, and a summary."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from convnet.data.batches import write_file
from convnet.data.images import color_axes
from convnet.data.making.manifest import HEAD, PICTURES, SKIPPED, rows_text
from convnet.data.making.source import Source
from convnet.data.making.unfinished import Progress
from convnet.errors import DataError
from convnet.storage import write_atomically
from convnet.texts import counted, listed, printable

_LISTED, _NAMED = 20, 5  # classes, and files, that are said one by one


def check(source: Source, progress: Progress) -> None:
    """Raise ``DataError`` unless there are pictures of two classes, some to train and some to test on."""
    classes, reasons, cases = source.classes, progress.reasons, progress.cases
    there = np.flatnonzero(progress.counts.sum(axis=0))
    message = ""
    if len(there) < 2:
        which = f"only pictures of '{classes[there[0]]}'" if len(there) else "none of the pictures"
        more = f"; and {len(reasons) - 1:,} more" if len(reasons) > 1 else ""
        message = f"there are {which}; a net tells classes apart"
        message = f"{which} can be read: {reasons[0]}{more}" if reasons else message
    elif not all(cases) and not reasons:
        message = f"no picture is left to {'test' if cases[0] else 'train'} on"
    elif not all(cases):
        few = f"only {sum(cases):,} of {len(source.names):,} files can be read"
        message = f"{few}, too few to train and to test on: {reasons[0]}; and more"
    if message:
        progress.end()  # with which there is nothing to go on
        raise DataError(message)


def write_meta(out: Path, source: Source, progress: Progress, more: dict[str, Any]) -> None:
    """Write the description: mean and colour axes of the pictures to train on, and ``more``; raises ``DataError``."""
    total, cases = progress.total, progress.cases[0]
    side, _, channels = total.shape
    meta: dict[str, Any] = {
        "data_mean": (total / cases).transpose(2, 0, 1).reshape(-1, 1).astype(np.float32),
        "num_vis": total.size,
        "img_size": side,
        "label_names": [printable(name) for name in source.classes],
    }
    if channels == 1:
        meta["num_colors"] = 1
    else:
        pixels = cases * side**2
        mean = total.sum(axis=(0, 1)) / pixels
        meta["color_pca"] = color_axes((progress.products - pixels * np.outer(mean, mean)) / max(1, pixels - 1))
    write_file(out / "batches.meta", meta | more)


def write_lists(out: Path, progress: Progress, numbers: dict[str, str]) -> None:
    """Write which picture is where, those for testing last, and which were left out; raises ``OSError``.

    ``numbers`` are of the batches for testing, by the words that stood in for them.
    """
    final = {word.encode(): number.encode() for word, number in numbers.items()}

    def write(file: BinaryIO) -> None:
        file.write(rows_text([HEAD]))
        for is_test in (False, True):
            with progress.listing.open("rb") as rows:
                for row in rows:
                    word, comma, rest = row.partition(b",")
                    if (word in final) == is_test:
                        file.write(final.get(word, word) + comma + rest)

    write_atomically(out / PICTURES, write)
    if progress.reasons:
        lines = "".join(f"{line}\n" for line in progress.reasons).encode()
        write_atomically(out / SKIPPED, lambda file: file.write(lines))


def summary(source: Source, progress: Progress) -> list[str]:
    """Return lines on how many pictures of each class there are, and which were left out."""
    (trained, tested), reasons = progress.counts, progress.reasons
    counts = dict(zip(source.classes, (trained + tested).tolist(), strict=True))
    lines = [f"{counted(sum(progress.cases), 'picture')} of {counted(len(source.classes), 'class')}: "]
    if len(counts) <= _LISTED:
        lines[0] += ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        few, many = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
        lines[0] += f"from {counts[few]:,} ({few}) to {counts[many]:,} ({many})"
    if untrained := [name for name, count in zip(source.classes, trained, strict=True) if not count]:
        lines.append(f"Nothing to train on is left of {listed(untrained, _NAMED)}: add pictures.")
    if reasons:
        lines.append(f"Left out, as {SKIPPED} says: {counted(len(reasons), 'file')} that cannot be read")
        lines += [f"    {line}" for line in reasons[:_NAMED]] + ["    ..."] * (len(reasons) > _NAMED)
    return lines
