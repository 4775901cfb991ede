"""The three generations of the originals, and what ``--compat`` repeats of each.

A generation says how layer files and checkpoints are read and written. ``Compat`` says what it computed or printed
differently or wrong, where results of old runs depend on it: whatever behaves differently asks a field of it, never a year.
``docs/fidelity.md`` explains each.
"""

from dataclasses import dataclass
from enum import StrEnum


class Generation(StrEnum):
    """A release of the originals: cuda-convnet, the code of the 2012 paper, cuda-convnet2."""

    G2011 = "2011"
    G2012 = "2012"
    G2014 = "2014"


GENERATIONS = G2011, G2012, G2014 = tuple(Generation)
UNTIL_2012: tuple[Generation, ...] = (G2011, G2012)
SINCE_2012: tuple[Generation, ...] = (G2012, G2014)


@dataclass(frozen=True)
class Compat:
    """The defaults are what convnet does when nobody asks for an old generation."""

    crop_group: int = 1  # pictures in a row that share one crop and mirror
    crop_streams: int = 1  # equal parts of a batch that get the same sequence of crops and mirrors
    upright: bool = True  # pictures are turned as their EXIF says
    pixel_offset: float = 0.0  # added to every pixel of CIFAR data without --scalar-mean
    labels_of_batch: bool = False  # CIFAR's matrix 2 marks every class of the batch in every case
    nominal_cases: bool = False  # gradients of a short minibatch are divided by --mini, not by its cases
    last_contribution: bool = False  # of layers that share fc or local weights only the last to run backward counts
    own_rates: bool = False  # conv layers that share weights scale their gradients by their own rates, as others always do
    plain_averages: bool = False  # "Averages" is a mean of means, whatever the sizes of the batches
    extra_batch: bool = False  # a run trains one batch more than --epochs says
    shows_progress: bool = True  # the percentage of training in every line
    shows_averages: bool = True  # the "Averages" block of a test
    shows_ratio: bool = True  # the ratio of change to weight in the statistics
    shows_top_error: bool = True  # the error of logreg's topk guesses
    shows_test_seconds: bool = True  # the time of each batch of --test-only
    tests_one_batch: bool = False  # --test-only tests the first batch alone, but with --test-one 0
    averages_again: bool = False  # --test-only has "Averages", of the tests in the checkpoint too
    sorts_statistics: bool = False  # the statistics are in the order of the layers' names
    names_sources: bool = True  # --unshare-weights says whose a matrix was
    test_freq: int = 57  # batches between tests where nobody says


COMPAT: dict[str, Compat] = {
    "": Compat(),
    G2011: Compat(
        upright=False,
        last_contribution=True,
        own_rates=True,
        extra_batch=True,
        shows_progress=False,
        shows_averages=False,
        shows_ratio=False,
        shows_top_error=False,
        shows_test_seconds=False,
        tests_one_batch=True,
        test_freq=50,
    ),
    G2012: Compat(
        crop_group=32,
        upright=False,
        labels_of_batch=True,
        plain_averages=True,
        extra_batch=True,
        shows_progress=False,
        shows_ratio=False,
        shows_test_seconds=False,
        tests_one_batch=True,
        averages_again=True,
        names_sources=False,
        sorts_statistics=True,
        test_freq=50,
    ),
    G2014: Compat(
        crop_streams=4, upright=False, pixel_offset=1.0, nominal_cases=True, extra_batch=True, names_sources=False
    ),
}
