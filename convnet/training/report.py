"""What a test got wrong: errors of every class, and which classes were taken for which (``--test-only --report``).

A case is taken for the class of its largest prediction, of several equal ones the first. Errors share ties as the cost does
(numerics 12.1), so that they add up to what it prints. Letters: K classes, N cases.
"""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from convnet.data.provider import class_names
from convnet.layers import Layer
from convnet.texts import aligned, printable, shortened

_MOST = 20  # classes, and pairs of them, that are printed
_NAME = 20  # letters of a class that are printed where there is room
_GUESSES = 5  # where the cost says nothing of several


class Report:
    """Counts of the cases that the cost ``logreg`` sees; ``names`` are those of the classes, as far as they have any."""

    def __init__(self, logreg: Layer, names: Sequence[str]) -> None:
        classes = logreg.num_inputs[1]
        self.cost = logreg.name
        self.names = class_names(names, classes)
        topk = getattr(logreg, "topk", 1)
        self.guesses = [1] + [k for k in [topk if topk > 1 else _GUESSES] if k < classes]
        self.cases = np.zeros(classes, np.int64)
        self._pairs: list[np.ndarray] = []  # label * K + what it was taken for, of every case
        self.misses = np.zeros((len(self.guesses), classes))  # of one guess, and of several

    def count(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Add cases: labels (1, N) and predictions (K, N)."""
        label = labels[0].astype(int)
        self.cases += np.bincount(label, minlength=len(self.cases))
        self._pairs.append(label * len(self.names) + predictions.argmax(axis=0))
        score = np.take_along_axis(predictions, label[None], axis=0)
        above, level = (predictions > score).sum(axis=0), np.maximum((predictions == score).sum(axis=0), 1)
        for misses, guesses in zip(self.misses, self.guesses, strict=True):
            np.add.at(misses, label, 1 - np.clip((guesses - above) / level, 0, 1))

    def confusions(self) -> list[tuple[int, int, int]]:
        """Return (label, what it was taken for, cases), in order, of all that happened: of K² there may be too many."""
        pairs, counts = np.unique(np.concatenate([np.zeros(0, int), *self._pairs]), return_counts=True)
        return [(*divmod(pair, len(self.names)), count) for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)]

    def rows(self) -> Iterator[list[int]]:
        """Yield for each label how many of its cases were taken for each class."""
        counts = {(label, guess): count for label, guess, count in self.confusions()}
        for label in range(len(self.names)):
            yield [counts.get((label, guess), 0) for guess in range(len(self.names))]

    def mistakes(self) -> list[tuple[int, int, int]]:
        """Return (label, what it was taken for, cases) of all that was wrong, the most often first."""
        return sorted((pair for pair in self.confusions() if pair[0] != pair[1]), key=lambda pair: (-pair[2], *pair))

    def worst_first(self) -> list[int]:
        """Return the classes that have cases, by error."""
        known: list[int] = np.flatnonzero(self.cases).tolist()
        return sorted(known, key=lambda k: (-self.misses[0, k] / self.cases[k], k))

    def error_row(self, name: str, classes: Sequence[int]) -> list[str]:
        """Return the cells of a table: a name, and cases and errors of some classes together."""
        cases = int(self.cases[classes].sum())
        return [name, f"{cases:,}", *(f"{missed / max(cases, 1):.2%}" for missed in self.misses[:, classes].sum(axis=1))]

    def heads(self) -> list[str]:
        """Return what the rows of errors are called: ``error``, ``top-5 error``."""
        return ["error", *(f"top-{k} error" for k in self.guesses[1:])]

    def csv(self) -> str:
        """Return a line for each class: name, cases, errors as shares, and how many cases were taken for each class."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["class", "cases", *self.heads(), *(f"taken for {name}" for name in self.names)])
        for name, cases, misses, row in zip(self.names, self.cases, self.misses.T, self.rows(), strict=True):
            errors = ["" if cases == 0 else float(missed / cases) for missed in misses]
            writer.writerow([name, int(cases), *errors, *row])
        return out.getvalue()

    def lines(self, width: int) -> list[str]:
        """Return tables of at most ``width`` columns: classes by error, the worst first, and what they were taken for."""
        letters = max(5, min(_NAME, width - 34))
        shown = [shortened(printable(name), letters) for name in self.names]
        matrix = self._matrix(shown) if len(shown) <= _MOST else []
        if matrix and len(matrix[0]) <= width:
            return [*self._errors(shown), "", "Cases of each class (rows), and what they were taken for (columns):", *matrix]
        return [*self._errors(shown), "", *self._mistakes(shown)]

    def _errors(self, shown: Sequence[str]) -> list[str]:
        order = self.worst_first()
        rows = [self.error_row(shown[k], [k]) for k in order[:_MOST]]
        if len(order) > _MOST:
            rows.append(self.error_row(f"{len(order) - _MOST:,} more", order[_MOST:]))
        rows.append(self.error_row("all", order))
        return [f"Errors by class, of '{self.cost}':", *aligned([["class", "cases", *self.heads()], *rows])]

    def _matrix(self, shown: Sequence[str]) -> list[str]:
        rows = [[f"{k} {shown[k]}", *map(str, row)] for k, row in enumerate(self.rows())]
        return aligned([["", *map(str, range(len(rows)))], *rows])

    def _mistakes(self, shown: Sequence[str]) -> list[str]:
        rows = [[shown[i], shown[j], f"{count:,}"] for i, j, count in self.mistakes()[:_MOST]]
        return ["What was mistaken most often:", *aligned([["class", "taken for", "cases"], *rows], left=2)]
