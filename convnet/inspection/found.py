"""What was found in a file: as lines for people, and as values for JSON, both made of the same facts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from convnet.data.provider import range_text
from convnet.graph.table import wrapped
from convnet.pickles import text_of
from convnet.pickles.rules import shown
from convnet.texts import aligned, bytes_text, counted, listed, printable, shortened

_AT_ONCE = 1 << 20  # numbers of which statistics are taken
_MOST_ARRAYS, _DEPTH = 10_000, 8
_LISTED, _WIDEST = 40, 60  # items of a list, columns of a cell
_HEADS = ("array", "shape", "type", "least", "largest", "mean", "not finite", "same as")

Tell = Callable[[int, int], None]  # of how many batches are done, of how many


@dataclass(frozen=True)
class Array:
    """An array and its range over all numbers that are finite; ``not_finite`` counts the others.

    ``shared_with`` is the name of the first array that is the same object.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    least: float | None = None
    largest: float | None = None
    mean: float | None = None
    not_finite: int = 0
    shared_with: str = ""

    def cells(self) -> list[str]:
        """Return a row of the table of arrays."""
        numbers = ["" if value is None else f"{value:.6g}" for value in (self.least, self.largest, self.mean)]
        shape = " x ".join(map(str, self.shape)) or "one number"
        return [self.name, shape, self.type, *numbers, f"{self.not_finite:,}" if self.not_finite else "", self.shared_with]


@dataclass
class Found:
    """A file or folder: its ``kind``, the ``program`` that wrote it and of which ``generation`` that was, as far as known.

    ``container`` is how it is packed, ``facts`` are by name, ``remarks`` lines that a person should know, ``problems`` pairs
    of what is wrong and what to do.
    """

    path: str
    kind: str
    program: str = ""
    generation: str = ""
    container: str = ""
    bytes: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def blame(self, problem: object, advice: str) -> None:
        """Add a problem, once."""
        if all(str(problem) != known for known, _ in self.problems):
            self.problems.append((str(problem), advice))

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON holds it; numbers that it lacks are the texts ``nan``, ``inf`` and ``-inf``."""
        problems = [{"problem": problem, "advice": advice} for problem, advice in self.problems]
        values: dict[str, Any] = settled(asdict(self) | {"problems": problems})
        return values

    def lines(self, columns: int = 0) -> Iterator[str]:
        """Yield lines for people, long facts and remarks in several of at most ``columns``; 0: in one."""
        by = f", written by {self.program}" if self.program else ""
        yield f"{self.path}: {self.kind}{by}"
        size = bytes_text(self.bytes) if self.bytes >= 1000 else counted(self.bytes, "byte") if self.bytes else ""
        facts = {"generation": self.generation, "container": self.container, "size": size} | self.facts
        rows = {key.replace("_", " "): value for key, value in facts.items() if value not in ("", None, [], {})}
        tables = {key: value for key, value in rows.items() if _is_table(value)}
        width = max(map(len, rows), default=0)
        for key, value in rows.items():
            if key not in tables:
                yield wrapped(f"  {key:<{width}}  {_told(value)}", columns, " " * (width + 4))
        for key, table in tables.items():
            yield ""
            yield from _table([[key, *list(table[0])[1:]], *([_told(cell) for cell in row.values()] for row in table)])
        if self.arrays:
            yield ""
            yield from _table([list(_HEADS), *(array.cells() for array in self.arrays)], left=3)
        remarks = [wrapped(f"remark: {line}", 0 if "\n" in line else columns, "    ") for line in self.remarks]
        problems = [f"problem: {what}\n    {do}" for what, do in self.problems]
        for lines in (remarks, problems):
            yield from ["", *lines] if lines else []


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _table(rows: list[list[str]], left: int = 99) -> Iterator[str]:
    """Yield the lines of a table without its empty columns."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    cells = [[shortened(printable(cell), _WIDEST) for cell in row] for row in zip(*columns, strict=True)]
    yield from (f"  {line.rstrip()}" for line in aligned(cells, left))


def _told(value: Any) -> str:
    """Return a fact in a line."""
    if isinstance(value, Mapping):
        texts = {key: _told(item) for key, item in value.items()}
        words = (
            f"{key} ({texts[key]})" if isinstance(item, Mapping) else f"{key}={texts[key]}" for key, item in value.items()
        )
        return listed(words, _LISTED)
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return range_text(value)
    if isinstance(value, list | tuple):
        return listed(map(_told, value), _LISTED)
    if isinstance(value, bool) or value is None:
        return "none" if value is None else "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def settled(value: Any, depth: int = 0) -> Any:
    """Return a fact as JSON holds it, whatever a file has in its place: deeper and stranger values in a few words.

    Numbers that JSON lacks are the texts ``nan``, ``inf`` and ``-inf``.
    """
    if isinstance(value, dict) and depth < _DEPTH:
        return {key_text(key): settled(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _DEPTH:
        return [settled(item, depth + 1) for item in value]
    if isinstance(value, str | bytes):
        return printable(text_of(value))
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return value if value is None or (isinstance(value, int) and abs(value) < 2**63) else shown(value)


def described(name: str, array: np.ndarray) -> Array:
    """Return the range of an array, of which little is in memory twice."""
    known = name, tuple(array.shape), str(array.dtype)
    if array.dtype.kind not in "biuf" or not array.size:
        return Array(*known)
    flat, bad, total = array.ravel(order="K"), 0, 0.0
    least, largest = np.inf, -np.inf
    for start in range(0, flat.size, _AT_ONCE):
        piece = flat[start : start + _AT_ONCE].astype(np.float64)
        finite = piece[np.isfinite(piece)]
        bad += piece.size - finite.size
        if finite.size:
            least, largest = min(least, float(finite.min())), max(largest, float(finite.max()))
            with np.errstate(over="ignore"):
                total += float(finite.sum())
    if bad == flat.size:
        return Array(*known, not_finite=bad)
    return Array(*known, least, largest, total / (flat.size - bad), bad)


def arrays_in(value: Any, name: str = "", wanted: Callable[[str], bool] = lambda _: True) -> list[Array]:
    """Return the arrays in lists and dicts by their names, such as ``layers.conv1.weights[0]``; of very many the first.

    ``wanted`` says of a key of a dict whether to look below it.
    """
    first: dict[int, Array] = {}
    found: list[Array] = []

    def look(value: Any, name: str, depth: int) -> None:
        if len(found) >= _MOST_ARRAYS or depth > _DEPTH:
            return
        if isinstance(value, np.ndarray):
            same = first.get(id(value))  # whose numbers are gone over once
            found.append(replace(same, name=name, shared_with=same.name) if same else described(name, value))
            first.setdefault(id(value), found[-1])
        elif isinstance(value, dict):
            for key, item in value.items():
                if wanted(key_text(key)):
                    look(item, f"{name}.{key_text(key)}" if name else key_text(key), depth + 1)
        elif isinstance(value, list | tuple) and any(isinstance(item, np.ndarray | list | tuple | dict) for item in value):
            for i, item in enumerate(value):
                look(item, f"{name}[{i}]", depth + 1)

    look(value, name, 0)
    return found


def silent(done: int, of: int) -> None:
    """Tell nobody how far something has come."""


def key_text(key: Any) -> str:
    """Return the key of a dictionary from a file, cut where it is very long."""
    return shortened(printable(text_of(key)), _WIDEST) if isinstance(key, str | bytes) else shown(key)
