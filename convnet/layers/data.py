"""data: hands a matrix of the data provider to the net (numerics 5.3 and 5.6)."""

from __future__ import annotations

from typing import Any

from convnet.generation import G2014, Generation
from convnet.language.keys import Key
from convnet.language.values import INT
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class Data(Layer):
    """The rows ``start`` to ``end`` of the provider's matrix number ``dataIdx``."""

    type = "data"
    title = "data"
    summary = "A matrix of the data provider: images, labels."
    keys = (
        Key("dataIdx", INT, "which of the provider's matrices: 0 images, 1 labels", least=0, most=99),
        Key("start", INT, "first row to take", 0, least=0, read_by=(G2014,)),
        Key("end", INT, "row to stop before; 0: the last", 0, least=0, read_by=(G2014,)),
    )
    most_inputs = least_inputs = 0
    takes_neuron = False
    placed = False
    varies = True

    dataIdx: int
    start: int
    end: int

    def shape(self, check: Check) -> None:
        if self.dataIdx not in check.data_dims:
            known = sorted(check.data_dims)
            check.error("dataIdx", f"the data have no matrix number {self.dataIdx}", expected=f"one of {known}")
            return
        rows = check.data_dims[self.dataIdx]
        self.end = self.end or rows
        if not self.start < self.end <= rows:
            check.error("end", f"rows {self.start} to {self.end} are not within the data's {rows} rows")
            return
        self.outputs = self.end - self.start

    def prefetch(self, node: LayerNode) -> None:
        node.prefetch(self.dataIdx, self.start, self.end)

    def forward(self, node: LayerNode) -> None:
        node.feed(self.dataIdx, self.start, self.end)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        return stored | {"end": self.end} if generation == G2014 else stored
