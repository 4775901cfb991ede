"""``--compat YEAR``: what a generation did differently or wrong, where results of old runs depend on it.

One declaration; everything that behaves differently asks a field here, never a year. ``docs/fidelity.md`` explains each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Compat:
    """The defaults are what convnet does when nobody asks for an old generation."""

    crop_group: int = 1  # pictures in a row that share one crop and mirror
    crop_streams: int = 1  # equal parts of a batch that get the same sequence of crops and mirrors
    pixel_offset: float = 0.0  # added to every pixel of CIFAR data without --scalar-mean
    labels_of_batch: bool = False  # CIFAR's matrix 2 marks every class of the batch in every case
    nominal_cases: bool = False  # gradients of a short minibatch are divided by --mini, not by its cases
    last_contribution: bool = False  # of layers that share fc or local weights only the last to run backward counts
    plain_averages: bool = False  # "Averages" is a mean of means, whatever the sizes of the batches
    extra_batch: bool = False  # a run trains one batch more than --epochs says
    shows_progress: bool = True  # the percentage of training in every line
    shows_averages: bool = True  # the "Averages" block of a test
    shows_ratio: bool = True  # the ratio of change to weight in the statistics


COMPAT = {
    "": Compat(),
    "2011": Compat(last_contribution=True, extra_batch=True, shows_progress=False, shows_averages=False, shows_ratio=False),
    "2012": Compat(
        crop_group=32,
        labels_of_batch=True,
        plain_averages=True,
        extra_batch=True,
        shows_progress=False,
        shows_ratio=False,
    ),
    "2014": Compat(crop_streams=4, pixel_offset=1.0, nominal_cases=True, extra_batch=True),
}
