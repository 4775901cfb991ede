"""Writes a typed net as layer files: in the words of 2011, 2012 or 2014, or as TOML.

What a target has no word for is said in another way (``convnet.graph.translation``); where there is none, it is lost, and a
note says so. Numbers are written in the spelling that the target's own parser reads. Whole-line comments stay with their
section; those behind a value are lost.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from convnet.generation import G2011, G2012, G2014, GENERATIONS, Generation
from convnet.graph.builder import Builder
from convnet.graph.detection import detect
from convnet.graph.graph import Graph
from convnet.graph.translation import Translation, translate
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document
from convnet.language.keys import REQUIRED, Key
from convnet.language.neurons import TYPES
from convnet.language.schedules import CONSTANT, SCHEDULE, Rate
from convnet.language.toml import read_toml
from convnet.language.values import FLOAT, NumClasses
from convnet.layers import Layer
from convnet.layers.conv import USUAL_SUM_WIDTH, Windowed
from convnet.layers.data import Data
from convnet.layers.local import Local
from convnet.layers.pool import POOLS, Pool
from convnet.layers.weighted import WeightLayer
from convnet.options import flag_of

TARGETS = ("toml", *GENERATIONS)
_RATES = ("epsW", "epsB", "schedW", "schedB", "sched")
_WITHOUT_EFFECT = ("partialSum", "sumWidth")  # on results
_NOT_OF_THE_NET = ("gpu", "children", "outputFilter")  # but of where it runs, and of what is printed
_ALL_THE_SAME = "; written all the same"
_HEADER = re.compile(r"\s*\[(?:layer\.)?\s*\"?([^]\"]+)\"?\s*\]")


@dataclass
class Written:
    """The texts of both files, ``params`` ``None`` where there are none.

    ``told`` says what is written in other words, ``notes`` what could not be kept, and ``unfit`` which of that makes it
    another net.
    """

    definition: str
    params: str | None
    notes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)


def write_files(builder: Builder, target: str, single: bool = False, classes: int = 0) -> Written:
    """Write the net of ``builder`` as ``write_graph`` does; raises ``LayerFileError`` if it has mistakes."""
    builder.problems.check()
    return write_graph(builder.graph, target, single, classes)


def write_graph(graph: Graph, target: str, single: bool = False, classes: int = 0) -> Written:
    """Write a net, with or without its shapes, for ``target``; ``single`` puts both halves of a TOML net into one file.

    An original gets the number of ``classes``, or of those that the graph was shaped for, where the files say num_classes.
    """
    writer = _Writer(graph, target, classes or graph.classes or 0)
    has_params = graph.params is not None and not single
    learning = graph.params if graph.params is not graph.definition else None
    comments = {"def": _comments(graph.definition), "params": _comments(learning)}
    run = writer.run(comments["params" if learning else "def"].get("run", ()))
    sections: dict[str, list[str]] = {"def": run if single else [], "params": [] if single else run}
    for layer in writer.translation.layers:
        homes = writer.layer(layer)
        remarks = {home: comments[home].get(layer.name, []) for home in homes}
        if single:
            homes = {"def": homes["def"] + homes["params"], "params": []}
            remarks["def"] = remarks["def"] + remarks["params"]
        sections["def"].append(writer.section(layer.name, homes["def"], remarks["def"]))
        if homes["params"] or target in layer.wants_params:
            sections["params"].append(writer.section(layer.name, homes["params"], remarks["params"]))
    texts = {home: "\n".join(parts) + "".join(comments[home][None]) for home, parts in sections.items()}
    if target == "toml":
        definition, params = (read_toml(text, home, Problems()) for home, text in texts.items())
        writer.note_other_meanings(detect(definition, params if params.sections else definition))
    else:
        writer.note_other_meanings(Generation(target))
    told = writer.translation.told
    return Written(texts["def"], texts["params"] if has_params else None, writer.notes, told, writer.unfit)


class _Writer:
    def __init__(self, graph: Graph, target: str, classes: int) -> None:
        self.graph, self.target, self.toml, self.classes = graph, target, target == "toml", classes
        self.translation = Translation(graph.declared) if self.toml else translate(graph, Generation(target))
        self.notes: list[str] = []
        self.unfit: list[str] = []

    def note(self, layer: Layer, text: str) -> None:
        self.notes.append(f"layer '{layer.name}': {text}")

    def misfit(self, layer: Layer, text: str, ending: str = "") -> None:
        """Note what makes the net another one."""
        self.unfit.append(f"layer '{layer.name}': {text}")
        self.note(layer, text + ending)

    def reads(self, generations: tuple[Generation, ...]) -> bool:
        return self.toml or self.target in generations

    def section(self, name: str, lines: list[str], comments: Iterable[str]) -> str:
        header = f"[layer.{_toml_key(name)}]" if self.toml else f"[{name}]"
        return "".join([*comments, *(f"{line}\n" for line in (header, *lines))])

    def run(self, comments: Iterable[str]) -> list[str]:
        """Return the section of options of a run, if there is one and it can be told from a layer."""
        if not self.graph.run or (not self.toml and "run" in self.graph.layers):
            self.notes += ["the options of [run]: a layer has that name"] if self.graph.run else []
            return []
        options = {flag_of(name)[2:]: value for name, value in self.graph.run.items()}  # in INI without escapes
        lines = [self._line(name, value) if self.toml else f"{name}={value}" for name, value in options.items()]
        return ["".join([*comments, *(f"{line}\n" for line in ("[run]", *lines))])]

    def layer(self, layer: Layer) -> dict[str, list[str]]:
        """Return the lines of the layer's sections by home."""
        if not self.reads(layer.read_by):
            self.misfit(layer, f"{self.target} has no type '{layer.type}'", _ALL_THE_SAME)
        if layer.neuron and not self.reads(TYPES[layer.neuron.type].read_by):
            self.misfit(layer, f"{self.target} has no neuron '{layer.neuron.type}'", _ALL_THE_SAME)
        if isinstance(layer, Pool) and not self.reads(POOLS[layer.pool]):
            self.misfit(layer, f"{self.target} has no pool={layer.pool}", _ALL_THE_SAME)
        homes = {"def": [self._line("type", layer.type)], "params": []}
        for key in layer.keys:
            home = "params" if key.name == "coeffs" and self.target == G2014 else key.home
            value = self._value(layer, key)
            if key.name in _RATES and not self.toml and isinstance(layer, WeightLayer):
                homes[home] += self._rates(layer, key.name)
            elif self._is_kept(layer, key, value):
                homes[home].append(self._entry(key, value))
        return homes

    def _is_kept(self, layer: Layer, key: Key, value: Any) -> bool:
        """Return whether the key is to be written; note it where a value that counts is lost."""
        if value is None or value == []:
            return False
        in_files = key.name in layer.check.places or key.default is REQUIRED
        if self.reads(key.read_by):
            return in_files or self.target in key.demanded_by or (key.name == "gpu" and self._moved(layer))
        default = key.default_for(vars(layer), len(layer.sources))
        if in_files and value != default and not self._is_idle(layer, key):
            changes_net = (key.home == "def" and key.name not in _NOT_OF_THE_NET) or key.name in ("minDiv", "dropout")
            tell = self.misfit if changes_net else self.note
            tell(layer, f"{self.target} has no key '{key.name}', which was {_text(key, value)}")
        return False

    def _is_idle(self, layer: Layer, key: Key) -> bool:
        """Return whether a key changes nothing in this net, or says what the target works out by itself."""
        if key.name == "gpu":
            return all(device <= 0 for other in self.graph.declared for device in other.gpu)
        if key.name == "filterChannels" and isinstance(layer, Windowed):
            return not any(layer.randSparse)
        if key.name == "modulesX" and isinstance(layer, Windowed) and layer.is_shaped:
            return layer.modulesX == layer.covering_side(0)
        if key.name == "end" and layer.is_shaped:
            return isinstance(layer, Data) and layer.end == layer.check.data.dims[layer.dataIdx]
        return key.name in _WITHOUT_EFFECT

    def _moved(self, layer: Layer) -> bool:
        """Return whether the original's default, the device of the first input, is not where the layer runs."""
        if self.toml or not layer.sources:
            return False
        source = layer.sources[0]
        return (source.sources[0] if source.detached_from else source).gpu != layer.gpu

    def _value(self, layer: Layer, key: Key) -> Any:
        """Return the value to write; ``None`` for none."""
        value = self._counted(layer, key)
        if key.name == "gpu":
            if "gpu" not in layer.check.places and not self._moved(layer):
                return None
            if self.target == G2012 and len(value) > 1:
                self.note(layer, f"2012 has one device per layer, not gpu={','.join(map(str, value))}")
                return value[:1]
        if key.name == "inputs" and layer.sources:
            names, behind = [source.detached_from or source.name for source in layer.sources], self.translation.behind
            return names if layer.name in behind.values() else [behind.get(name, name) for name in names]
        if key.name == layer.sized_by and self.graph.data_dims and key.name not in layer.words:
            sizes = layer.sizes_in_file()
            return sizes if key.each else sizes[0]
        if key.name == "wball" and isinstance(layer, WeightLayer) and self._scales_wball(self.target):
            counts = map(layer.weights_per_filter, range(len(value)))
            return [limit * n if self.target == G2014 else limit / n for limit, n in zip(value, counts, strict=True)]
        if key.name == "sumWidth" and self.target == G2014 and not value:
            return USUAL_SUM_WIDTH
        return value

    def _scales_wball(self, generation: str) -> bool:
        """Return whether ``wball`` becomes another number: 2012 counts it per weight of a filter (numerics 13.6)."""
        return {self.graph.generation, generation} == {G2012, G2014} and bool(self.graph.data_dims)

    def _counted(self, layer: Layer, key: Key) -> Any:
        """Return the value of a key as the files have it; the number of classes where the target has no word."""
        if self.toml or key.name not in layer.words:
            return layer.as_written(key)
        value = getattr(layer, key.name)
        is_known = not any(isinstance(item, NumClasses) for item in (value if isinstance(value, list) else [value]))
        if self.classes and not is_known:
            layer.take_classes(self.classes)
        if self.classes or is_known:
            return getattr(layer, key.name)
        self.note(layer, f"{self.target} has no {NumClasses.word}; write the number there, or name it with --num-classes")
        return layer.as_written(key)

    def _entry(self, key: Key, value: Any) -> str:
        if not self.toml:
            return self._line(key.name, _text(key, value))
        native = [key.kind.to_toml(item) for item in value] if key.each else key.kind.to_toml(value)
        return f"{_toml_key(key.name)} = {_toml(native)}"

    def _line(self, name: str, value: Any) -> str:
        return f"{name} = {_toml(value)}" if self.toml else f"{name}={str(value).replace('%', '%%')}"

    def note_other_meanings(self, generation: Generation) -> None:
        """Note what the same words mean to ``generation``, as which the files will be read, and not to that of the net."""
        pair = {self.graph.generation, generation}
        for layer in self.graph.declared if len(pair) == 2 else ():
            if isinstance(layer, WeightLayer):
                if any(layer.wball) and pair == {G2012, G2014} and not self._scales_wball(generation):
                    self.note(layer, "wball limits the norm of a filter as a whole in 2014, per weight of it in 2012")
                elif any(layer.wball) and pair == {G2012, G2014} and not isinstance(layer, Local):
                    self.note(layer, "2014 gives every filter the norm that wball says, 2012 longer ones alone")
                if layer.superEps and G2014 in pair:
                    self.note(layer, "superEps does nothing in 2014")
            if layer.type == "rscale" and G2014 in pair:
                self.note(layer, "2014 tests on rescaled pictures, 2011 and 2012 on their middle")

    # -- learning rates -----------------------------------------------------------------------------------------

    def _rates(self, layer: WeightLayer, name: str) -> list[str]:
        """Return the line of a learning rate or a schedule, in the target's spelling."""
        if self.graph.params is None:
            return []
        if name in ("epsW", "schedW"):
            rates = [Rate(rate.base, layer.weight_schedule(i)) for i, rate in enumerate(layer.epsW)]
        else:
            rates = [Rate(layer.epsB.base, layer.bias_schedule())]
        if name in ("epsW", "epsB"):
            return [self._line(name, ",".join(self._rate(layer, name, rate) for rate in rates))]
        if self.target != G2012 or name == "sched":
            return []
        schedules = [rate.schedule or CONSTANT for rate in rates]
        if len(set(schedules)) > 1:
            self.note(layer, "2012 has one schedule for all weights of a layer; kept that of the first input")
        return [f"{name}={SCHEDULE.write(schedules[0])}"] if schedules and schedules[0] != CONSTANT else []

    def _rate(self, layer: WeightLayer, name: str, rate: Rate) -> str:
        schedule = rate.schedule or CONSTANT
        if self.target != G2014:
            if self.target == G2011 and schedule != CONSTANT:
                self.note(layer, f"2011 has no schedules; {name} keeps its base, without {SCHEDULE.write(schedule)}")
            return FLOAT.write(rate.base)
        if schedule.type == "jdexp":
            self.note(layer, f"2014 has no jdexp, of which {name} keeps the steps of dexp")
            schedule = replace(schedule, type="dexp")
        if schedule.noiseStdev:
            self.note(layer, f"2014 has no noiseStdev, which was {FLOAT.write(schedule.noiseStdev)} in {name}")
        # 2014's parser reads no exponent in a base.
        base = f"{Decimal(repr(rate.base)):f}".removesuffix(".0") if math.isfinite(rate.base) else repr(rate.base)
        if schedule.type == "const":
            return base
        params = {"base": base} | {name: FLOAT.write(value) for name, value in schedule.parameters(noise=False).items()}
        return f"{schedule.type}[{';'.join(f'{name}={text}' for name, text in params.items())}]"


def _text(key: Key, value: Any) -> str:
    return ",".join(key.kind.write(item) for item in value) if key.each else key.kind.write(value)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """Return a native value as TOML text."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _comments(document: Document | None) -> dict[str | None, list[str]]:
    """Return the whole-line comments of a file by the section in or right above which they stand; ``None``: at the end."""
    comments: dict[str | None, list[str]] = {}
    pending: list[str] = []
    section = ""
    for line in document.text.split("\n") if document else ():
        if line[:1] in ("#", ";"):
            clean = "".join(char if char.isprintable() or char == "\t" else " " for char in line[1:])
            pending.append(f"#{clean.rstrip()}\n")
        elif line.strip():
            header = _HEADER.match(line)
            section = header[1] if header else section
            comments.setdefault(section, []).extend(pending)
            pending = []
    return comments | {None: pending}
