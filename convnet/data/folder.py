"""What all providers of a folder of batches share: its description, and what there is to find out where that is silent."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from convnet.data.batches import Watch, find_batches, label_names_of, made_for_testing, mean_of, read_batch, read_meta
from convnet.data.labels import Labels, Part, labels_of_batch
from convnet.data.provider import Provider, Request, check_targets, range_text
from convnet.data.schema import MOST_CLASSES
from convnet.data.survey import surveyed
from convnet.errors import DataError
from convnet.pickles import text_of
from convnet.texts import counted, printable

_LOG = logging.getLogger(__name__)


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
        self.test_numbers = [n for n in self.numbers if n in made_for_testing(self.meta)]
        self.label_offset = int(self.meta.get("label_offset", 0))

    def tell(self, problem: str) -> None:
        """Report what is wrong with the data, once, however often they are used."""
        problem = printable(problem)
        if problem not in self.problems:
            self.problems.append(problem)
            _LOG.warning(problem)

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
            for number in numbers:
                more, count = sums_of(number)
                sums, cases = sums + more, cases + count
            return (sums / max(cases, 1)).astype(np.float32)

        def tell(cost: str) -> None:
            _LOG.warning(
                printable(f"{self.folder} has no data_mean: that of batches {range_text(numbers)} is subtracted{cost}.")
            )

        files = [path for number in numbers for path in self.files[number]]
        return surveyed(files, ("mean", *facts), (features,), tell, find)

    def count_classes(self) -> int:
        """Return how many classes there are: as many as have names, else as labels say, or the net if it knows of more."""
        if self.label_names:
            return len(self.label_names)

        def find() -> np.ndarray:
            return np.array([max(self.labels(self.read_parts(number)).values.max(initial=-1) for number in self.numbers)])

        costs: list[str] = []

        def tell(cost: str) -> None:
            costs.append(cost)
            if cost:
                _LOG.warning(printable(f"{self.folder} has no label_names: classes are counted{cost}."))

        files = [path for parts in self.files.values() for path in parts]
        largest = float(surveyed(files, ("classes",), (1,), tell, find)[0]) + self.label_offset
        if not largest < MOST_CLASSES:
            where = self.files[self.numbers[0]][0]
            raise DataError(f"{where}: a label of {largest:g}; without label_names at most {MOST_CLASSES} are classes")
        count = max(int(largest) + 1, 1)
        if costs:
            self.problems.append(f"{self.folder} has no label_names: labels are of {counted(count, 'class')}.")
        return max(count, self.request.classes)

    def cases(self, parts: Sequence[Part]) -> list[int]:
        """Return the number of cases in each part of a batch."""
        return [len(part["data"]) for _, part in parts]

    def labels(self, parts: Sequence[Part], cases: Sequence[int] | None = None) -> Labels:
        """Return the labels of a batch as its files have them, not yet checked; ``cases`` are those of each part."""
        return labels_of_batch(
            parts, self.cases(parts) if cases is None else cases, names=len(self.label_names), tags=self._tags
        )

    @property
    def label_dims(self) -> dict[int, int]:
        """Rows of the matrices of labels, by matrix."""
        return {2: {1: 1, 2: self.classes}, 1: {1: self.classes}}[self.target_row]

    def label_rows(self, labels: Labels, random: np.random.Generator, where: str) -> list[np.ndarray]:
        """Return matrices of labels: one of each case, drawn where it has several, and all of them as 0/1 (io 6.4)."""
        labels.check(self.own_classes, self.label_offset, where)
        if not labels.counts.all() and self.target_row != 1:
            self.tell(f"{self.folder} has cases without labels, which count as class 0.")
        check_targets(self.classes, len(labels), where)
        labels = labels.numbered(self.label_offset, self.label_map)
        one = labels.drawn(random)
        return [one, labels.matrix(self.classes)][-len(self.label_dims) :]

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
