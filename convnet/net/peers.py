"""What crosses between devices: outputs to those that read them elsewhere, and gradients made there on their way back.

An output crosses once to each other device that reads it, right after it is computed. A reader's gradient crosses back
right after its ``backward`` and is added on the owner's device. Gradients are therefore added in the order of a run on
one device, and the bits are the same; 2012 added them in whatever order they came (numerics 18.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convnet.backends.base import Array, Backend
    from convnet.net.node import Node

Held = tuple[int, "Array"]  # as a pool gives it


class PeerCopies:
    """What a node holds on devices other than its own."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._acts: dict[Backend, Held] = {}
        self._grads: dict[Backend, Held] = {}

    @property
    def readers(self) -> list[Backend]:
        """The other devices that read this node, in running order."""
        return list(dict.fromkeys(reader.be for reader in self.node.consumers if reader.be is not self.node.be))

    def send(self) -> None:
        """Bring the outputs to every other device that reads them."""
        for be in self.readers:
            if be not in self._acts:
                self._acts[be] = self._take(be)
            be.copy_from(self.node.be, self.node.out, self.acts(be))

    def acts(self, be: Backend) -> Array:
        """The outputs as they lie on ``be``, (features, N)."""
        return self.node.view(self._acts[be])

    def gradient(self, be: Backend) -> tuple[Array, float]:
        """(gradient that a reader on ``be`` makes, scale_targets): 0, or 1 where it reads the node through two inputs."""
        first = be not in self._grads
        if first:
            self._grads[be] = self._take(be)
        return self.node.view(self._grads[be]), 0.0 if first else 1.0

    def collect(self, be: Backend) -> None:
        """Add the gradient made on ``be``, if there is one, to the node's own."""
        held, node = self._grads.pop(be, None), self.node
        if held is None:
            return
        if not node.started:
            node.be.copy_from(be, node.view(held), node.grad)
        else:
            arrived = self._take(node.be)
            node.be.copy_from(be, node.view(held), node.view(arrived))
            node.be.add(node.view(arrived), node.grad, 1.0)
            node.net.pool(node.be).give(*arrived)
        node.started = True
        node.net.pool(be).give(*held)

    def release_acts(self) -> None:
        """Nobody needs the outputs any more."""
        for be, held in self._acts.items():
            self.node.net.pool(be).give(*held)
        self._acts.clear()

    def _take(self, be: Backend) -> Held:
        return self.node.net.pool(be).take(self.node.layer.outputs * self.node.net.minibatch)
