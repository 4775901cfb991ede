"""The tree of labels that a treefc layer follows (numerics 4.5). It comes with the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from convnet.errors import DataError


@dataclass(frozen=True)
class LabelTree:
    """Nodes are labels 0, 1, ...; the first ``leaves`` of them are the classes. The root is its own parent."""

    root: int
    leaves: int
    parents: list[int]  # of each node, by label
    leaves_below: list[int]  # number of leaves of each node, by label
    top_down: list[int]  # labels, parents before children

    @cached_property
    def children(self) -> list[list[int]]:
        """The children of each node, by label, in their order."""
        below: list[list[int]] = [[] for _ in self.parents]
        for node in self.top_down[1:]:
            below[self.parents[node]].append(node)
        return below

    @classmethod
    def from_children(cls, children: Mapping[int, Sequence[int]], root: int, classes: int) -> LabelTree:
        """Build from each node's children, as data sets give it; raise ``DataError`` if it is not such a tree."""
        top_down, parents = [root], {root: root}
        for node in top_down:
            for child in children.get(node, ()):
                if child in parents:
                    raise DataError(f"the label tree reaches node {child} twice")
                parents[child] = node
                top_down.append(child)
        if sorted(parents) != list(range(len(parents))):
            raise DataError(f"the label tree has {len(parents)} nodes, which are not numbered 0 to {len(parents) - 1}")
        leaves = sorted(node for node in parents if not children.get(node))
        if leaves != list(range(classes)):
            raise DataError(f"the leaves of the label tree are not the classes 0 to {classes - 1}")
        below = [1 if node < classes else 0 for node in range(len(parents))]
        for node in reversed(top_down[1:]):
            below[parents[node]] += below[node]
        return cls(root, classes, [parents[node] for node in range(len(parents))], below, top_down)

    @classmethod
    def from_parents(cls, parents: Sequence[int], classes: int) -> LabelTree:
        """Build from each node's parent, the root being its own."""
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(parents):
            if node != parent:
                children.setdefault(parent, []).append(node)
        root = next((node for node, parent in enumerate(parents) if node == parent), 0)
        return cls.from_children(children, root, classes)

    @classmethod
    def flat(cls, classes: int) -> LabelTree:
        """Put all classes directly below one root: what a data set without a tree amounts to."""
        return cls.from_children({classes: range(classes)}, classes, classes)
