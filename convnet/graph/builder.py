"""From a pair of layer files to a graph of typed, wired, shaped and checked layers.

Phases: read -> type -> wire -> shape and check. Every phase adds to one list of problems, and ``shape`` returns the graph
only if there is no error in it. No arrays here: a ``Net`` is made from a ``Graph`` and a backend.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from convnet.errors import OptionError
from convnet.generation import GENERATIONS, Generation
from convnet.graph.detection import detect
from convnet.graph.graph import Changes, Graph
from convnet.graph.lacking import report_lacking
from convnet.graph.names import mend_names, report_causes
from convnet.graph.needs import label_index
from convnet.graph.replicas import check_replicas
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document, Section, interpolate
from convnet.language.keys import REQUIRED, Key
from convnet.language.reader import Reader
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.base import Check, DataShape
from convnet.layers.cost import Cost
from convnet.layers.label_tree import LabelTree
from convnet.layers.neuron import NeuronLayer
from convnet.layers.weighted import WeightLayer
from convnet.options import BY_NAME, OPTIONS, read_section
from convnet.texts import nearest, one_of, printable, really_near

_RUN_ELSEWHERE = "[run] holds options of a run, which is no part of the definition"
_LEARNING = {"epsw", "epsb", "momw", "momb", "wc", "coeff"}
_HINTED = 20  # problems that get the nearest name; to look for it takes as long as there are names


class Builder:
    """Builds one graph: ``type_layers``, then ``shape``, which raises ``LayerFileError`` with everything that is wrong."""

    def __init__(
        self, definition: Document, params: Document | None, problems: Problems, dialect: str, changes: Changes
    ) -> None:
        self.problems = problems
        self.changes = changes
        self.forced = dialect != "auto"
        if self.forced and dialect not in GENERATIONS:
            raise OptionError(f"dialect: '{dialect}' is not {one_of(('auto', *GENERATIONS))}")
        self.graph = Graph(definition, params, Generation(dialect) if self.forced else detect(definition, params))
        self.untyped: set[str] = set()  # sections whose type is not known
        self.lacking: list[tuple[Reader, str]] = []  # what read a layer that lacks parameters, and its type
        self.missing: set[str] = set()  # inputs that are no layers, each of which is reported once

    def type_layers(self) -> Builder:
        """Type every section of the definition, then wire names to layers."""
        if not self._is_definition():
            return self
        self._read_run()
        self._report_names()
        mend_names(self.graph.definition, self.graph.params, self.problems)
        for name in self.graph.definition.sections:
            self._type_layer(name)
        earlier: dict[str, Layer] = {}
        for layer in self.graph.declared:
            self._wire(layer, earlier)
            earlier[layer.name] = layer
            if isinstance(layer, WeightLayer):
                self._find_owners(layer, earlier)
        self._detach_neurons()
        check_replicas(self.graph)
        self._report_sections()
        report_causes(self.graph, self.problems)
        return self

    def report_no_layers(self) -> None:
        """Report a file without layers, which is a net to the originals, but not what anybody means."""
        definition = self.graph.definition
        if not definition.sections and not definition.broken:
            self.problems.error(definition.top(), "no layers in this file", expected="[name] sections with types")

    def shape(
        self,
        data_dims: Mapping[int, int],
        classes: int | None = None,
        tree: LabelTree | None = None,
        where: str = "",
        heads: Mapping[int, int] | None = None,
    ) -> Graph:
        """Work out every shape for data of ``data_dims`` (features by ``dataIdx``) and check the net as a whole.

        ``where`` names the data in messages. ``heads`` has the classes of the matrices whose labels are of others than
        ``classes``.
        """
        self.graph.data_dims, self.graph.classes, self.graph.heads = dict(data_dims), classes or None, dict(heads or {})
        data = DataShape(self.graph.data_dims, classes or None, tree, where, self.graph.heads)
        classes_of = _classes_of(self.graph) if heads else {}
        for layer in self.graph.layers.values():
            layer.check.data = data
            if not layer.check.failed and all(source.is_shaped for source in layer.sources):
                layer.take_classes(classes_of.get(layer, classes))
                if not layer.check.failed:
                    layer.shape()
        self._check_whole()
        report_causes(self.graph, self.problems)
        self.problems.check()
        self.graph.warnings = self.problems.warnings
        return self.graph

    def clone(self, problems: Problems | None = None) -> Builder:
        """Return a builder of copies of the layers, to shape them on trial; it reports to ``problems``, or new ones."""
        twin = copy.copy(self)
        twin.problems = Problems() if problems is None else problems
        layers = {name: copy.copy(layer) for name, layer in self.graph.layers.items()}
        for layer in layers.values():
            layer.check = replace(layer.check, problems=twin.problems)
            layer.sources = [layers[source.name] for source in layer.sources]
            layer.consumers = [layers[reader.name] for reader in layer.consumers]
        weighted = {name: layer for name, layer in layers.items() if isinstance(layer, WeightLayer)}
        for layer in weighted.values():
            layer.owners = [(weighted[owner[0].name], owner[1]) if owner else None for owner in layer.owners]
        declared, neurons = ([layers[layer.name] for layer in part] for part in (self.graph.declared, self.graph.neurons))
        twin.graph = replace(self.graph, declared=declared, neurons=neurons)
        return twin

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
        keys = {key for section in definition.sections.values() for key in section.entries}
        if definition.sections and not _defines_layers(definition) and _LEARNING & keys:
            text = "these are parameters, no section has a type; the definition is missing"
            self.problems.error(definition.top(), text, expected="a file whose sections say type=conv, for example")
            return False
        return True

    def _read_run(self) -> None:
        """Set the section ``[run]`` of the parameters apart, unless a layer has its name, and read it."""
        definition, params = self.graph.definition, self.graph.params
        if params and params is not definition and not params.native and "run" not in definition.sections:
            params.run = params.sections.pop("run", None)
            if params.run and all(key.replace("-", "_") in BY_NAME for key in params.run.entries):
                params.repeated.pop("run", None)  # both are meant; what is wrong in them is not that
        if params and params.run:
            self.graph.run = read_section(params.run, self.problems)
        if definition.run and definition is not params:
            self.problems.error(definition.run.place, _RUN_ELSEWHERE, expected="it in the parameter file")

    def _report_names(self) -> None:
        """Report names of several lines, as TOML can write them: they would begin lines of what is printed."""
        for name, section in self.graph.definition.sections.items():
            if len(name.splitlines()) > 1 or name != name.rstrip("\n\r"):
                text = f"the name of layer '{printable(name)}' has several lines"
                self.problems.error(section.place, text, expected="a name of one line")

    def _type_layer(self, name: str) -> None:
        layer_class = self._layer_class(name)
        if layer_class is None:
            return
        graph = self.graph
        reader = Reader(name, layer_class.keys, graph.definition, graph.params, self.problems)
        # In a dialect that the user names, keys that its parser did not read have their defaults.
        keys = layer_class.keys
        if name in self.changes.local:
            layer_class = LAYER_TYPES["local"]
        ignored = [key for key in keys if self.forced and graph.generation not in key.read_by]
        self._warn_ignored(name, ignored)
        read = [key for key in keys if key not in ignored or key.default is REQUIRED]
        values = reader.read_all(read, graph.generation if self.forced else "")
        inputs = len(values.get("inputs") or ())
        values |= {key.name: key.default_for(values, inputs) for key in keys if key.name not in values}
        for source, i in self.changes.unshared:
            if source == name and values["weightSource"][i]:
                values.setdefault("unshared", {})[i], values["weightSource"][i] = values["weightSource"][i], None
        reader.report_unknown()
        if reader.missing:
            self.lacking.append((reader, layer_class.type))
        check = Check(name, reader.places, reader.place, self.problems, failed=bool(reader.failed))
        graph.declared.append(layer_class(name, values, check))

    def _layer_class(self, name: str) -> type[Layer] | None:
        """Return the class that ``type=`` names, or the one it resembles; report what is wrong with it."""
        definition = self.graph.definition
        entry = definition.entry(name, "type")
        if entry is None:
            self._report_no_type(name)
            self.untyped.add(name)
            return None
        raw = interpolate(definition, name, entry, self.problems)
        word = str(raw).strip()
        if raw is None:  # reported when it was read
            word = ""
        elif entry.continued:
            text = f"layer '{name}': this line is indented, so it goes on with the value of 'type' above"
            self.problems.error(entry.continued[0], text, expected="a key at the beginning of its line")
            word = ""
        elif word not in LAYER_TYPES:
            meant = really_near(word, LAYER_TYPES)
            expected = f"one of {one_of(sorted(LAYER_TYPES))}"
            self.problems.error(entry.place, f"layer '{name}': unknown type '{word}'", expected=expected, nearest=meant)
            word = meant if meant and self._fits(name, LAYER_TYPES[meant]) else ""
        if not word:
            self.untyped.add(name)
            return None
        if self.forced and self.graph.generation not in LAYER_TYPES[word].read_by:
            self.problems.warn(entry.place, f"layer '{name}': {self.graph.generation} has no type '{word}'")
        return LAYER_TYPES[word]

    def _report_no_type(self, name: str) -> None:
        section = self.graph.definition.sections[name]
        if name == "run" and not section.entries.keys() - {option.flag[2:] for option in OPTIONS}:
            self.problems.error(section.place, _RUN_ELSEWHERE, expected="it in the parameter file")
            return
        misspelt = next((entry for entry in section.entries.values() if really_near(entry.key, ["type"])), None)
        place = misspelt.key_place if misspelt else section.place
        text = f"layer '{name}': no type given" + (f"; '{misspelt.key}' is no key" if misspelt else "")
        self.problems.error(place, text, expected="type=conv, for example", nearest="type" if misspelt else "")

    def _fits(self, name: str, layer_class: type[Layer]) -> bool:
        """Return whether a section has all keys of a type, and no others: then the type that it misspells is this one."""
        trial = Problems()
        reader = Reader(name, layer_class.keys, self.graph.definition, self.graph.params, trial)
        reader.read_all(layer_class.keys)
        reader.report_unknown()
        return not (trial.items or reader.missing)

    def _warn_ignored(self, name: str, keys: Sequence[Key]) -> None:
        for key in keys:
            for document in (self.graph.definition, self.graph.params):
                section = document.sections.get(name) if document else None
                entry = section.entries.get(key.name.lower()) if section else None
                if entry:
                    text = f"layer '{name}': '{key.name}' is not read in {self.graph.generation} files"
                    self.problems.warn(entry.key_place, text)

    def _report_sections(self) -> None:
        """Report layers whose parameters are missing, sections of parameters without a layer, and idle keys of [DEFAULT]."""
        definition, params = self.graph.definition, self.graph.params
        if params:
            report_lacking(self.lacking, set(definition.sections), params, self.problems)
        for name, section in params.sections.items() if params and params is not definition else ():
            if name not in definition.sections:
                text = f"parameters for '{name}', which is not a layer of {definition.path}"
                few = len(self.problems.items) < _HINTED
                self.problems.warn(section.place, text, nearest=nearest(name, [*definition.sections, "run"]) if few else "")
        for document in (definition, params if params is not definition else None):
            if document and document.defaults:
                self._report_defaults(document, document.defaults)

    def _report_defaults(self, document: Document, defaults: Section) -> None:
        known = {
            spelling.lower(): key.name for layer in LAYER_TYPES.values() for key in layer.keys for spelling in key.spellings
        }
        said, text_of_file = {problem.place for problem in self.problems.items}, document.text.lower()
        for folded, entry in defaults.entries.items():
            is_used = f"%({folded})s" in text_of_file  # other values are made of it
            if folded not in known and folded != "type" and not is_used and entry.key_place not in said:
                text = f"[DEFAULT]: no type of layer has a key '{entry.key}'"
                self.problems.warn(entry.key_place, text, nearest=nearest(entry.key, known.values()))

    # -- wire ---------------------------------------------------------------------------------------------------

    def _wire(self, layer: Layer, earlier: Mapping[str, Layer]) -> None:
        names, layer.inputs = layer.inputs, list(layer.inputs or ())
        for name in layer.inputs:
            if name in earlier and not earlier[name].is_cost:
                layer.sources.append(earlier[name])
            elif name in self.untyped or name in self.missing:
                layer.check.failed = True  # its own message says all there is to say
            else:
                self._report_input(layer, name, earlier)
        low, high, count = layer.min_inputs, layer.max_inputs, len(layer.inputs)
        if names is not None and (count < low or (high is not None and count > high)):
            wanted = f"{low}" if low == high else f"at least {low}"
            layer.check.error("inputs", f"{layer.type} takes {wanted} input{'s' * (wanted != '1')}, not {count}")
        placed = [source.gpu for source in layer.sources if source.gpu[0] >= 0]
        layer.gpu = layer.gpu or (placed[0] if placed else [-1 if layer.max_inputs == 0 else 0])

    def _report_input(self, layer: Layer, name: str, earlier: Mapping[str, Layer]) -> None:
        """Report an input that is not a layer above; wire the one that it resembles, so that shapes are checked."""
        layer.check.failed = True
        self.missing.add(name)
        place = layer.check.place("inputs")
        offset = place.text.find(name, place.column - 1) - (place.column - 1) if name else 0
        if name == layer.name:
            text = f"layer '{layer.name}' cannot be its own input"
        elif name in earlier:
            text = f"layer '{layer.name}': input '{name}' is a cost, which has no output"
        elif name in self.graph.definition.sections:
            text = f"layer '{layer.name}': input '{name}' stands later in the file; a layer reads layers above it"
        else:
            text = f"layer '{layer.name}': input layer '{name}' is not defined"
        meant = nearest(name, earlier) if name and len(self.problems.items) < _HINTED else ""
        if meant and really_near(name, [meant]):
            text += f"; line {earlier[meant].check.header.line} has [{meant}]"
        if meant and not earlier[meant].is_cost:
            layer.sources.append(earlier[meant])
        place = place.within(max(offset, 0), len(name))
        self.problems.error(place, text, nearest=meant, about=layer.name)

    def _detach_neurons(self) -> None:
        """Make every ``neuron=`` a layer of its own, which is read in the place of its source (numerics 3.5)."""
        taken = set(self.graph.definition.sections)
        for layer in self.graph.declared:
            if not layer.neuron or isinstance(layer, NeuronLayer):
                continue
            names = (f"{layer.name}_neuron" + (f".{number}" if number else "") for number in count())
            name = next(name for name in names if name not in taken)
            taken.add(name)
            inherited = {"neuron": layer.neuron, "gpu": layer.gpu, "quantF": layer.quantF, "quantB": layer.quantB}
            neuron = NeuronLayer(name, {"dropout": 0.0, **inherited}, replace(layer.check, name=name, failed=False))
            neuron.inputs, neuron.sources, neuron.detached_from = [layer.name], [layer], layer.name
            self.graph.neurons.append(neuron)
        behind = {neuron.detached_from: neuron for neuron in self.graph.neurons}
        for layer in self.graph.declared:
            layer.sources = [behind.get(source.name, source) for source in layer.sources]
            layer.inputs = [behind[name].name if name in behind else name for name in layer.inputs]
        for layer in self.graph.layers.values():
            for source in dict.fromkeys(layer.sources):
                source.consumers.append(layer)

    def _find_owners(self, layer: WeightLayer, earlier: Mapping[str, Layer]) -> None:
        """Set for every weight matrix of a layer which one owns it: the layer itself or one of ``earlier``."""
        layer.owners = []
        for i, source in enumerate(layer.weightSource or ()):
            shared = source and not layer.initWFunc and source[0] not in self.untyped
            layer.owners.append(_owner(layer, i, *source, earlier) if source and shared else None)

    # -- check --------------------------------------------------------------------------------------------------

    def _check_whole(self) -> None:
        learning_below: set[str] = set()
        unused: list[Layer] = []
        unlike: set[str] = set()  # layers that share weights of other shapes
        earlier: dict[str, Layer] = {}
        for layer in self.graph.layers.values():
            below = any(source.name in learning_below for source in layer.sources)
            if below and not layer.gradient:
                text = f"{layer.type} passes no gradient down, so it cannot stand over layers with weights"
                layer.check.error("type", text)
            if below or isinstance(layer, WeightLayer):
                learning_below.add(layer.name)
            if isinstance(layer, WeightLayer) and layer.is_shaped:
                layer.check_schedules()
                follows = any(source and source[0] in unlike for source in layer.weightSource)
                if follows or not layer.check_sources():  # what shares with a layer that shares wrongly may be right itself
                    unlike.add(layer.name)
                layer.check_learning(self.graph.generation)
            if not (layer.is_cost or layer.consumers or layer.detached_from):
                unused.append(layer)
            if isinstance(layer, Cost):
                self._check_children(layer, earlier)
            earlier[layer.name] = layer
        if not (self.untyped or self.missing):  # else what reads it may be missing
            _report_unused(unused, bool(self.graph.costs))

    def _check_children(self, cost: Cost, earlier: Mapping[str, Layer]) -> None:
        """Report children that are not costs of the same type further up, whose values can be added up in print."""
        for child in cost.children or []:
            if child in self.untyped:
                continue
            if child not in earlier:
                costs = [other.name for other in self.graph.costs if other is not cost]
                text = f"child cost layer '{child}' is not defined, or stands later"
                cost.check.error("children", text, expected=f"one of {one_of(costs)}" if costs else "")
            elif (other_type := earlier[child].type) != cost.type:
                cost.check.error("children", f"child '{child}' is of type {other_type}, not {cost.type}")


def _classes_of(graph: Graph) -> dict[Layer, int | None]:
    """Return the classes of each layer that says num_classes: those of the labels that the first cost above it reads."""
    found: dict[Layer, int | None] = {}
    classes: Mapping[int, int | None] = graph.heads
    for cost in graph.costs:
        index = label_index(cost) if cost.sources else 0
        seen: set[Layer] = set()
        waiting = cost.sources[1:]
        while waiting:
            layer = waiting.pop()
            if layer not in seen:
                seen.add(layer)
                waiting += layer.sources
                if layer.words:
                    found.setdefault(layer, classes.get(index, graph.classes))
    return found


def _defines_layers(document: Document) -> bool:
    """Return whether sections of the document have types, as those of definitions do."""
    return any(document.entry(name, "type") for name in document.sections)


def _report_unused(layers: Sequence[Layer], has_costs: bool) -> None:
    """Report layers that nothing reads: each, or all of them at once where what should read them is missing."""
    for layer in layers if has_costs else layers[-1:]:
        others = f", nor {one_of(repr(other.name) for other in layers[:-1])}" if not has_costs and len(layers) > 1 else ""
        ending = f"{others}; the net has no cost" if not has_costs else ""
        layer.check.error("type", f"nothing uses this layer, whose type is {layer.type}{ending}")


def _owner(
    layer: WeightLayer, i: int, name: str, index: int, earlier: Mapping[str, Layer]
) -> tuple[WeightLayer, int] | None:
    """Return the owner of the matrix that input ``i`` shares with ``name[index]``, or ``None`` after reporting it."""
    check, owner = layer.check, earlier.get(name)
    if owner is None:
        known = [other.name for other in earlier.values() if isinstance(other, WeightLayer)]
        text = f"weightSource layer '{name}' does not exist or stands later"
        check.error("weightSource", text, nearest=nearest(name, known))
    elif not isinstance(owner, WeightLayer) or type(owner) is not type(layer):
        check.error("weightSource", f"weights of '{name}' cannot be shared: its type is {owner.type}, not {layer.type}")
    elif index >= len(owner.inputs) or (owner is layer and index >= i):
        check.error("weightSource", f"'{name}[{index}]' does not exist or comes later")
    else:
        if owner.gpu != layer.gpu:
            check.limit("weightSource", f"the originals share weights on one device only, '{name}' is on another")
        known_owner = owner.owners[index] if index < len(owner.owners) else None  # fewer where its own keys are wrong
        return known_owner or (owner, index)
    return None
