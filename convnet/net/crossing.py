"""Where a narrow layer reads a wide one: in each pass the outputs of another lane (2014's replicas, numerics 18.5)."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.net.node import Context, Node


class Crossing(Node):
    """Stands for the wide node ``source`` in front of narrow ones: with the values of the lane that a pass is of.

    Its device is that of the lane; readers on other devices get copies, and send their gradients back (``peers``).
    """

    activation = None  # nobody includes the neuron behind it

    def __init__(self, context: Context, source: Node) -> None:
        super().__init__(context, source.layer, source.be, [], source.wants_grad)
        self.source = source
        self._home = source.be
        source.consumers.append(self)

    def begin(self, lane: Backend) -> None:
        """Take the outputs of a lane, by its device, and copy them to those who read them."""
        self.be = lane
        if self._is_here:
            self.acts = self.source.take_acts()
        self.peers.send()

    def end(self) -> None:
        """Give the gradient that the readers made, if they did, to the wide node, where it is of this rank's lane."""
        source = self.source
        if self._is_here and (self.started or self.peers.arriving):
            source._grad, source.started, source.reached = self._grad, self.started, True
            source.peers.arriving += self.peers.arriving
        self._grad = None
        self.release_grad()
        self.release_acts()

    @property
    def _is_here(self) -> bool:
        return self.be is self._home

    def release_acts(self, backward: bool = False) -> None:  # noqa: ARG002 (the buffer is the wide node's)
        self.peers.release_acts()
        self.acts = None
        self.be = self._home  # else the wide node would send its outputs there
