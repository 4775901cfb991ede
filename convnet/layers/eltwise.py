"""Layers that put several inputs together value by value or end to end: eltsum, eltmax, concat, pass, sum.

Formulas: numerics section 5.
"""

from collections import Counter
from itertools import accumulate, pairwise
from typing import Any

from convnet.generation import G2014, SINCE_2012, Generation
from convnet.language.keys import one, per_input
from convnet.language.values import FLOAT, Int
from convnet.layers.base import Layer, written_sizes
from convnet.layers.node import LayerNode
from convnet.texts import counted


class Elementwise(Layer):
    """Several inputs of one size."""

    max_inputs = None

    def shape(self) -> None:
        if len(set(self.num_inputs)) > 1:
            self._report_sizes()
            return
        self.outputs = self.num_inputs[0]

    def _report_sizes(self) -> None:
        """Report inputs of different sizes: the one that differs from all others, if there is just one."""
        counts = Counter(self.num_inputs)
        (usual, times), (other, once) = counts.most_common(2)
        if len(counts) == 2 and once == 1 < times:
            odd = next(source for source in self.sources if source.outputs == other)
            size = counted(other, "value") + written_sizes(odd)
            text = f"input '{odd.written_name}' has {size}, all other inputs have {usual}"
        else:
            firsts = {source.outputs: source for source in reversed(self.sources)}
            shown = [f"{size} of '{source.written_name}'{written_sizes(source)}" for size, source in firsts.items()]
            text = f"all inputs must have the same size, not {' and '.join(reversed(shown[-3:]))}"
        self.check.error("inputs", text)


class ElementwiseSum(Elementwise):
    """The weighted sum of its inputs, value by value."""

    type = "eltsum"
    title = "elementwise sum"
    uses_acts = uses_inputs = False
    stored_flags = ""
    wants_params = (G2014,)

    coeffs = per_input(FLOAT, "weight of each input", 1.0)

    def forward(self, node: LayerNode) -> None:
        for i, coeff in enumerate(self.coeffs):
            node.be.add(node.input(i), node.out, min(i, 1), coeff)

    def backward(self, node: LayerNode) -> None:
        for i, coeff in enumerate(self.coeffs):
            if node.wants(i):
                node.be.add(node.grad, *node.input_grad(i), coeff)


class ElementwiseMax(Elementwise):
    """The largest of its inputs, value by value; tied inputs all get the gradient."""

    type = "eltmax"
    title = "elementwise max"
    min_inputs = 2

    def forward(self, node: LayerNode) -> None:
        node.be.add(node.x[0], node.out)
        for values in node.x[1:]:
            node.be.eltmax_forward(values, node.out)

    def backward(self, node: LayerNode) -> None:
        for i, values in enumerate(node.x):
            if node.wants(i):
                node.be.eltmax_input_grad(values, node.out, node.grad, *node.input_grad(i))


class Concat(Layer):
    """Puts its inputs end to end."""

    type = "concat"
    title = "concatenation"
    read_by = SINCE_2012
    max_inputs = None
    joins = True
    uses_acts = uses_inputs = False

    def shape(self) -> None:
        self.outputs = sum(self.num_inputs)
        maps = [source.maps for source in self.sources if source.maps]
        if len(maps) == len(self.sources) and len({side for _, side in maps}) == 1:
            self.shape_like(sum(channels for channels, _ in maps), maps[0][1])

    def size_text(self) -> str:
        return f"{self.outputs} outputs"

    @property
    def rows(self) -> list[slice]:
        """Rows of each input in the output."""
        return [slice(*ends) for ends in pairwise(accumulate(self.num_inputs, initial=0))]

    def forward(self, node: LayerNode) -> None:
        for values, rows in zip(node.x, self.rows, strict=True):
            node.be.add(values, node.out[rows])

    def backward(self, node: LayerNode) -> None:
        for i, rows in enumerate(self.rows):
            if node.wants(i):
                node.be.add(node.grad[rows], *node.input_grad(i))

    def stored(self, generation: Generation) -> dict[str, Any]:
        offsets = {"copyOffsets": [rows.start for rows in self.rows]} if self.type == "concat" else {}
        return super().stored(generation) | offsets


class PassThrough(Concat):
    """Puts its inputs end to end, as 2014's replicas joined their parts."""

    type = "pass"
    title = "pass-through"
    read_by = (G2014,)


class Sum(Layer):
    """Read by 2014's parser; no published program computes it, and neither does this one."""

    type = "sum"
    title = "sum"
    read_by = (G2014,)
    computes = False

    stride = one(Int(min=1), "inputs per output", 1)

    def shape(self) -> None:
        features = self.num_inputs[0]
        if features % self.stride:
            self.check.error("stride", f"{features} inputs are not a multiple of stride={self.stride}")
            return
        self.outputs = features // self.stride
