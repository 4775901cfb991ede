"""What numbers of a run do: whether they rise, stay, or are those of a net that tells nothing apart.

Letters: K classes, n numbers.
"""

import math
from collections.abc import Sequence

_LEAST = 10  # batches, below which nothing is said of a curve
_GUESSABLE = 20  # classes at most that a cost and an error tell where nobody says how many there are


def mean(values: Sequence[float]) -> float:
    """Return the mean of numbers, which may be infinite or NaN, and then is."""
    return sum(values) / len(values)


def window_of(epoch: int) -> int:
    """Return how many of the last batches are looked at: an epoch, but between 10 and 100."""
    return max(_LEAST, min(epoch, 100))


def chance_classes(costs: Sequence[float], errors: Sequence[float], classes: int | None) -> int | None:
    """Return K where costs and errors of batches are those of a net that gives every class the same probability.

    Its cost is ln(K), its error 1 - 1/K. Without ``classes`` K is guessed, up to 20. ``None``: they are others. Data
    with some classes more often than others have a lower cost, and are not recognised.
    """
    cost, error = mean(costs), mean(errors)
    guess = classes or (round(math.exp(cost)) if 0 < cost < math.log(_GUESSABLE) else 0)
    if guess < 2:
        return None
    return guess if abs(cost / math.log(guess) - 1) < 0.015 and is_chance(error, guess) else None


def is_chance(error: float, classes: int) -> bool:
    """Return whether an error is no better than that of guessing among ``classes``."""
    return classes > 1 and error > 0.97 * (1 - 1 / classes)


def rise(values: Sequence[float], first: float) -> tuple[float, float] | None:
    """Return (lowest, last) where a cost has clearly risen again, both as means over a twentieth of the batches.

    Clearly: by a third of the lowest, and by a tenth of the ``first`` of the run.
    """
    size = max(3, len(values) // 20)
    means = block_means(values, size)
    if len(values) < _LEAST or not means:
        return None
    lowest, last = min(means), means[-1]
    return (lowest, last) if last > 1.33 * lowest and last - lowest > 0.1 * abs(first) else None


def block_means(values: Sequence[float], size: int) -> list[float]:
    """Return the means of blocks of ``size`` values each, of which the last ends with the last value."""
    return [mean(values[end - size : end]) for end in range(len(values), size - 1, -size)][::-1]


def running_means(values: Sequence[float], size: int = 3) -> list[float]:
    """Return the mean of each value and those before it, ``size`` in all; none of the first ``size - 1``."""
    return [mean(values[end - size : end]) for end in range(size, len(values) + 1)]


def spread(error: float, cases: int) -> float:
    """Return the standard deviation of an error rate that was measured on so many cases."""
    return math.sqrt(max(error * (1 - error), 1 / max(cases, 1)) / max(cases, 1))


def worsening(errors: Sequence[float], cases: int) -> tuple[int, float, float] | None:
    """Return (index of the best, its error, the last error) where errors of tests have risen beyond what chance makes.

    All are means over three tests; the index is that of the third.
    """
    means = running_means(errors)
    if len(means) < 6:
        return None
    best = min(range(len(means)), key=means.__getitem__)
    lowest, last = means[best], means[-1]
    is_worse = last > 1.05 * lowest and last - lowest > 3 * spread(lowest, cases)
    return (best + 2, lowest, last) if is_worse and best < len(means) - 3 else None


def plateau(errors: Sequence[float], cases: int) -> int | None:
    """Return for how many tests, at least ten and a third of all, no error was better than those before; else ``None``."""
    last = max(10, len(errors) // 3)
    if len(errors) < last + 5:
        return None
    before, since = min(errors[:-last]), min(errors[-last:])
    return last if since > before - spread(before, cases) / 2 else None
