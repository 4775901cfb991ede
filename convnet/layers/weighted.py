"""What conv, local and the fully-connected layers share: weight matrices, biases, and how they learn.

Shapes and orders: numerics 1.6 and 1.7. Learning rates, momentum, decay: numerics 13 and 14.
"""

from __future__ import annotations

from typing import Any, ClassVar

from convnet.generation import G2011, G2012, G2014, GENERATIONS, Generation
from convnet.language.keys import Key
from convnet.language.schedules import CONSTANT, RATE, SCHEDULE, Rate, Schedule, parameters
from convnet.language.values import FLOAT, INIT_FUNC, INT, WEIGHT_SOURCE
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode

_SCHEDULE_HELP = "how the {} learning rate changes while training goes on"


class WeightLayer(Layer):
    """A layer with one weight matrix per input and one bias vector."""

    init_keys: ClassVar[tuple[Key, ...]] = (
        Key("initB", FLOAT, "initial value of the biases", 0.0),
        Key("initWFunc", INIT_FUNC, "function that makes the initial weights; goes before weightSource", ""),
        Key("initBFunc", INIT_FUNC, "function that makes the initial biases", ""),
        Key("weightSource", WEIGHT_SOURCE, "layer or layer[input] whose weights to share", None, each=True),
    )
    learning_keys: ClassVar[tuple[Key, ...]] = (
        Key("epsW", RATE, "learning rate of the weights; 0 freezes them", home="params", each=True),
        Key("epsB", RATE, "learning rate of the biases; 0 freezes them", home="params"),
        Key("momW", FLOAT, "momentum of the weights", home="params", each=True),
        Key("momB", FLOAT, "momentum of the biases", home="params"),
        Key("wc", FLOAT, "weight decay; multiplied by the learning rate", 0.0, "params", True, demanded_by=(G2011,)),
        Key(
            "wball",
            FLOAT,
            "largest norm of each filter's weights; 0: no limit",
            0.0,
            "params",
            True,
            0,
            read_by=(G2012, G2014),
        ),
        Key("schedW", SCHEDULE, _SCHEDULE_HELP.format("weights'"), CONSTANT, "params", read_by=(G2012,)),
        Key("schedB", SCHEDULE, _SCHEDULE_HELP.format("biases'"), CONSTANT, "params", read_by=(G2012,)),
        Key("sched", SCHEDULE, "early 2012 spelling of schedW and schedB together", None, "params", read_by=(G2012,)),
        Key(
            "superEps", FLOAT, "above 0: the experimental variance-normalised update", 0.0, "params", read_by=(G2012, G2014)
        ),
        Key("superMom", FLOAT, "read by the originals, used by none", 0.0, "params", read_by=(G2012, G2014)),
        Key("updatePeriod", INT, "minibatches between updates; 0: every one", 0, "params", least=0, read_by=(G2014,)),
    )
    wants_params = GENERATIONS
    uses_acts = False
    stored_flags = "inputs own"

    # Values typed from the keys above.
    initW: list[float]
    initB: float
    weightSource: list[tuple[str, int] | None]
    epsW: list[Rate]
    epsB: Rate
    schedW: Schedule
    schedB: Schedule
    sched: Schedule | None
    # Set by the graph: for each input the (layer, input) that owns the matrix, or None.
    owners: list[tuple[WeightLayer, int] | None]

    order: ClassVar[str] = "C"  # memory order of the stored weight matrices
    folds_gradient: ClassVar[bool] = False  # whether the momentum buffer accumulates the gradient (numerics 4.2)

    @property
    def learns(self) -> bool:
        return self.epsB.base > 0 or any(rate.base > 0 for rate in self.epsW)

    def weight_schedule(self, i: int) -> Schedule:
        """The schedule of input ``i``'s weights, from whichever spelling the files used."""
        return self.epsW[i].schedule or self._pick(self.schedW)

    def bias_schedule(self) -> Schedule:
        return self.epsB.schedule or self._pick(self.schedB)

    def _pick(self, own: Schedule) -> Schedule:
        return self.sched if self.sched and own == CONSTANT else own

    def weight_shape(self, i: int) -> tuple[int, int]:
        """(rows, columns) of input ``i``'s matrix, as stored in checkpoints."""
        raise NotImplementedError(self.type)

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        """Shape of the C-ordered array that backends see; the same bytes as the stored matrix."""
        raise NotImplementedError(self.type)

    def bias_shape(self) -> tuple[int, int]:
        """Shape of the biases, as stored in checkpoints."""
        raise NotImplementedError(self.type)

    def weights_per_filter(self, i: int) -> int:
        """Weights that one output of one position reads from input ``i``."""
        return self.weight_shape(i)[0]

    def check_sources(self, check: Check) -> None:
        """Shared matrices must have the same shape, and live on the same device (numerics 13.4)."""
        for i, owner in enumerate(self.owners):
            if owner is None or not owner[0].outputs:
                continue
            theirs, mine = owner[0].weight_shape(owner[1]), self.weight_shape(i)
            if theirs != mine:
                shapes = f"{theirs[0]}x{theirs[1]}; its own would be {mine[0]}x{mine[1]}"
                text = f"shares weights of '{owner[0].name}', which are {shapes}"
                check.error("weightSource", text)

    def parameters(self) -> int:
        """Number of weights and biases that the layer owns."""
        own = [i for i, owner in enumerate(self.owners) if owner is None]
        rows, columns = self.bias_shape()
        return sum(self.weight_shape(i)[0] * self.weight_shape(i)[1] for i in own) + rows * columns

    def bias_gradient(self, node: LayerNode, rows: int) -> None:
        """Sum the output's gradient over each of its ``rows`` rows (numerics 2.8)."""
        if node.biases.learns:
            node.be.sum_rows(node.grad.reshape(rows, -1), *node.biases.target())

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        stored["weightSource"] = [WEIGHT_SOURCE.write(source) for source in self.weightSource]
        stored["weightSourceLayers"] = [source[0] if source else "" for source in self.weightSource]
        stored["weightSourceMatrixIndices"] = [source[1] if source else -1 for source in self.weightSource]
        stored["weightsPerFilter"] = [self.weights_per_filter(i) for i in range(len(self.inputs))]
        return stored


def stored_rate(rate: Rate) -> dict[str, Any]:
    """2014's ``{'type': ..., 'params': {...}}`` of an epsW or epsB value."""
    schedule = rate.schedule or CONSTANT
    return {"type": schedule.type, "params": {"base": rate.base, **parameters(schedule, noise=False)}}


def stored_schedule(schedule: Schedule) -> dict[str, Any]:
    """2012's ``{'type': ..., 'params': {...}}`` of a schedW or schedB value."""
    name = "default" if schedule.type == "const" else schedule.type
    return {"type": name, "params": parameters(schedule, noise=True)}
