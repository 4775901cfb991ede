"""Where pictures to be packed come from: their files, labels and classes, as a folder, a table or archives name them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """The bytes of a picture: a file, or ``size`` bytes of an archive from ``start`` on."""

    path: str
    start: int = 0
    size: int = -1  # all


@dataclass(frozen=True)
class Layout:
    """How batches are cut and numbered.

    Batches of ``parts`` pictures and more are folders of parts of so many; ``parts`` 0: each is a file. Test batches are
    numbered from the next multiple of ``tests_from`` on, in the order of the source; 0: after the last, shuffled.
    """

    batch_size: int = 1024
    first: int = 1
    parts: int = 0
    tests_from: int = 0


@dataclass
class Source:
    """Pictures below ``root`` by name, the classes of each, and whether it is for testing where that is settled already.

    ``remarks`` are sentences on what does not count. ``stamp`` tells this source from others, and from itself changed.
    """

    root: Path
    names: Sequence[str]
    labels: Sequence[tuple[int, ...]]
    classes: list[str]
    is_test: np.ndarray | None = None  # (pictures,) of bool
    remarks: list[str] = field(default_factory=list)
    layout: Layout = Layout()
    stamp: str = ""

    def place(self, picture: int) -> Place:
        """Return where the bytes of a picture are."""
        return Place(str(self.root / self.names[picture]))


def stamp_of(root: Path, names: Iterable[str], *more: object) -> str:
    """Return a hash of the names, sizes and times of files, and of what else tells a source from others."""
    digest = hashlib.sha256(repr((str(root), str(root.absolute()), more)).encode("utf-8", "surrogateescape"))
    for name in names:
        try:
            state = (root / name).stat()
            facts = f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0"
        except OSError:  # which is said of the picture when its turn comes
            facts = f"{name}\0"
        digest.update(facts.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
