"""One weight matrix or bias vector while a net runs: its value, its momentum buffer, and how it learns.

Update rule and its order: numerics section 13. A matrix shared by several layers is one ``Weights`` object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from convnet.backends.arguments import Rates
from convnet.backends.base import Array, Backend
from convnet.language.schedules import CONSTANT, Schedule


@dataclass(frozen=True)
class Learning:
    """How weights learn: base rate, schedule, momentum ``mom``, weight decay ``wc`` and constraints."""

    base: float = 0.0
    schedule: Schedule = CONSTANT
    mom: float = 0.0
    wc: float = 0.0
    norm_limit: float = 0.0  # largest norm of a column; 0: none
    norm_hard: bool = False  # 2014: columns are set to the limit, not only cut to it
    contrast: tuple[float, float] = (0.0, 0.0)  # wcNormMin, wcNormMax; 0, 0: none
    superEps: float = 0.0
    leaves_below: list[int] | None = None  # treefc: leaves below each tree node


@dataclass(eq=False)
class Share:
    """A layer's share in the matrix of another: it adds to the gradient at its own rate, at 0 nothing (numerics 13.4)."""

    base: float
    schedule: Schedule = CONSTANT
    rate: float = 0.0


class UnderWay(NamedTuple):
    """What weights hold besides their value and increment."""

    moments: tuple[Array, Array] | None
    grad: Array | None
    contributions: int
    waited: int
    period: int


@dataclass(eq=False)
class Weights:
    """``value`` and ``inc`` (the momentum buffer) are arrays of ``be``; ``column_shape`` is the shape (outer, K, inner)
    that lays the K weights of each filter along axis 1.

    With ``folds_gradient`` the momentum buffer accumulates the gradient, as the originals' fc and local layers did
    (numerics 4.2), which saves a matrix and a pass over memory. Where it may not, gradients are scaled alike.
    """

    be: Backend
    value: Array
    inc: Array
    learning: Learning
    folds_gradient: bool = False
    column_shape: tuple[int, int, int] = (1, 1, 1)
    period: int = 1  # minibatches between updates
    next_period: int = 0  # from the next update on, where a run goes on with another inside one; 0: the same
    last_only: bool = False  # 2011: of several contributions to the momentum buffer only the last stays (numerics 4.3)
    own_rates: bool = False  # 2011: gradients are scaled by the rates of their layers outside the momentum buffer too
    shares: list[Share] = field(default_factory=list)  # of the layers that share this matrix with its owner
    rate: float = 0.0
    noiseless_rate: float = 0.0
    case_scale: float = 1.0
    checking: bool = False  # gradient check: plain sums in ``grad``, momentum untouched
    contributions: int = 0  # ops that have added to the gradient
    restored: bool = False  # whether a checkpoint has put a gradient between two updates where this object would not
    waited: int = 0  # minibatches since the last update
    moments: tuple[Array, Array] | None = None
    _grad: Array | None = field(default=None, repr=False)

    may_fold: ClassVar[bool] = True  # whether gradients may be added to the momentum buffer

    @property
    def learns(self) -> bool:
        """Whether a gradient is wanted: a positive base rate, or a gradient check (numerics 13.3)."""
        return self.learning.base > 0 or self.checking

    @property
    def grad(self) -> Array:
        """The buffer of the gradient, allocated on first use and undefined until an op has written it."""
        if self._grad is None:
            self._grad = self.be.empty(self.value.shape)
        return self._grad

    @property
    def has_rates(self) -> bool:
        """Whether each contribution to the gradient is multiplied by its rate as it is added."""
        return self.folds_gradient and not self.checking and self.learning.superEps <= 0

    @property
    def accumulates_into_momentum(self) -> bool:
        """Whether gradients are added to the momentum buffer, not to ``grad``."""
        return self.may_fold and self.has_rates

    def begin(self, progress: float, cases: float, noise: np.random.Generator | None = None) -> None:
        """Set this minibatch's rate and the 1/N of its gradient (numerics 13.9, 14.3)."""
        self.noiseless_rate = self.learning.schedule.rate(self.learning.base, progress)
        self.rate = self._noisy(self.noiseless_rate, noise)
        self.case_scale = 1.0 if self.checking else 1.0 / (cases * self.period)
        if self.restored and self.accumulates_into_momentum:
            self.be.add(self.grad, self.inc, self.learning.mom)
            self.restored = False
        for share in self.shares:
            share.rate = self._noisy(share.schedule.rate(share.base, progress), noise, share.schedule)

    def learns_from(self, share: Share | None) -> bool:
        """Whether a gradient is wanted of the layer with this share, or of the owner."""
        return self.learns and (share is None or share.base > 0 or self.checking)

    def grad_target(self, share: Share | None = None) -> tuple[Array, float, float]:
        """Return (array, scale_targets, scale_output) for the next op that adds to the gradient, of the owner or a share."""
        first = self.contributions == 0
        self.contributions += 1
        rate = share.rate if share else self.rate
        if self.accumulates_into_momentum:
            scale_targets = self.learning.mom if first else float(not self.last_only)
            return self.inc, scale_targets, rate * self.case_scale
        ratio = rate / self.rate if self.own_rates and self.rate and not self.checking else 1.0
        return self.grad, 0.0 if first else 1.0, self.case_scale * (rate if self.has_rates else ratio)

    def update(self, noise: np.random.Generator | None = None) -> None:
        """Take one step when the period is over: momentum, gradient, decay, then the constraints."""
        if self.step(noise):
            self.limit()

    def step(self, noise: np.random.Generator | None = None) -> bool:
        """Take one step, without the constraints, when the period is over; return whether it was."""
        self.waited += 1
        if self.learning.base <= 0 or self.waited < self.period:
            return False
        learning, decay = self.learning, self._noisy(self.noiseless_rate, noise) * self.learning.wc
        value, inc = self.stepped(self.value), self.stepped(self.inc)
        if learning.leaves_below is not None:
            if self.contributions == 0:
                self.be.fill(self.grad, 0.0)
            rates = Rates(learning.mom, self.rate, learning.wc)
            self.be.tree_update(value, inc, self.grad, leaves_below=learning.leaves_below, rates=rates)
        elif self.contributions == 0:  # nothing reached these weights: the gradient is zero
            self.be.update(value, inc, inc, rates=Rates(learning.mom, 0.0, decay))
        elif learning.superEps > 0:
            if self.moments is None:
                self.moments = self.be.zeros(self.value.shape), self.be.zeros(self.value.shape)
            rates, (first, second) = Rates(learning.mom, self.rate, decay), map(self.stepped, self.moments)
            grad, moments = self.stepped(self.grad), (first, second)
            self.be.super_update(value, inc, grad, moments, rates=rates, epsilon=learning.superEps)
        else:
            grad = None if self.accumulates_into_momentum else self.stepped(self.grad)
            mom = 1.0 if self.restored else learning.mom  # momentum that holds a gradient already has been damped
            self.be.update(value, inc, grad, rates=Rates(mom, 1.0 if self.has_rates else self.rate, decay))
        self.contributions = self.waited = 0
        self.restored = False
        self.period, self.next_period = self.next_period or self.period, 0
        return True

    def limit(self) -> None:
        """Keep filters within the limits that the files set."""
        learning = self.learning
        if learning.contrast[1] > 0:
            self.be.limit_contrast(self.value.reshape(*self.column_shape), *learning.contrast)
        if learning.norm_limit > 0:
            self.be.limit_norm(self.value.reshape(*self.column_shape), learning.norm_limit, learning.norm_hard)

    def stepped(self, array: Array) -> Array:
        """Return what a step changes, or reads, of an array of the weights' shape: all of it."""
        return array

    def finish_with(self, period: int) -> None:
        """End the update under way as it was begun: its gradients are parts of a mean over ``period`` minibatches."""
        if period != self.period:
            self.period, self.next_period = period, self.period

    def under_way(self) -> UnderWay:
        """Return what has come together between two updates, and the moments of superEps."""
        return UnderWay(self.moments, self._grad, self.contributions, self.waited, self.period)

    def take_up(self, before: UnderWay) -> None:
        """Go on where the same weights were, which may have learned in another way."""
        self.moments, self._grad, self.contributions, self.waited, period = before
        if self.waited:
            self.finish_with(period)

    # What weights do that lie on several ranks in parts (``convnet.net.sums``).

    def settle(self) -> None:
        """Wait for what other ranks have made of their parts in an update."""

    def gather(self) -> None:
        """Make whole what each rank has a part of."""

    def restore(self, waited: int, contributions: int, grad: np.ndarray | None) -> None:
        """Go on between two updates with the gradient that a checkpoint holds; without one, momentum holds it.

        A net in parts keeps it apart, one in a whole may add it to momentum, and each goes on from either.
        """
        self.waited, self.contributions = waited, contributions
        if grad is not None:
            self.be.copy_in(grad, self.grad)
        self.restored = bool(contributions) and (grad is not None) == self.accumulates_into_momentum

    def capture_key(self) -> tuple[float, ...]:
        """Return all that decides which ops a step issues for these weights, and with which numbers."""
        counts = self.contributions, self.waited, self.period, self.checking
        return self.rate, self.noiseless_rate, self.case_scale, *counts, *(share.rate for share in self.shares)

    def discard(self) -> None:
        """Drop the gradient of a failed step, and the momentum if the gradient was added to it."""
        if self.accumulates_into_momentum and self.learns:
            self.be.fill(self.inc, 0.0)
        self.contributions = self.waited = 0

    def _noisy(self, rate: float, noise: np.random.Generator | None, schedule: Schedule | None = None) -> float:
        stdev = (schedule or self.learning.schedule).noiseStdev
        return rate * (1 + abs(noise.standard_normal()) * stdev) if stdev > 0 and noise is not None else rate
