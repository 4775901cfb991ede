"""What each op of a capture waits for: the ops before it that share its memory, and no others.

In the order of their issue the ops of a step would run one after the other. But the towers of 2012 share no memory between
the layers where they meet, nor does a weight gradient with the input gradient beside it, nor one update with the next, and
few of them fill a card alone. So while a device captures, it notes which op wrote each block of memory last, and which have
read it since; the op to come waits for these alone, and the driver runs the branches that this leaves at the same time.
Two ops that write to one block keep their order, so sums are added in the same order, and the bits are the same.

What an op writes follows from its kernel's signature: a ``const float*`` is read, a ``float*`` is read and written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convnet.backends.cuda.array import DeviceArray

if TYPE_CHECKING:
    from convnet.backends.cuda.device import Device

WORKSPACES = 4  # products at the same time, each in a workspace of its own


class Order:
    """Which ops each op waits for; ops are numbered as they are issued. Blocks of memory have any keys."""

    def __init__(self) -> None:
        self._written: dict[int, int] = {}  # block: the op that wrote it last
        self._read: dict[int, set[int]] = {}  # block: the ops that have read it since
        self._before: list[int] = []  # for each op the set of those that are done before it, as bits

    def add(self, reads: Iterable[int], writes: Iterable[int]) -> list[int]:
        """Give the next op a number; return those that it waits for, less those for which one of them waits."""
        op, writes = len(self._before), set(writes)
        reads = set(reads) - writes
        wanted = {self._written[block] for block in reads | writes if block in self._written}
        wanted.update(*(self._read.get(block, ()) for block in writes))
        implied = 0
        for earlier in wanted:
            implied |= self._before[earlier]
        self._before.append(implied | sum(1 << earlier for earlier in wanted))
        for block in writes:
            self._written[block], self._read[block] = op, set()
        for block in reads:
            self._read.setdefault(block, set()).add(op)
        return sorted(earlier for earlier in wanted if not implied >> earlier & 1)

    def least_delay(self, blocks: Sequence[int], reads: Iterable[int], writes: Iterable[int]) -> int:
        """Choose one of ``blocks`` for an op to write as well: one that it need not wait for, else the least recent."""
        shared = [self._written[block] for block in (*reads, *writes) if block in self._written]
        done = sum(1 << op for op in set(shared))
        for op in shared:
            done |= self._before[op]
        free = (block for block in blocks if block not in self._written or done >> self._written[block] & 1)
        return next(free, min(blocks, key=lambda block: self._written.get(block, -1)))


class Branches:
    """The ops of a capture under way on ``device``, each after those of its ``Order``."""

    def __init__(self, device: Device) -> None:
        self.device, self.order = device, Order()
        self.nodes: list[list[Any]] = []  # for each op the device's nodes that end it

    @contextmanager
    def after(self, reads: Iterable[int], writes: Iterable[int]) -> Iterator[None]:
        """Capture the op that is issued inside after those whose memory it shares."""
        before = self.order.add(reads, writes)
        self.device.depend_on([node for op in before for node in self.nodes[op]])
        yield
        self.nodes.append(self.device.captured_last())

    def workspace(self, reads: Iterable[int], writes: Iterable[int]) -> int:
        """Choose the workspace, block -1 - i for number i, of a product that reads and writes blocks."""
        return -1 - self.order.least_delay([-1 - i for i in range(WORKSPACES)], reads, writes)


def accesses(types: Sequence[str], args: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Return the blocks of memory that a kernel reads and that it writes, by the C types of its arguments."""
    blocks: tuple[list[int], list[int]] = [], []
    for kind, arg in zip(types, args, strict=False):
        if isinstance(arg, DeviceArray):
            blocks[not kind.startswith("const ")].append(arg.buffer.pointer)
    return blocks
