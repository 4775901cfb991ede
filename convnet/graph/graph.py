"""A checked network, and what was changed since its files. No arrays: a ``Net`` is made from a ``Graph`` and a backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from convnet.generation import Generation
from convnet.language.diagnostics import Problem
from convnet.language.ini import Document
from convnet.layers import Layer
from convnet.layers.cost import Cost
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.label_tree import LabelTree
from convnet.layers.weighted import WeightLayer


@dataclass(frozen=True)
class Changes:
    """``local`` names conv layers that became local, ``unshared`` (layer, input) the matrices that no longer follow
    ``weightSource`` (``convnet.net.surgery``)."""

    local: tuple[str, ...] = ()
    unshared: tuple[tuple[str, int], ...] = ()

    def __or__(self, other: Changes) -> Changes:
        return Changes((*self.local, *other.local), (*self.unshared, *other.unshared))


NO_CHANGES = Changes()


@dataclass
class Graph:
    """A network: its layers in the order in which they run, and what it was made from.

    ``declared`` holds the layers of the file in file order, ``neurons`` those detached from them. ``generation`` is that
    of the files. ``run`` has the options that ``[run]`` gives, ``warnings`` what an original accepted silently and wrongly.
    Once it is shaped, ``heads`` has the classes of labels by matrix of the data, where these are not ``classes``.
    """

    definition: Document
    params: Document | None
    generation: Generation
    declared: list[Layer] = field(default_factory=list)
    neurons: list[Layer] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)
    data_dims: dict[int, int] = field(default_factory=dict)
    classes: int | None = None
    heads: dict[int, int] = field(default_factory=dict)
    _layers: dict[str, Layer] = field(default_factory=dict, init=False, repr=False, compare=False)
    _places: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def layers(self) -> dict[str, Layer]:
        """All layers by name, in running order: file order, with each neuron right behind its source."""
        if len(self._layers) != len(self.declared) + len(self.neurons):  # both lists only grow
            behind = {neuron.detached_from: [neuron] for neuron in self.neurons}
            self._layers = {layer.name: layer for first in self.declared for layer in (first, *behind.get(first.name, ()))}
        return self._layers

    @property
    def places(self) -> dict[str, int]:
        """The place of every layer in running order, from 0."""
        if len(self._places) != len(self.layers):
            self._places = {name: place for place, name in enumerate(self.layers)}
        return self._places

    @property
    def in_file_order(self) -> list[Layer]:
        """Declared layers, then detached neurons in the order of their sources, as the originals list them."""
        return [*self.declared, *self.neurons]

    @property
    def costs(self) -> list[Cost]:
        return [layer for layer in self.declared if isinstance(layer, Cost)]

    @property
    def label_tree(self) -> LabelTree | None:
        """The tree of labels that a treefc layer of a graph with shapes has."""
        return next((layer.tree for layer in self.declared if isinstance(layer, TreeFullyConnected)), None)

    def gradient_layers(self, frozen_too: bool = False) -> set[str]:
        """Return the names of layers whose outputs need a gradient: they learn, or a layer below does (numerics 3.3).

        ``frozen_too``: all weights count as learning, as a gradient check wants it.
        """
        names: set[str] = set()
        for layer in self.layers.values():
            learns = layer.learns or (frozen_too and isinstance(layer, WeightLayer))
            if not layer.is_cost and (learns or any(source.name in names for source in layer.sources)):
                names.add(layer.name)
        return names

    def parameters(self) -> int:
        """Return the number of weights and biases, shared ones counted once."""
        return sum(layer.parameters() for layer in self.declared if isinstance(layer, WeightLayer))
