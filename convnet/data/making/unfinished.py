"""How far a call of makebatches has come: written after every batch, so that the same call goes on where it was killed."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from convnet import pickles
from convnet.data.batches import write_file
from convnet.data.making.manifest import rows_text
from convnet.pickles import UnsafePickle, text_of
from convnet.storage.files import sync

_STATE, _ROWS = "unfinished", "pictures.unfinished"
_OURS = re.compile(r"\.?(data_batch_|test_part_|batches\.meta|pictures|skipped|unfinished|SHA256SUMS).*")


def is_unfinished(folder: Path) -> bool:
    """Return whether a call has left batches in ``folder`` that the same call can add to."""
    return (folder / _STATE).is_file()


@dataclass
class Progress:
    """What was done in ``folder``: pictures looked at, those ``lost`` and why, files written, and sums over what is in them.

    ``key`` stands for source and options. ``counts`` are (2, classes), to train on and for testing; ``total`` (S, S, C) and
    ``products`` (C, C) are sums over the pictures to train on. Sums are of whole numbers, so no order changes them.
    """

    folder: Path
    key: str
    counts: np.ndarray
    total: np.ndarray
    products: np.ndarray
    looked_at: int = 0
    lost: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)  # (name, SHA-256)
    written: list[int] = field(default_factory=lambda: [0, 0])  # files to train on, for testing
    cases: list[int] = field(default_factory=lambda: [0, 0])  # in these
    rows: int = 0  # bytes of the list of pictures

    @classmethod
    def begin(cls, folder: Path, key: str, classes: int, shape: tuple[int, int, int]) -> Self:
        """Take up the call that ``key`` stands for where it was killed, or begin it, without what others left."""
        counts, products = np.zeros((2, classes), np.int64), np.zeros((shape[2], shape[2]), np.int64)
        progress = cls(folder, key, counts, np.zeros(shape, np.int64), products)
        if is_unfinished(folder):
            progress._read()
            progress._clear()
        return progress

    def save(self) -> None:
        """Write the state; raises ``DataError``."""
        state = {name: value for name, value in vars(self).items() if name != "folder"}
        write_file(self.folder / _STATE, state | {"files": [list(pair) for pair in self.files]}, checksum=True)

    def list_pictures(self, rows: list[tuple[object, ...]]) -> None:
        """Append rows to the list of pictures; raises ``OSError``."""
        with (self.folder / _ROWS).open("ab") as file:
            file.truncate(self.rows)
            file.write(rows_text(rows))
            file.flush()
            sync(file.fileno())
            self.rows = os.fstat(file.fileno()).st_size

    @property
    def listing(self) -> Path:
        """The list of pictures."""
        return self.folder / _ROWS

    def end(self) -> None:
        """Remove what is only there to go on; raises ``OSError``."""
        for name in (_ROWS, _STATE):
            (self.folder / name).unlink(missing_ok=True)

    # -- inside

    def _read(self) -> None:
        """Take over the state of an earlier call, if it was the same and its files are there."""
        try:
            content = pickles.read(self.folder / _STATE)
        except UnsafePickle:
            return
        state: dict[str, Any] = content.value if isinstance(content.value, dict) else {}
        if not content.has_checksum or state.get("key") != self.key:
            return
        files = [(text_of(name), text_of(digest)) for name, digest in state["files"]]
        rows = self.listing.stat().st_size if self.listing.exists() else 0
        if rows < state["rows"] or not all((self.folder / name).is_file() for name, _ in files):
            return
        vars(self).update(state, files=files, reasons=list(map(text_of, state["reasons"])))

    def _clear(self) -> None:
        """Remove what the state does not tell of."""
        known = {name for name, _ in self.files} | ({_STATE, _ROWS} if self.files else set())
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what is in a folder before that
            if path.is_dir():
                if _OURS.fullmatch(path.name) and not any(path.iterdir()):
                    path.rmdir()
            elif _OURS.fullmatch(path.name) and str(path.relative_to(self.folder)) not in known:
                path.unlink()
