"""What crosses between devices: outputs to those that read them elsewhere, and gradients made there on their way back.

An output is copied once to each other device that reads it, right after it is computed. A reader's gradient is copied back
right after its ``backward`` and added on the owner's device. Gradients are therefore added in the order of a run on one
device, and the bits are the same; 2012 added them in whatever order they came (numerics 18.2). What comes from a device of
another rank is waited for where it is read, and such gradients are added last.
"""

from __future__ import annotations

from collections.abc import Callable
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
        self._under_way: dict[Backend, Callable[[], None]] = {}  # what ends the copying of outputs
        self.arriving: list[tuple[Callable[[], None], Array]] = []  # gradients of other ranks: what ends it, and buffers

    @property
    def readers(self) -> list[Backend]:
        """The other devices that read this node, in running order."""
        return list(dict.fromkeys(reader.be for reader in self.node.consumers if reader.be is not self.node.be))

    def send(self) -> None:
        """Copy the outputs to every other device that reads them."""
        for be in self.readers:
            if be not in self._acts:
                self._acts[be] = self.node.take_buffer(be)
            copy = self.node.view(self._acts[be])
            self._under_way[be] = self.node.be.deliver(be, self.node.out, copy)

    def acts(self, be: Backend) -> Array:
        """Return the copy of the outputs on ``be``, (features, N)."""
        if finish := self._under_way.pop(be, None):
            finish()
        return self.node.view(self._acts[be])

    def gradient(self, be: Backend) -> tuple[Array, float]:
        """Return (gradient that a reader on ``be`` makes, scale_targets): 0, or 1 for its second input from this node."""
        first = be not in self._grads
        if first:
            self._grads[be] = self.node.take_buffer(be)
        return self.node.view(self._grads[be]), 0.0 if first else 1.0

    def collect(self, be: Backend) -> None:
        """Add the gradient made on ``be``, if there is one, to the node's own; of another rank in ``settle``."""
        node, buffer = self.node, self._grads.pop(be, None)
        if buffer is None:
            return
        if not node.started and not be.is_remote:
            node.be.copy_from(be, node.view(buffer), node.grad)
            node.started = True
        else:
            copy = node.take_buffer(node.be)
            self.arriving.append((be.deliver(node.be, node.view(buffer), node.view(copy)), copy))
            if not be.is_remote:
                self.settle()
        node.context.pools[be].give(buffer)

    def settle(self) -> None:
        """Add the gradients that were not waited for to the node's own."""
        node = self.node
        for finish, copy in self.arriving:
            finish()
            node.be.add(node.view(copy), node.grad, float(node.started))
            node.started = True
            node.context.pools[node.be].give(copy)
        self.arriving.clear()

    def release_acts(self) -> None:
        """Return the buffers of the outputs."""
        for be, buffer in self._acts.items():
            self.acts(be)  # which is waited for, though nobody has read it
            self.node.context.pools[be].give(buffer)
        self._acts.clear()

    def release_grads(self) -> None:
        """Return buffers of gradients that a pass which ended early has left."""
        self.arriving.clear()
        for be, buffer in self._grads.items():
            self.node.context.pools[be].give(buffer)
        self._grads.clear()
