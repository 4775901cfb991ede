"""What conv, local and the fully-connected layers share: weight matrices, biases, and how they learn.

Shapes and orders: numerics 1.6 and 1.7. Learning rates, momentum, decay: numerics 13 and 14.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from convnet.generation import G2011, G2012, G2014, GENERATIONS, SINCE_2012, Generation
from convnet.language.keys import one, per_input
from convnet.language.schedules import CONSTANT, RATE, SCHEDULE, Schedule
from convnet.language.values import FLOAT, INIT_FUNC, INITIAL, WEIGHT_SOURCE, Float, Int
from convnet.layers.base import Layer
from convnet.layers.node import LayerNode

_SAFE_EPS = 0.25  # B - A + superEps is positive above it: B is at least A squared, and A squared less A at least -1/4
_COURSE = "how the {} learning rate changes while training goes on"


class WeightLayer(Layer):
    """A layer with one weight matrix per input and one bias vector."""

    key_ranks = 1, 3
    wants_params = GENERATIONS
    uses_acts = False
    stored_flags = "inputs own"
    order: ClassVar[Literal["C", "F"]] = "C"  # memory order of the stored weight matrices
    folds_gradient: ClassVar[bool] = False  # whether the momentum buffer accumulates the gradient (numerics 4.2)

    initB = one(INITIAL, "initial value of the biases", 0.0)
    initWFunc = one(INIT_FUNC, "function that makes the initial weights; goes before weightSource", "")
    initBFunc = one(INIT_FUNC, "function that makes the initial biases", "")
    weightSource = per_input(
        WEIGHT_SOURCE, "layer or layer[input] whose weights to share; with epsW=0 they get no gradient of this layer", None
    )
    epsW = per_input(RATE, "learning rate of the weights; 0 freezes them", home="params")
    epsB = one(RATE, "learning rate of the biases; 0 freezes them", home="params")
    momW = per_input(FLOAT, "momentum of the weights", home="params")
    momB = one(FLOAT, "momentum of the biases", home="params")
    wc = per_input(FLOAT, "weight decay; multiplied by the learning rate", 0.0, "params", demanded_by=(G2011,))
    wball = per_input(Float(min=0), "largest norm of each filter's weights; 0: no limit", 0.0, "params", SINCE_2012)
    schedW = one(SCHEDULE, _COURSE.format("weights'"), CONSTANT, "params", (G2012,))
    schedB = one(SCHEDULE, _COURSE.format("biases'"), CONSTANT, "params", (G2012,))
    sched: Schedule | None = one(SCHEDULE, "early 2012 spelling of schedW and schedB together", None, "params", (G2012,))
    superEps = one(FLOAT, "above 0: the experimental variance-normalised update", 0.0, "params", SINCE_2012, fixed=True)
    superMom = one(FLOAT, "read by the originals, used by none", 0.0, "params", SINCE_2012)
    updatePeriod = one(
        Int(min=0),
        "passes from one update to the next: minibatches, or parts of them where there are fewer replicas of the layer than "
        "of others; 0: as few as possible",
        0,
        "params",
        (G2014,),
    )

    initW: list[float]  # declared by the layer types, whose defaults differ
    unshared: Mapping[int, tuple[str, int]] = MappingProxyType({})  # by input, what ``weightSource`` says of it no more
    owners: list[tuple[WeightLayer, int] | None]  # for each input the (layer, input) that owns the matrix; set by the graph

    def check_learning(self, generation: Generation) -> None:
        """Warn of ``superEps`` that lets roots be of negative numbers (numerics 13.8); 2014 takes none."""
        if 0 < self.superEps <= _SAFE_EPS and generation != G2014 and self.learns:
            text = f"superEps={self.superEps:g} makes NaN of weights whose gradients are of one sign and below 1 for long"
            self.check.warn("superEps", f"{text}; above {_SAFE_EPS} it never does")

    @property
    def learns(self) -> bool:
        return self.epsB.base > 0 or any(rate.base > 0 for rate in self.epsW)

    def weight_schedule(self, i: int) -> Schedule:
        """Return the schedule of input ``i``'s weights, from whichever spelling the files used."""
        return self.epsW[i].schedule or self._schedule(self.schedW)

    def bias_schedule(self) -> Schedule:
        return self.epsB.schedule or self._schedule(self.schedB)

    def _schedule(self, separate: Schedule) -> Schedule:
        return self.sched if self.sched and separate == CONSTANT else separate

    def weight_shape(self, i: int) -> tuple[int, int]:
        """Return (rows, columns) of input ``i``'s matrix, as stored in checkpoints: a column for each filter or output."""
        *rows, columns = self.kernel_shape(i) if self.order == "C" else reversed(self.kernel_shape(i))
        return math.prod(rows), columns

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        """Return the shape of the C-ordered array that backends see; the same bytes as the stored matrix."""
        raise NotImplementedError(self.type)

    def bias_shape(self) -> tuple[int, int]:
        """Return the shape of the biases, as stored in checkpoints."""
        raise NotImplementedError(self.type)

    def weights_per_filter(self, i: int) -> int:
        """Return the number of weights that one output of one position reads from input ``i``."""
        return self.weight_shape(i)[0]

    def check_sources(self) -> bool:
        """Report shared matrices of another shape (numerics 13.4); return whether there are none."""
        fits = True
        for i, owner in enumerate(self.owners):
            if owner is None or not owner[0].outputs:
                continue
            theirs, mine = owner[0].weight_shape(owner[1]), self.weight_shape(i)
            if theirs != mine:
                shapes = f"{theirs[0]}x{theirs[1]}; its own would be {mine[0]}x{mine[1]}"
                self.check.error("weightSource", f"shares weights of '{owner[0].name}', which are {shapes}")
                fits = False
        return fits

    def check_schedules(self) -> None:
        """Warn of what is written and not used: schedules beside one that goes before them, and a key of no program."""
        own = {"epsW": all(rate.schedule for rate in self.epsW), "epsB": bool(self.epsB.schedule)}
        apart = {"epsW": self.schedW != CONSTANT, "epsB": self.schedB != CONSTANT}
        for key, rate in (("schedW", "epsW"), ("schedB", "epsB")):
            if apart[rate] and own[rate]:
                self.check.warn(key, f"'{key}' has no effect: {rate} has a schedule of its own")
        if self.sched and all(own[rate] or apart[rate] for rate in own):
            self.check.warn("sched", "'sched' has no effect: weights and biases have schedules of their own")
        if self.superMom:
            self.check.warn("superMom", "'superMom' has no effect: the originals read it and used it nowhere")

    def parameters(self) -> int:
        """Return the number of weights and biases that the layer owns."""
        owned = [i for i, owner in enumerate(self.owners) if owner is None]
        return sum(math.prod(self.weight_shape(i)) for i in owned) + math.prod(self.bias_shape())

    def bias_gradient(self, node: LayerNode, rows: int) -> None:
        """Sum the output's gradient over each of its ``rows`` rows (numerics 2.8)."""
        if node.biases.learns:
            node.be.sum_rows(node.grad.reshape(rows, -1), *node.biases.grad_target())

    def written_source(self, i: int) -> tuple[str, int] | None:
        """Return what the files say of the owner of input ``i``'s matrix, though it may have been unshared since."""
        return self.unshared.get(i) or self.weightSource[i]

    def stored(self, generation: Generation) -> dict[str, Any]:
        written = [self.written_source(i) for i in range(len(self.inputs))]
        return super().stored(generation) | {
            "weightSource": [WEIGHT_SOURCE.write(source) for source in written],
            "weightSourceLayers": [source[0] if source else "" for source in self.weightSource],
            "weightSourceMatrixIndices": [source[1] if source else -1 for source in self.weightSource],
            "weightsPerFilter": [self.weights_per_filter(i) for i in range(len(self.inputs))],
        }


def stored_rate(base: float, schedule: Schedule) -> dict[str, Any]:
    """Return 2014's ``{'type': ..., 'params': {...}}`` of an epsW or epsB value."""
    return {"type": schedule.type, "params": {"base": base, **schedule.parameters(noise=False)}}


def stored_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return 2012's ``{'type': ..., 'params': {...}}`` of a schedW or schedB value."""
    return {"type": "default" if schedule.type == "const" else schedule.type, "params": schedule.parameters(noise=True)}
