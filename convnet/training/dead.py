"""Dead units: those behind a neuron like relu that were 0 for every case of a test.

A unit whose output is 0 gets no gradient, so one that is 0 for every case learns nothing any more. Where all positions of a
map share weights and bias (conv with ``sharedBiases``) a unit is a map, 0 everywhere; else it is a single output.

Letters: U units, N cases.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet.layers import Layer
from convnet.layers.conv import Conv, Windowed
from convnet.net.net import Net
from convnet.net.node import Node

_NEURONS = ("relu", "nrelu", "brelu")  # never below 0, so that a sum of 0 means that all were 0
_CASES = 512  # of each test, which are enough to see whether a unit lives


class DeadUnits:
    """Looks at the outputs of ``net`` in a test: at its first minibatches, until there were 512 cases.

    It changes no number of the run: it reads what a pass has kept, and adds it up on the device.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.layers = [layer for layer in net.graph.layers.values() if layer.function in _NEURONS]
        self._cases = 0
        self._sums: dict[str, Any] = {}  # (U,) of each layer, on its device
        self._seen: set[str] = set()  # layers whose sums are of this test

    @property
    def wanted(self) -> Sequence[str]:
        """The layers whose outputs the next pass must keep; none where enough was seen."""
        return [layer.name for layer in self.layers] if self._cases < _CASES else []

    def begin(self) -> None:
        """Forget the test before."""
        self._cases = 0
        self._seen.clear()

    def look(self, node: Node) -> None:
        """Add up the outputs of a node of ``wanted``, of a pass or a part of one."""
        name, units = node.layer.name, units_of(node.layer)
        if name not in self._sums:
            self._sums[name] = node.be.empty((units,))
        node.be.sum_rows(node.out.reshape(units, -1), self._sums[name], float(name in self._seen))
        self._seen.add(name)

    def count(self, cases: int) -> None:
        """Count the cases of a pass."""
        self._cases += cases

    def shares(self) -> dict[str, float]:
        """Return the share of dead units by layer, as the file names it; all ranks wait. Empty if nothing was looked at."""
        if not self._cases:
            return {}
        nodes = [self.net.nodes[layer.name] for layer in self.layers if layer.name in self._seen]
        lives = {node.layer.written_name: node.be.download(self._sums[node.layer.name]) != 0 for node in nodes}
        everywhere = self.net.communicator.all_gather(lives)
        names = [layer.written_name for layer in self.layers]
        of_ranks = {name: [lives[name] for lives in everywhere if name in lives] for name in names}
        return {name: float(1 - np.any(lives, axis=0).mean()) for name, lives in of_ranks.items() if lives}


def units_of(layer: Layer) -> int:
    """Return U of a neuron layer: maps whose positions share weights and biases, or outputs."""
    below = layer
    while below.type == "neuron":
        below = below.sources[0]
    source = below
    while not isinstance(source, Windowed) and len(source.sources) == 1:
        source = source.sources[0]
    differs = isinstance(source, Windowed) and not (isinstance(source, Conv) and source.sharedBiases)
    return layer.outputs if below.maps is None or differs else below.maps[0]
