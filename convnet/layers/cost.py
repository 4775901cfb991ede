"""Costs: what training makes small. Values are sums over cases; gradients are of minus the cost (numerics section 12).

``inputs[0]`` holds labels or gates, ``inputs[1]`` predictions. Printed values are divided by the number of cases;
``coeff`` weighs gradients and the total, never the printed values. Letters: K classes, N cases.
"""

from typing import Any, ClassVar

from convnet.backends.arguments import Array, Criterion
from convnet.generation import G2012, G2014, GENERATIONS, SINCE_2012, Generation
from convnet.language.keys import one
from convnet.language.values import FLOAT, NAMES, Choice, Int, NumClasses
from convnet.layers.base import Layer, parts_of
from convnet.layers.data import Data
from convnet.layers.filters import DETECTION_FORMATTER, FILTERS
from convnet.layers.neuron import Softmax
from convnet.layers.node import LayerNode
from convnet.texts import counted

_SHOWN = "what is printed: " + "; ".join(f"{word}: {filter.help}" for word, filter in FILTERS.items())


class Cost(Layer):
    """Base of costs. ``value_names`` are of the numbers that one makes; the first is what training makes small.

    ``{k}`` in them stands for how many labels may be guessed.
    """

    is_cost = True
    wants_params = GENERATIONS
    max_inputs = min_inputs = 2
    kind: ClassVar[str] = ""  # of ``Criterion``
    first_input: ClassVar[str] = "target"  # what inputs[0] holds: a label, target, gate, or ""
    row_per_class: ClassVar[bool] = False  # whether there must be as many targets as classes of the data
    additive: ClassVar[int | None] = None  # how many values add up when another cost counts this one among its children
    value_names: ClassVar[tuple[str, ...]] = ("cost",)

    neuron = None  # not a key of costs
    coeff = one(FLOAT, "weight of this cost in the total", home="params")
    # Of costs that have no such keys.
    children: list[str] = []
    outputFilter = "mean"
    topk = setSize = 1
    posWeight = 1.0

    @property
    def learns(self) -> bool:
        return self.coeff != 0

    @property
    def num_values(self) -> int:
        """How many numbers the cost makes."""
        return len(self.value_names)

    @property
    def guesses(self) -> int:
        """How many labels may be guessed for the last of the errors."""
        return self.topk

    def shape(self) -> None:
        """Report inputs that do not fit each other or the data set. A cost has no output."""
        rows, classes = self.num_inputs[0], self.classes
        if self.first_input and not isinstance(self.sources[0], Data) and isinstance(self.sources[1], Data):
            swapped = f"inputs={self.reads(1)},{self.reads(0)}"
            first = f"the first input is '{self.reads(0)}', of type {self.sources[0].type}"
            text = f"{first}; a cost reads its {self._first()} first"
            self.check.error("inputs", text, expected=swapped)
            return
        if self.first_input == "target" and rows != self.num_inputs[1]:
            if isinstance(self.sources[0], Data):
                self.report_size(rows, f"the targets '{self.reads(0)}' have {counted(rows, 'row')}")
            else:
                self.check.error("inputs", f"labels have {counted(rows, 'row')}, predictions {self.num_inputs[1]}")
            return
        if self.first_input in ("label", "gate") and rows != 1:
            self.check.error("inputs", f"the {self._first()} must have one row; input '{self.reads(0)}' has {rows}")
            return
        if self.row_per_class and classes is not None and rows != classes:
            count = self.check.data.count_text(self.sources[0])
            self.check.error("inputs", f"the targets have {counted(rows, 'row')}, but {count}")

    @property
    def classes(self) -> int | None:
        """How many classes the labels or targets that it reads are of, as the data say; not of rows of a larger matrix."""
        data, source = self.check.data, self.sources[0]
        has_more = isinstance(source, Data) and data.dims.get(source.dataIdx, 1) > 1
        return None if self.first_input == "label" and has_more else data.classes_at(source)

    def reads(self, i: int) -> str:
        """Return the name of input ``i`` as the file has it."""
        return self.sources[i].written_name

    def _first(self) -> str:
        return {"label": "labels", "target": "targets"}.get(self.first_input, self.first_input)

    def report_size(self, wanted: int, reason: str) -> None:
        """Report that there are not ``wanted`` predictions where their number is written: ``outputs=`` of a layer below."""
        parts = [part for part in parts_of(self.sources[-1]) if part.sized_by in part.check.places]
        predictions = self.num_inputs[-1]
        if not parts:
            self.check.error("inputs", f"input '{self.reads(-1)}' has {counted(predictions, 'output')}, {reason}")
            return
        sizes = {part: part.maps[0] if part.maps else part.outputs for part in parts}  # maps, of which pooling leaves a mean
        if sum(sizes.values()) != predictions:
            sizes = {part: part.outputs for part in parts}
        largest = max(parts, key=sizes.__getitem__)
        size, others = sizes.pop(largest), ", ".join(f"{size} of '{part.name}'" for part, size in sizes.items())
        text = f"these {size} outputs are what cost '{self.name}' compares with labels, but {reason}"
        if size + sum(sizes.values()) != predictions:
            text = f"cost '{self.name}' compares {predictions} outputs made of these {size} with labels, but {reason}"
            size = 0
        elif len(parts) > 1:
            text = f"with {others} these {size} outputs make {predictions} predictions, but {reason}"
        fitting = wanted - sum(sizes.values())
        twins = [part for part in parts_of(self.sources[-1], alike=True) if part.outputs == largest.outputs]
        for part in [largest, *(twin for twin in twins if twin not in parts and twin.sized_by in twin.check.places)]:
            key = part.sized_by
            if fitting <= 0 or {size} != set(part.sizes_in_file()):
                expected = ""
            else:
                expected = f"{key}={fitting}" + f" or {key}={NumClasses.word}" * (fitting == self.classes)
            part.check.error(key, text, expected=expected)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        stored.pop("outputFilter", None)
        if generation == G2014:
            stored |= {"children": self.children, "aggregated": bool(self.children)}
            stored |= {"outputFilter": FILTERS[self.outputFilter].expression}
        return stored

    @property
    def criterion(self) -> Criterion:
        """What the cost is to the backend."""
        return Criterion(self.kind, self.coeff, self.topk, self.posWeight, self.setSize)

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


class FilteredCost(Cost):
    """A cost that 2014 knows: what it prints may be filtered, and may count in other costs."""

    children = one(NAMES, "costs of the same type whose values are added to this one's in print", [], read_by=(G2014,))
    outputFilter = one(Choice(*FILTERS), _SHOWN, "mean", read_by=())


class LogReg(FilteredCost):
    """Minus the log of the label's probability; also the error and the top-k error."""

    type = "cost.logreg"
    title = "logistic regression"
    kind = "logreg"
    first_input = "label"
    fuses = "softmax"
    value_names = ("cost", "error", "top-{k} error")

    topk = one(Int(min=1), "labels that may be guessed", 1, "params", SINCE_2012, fixed=True)

    def shape(self) -> None:
        super().shape()
        check, predictions, below, classes = self.check, self.num_inputs[1], self.sources[1], self.classes
        if check.failed:
            return
        if not isinstance(below.sources[0] if below.detached_from else below, Softmax):  # a softmax may have a neuron
            check.error("inputs", f"the predictions must come from a softmax; input '{self.reads(1)}' is not one")
        elif classes is not None and predictions != classes:
            self.report_size(classes, check.data.count_text(self.sources[0]))
        elif self.topk > predictions > 0:
            check.error("topk", f"topk={self.topk} is larger than the number of classes, {predictions}")


class CrossEntropy(FilteredCost):
    """Cross entropy against soft targets over a softmax; also the error."""

    type = "cost.crossent"
    title = "cross-entropy"
    read_by = SINCE_2012
    kind = "crossent"
    fuses = "softmax"
    value_names = ("cost", "error")

    def shape(self) -> None:
        super().shape()
        if not self.check.failed and not isinstance(self.sources[1], Softmax):
            self.check.error("inputs", f"the predictions must come from a softmax; input '{self.reads(1)}' is not one")


class CrossEntropy2(Cost):
    """Independent yes-or-no cross entropies; best on a logistic neuron."""

    type = "cost.crossent2"
    title = "elementwise cross-entropy"
    read_by = (G2012,)
    kind = "bce"  # with weight 1
    fuses = "logistic"


class BinomialCrossEntropy(FilteredCost):
    """Independent yes-or-no cross entropies with a weight on the positives."""

    type = "cost.bce"
    title = "binomial cross-entropy"
    read_by = (G2014,)
    kind = "bce"
    fuses = "logistic"
    additive = 1
    value_names: ClassVar[tuple[str, ...]] = ("cost", "mismatch", "error")

    posWeight = one(FLOAT, "weight of positive targets", 1.0, "params", (G2014,))

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"computeSoftmaxErrorRate": not self.row_per_class}


class DetectionCrossEntropy(BinomialCrossEntropy):
    """As bce, and prints precision and recall of every class."""

    type = "cost.dce"
    title = "detection cross-entropy"
    row_per_class = True

    value_names = ("cost", "mismatch")  # and three counts of each class

    outputFilter = one(Choice(*FILTERS), _SHOWN, "detection", read_by=())

    @property
    def num_values(self) -> int:
        return len(self.value_names) + 3 * self.num_inputs[1]

    def forward(self, node: LayerNode) -> None:
        targets, predictions = node.x
        node.be.cost_forward(targets, predictions, node.costs, criterion=self.criterion._replace(kind="dce"))

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"outputFilterFormatter": DETECTION_FORMATTER}


class MultiSoftmax(Cost):
    """A softmax over sets of classes: minus the log of the probability that the label is in the set."""

    type = "cost.msm"
    title = "multi-softmax"
    read_by = (G2012,)
    kind = "msm"
    first_input = "label"
    value_names = ("cost", "error", "top-{k} error")

    setSize = one(Int(min=1), "classes in each set", home="params", fixed=True)
    threads = one(Int(min=1), "processor threads of the original; not used here", 1, "params")

    @property
    def guesses(self) -> int:
        return self.setSize

    def shape(self) -> None:
        super().shape()
        if not self.check.failed and self.setSize > self.num_inputs[1] > 0:
            self.check.error(
                "setSize", f"sets of {self.setSize} cannot be drawn from {counted(self.num_inputs[1], 'class')}"
            )

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"numOut": self.num_inputs[1]}


class SumOfSquares(FilteredCost):
    """The sum of the squares of its input."""

    type = "cost.sum2"
    title = "sum-of-squares"
    max_inputs = min_inputs = 1
    kind = "sum2"
    first_input = ""

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.add(node.x[0], *node.input_grad(0), -2 * self.coeff)


class GatedSumOfSquares(Cost):
    """The sum of squares of its second input, each case weighed by the first."""

    type = "cost.gsum2"
    title = "gated sum-of-squares"
    read_by = (G2012,)
    kind = "gsum2"
    first_input = "gate"

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.gsum2_gate_grad(node.x[1], *node.input_grad(0), coeff=self.coeff)
        super().backward(node)


class RobustFlickr(Cost):
    """The sum of log(1 + squared error), which outliers sway little."""

    type = "cost.rflickr"
    title = "robust Flickr"
    read_by = (G2012,)
    kind = "rflickr"
    row_per_class = True


class Tica(Cost):
    """Topographic ICA; prints the originals' sum of reciprocals, descends on the root energies."""

    type = "cost.tica"
    title = "TICA"
    read_by = (G2012,)
    max_inputs = min_inputs = 1
    approximate = "the printed value is not what is made small"
    first_input = ""

    channels = one(Int(min=1), "maps of the input image")
    sizeX = one(Int(min=1), "side of the window")

    imgSize: int = 0

    def shape(self) -> None:
        self.imgSize = self.image_side(self.channels) or 0
        if self.channels <= 8 or self.sizeX >= 6:
            self.check.limit("channels", "the originals' kernel wants more than 8 channels and sizeX below 6")

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
