"""What crosses between devices: outputs to those that read them elsewhere, and gradients made there on their way back.

An output is copied once to each other device that reads it, right after it is computed. A reader's gradient is copied back
right after its ``backward`` and added on the owner's device. Gradients are therefore added in the order of a run on one
device, and the bits are the same; 2012 added them in whatever order they came (numerics 18.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convnet.backends.base import Array, Backend
    from convnet.net.node import Node


class PeerCopies:
    """Copies of a node's outputs, and parts of its gradient, on devices other than its own."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._acts: dict[Backend, Array] = {}
        self._grads: dict[Backend, Array] = {}

    @property
    def readers(self) -> list[Backend]:
        """The other devices that read this node, in running order."""
        return list(dict.fromkeys(reader.be for reader in self.node.consumers if reader.be is not self.node.be))

    def send(self) -> None:
        """Copy the outputs to every other device that reads them."""
        for be in self.readers:
            if be not in self._acts:
                self._acts[be] = self.node.take_buffer(be)
            be.copy_from(self.node.be, self.node.out, self.acts(be))

    def acts(self, be: Backend) -> Array:
        """Return the copy of the outputs on ``be``, (features, N)."""
        return self.node.view(self._acts[be])

    def gradient(self, be: Backend) -> tuple[Array, float]:
        """Return (gradient that a reader on ``be`` makes, scale_targets): 0, or 1 for its second input from this node."""
        first = be not in self._grads
        if first:
            self._grads[be] = self.node.take_buffer(be)
        return self.node.view(self._grads[be]), 0.0 if first else 1.0

    def collect(self, be: Backend) -> None:
        """Add the gradient made on ``be``, if there is one, to the node's own."""
        node, buffer = self.node, self._grads.pop(be, None)
        if buffer is None:
            return
        if not node.started:
            node.be.copy_from(be, node.view(buffer), node.grad)
        else:
            copy = node.take_buffer(node.be)
            node.be.copy_from(be, node.view(buffer), node.view(copy))
            node.be.add(node.view(copy), node.grad, 1.0)
            node.context.pools[node.be].give(copy)
        node.started = True
        node.context.pools[be].give(buffer)

    def release_acts(self) -> None:
        """Return the buffers of the outputs."""
        for be, buffer in self._acts.items():
            self.node.context.pools[be].give(buffer)
        self._acts.clear()

    def release_grads(self) -> None:
        """Return buffers of gradients that a pass which ended early has left."""
        for be, buffer in self._grads.items():
            self.node.context.pools[be].give(buffer)
        self._grads.clear()
