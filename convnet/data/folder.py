"""What all providers of a folder of batches share: its description, and what there is to find out where that is silent."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from convnet.data.batches import (
    Watch,
    find_batches,
    kept_for_validation,
    label_names_of,
    made_for_testing,
    mean_of,
    read_batch,
    read_meta,
)
from convnet.data.labels import Labels, Part
from convnet.data.provider import Provider, Request, check_counts, check_targets, range_text
from convnet.data.schema import MOST_CLASSES
from convnet.data.survey import surveyed
from convnet.data.targets import Form, Targets, Values, forms_of, read_targets
from convnet.errors import ConvnetError, DataError
from convnet.pickles import text_of
from convnet.texts import counted, printable

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class FolderProvider(Provider):
    """A folder of batch files: ``meta`` is its description, ``files`` are the parts of each batch."""

    names_classes = True

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.folder = Path(request.path)
        self._watch = Watch(self.folder)
        self.meta = read_meta(self.folder)
        self.files = find_batches(self.folder, self.problems)
        self.numbers, self.label_names = list(self.files), label_names_of(self.meta)
        aside = made_for_testing(self.meta) if "test_batches" in self.meta else kept_for_validation(self.numbers)
        self.test_numbers = [n for n in self.numbers if n in aside]
        if lost := sorted(aside - {*self.numbers}):
            self.problems.append(
                f"{self.folder} has no batches {range_text(lost)}, which batches.meta sets aside for testing."
            )
        self.label_offset = int(self.meta.get("label_offset", 0))
        self.heads, self.head_names = {}, {}

    def tell(self, problem: str) -> None:
        """Report what is wrong with the data, once, however often they are used."""
        problem = printable(problem)
        if problem not in self.problems:
            self.problems.append(problem)
            _LOG.warning(problem)

    def by_turns(self, numbers: Sequence[int], work: Callable[[int], _T]) -> Iterator[_T]:
        """Yield what ``work`` gives for each batch, in order; each of R ranks does every R-th, and all get all.

        What is told in it, and a ``DataError``, are those of one rank that does them all.
        """
        ranks = self.request.ranks
        if ranks is None:
            yield from map(work, numbers)
            return
        for start in range(0, len(numbers), ranks.size):
            turn, mine, failure, before = numbers[start : start + ranks.size], None, "", len(self.problems)
            try:
                mine = work(turn[ranks.rank]) if ranks.rank < len(turn) else None
            except ConvnetError as error:
                failure = str(error)
            everyones = ranks.all_gather((mine, failure, self.problems[before:]))
            for _, (result, failure, problems) in zip(turn, everyones, strict=False):
                for problem in problems:
                    self.tell(problem)
                if failure:
                    raise DataError(failure)
                yield result

    def _all_have(self, has: bool) -> bool:
        """Return whether all ranks have what this one may have."""
        ranks = self.request.ranks
        return all(ranks.all_gather(has)) if ranks else has

    def described_mean(self, features: int, channels: int = 1) -> np.ndarray | None:
        """Return the description's mean (features,), float64, if it has one.

        One of zeros that makebatches wrote is said to users: early ones did so where all pictures were for testing.
        """
        mean = mean_of(self.meta, features, self.folder, channels)
        if mean is not None and "img_size" in self.meta and not mean.any():
            self.problems.append(f"data_mean of {self.folder} is 0 everywhere: nothing is subtracted.")
        return mean

    def find_mean(self, sums_of: Callable[[int], tuple[np.ndarray, int]], features: int, *facts: object) -> np.ndarray:
        """Return the mean (features,), float32, of the training batches, of each of which ``sums_of`` gives sums and cases.

        ``facts`` are what else it depends on.
        """
        train = [n for n in (self.request.batches if self.request.training else self.default_ranges()[0]) if n in self.files]
        numbers = train or self.numbers

        def find() -> np.ndarray:
            sums, cases = np.zeros(features), 0
            for more, count in self.by_turns(numbers, sums_of):
                sums, cases = sums + more, cases + count
            return (sums / max(cases, 1)).astype(np.float32)

        def tell(cost: str) -> None:
            _LOG.warning(
                printable(f"{self.folder} has no data_mean: that of batches {range_text(numbers)} is subtracted{cost}.")
            )

        files = [path for number in numbers for path in self.files[number]]
        return surveyed(files, ("mean", *facts), (features,), tell, find, self._all_have)

    def count_classes(self) -> int:
        """Return how many classes labels in matrix 1 are of, 0 where it holds others; set ``heads`` for other matrices.

        They are as many as have names, else as labels say, or the net if it knows of more.
        """
        for index, form in self._forms.items():
            if form.source == index > 1 and form.what != "values":
                self.head_names[index] = label_names_of(self.meta, index)
                needed = self.request.needs[index].classes if index in self.request.needs else 0
                self.heads[index] = len(self.head_names[index]) or needed or self._counted(index)
        if all(form.source != 1 or form.what == "values" for form in self._forms.values()):
            return 0
        needs, expected = self.request.needs, self.request.classes
        return len(self.label_names) or max(self._counted(1), needs[1].classes if 1 in needs else expected)

    def _counted(self, index: int) -> int:
        """Return how many classes the labels of all batches show."""

        def largest_in(number: int) -> float:
            each = self.targets(self.read_parts(number)).held[index]
            return each.values.max(initial=-1) if isinstance(each, Labels) else -1.0

        def find() -> np.ndarray:
            return np.array([max(self.by_turns(self.numbers, largest_in))])

        costs: list[str] = []
        key = "label_names" + str(index) * (index > 1)

        def tell(cost: str) -> None:
            costs.append(cost)
            if cost:
                _LOG.warning(printable(f"{self.folder} has no {key}: classes are counted{cost}."))

        files = [path for parts in self.files.values() for path in parts]
        facts = ("classes", *([index] if index > 1 else []))
        largest = float(surveyed(files, facts, (1,), tell, find, self._all_have)[0])
        largest += self.label_offset if index == 1 else 0
        if not largest < MOST_CLASSES:
            where = self.files[self.numbers[0]][0]
            raise DataError(f"{where}: a label of {largest:g}; without {key} at most {MOST_CLASSES} are classes")
        count = max(int(largest) + 1, 1)
        if costs:
            self.problems.append(f"{self.folder} has no {key}: labels are of {counted(count, 'class')}.")
        return count

    def cases(self, parts: Sequence[Part]) -> list[int]:
        """Return the number of cases in each part of a batch."""
        return [len(part["data"]) for _, part in parts]

    def targets(self, parts: Sequence[Part], cases: Sequence[int] | None = None) -> Targets:
        """Return labels and values of a batch as its files have them, not yet checked; ``cases`` are those of each part."""
        names = {1: len(self.label_names)} | {index: len(names) for index, names in self.head_names.items()}
        cases = self.cases(parts) if cases is None else cases
        return read_targets(parts, cases, self.request.needs, names, self._tags)

    @cached_property
    def _forms(self) -> dict[int, Form]:
        """What each matrix beside the data is made of; the first batch tells, unless the net needs labels alone."""
        needs = self.request.needs
        if all(not index or (index == 1 and need.kind == "label" and need.rows <= 1) for index, need in needs.items()):
            held: dict[int, Labels | Values] = {1: Labels.each(np.zeros(0))} if not needs or 1 in needs else {}
        else:
            held = {}
        if needs and not held:
            held = dict(self.targets(self.read_parts(self.numbers[0])).held)
        self._rows = {index: len(each.rows) for index, each in held.items() if isinstance(each, Values)}
        return forms_of(held, needs, self.target_row)

    @property
    def label_dims(self) -> dict[int, int]:
        """Rows of the matrices of labels and values, by matrix."""
        marks = {index: self.heads.get(form.source, self.classes) for index, form in self._forms.items()}
        rows = {"one": dict.fromkeys(marks, 1), "marks": marks, "values": self._rows}
        return {index: rows[form.what][index] for index, form in self._forms.items()}

    def checked_targets(self, parts: Sequence[Part], cases: Sequence[int], what: str = "case") -> Targets:
        """Return labels and values of a batch; raises ``DataError`` if they are not of its ``cases``, or no classes."""
        targets, where = self.targets(parts, cases), str(parts[0][0])
        check_counts(sum(cases), len(targets), where, what)
        self.check_targets(targets, where)
        return targets

    def check_targets(self, targets: Targets, where: str) -> None:
        """Raise ``DataError`` naming the first label that is no class, and values that are not those of the first batch."""
        for index, form in self._forms.items():
            each = targets.held.get(form.source)
            if isinstance(each, Labels) and form.what != "values":
                own = self.own_classes if form.source == 1 else self.heads[form.source]
                offset, key = (self.label_offset, "") if form.source == 1 else (0, f": 'labels{form.source}'")
                each.check(own, offset, f"{where}{key}")
            elif not isinstance(each, Values) or form.what != "values" or len(each.rows) != self._rows[index]:
                first, key = self.files[self.numbers[0]][0], "labels" + str(index) * (index > 1)
                raise DataError(f"{where}: '{key}' is not as in {first}: labels of classes, or values as many per case")

    def target_rows(self, targets: Targets, random: np.random.Generator, where: str) -> list[np.ndarray]:
        """Return matrices 1, 2, ... of a batch, a blank one where a net reads none (io 6.4).

        Of labels, one of each case, drawn where it has several, or all of them as 0/1; and values.
        """
        self.check_targets(targets, where)
        labels: dict[int, Labels] = {}
        for index, each in targets.held.items():
            if isinstance(each, Labels):
                labels[index] = each.numbered(self.label_offset, self.label_map) if index == 1 else each
                if not each.counts.all() and Form("one", index) in self._forms.values():
                    self.tell(f"{self.folder} has cases without labels, which count as class 0.")
        drawn = {index: each.drawn(random) for index, each in labels.items()}
        matrices = []
        for index in range(1, max(self._forms, default=0) + 1):
            form, rows = self._forms.get(index), self.label_dims.get(index, 1)
            held = targets.held.get(form.source) if form else None
            if form is None:
                matrices.append(np.zeros((1, len(targets)), np.float32))
            elif isinstance(held, Values):
                matrices.append(held.rows)
            elif form.what == "one":
                matrices.append(drawn[form.source])
            else:
                check_targets(rows, len(targets), where)
                matrices.append(labels[form.source].matrix(rows))
        return matrices

    @cached_property
    def _tags(self) -> dict[str, int]:
        return {text_of(word): number for word, number in (self.meta.get("freq_to_id") or {}).items()}

    def read_parts(self, number: int) -> list[Part]:
        """Return the parts of a batch with their files; raises ``DataError``, also if the folder was made anew since."""
        if number not in self.files:
            self.check_range([number], "data")
        try:
            return [(path, read_batch(path)) for path in self.files[number]]
        finally:  # which explains files that are not there any more, too
            self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise ``DataError`` if the folder was made anew since it was opened."""
        self._watch.check()

    @property
    def own_classes(self) -> int:
        """Number of classes that labels in the files are of."""
        return self.classes if self.label_map is None else len(self.label_map)
