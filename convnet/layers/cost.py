"""Costs: what training makes small. Values are sums over cases; gradients are of minus the cost (numerics section 12).

``inputs[0]`` holds labels or gates, ``inputs[1]`` predictions. Printed values are divided by the number of cases;
``coeff`` weighs gradients and the total, never the printed values. Letters: K classes, N cases.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convnet.backends.arguments import Array, Criterion
from convnet.generation import G2012, G2014, GENERATIONS, Generation
from convnet.language.keys import NAMES, Key
from convnet.language.values import FLOAT, INT, Choice
from convnet.layers.base import Check, Layer
from convnet.layers.filters import FILTERS
from convnet.layers.neuron import NeuronLayer
from convnet.layers.node import LayerNode
from convnet.layers.softmax import Softmax

_COEFF = Key("coeff", FLOAT, "weight of this cost in the total", home="params")
_CHILDREN = Key(
    "children", NAMES, "costs of the same type whose values are added to this one's in print", [], read_by=(G2014,)
)
_SHOWN = Choice(*FILTERS)
_SHOWN_HELP = "what is printed: " + "; ".join(f"{word}: {filter.help}" for word, filter in FILTERS.items())
_FILTER = Key("outputFilter", _SHOWN, _SHOWN_HELP, "mean", read_by="")


class Cost(Layer):
    """Base of costs."""

    is_cost = True
    takes_neuron = False
    wants_params = GENERATIONS
    keys = (_COEFF, _CHILDREN, _FILTER)
    most_inputs = least_inputs = 2
    kind = ""  # of ``Criterion``
    first_input = "target"  # what inputs[0] holds: label (one row), target (a row per prediction), gate, or nothing
    additive: int | None = None  # how many values add up when another cost counts this one among its children
    fused_type: type[Layer] | None = None  # the layer below whose gradient joins the cost's in one formula

    coeff: float
    children: list[str]

    @property
    def learns(self) -> bool:
        return self.coeff != 0

    @property
    def num_values(self) -> int:
        """How many numbers forward produces; the first is what training makes small."""
        return 1

    def shape(self, check: Check) -> None:
        self.outputs = 0
        self.check_inputs(check)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        stored.pop("outputFilter", None)
        if generation == G2014:
            word = self.values.get("outputFilter") or "mean"
            stored |= {"aggregated": bool(self.values.get("children")), "outputFilter": FILTERS[word].expression}
        return stored

    def check_inputs(self, check: Check) -> None:
        """Report inputs that do not fit each other or the data set."""

    def same_size(self, check: Check) -> None:
        if len(set(self.num_inputs)) > 1:
            check.error("inputs", f"labels have {self.num_inputs[0]} rows, predictions {self.num_inputs[1]}")

    def size_text(self) -> str:
        return ""

    def fuses(self, below: Layer) -> bool:
        return self.fused_type is not None and below is self.sources[-1] and isinstance(below, self.fused_type)

    @property
    def criterion(self) -> Criterion:
        """What the cost is to the backend."""
        return Criterion(self.kind, self.coeff)

    def forward(self, node: LayerNode) -> None:
        *targets, predictions = node.x
        node.be.cost_forward(targets[0] if targets else None, predictions, node.costs, criterion=self.criterion)

    def backward(self, node: LayerNode) -> None:
        if node.wants(1) and self.sources[-1].fused_cost is not self:
            targets, predictions = node.x
            node.be.cost_input_grad(targets, predictions, *node.input_grad(1), criterion=self.criterion)

    def fused_backward(self, node: LayerNode, input_grad: Array, scale_targets: float) -> None:
        targets, predictions = node.x
        fused = self.criterion._replace(kind=f"{self.kind}_fused")
        node.be.cost_input_grad(targets, predictions, input_grad, scale_targets, criterion=fused)


class LogReg(Cost):
    """Minus the log probability of the label, the error rate, and the top-k error rate."""

    type = "cost.logreg"
    title = "logistic regression"
    summary = "Minus the log of the label's probability; also the error and the top-k error."
    keys = (*Cost.keys, Key("topk", INT, "labels that may be guessed", 1, "params", least=1, read_by=(G2012, G2014)))
    kind = "logreg"
    first_input = "label"
    fused_type = Softmax

    topk: int

    @property
    def num_values(self) -> int:
        return 3

    def check_inputs(self, check: Check) -> None:
        labels, predictions = self.num_inputs
        if labels != 1:
            check.error("inputs", f"the labels must have one row; input '{self.inputs[0]}' has {labels}")
        below = self.sources[1]
        if not isinstance(below.sources[0] if below.detached_from else below, Softmax):  # a softmax may have a neuron
            check.error("inputs", f"the predictions must come from a softmax; input '{self.inputs[1]}' is none")
        elif check.classes is not None and predictions != check.classes:
            text = f"the softmax '{self.inputs[1]}' has {predictions} outputs, the data have {check.classes} classes"
            check.error("inputs", text)
        if self.topk > predictions > 0:
            check.error("topk", f"topk={self.topk} is larger than the number of classes, {predictions}")

    @property
    def criterion(self) -> Criterion:
        return Criterion(self.kind, self.coeff, topk=self.topk)


class CrossEntropy(Cost):
    """Cross entropy against soft targets, and the error against any of them."""

    type = "cost.crossent"
    title = "cross-entropy"
    summary = "Cross entropy against soft targets over a softmax; also the error."
    read_by = (G2012, G2014)
    kind = "crossent"
    fused_type = Softmax

    @property
    def num_values(self) -> int:
        return 2

    def check_inputs(self, check: Check) -> None:
        self.same_size(check)
        if not isinstance(self.sources[1], Softmax):
            check.error("inputs", f"the predictions must come from a softmax; input '{self.inputs[1]}' is none")


class CrossEntropy2(Cost):
    """Every output its own yes or no: minus the sum of their log likelihoods. The ops are bce's, with weight 1."""

    type = "cost.crossent2"
    title = "cross-entropy-2"
    summary = "Independent yes-or-no cross entropies; best on a logistic neuron."
    read_by = (G2012,)
    keys = (_COEFF,)
    kind = "bce"

    def check_inputs(self, check: Check) -> None:
        self.same_size(check)

    def fuses(self, below: Layer) -> bool:
        return below is self.sources[-1] and _is_logistic(below)


class BinomialCrossEntropy(CrossEntropy2):
    """2014's crossent2: with a weight on positives, the share of wrong outputs and the top-1 error."""

    type = "cost.bce"
    title = "binomial cross-entropy"
    summary = "Independent yes-or-no cross entropies with a weight on the positives."
    read_by = (G2014,)
    keys = (*Cost.keys, Key("posWeight", FLOAT, "weight of positive targets", 1.0, "params", read_by=(G2014,)))
    additive = 1

    posWeight: float

    @property
    def num_values(self) -> int:
        return 3

    @property
    def criterion(self) -> Criterion:
        return Criterion(self.kind, self.coeff, pos_weight=self.posWeight)


class DetectionCrossEntropy(BinomialCrossEntropy):
    """As bce; also counts, class by class, of what was declared, what was there and what was right."""

    type = "cost.dce"
    title = "detection cross-entropy"
    summary = "As bce, and prints precision and recall of every class."
    keys = (
        *(key for key in BinomialCrossEntropy.keys if key is not _FILTER),
        replace(_FILTER, default="detection"),
    )

    @property
    def num_values(self) -> int:
        return 2 + 3 * self.num_inputs[1]

    def check_inputs(self, check: Check) -> None:
        super().check_inputs(check)
        if check.classes is not None and self.num_inputs[0] != check.classes:
            check.error("inputs", f"the targets have {self.num_inputs[0]} rows, the data {check.classes} classes")

    def forward(self, node: LayerNode) -> None:
        targets, predictions = node.x
        node.be.cost_forward(targets, predictions, node.costs, criterion=self.criterion._replace(kind="dce"))


class SumOfSquares(Cost):
    """The sum of the squares of its input."""

    type = "cost.sum2"
    title = "sum-of-squares"
    summary = "The sum of the squares of its input."
    most_inputs = least_inputs = 1
    kind = "sum2"
    first_input = ""

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.add(node.x[0], *node.input_grad(0), -2 * self.coeff)


class GatedSumOfSquares(Cost):
    """The sum of the squares of input 1, each case weighed by its gate (input 0)."""

    type = "cost.gsum2"
    title = "gated sum-of-squares"
    summary = "The sum of squares of its second input, each case weighed by the first."
    read_by = (G2012,)
    keys = (_COEFF,)
    kind = "gsum2"
    first_input = "gate"

    def check_inputs(self, check: Check) -> None:
        if self.num_inputs[0] != 1:
            check.error("inputs", f"the gate must have one row; input '{self.inputs[0]}' has {self.num_inputs[0]}")

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.gsum2_gate_grad(node.x[1], *node.input_grad(0), coeff=self.coeff)
        super().backward(node)


class RobustFlickr(Cost):
    """log(1 + (prediction - target)^2), summed."""

    type = "cost.rflickr"
    title = "robust flickr"
    summary = "The sum of log(1 + squared error), which outliers sway little."
    read_by = (G2012,)
    keys = (_COEFF,)
    kind = "rflickr"

    def check_inputs(self, check: Check) -> None:
        self.same_size(check)
        if check.classes is not None and self.num_inputs[0] != check.classes:
            text = f"the targets have {self.num_inputs[0]} rows, the data {check.classes} classes"
            check.error("inputs", text)


class Tica(Cost):
    """Topographic ICA: pulls the energy of each window of each map towards zero (numerics 12.9)."""

    type = "cost.tica"
    title = "TICA"
    summary = "Topographic ICA; prints the originals' sum of reciprocals, descends on the root energies."
    read_by = (G2012,)
    keys = (
        _COEFF,
        Key("channels", INT, "maps of the input image", least=1),
        Key("sizeX", INT, "side of the window", least=1),
    )
    most_inputs = least_inputs = 1
    approximate = "the printed value is not what is made small"
    first_input = ""

    channels: int
    sizeX: int
    imgSize: int = 0

    def check_inputs(self, check: Check) -> None:
        self.imgSize = self.image_side(check, self.channels) or 0
        if self.channels <= 8 or self.sizeX >= 6:
            check.limit("channels", "the originals' kernel wants more than 8 channels and sizeX below 6")

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"imgSize": self.imgSize, "imgPixels": self.imgSize**2}

    def forward(self, node: LayerNode) -> None:
        images = node.image(0, self.channels)
        node.be.tica_cost(images, node.scratch("reciprocals", images.shape), node.costs, size=self.sizeX)

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            images, input_grad = node.image(0, self.channels), node.image_input_grad(0, self.channels)
            reciprocals = node.scratch("reciprocals", images.shape)
            node.be.tica_input_grad(images, reciprocals, *input_grad, size=self.sizeX, coeff=self.coeff)


class MultiSoftmax(Cost):
    """Probability that the label is among the ``setSize`` classes drawn together (numerics 12.10)."""

    type = "cost.msm"
    title = "multi-softmax"
    summary = "A softmax over sets of classes: minus the log of the probability that the label is in the set."
    read_by = (G2012,)
    keys = (
        _COEFF,
        Key("setSize", INT, "classes in each set", home="params", least=1),
        Key("threads", INT, "processor threads of the original; not used here", 1, "params", least=1),
    )
    kind = "msm"
    first_input = "label"

    setSize: int
    threads: int

    @property
    def num_values(self) -> int:
        return 3

    def check_inputs(self, check: Check) -> None:
        labels, energies = self.num_inputs
        if labels != 1:
            check.error("inputs", f"the labels must have one row; input '{self.inputs[0]}' has {labels}")
        if self.setSize > energies > 0:
            check.error("setSize", f"sets of {self.setSize} cannot be drawn from {energies} classes")

    @property
    def criterion(self) -> Criterion:
        return Criterion(self.kind, self.coeff, set_size=self.setSize)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"numOut": self.num_inputs[1]}


def _is_logistic(layer: Layer) -> bool:
    return isinstance(layer, NeuronLayer) and layer.neuron is not None and layer.neuron.type == "logistic"
