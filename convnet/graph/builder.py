"""From a pair of layer files to a graph of typed, wired, shaped and checked layers.

Phases: read -> type -> wire -> shape and check. Every phase adds to one list of problems, and ``Graph`` objects only
exist when there is no error in it. No arrays here: a ``Net`` is made from a ``Graph`` and a backend.
"""

from __future__ import annotations

from collections.abc import Mapping

from convnet.errors import nearest, one_of
from convnet.generation import Generation
from convnet.graph.graph import NO_CHANGES, Changes, Graph
from convnet.language.diagnostics import Problems
from convnet.language.detection import detect
from convnet.language.ini import Document, interpolate
from convnet.language.keys import REQUIRED
from convnet.language.reader import Reader
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.base import Check
from convnet.layers.label_tree import LabelTree
from convnet.layers.neuron import NeuronLayer
from convnet.layers.weighted import WeightLayer

_LEARNING = {"epsw", "epsb", "momw", "momb", "wc", "coeff"}
_MISSPELT = 0.75  # likeness from which on a word is read as the type it resembles; below, it is another program's


class Builder:
    """Builds one graph; ``build`` runs the phases and raises ``LayerFileError`` with everything that is wrong."""

    def __init__(
        self,
        definition: Document,
        params: Document | None,
        problems: Problems,
        dialect: str = "auto",
        changes: Changes = NO_CHANGES,
    ) -> None:
        self.problems = problems
        self.changes = changes
        self.forced = dialect != "auto"
        generation = Generation(dialect) if self.forced else detect(definition, params, LAYER_TYPES)
        self.graph = Graph(definition, params, generation)
        self.by_name: dict[str, Layer] = {}
        self.checks: dict[str, Check] = {}
        self.readers: dict[str, Reader] = {}
        self.untyped: set[str] = set()  # sections whose type cannot even be guessed

    def type_layers(self) -> Builder:
        """Type every section of the definition, then wire names to layers."""
        if not self._is_definition():
            return self
        for name in self.graph.definition.sections:
            self._type_layer(name)
        for layer in self.graph.declared:
            self._wire(layer)
        self._detach_neurons()
        self._find_owners()
        self._report_sections()
        return self

    def shape(self, data_dims: Mapping[int, int], classes: int | None = None, tree: LabelTree | None = None) -> Graph:
        """Work out every shape for data of ``data_dims`` (features by ``dataIdx``) and check the whole."""
        self.graph.data_dims, self.graph.classes = dict(data_dims), classes
        for layer in self.graph.layers.values():
            check = self.checks[layer.name]
            check.data_dims, check.classes, check.tree = self.graph.data_dims, classes, tree
            if not check.failed and all(self._is_shaped(source) for source in layer.sources):
                layer.shape(check)
        self._check_whole()
        self.problems.check()
        self.graph.warnings = self.problems.warnings
        return self.graph

    # -- type ---------------------------------------------------------------------------------------------------

    def _is_definition(self) -> bool:
        """Report a parameter file in the place of the definition, and a definition in the place of the parameters."""
        definition, params = self.graph.definition, self.graph.params
        if params and params.broken:
            self.graph.params = None
        if params and params is not definition and _defines_layers(params):
            self.graph.params = None
            swapped = not _defines_layers(definition)
            text = "the definition stands where the parameters belong" + (", and the other way round" if swapped else "")
            self.problems.error(params.top(), text, expected="a file whose sections give epsW, momW, wc, coeff")
            return not swapped
        if definition.sections and not _defines_layers(definition) and _LEARNING & _keys_of(definition):
            text = "these are parameters, no section has a type; the definition is missing"
            self.problems.error(definition.top(), text, expected="a file whose sections say type=conv, for example")
            return False
        return True

    def _type_layer(self, name: str) -> None:
        graph = self.graph
        reader = Reader(name, graph.definition, graph.params, self.problems)
        layer_class = self._layer_class(name, reader)
        if layer_class is None:
            return
        written = layer_class.all_keys()
        if name in self.changes.local:
            layer_class = LAYER_TYPES["local"]
        keys = layer_class.all_keys()
        ignored = [key for key in keys if self.forced and graph.generation not in key.read_by]
        for key in ignored:
            self._warn_ignored(name, key.name)
        read = [key for key in keys if key not in ignored or key.default is REQUIRED]
        values = reader.read_all(read, graph.generation if self.forced else "")
        values |= {
            key.name: key.default_for(values, len(values.get("inputs") or ())) for key in keys if key.name not in values
        }
        for source, i in self.changes.unshared:
            if source == name:
                values["weightSource"][i] = None
        reader.report_unknown(written, graph.definition)
        if graph.params and graph.params is not graph.definition:
            reader.report_unknown(written, graph.params)
        layer = layer_class(name, values)
        check = Check(layer, reader.places, reader.place, self.problems)
        check.failed = bool(reader.failed)
        self.checks[name], self.readers[name] = check, reader
        graph.declared.append(layer)
        self.by_name[name] = layer

    def _layer_class(self, name: str, reader: Reader) -> type[Layer] | None:
        entry = self.graph.definition.entry(name, "type")
        if entry is None:
            self.problems.error(reader.place, f"layer '{name}': no type given", expected="type=conv, for example")
            return None
        raw = entry.raw if self.graph.definition.native else interpolate(self.graph.definition, name, entry, self.problems)
        if raw is None:  # reported when it was read
            self.untyped.add(name)
            return None
        word = str(raw).strip()
        if word not in LAYER_TYPES:
            self.problems.error(
                entry.place,
                f"layer '{name}': unknown type '{word}'",
                expected=f"one of {one_of(sorted(LAYER_TYPES))}",
                nearest=nearest(word, LAYER_TYPES),
            )
            word = nearest(word, LAYER_TYPES, _MISSPELT)  # so that the other mistakes of the section are found as well
        if not word:
            self.untyped.add(name)
            return None
        if self.forced and self.graph.generation not in LAYER_TYPES[word].read_by:
            self.problems.warn(entry.place, f"layer '{name}': {self.graph.generation} has no type '{word}'")
        return LAYER_TYPES[word]

    def _warn_ignored(self, name: str, key: str) -> None:
        for document in (self.graph.definition, self.graph.params):
            section = document.sections.get(name) if document else None
            entry = section.entries.get(key.lower()) if section else None
            if entry:
                text = f"layer '{name}': '{key}' is not read in {self.graph.generation} files"
                self.problems.warn(entry.key_place, text)

    # -- wire ---------------------------------------------------------------------------------------------------

    def _wire(self, layer: Layer) -> None:
        check = self.checks[layer.name]
        layer.inputs = layer.values.get("inputs") or []
        position = self.graph.declared.index(layer)
        earlier = {other.name: other for other in self.graph.declared[:position]}
        for name in layer.inputs:
            if name in earlier and not earlier[name].is_cost:
                layer.sources.append(earlier[name])
            elif name in self.untyped:
                check.failed = True  # its own message says all there is to say
            else:
                self._report_input(layer, name, earlier)
        self._check_arity(layer, check)
        layer.gpu = self._devices(layer)

    def _report_input(self, layer: Layer, name: str, earlier: dict[str, Layer]) -> None:
        check = self.checks[layer.name]
        check.failed = True
        place = check.place("inputs")
        offset = place.text.find(name, place.column - 1) - (place.column - 1) if name else 0
        if name == layer.name:
            text = f"layer '{layer.name}' cannot be its own input"
        elif name in earlier:
            text = f"layer '{layer.name}': input '{name}' is a cost, which has no output"
        elif name in self.graph.definition.sections:
            text = f"layer '{layer.name}': input '{name}' stands later in the file; a layer reads layers above it"
        else:
            text = f"layer '{layer.name}': input layer '{name}' is not defined"
        known = [other for other in earlier if other != layer.name]
        meant = nearest(name, known) if name else ""
        if meant and not earlier[meant].is_cost:
            layer.sources.append(earlier[meant])
        self.problems.error(place.within(max(offset, 0), len(name)), text, nearest=meant)

    def _check_arity(self, layer: Layer, check: Check) -> None:
        least, most, count = layer.least_inputs, layer.most_inputs, len(layer.inputs)
        if layer.values.get("inputs") is not None and (count < least or (most is not None and count > most)):
            wanted = f"{least}" if least == most else f"at least {least}"
            check.error("inputs", f"{layer.type} takes {wanted} input{'s' * (wanted != '1')}, not {count}")

    def _devices(self, layer: Layer) -> list[int]:
        given = layer.values.get("gpu")
        if given:
            return given
        placed = [source.gpu for source in layer.sources if source.gpu[0] >= 0]
        return placed[0] if placed else [-1 if layer.most_inputs == 0 else 0]

    def _detach_neurons(self) -> None:
        """``neuron=`` becomes a layer of its own; whoever read the source now reads the neuron (numerics 3.5)."""
        taken = set(self.graph.definition.sections)
        for layer in self.graph.declared:
            spec = layer.values.get("neuron")
            if not spec or isinstance(layer, NeuronLayer):
                continue
            inherited = {key: layer.values[key] for key in ("quantF", "quantB")}
            neuron = NeuronLayer(_free_name(f"{layer.name}_neuron", taken), {"neuron": spec, "dropout": 0.0, **inherited})
            taken.add(neuron.name)
            neuron.inputs, neuron.sources, neuron.gpu = [layer.name], [layer], layer.gpu
            neuron.detached_from = layer.name
            self._redirect(layer, neuron)
            header = self.checks[layer.name]
            self.checks[neuron.name] = Check(neuron, header.places, header.header, self.problems)
            self.graph.neurons.append(neuron)
        for layer in self.graph.layers.values():
            for source in dict.fromkeys(layer.sources):
                source.consumers.append(layer)

    def _redirect(self, layer: Layer, neuron: Layer) -> None:
        for other in self.graph.declared:
            other.sources = [neuron if source is layer else source for source in other.sources]
            other.inputs = [neuron.name if name == layer.name else name for name in other.inputs]

    def _find_owners(self) -> None:
        for layer in self.graph.declared:
            if isinstance(layer, WeightLayer):
                own = layer.values.get("initWFunc")
                layer.owners = []
                for i, source in enumerate(layer.weightSource or []):
                    layer.owners.append(self._owner(layer, i, source) if source and not own else None)

    def _owner(self, layer: WeightLayer, i: int, source: tuple[str, int]) -> tuple[WeightLayer, int] | None:
        check = self.checks[layer.name]
        name, index = source
        owner = self.by_name.get(name)
        earlier = self.graph.declared[: self.graph.declared.index(layer) + 1]
        if owner is None or owner not in earlier:
            known = [other.name for other in earlier if isinstance(other, WeightLayer)]
            check.failed = True
            text = f"layer '{layer.name}': weightSource layer '{name}' does not exist or stands later"
            self.problems.error(check.place("weightSource"), text, nearest=nearest(name, known))
            return None
        if type(owner) is not type(layer):
            check.error("weightSource", f"weights of '{name}' cannot be shared: its type is {owner.type}, not {layer.type}")
        elif index >= len(owner.inputs) or (owner is layer and index >= i):
            check.error("weightSource", f"'{name}[{index}]' does not exist or comes later")
        else:
            assert isinstance(owner, WeightLayer)
            if owner.gpu != layer.gpu:
                check.limit("weightSource", f"the originals share weights on one device only, '{name}' is on another")
            return owner.owners[index] or (owner, index)
        return None

    # -- check --------------------------------------------------------------------------------------------------

    def _is_shaped(self, layer: Layer) -> bool:
        return not self.checks[layer.name].failed and layer.outputs > 0

    def _check_whole(self) -> None:
        learning_below: set[str] = set()
        for layer in self.graph.layers.values():
            check = self.checks[layer.name]
            below = any(source.name in learning_below for source in layer.sources)
            if below and not layer.gradient:
                check.error("type", f"{layer.type} passes no gradient down, so it cannot stand over layers with weights")
            if below or isinstance(layer, WeightLayer):
                learning_below.add(layer.name)
            if isinstance(layer, WeightLayer) and self._is_shaped(layer):
                layer.check_sources(check)
            unused = not layer.is_cost and not layer.consumers and not self.untyped
            if unused and not layer.detached_from and layer in self.graph.declared:
                check.error("type", f"nothing uses this layer, whose type is {layer.type}")
            self._check_children(layer, check)

    def _check_children(self, layer: Layer, check: Check) -> None:
        """Costs whose values are added up in print must be of one type, the children first."""
        order = list(self.by_name)
        for child in layer.values.get("children") or []:
            if child not in self.by_name or order.index(child) >= order.index(layer.name):
                costs = [other.name for other in self.graph.costs if other is not layer]
                text = f"child cost layer '{child}' is not defined, or stands later"
                check.error("children", text, expected=f"one of {one_of(costs)}" if costs else "")
            elif self.by_name[child].type != layer.type:
                check.error("children", f"child '{child}' is of type {self.by_name[child].type}, not {layer.type}")

    def _report_sections(self) -> None:
        params = self.graph.params
        if params is None:
            return
        for layer in self.graph.declared:
            reader = self.readers[layer.name]
            lacking = reader.failed - reader.excused - reader.places.keys()
            missing = [key.name for key in layer.all_keys() if key.home == "params" and key.name in lacking]
            if layer.name not in params.sections and missing:
                text = f"layer '{layer.name}' of type {layer.type} needs a section [{layer.name}] in {params.path}"
                self.problems.error(self.checks[layer.name].header, text, expected=f"{one_of(missing)} there")
        for name, section in params.sections.items() if params is not self.graph.definition else ():
            if name not in self.graph.definition.sections:
                text = f"parameters for '{name}', which is no layer of {self.graph.definition.path}"
                self.problems.warn(section.place, text, nearest=nearest(name, self.graph.definition.sections))


def _defines_layers(document: Document) -> bool:
    """Whether sections of the document have types, as those of definitions do."""
    return any(document.entry(name, "type") for name in document.sections)


def _keys_of(document: Document) -> set[str]:
    return {key for section in document.sections.values() for key in section.entries}


def _free_name(name: str, taken: set[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free
