"""data: hands a matrix of the data provider to the net (numerics 5.3 and 5.6)."""

from convnet.generation import G2014
from convnet.language.keys import one
from convnet.language.values import Int
from convnet.layers.base import Layer
from convnet.layers.node import LayerNode
from convnet.texts import counted


class Data(Layer):
    """A matrix of the data provider: images, labels."""

    type = "data"
    title = "data"
    max_inputs = min_inputs = 0
    placed = False
    varies = True
    inputs, neuron, gpu = [], None, []  # not keys of this type

    dataIdx = one(Int(min=0, max=99), "which of the provider's matrices: 0 images, 1 labels")
    start = one(Int(min=0), "first row to take", 0, read_by=(G2014,))
    end = one(Int(min=0), "row to stop before; 0: the last", 0, read_by=(G2014,))

    def shape(self) -> None:
        check, dims = self.check, self.check.data.dims
        if self.dataIdx not in dims:
            key = f"; batches have '{f'labels{self.dataIdx}'}' for it" if self.dataIdx > 1 else ""
            check.error("dataIdx", f"the data have no matrix number {self.dataIdx}", expected=f"one of {sorted(dims)}{key}")
            return
        rows = dims[self.dataIdx]
        self.end = self.end or rows
        if not self.start < self.end <= rows:
            check.error("end", f"rows {self.start} to {self.end} are not within the data's {counted(rows, 'row')}")
            return
        self.outputs = self.end - self.start

    def prefetch(self, node: LayerNode) -> None:
        node.prefetch(self.dataIdx, self.start, self.end)

    def forward(self, node: LayerNode) -> None:
        node.feed(self.dataIdx, self.start, self.end)
