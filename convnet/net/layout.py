"""How a minibatch and a net lie over ranks: which cases, and which devices of the layer file, are whose.

A minibatch is cut into ``shards``; each is computed by one *group* of ``width`` ranks, which hold the net together: layers
that ``gpu=`` puts on several devices lie on the ranks of a group in turn (numerics 18.1), each of which has its *place* in
the group. Where the file has replicas (2014, numerics 18.5), each shard is cut further into as many *chunks* as there are
*passes*: layers with the most replicas, the *wide* ones, take a chunk on each of ``lanes`` ranks at once, which is a
*round*; the *narrow* ones take one chunk after the other. A *part* of a minibatch is what a layer computes at once, a chunk
of a shard; in most nets there is one pass, and a part is a shard.

Letters: N cases of the minibatch, S shards, P passes (chunks of a shard), G groups of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from math import gcd

import numpy as np

from convnet.errors import OptionError
from convnet.graph import replicas
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.texts import counted


@dataclass(frozen=True)
class Layout:
    """The place of ``rank`` among ``size`` ranks, of which ``width`` hold the net together.

    ``pieces`` are the shards into which ranks beyond the replicas of the file cut what one replica would take.
    """

    rank: int = 0
    size: int = 1
    shards: int = 1
    passes: int = 1
    width: int = 1
    pieces: int = 1

    @classmethod
    def of(cls, graph: Graph, rank: int = 0, size: int = 1, shards: int = 0) -> Layout:
        """Return the layout of a graph; ``shards`` 0: as many as it takes. Raises ``OptionError`` for what does not fit."""
        passes, fewest = replicas.passes(graph), replicas.fewest(graph)
        # Devices that hold the net once: of replicas the first.
        devices = max(len(replicas.devices(graph)) // fewest, 1)
        if passes == 1:
            width = gcd(devices, size)
            _check_shards(shards, size // width, width)
            shards = shards or size // width
            return cls(rank, size, shards, 1, width, shards)
        fitting = [width for width in range(min(devices, size), 0, -1) if _fits(width, size, passes, fewest)]
        if not fitting:
            counts = (count for count in range(1, size * fewest + 1) if _fits(1, count, passes, fewest))
            text = f"{size} ranks do not fit the {fewest} replicas of layers in the layer file"
            raise OptionError(f"{text}; start {_some(counts)}")
        width = fitting[0]
        needed = max(fewest, size // width)
        if shards not in (0, needed):
            raise OptionError(f"--shards {shards}: the replicas of the layer file say already how minibatches are cut")
        return cls(rank, size, needed, passes, width, needed // fewest)

    @property
    def groups(self) -> int:
        return self.size // self.width

    @property
    def place(self) -> int:
        """The place of this rank in its group."""
        return self.rank % self.width

    @property
    def lanes(self) -> int:
        """Chunks that the ranks of a group compute at once, each one."""
        return min(self.passes, self.width)

    @property
    def own_shards(self) -> range:
        each = self.shards // self.groups
        first = self.rank // self.width * each
        return range(first, first + each)

    @property
    def rounds(self) -> list[range]:
        """The chunks of a shard that are computed at once, by lane, one range after the other."""
        return [range(first, first + self.lanes) for first in range(0, self.passes, self.lanes)]

    @property
    def is_parallel(self) -> bool:
        """Whether a minibatch is computed in several parts, or by several ranks."""
        return self.size > 1 or self.shards * self.passes > 1

    def part_size(self, cases: int) -> int:
        """Return the most cases of a part: as in 2014, the last parts have fewer, or none."""
        return -(-self._chunk_size(cases) // self.pieces)

    def _chunk_size(self, cases: int) -> int:
        """Return the most cases that one replica of the layer file takes at once."""
        return -(-cases * self.pieces // (self.shards * self.passes))

    def part(self, shard: int, chunk: int, cases: int) -> slice:
        """Return the cases of a chunk of a shard, within a minibatch; those of one pass follow each other, as in 2014."""
        replica, piece = divmod(shard, self.pieces)
        size, each = self._chunk_size(cases), self.part_size(cases)
        first = (chunk * (self.shards // self.pieces) + replica) * size
        start, stop = first + piece * each, min(first + (piece + 1) * each, first + size)
        return slice(min(start, stop, cases), min(stop, cases))

    def parts_read(self, own_lane: bool, cases: int) -> list[slice]:
        """Return the parts of a minibatch that this rank reads: all that its group computes, or those of its own lane."""
        lanes = range(self.lanes) if not own_lane else range(self.place, min(self.place + 1, self.lanes))
        return [self.part(shard, chunks[i], cases) for shard in self.own_shards for chunks in self.rounds for i in lanes]

    def wanted(self, graph: Graph, minibatch: int, cases: int, first: int = 0) -> np.ndarray:
        """Return which cases of a batch this rank reads the pictures of, (cases,) bool; from case ``first`` on."""
        own_lane = _reads_own_lane(graph)
        mask = np.zeros(cases, bool)
        for start in range(first, cases, minibatch):
            for part in self.parts_read(own_lane, min(minibatch, cases - start)):
                mask[start + part.start : start + part.stop] = True
        return mask

    def decoded(self, graph: Graph, numbers: np.ndarray) -> np.ndarray:
        """Return which of the cases this rank reads it decodes, by number: where its group reads the same, a part."""
        return numbers if _reads_own_lane(graph) else numbers[self.place :: self.width]

    def place_of(self, device: int, graph: Graph) -> int:
        """Return the place in a group on which a logical device of the layer file lies."""
        used = replicas.devices(graph)
        return used.index(device) % self.width if device in used else 0


def _reads_own_lane(graph: Graph) -> bool:
    """Return whether every rank of a group reads other pictures, those of its own lane."""
    wide = set(replicas.wide(graph))
    readers = [layer for layer in graph.layers.values() if isinstance(layer, Data) and layer.dataIdx == 0]
    return bool(readers) and all(layer.name in wide for layer in readers)


def _fits(width: int, size: int, passes: int, fewest: int) -> bool:
    """Return whether groups of ``width`` ranks can run the passes: all chunks at once, or all shards on one rank."""
    groups, lanes = size // width, min(passes, width)
    if size % width or passes % lanes:
        return False
    return groups % fewest == 0 or (width == 1 and fewest % groups == 0)


def _check_shards(shards: int, groups: int, width: int) -> None:
    """Raise ``OptionError`` for shards that groups of ``width`` ranks cannot share so that sums are added in one order."""
    each, left = divmod(shards, groups) if shards else (1, 0)
    if left or each & (each - 1) or each < 1:
        which = f"{counted(groups, 'group')} of {width} ranks" if width > 1 else f"{groups} ranks"
        which = which if groups > 1 or width > 1 else "one rank"
        raise OptionError(f"--shards {shards} does not fit {which}; expected {_some(groups << i for i in range(4))}")


def _some(numbers: Iterable[int]) -> str:
    """Return the first of some numbers, as a choice."""
    return ", ".join(map(str, islice(numbers, 4))) + " and so on"
