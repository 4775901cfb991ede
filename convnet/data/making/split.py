"""Which pictures are for testing: a share of all, or of every class, and others in place of those that cannot be read."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np


def set_aside(
    labels: Sequence[int], share: float, seed: int, unread: Collection[int] = (), stratified: bool = False
) -> tuple[list[int], list[int]]:
    """Return which pictures, of class ``labels`` each, are to train on and which for testing, shuffled.

    Of each class one is to train on, if possible. ``unread`` are pictures in formats that are not read, never for testing.
    ``stratified``: of every class the same ``share``, the counts of classes adding up to that of all.
    """
    order: list[int] = np.random.RandomState(seed).permutation(len(labels)).tolist()
    left_out = set(unread)
    left = Counter(label for i, label in enumerate(labels) if i not in left_out)
    most = max(1, round(left.total() * share))
    quota = _quotas(left, share, most) if stratified else left.copy()
    chosen: list[int] = []
    for i in order:
        label = labels[i]
        if len(chosen) < most and i not in left_out and left[label] > 1 and quota[label]:
            left[label] -= 1
            quota[label] -= 1
            chosen.append(i)
    chosen = chosen or order[:1]  # where there is one picture of every class
    taken = set(chosen)
    return [i for i in order if i not in taken], chosen


def _quotas(counts: Counter[int], share: float, most: int) -> Counter[int]:
    """Return how many of each class are for testing: the whole part of its share, and one more where the rest is largest."""
    wanted = {label: count * share for label, count in sorted(counts.items())}
    quotas = Counter({label: int(exact) for label, exact in wanted.items()})
    by_rest = sorted(wanted, key=lambda label: (quotas[label] - wanted[label], label))
    for label in by_rest[: max(0, most - quotas.total())]:
        quotas[label] += 1
    return quotas


class Order:
    """Pictures for testing, then those to train on, in the order in which they are read.

    What cannot be read is told to ``lost``. Where the split was drawn (``replaces``), others are tested on in place of
    lost ones: the next to train on, of the same class if ``stratified``.
    """

    def __init__(self, train: list[int], test: list[int], labels: Sequence[int], replaces: bool, stratified: bool) -> None:
        self.train, self.test, self.labels = train, test, labels
        self.replaces, self.stratified = replaces, stratified
        self.lost: set[int] = set()

    def rounds(self) -> Iterator[tuple[bool, list[int]]]:
        """Yield pictures, and whether they are for testing. Those of a round are read before the next is asked for."""
        taken: set[int] = set()
        test, left = self.test, Counter(self.labels[i] for i in self.train)
        while test:
            yield True, test
            missing = [i for i in test if i in self.lost] if self.replaces else []
            none_yet = all(i in self.lost for i in (*self.test, *taken))
            test = self._others(missing, taken, left, none_yet) if missing else []
            taken.update(test)
        yield False, [i for i in self.train if i not in taken] if taken else self.train

    def _others(self, missing: list[int], taken: set[int], left: Counter[int], none_yet: bool) -> list[int]:
        """Return pictures to train on that become ones for testing; the last of a class only if there are ``none_yet``."""
        wanted = Counter(self.labels[i] if self.stratified else 0 for i in missing)
        others = []
        for i in self.train:
            label = self.labels[i]
            kind = label if self.stratified else 0
            if wanted[kind] and i not in taken and (left[label] > 1 or none_yet):
                wanted[kind] -= 1
                left[label] -= 1
                others.append(i)
                if not wanted.total():
                    break
        return others
