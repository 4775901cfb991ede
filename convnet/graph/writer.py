"""Writes a typed net as layer files: in the words of 2011, 2012 or 2014, or as TOML.

A target that does not know a key, a type or a neuron loses it, and a note says so. Numbers are written in the spelling that
the target's own parser reads. Whole-line comments stay with their section; those behind a value are lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from convnet.generation import G2011, G2012, G2014, GENERATIONS, Generation
from convnet.graph.builder import Builder
from convnet.language.diagnostics import Problems
from convnet.language.detection import detect
from convnet.language.ini import Document
from convnet.language.keys import REQUIRED, Key
from convnet.language.neurons import TYPES
from convnet.language.schedules import CONSTANT, SCHEDULE, Rate, Schedule, parameters
from convnet.language.toml import read_toml
from convnet.language.values import FLOAT
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.weighted import WeightLayer

TARGETS = ("toml", *GENERATIONS)
_RATES = ("epsW", "epsB", "schedW", "schedB", "sched")
_USUAL_SUM_WIDTH = 4  # 2014 demands sumWidth, which has no effect on results; this is what its own files say
_HEADER = re.compile(r"\s*\[(?:layer\.)?\s*\"?([^]\"]+)\"?\s*\]")


@dataclass
class Written:
    """The texts of both files, ``params`` ``None`` where there are none, and what could not be kept."""

    definition: str
    params: str | None
    notes: list[str] = field(default_factory=list)


def write_files(builder: Builder, target: str, single: bool = False) -> Written:
    """The net of ``builder`` for ``target``; ``single`` puts both halves of a TOML net into one file.

    Raises ``LayerFileError`` if the net has mistakes.
    """
    builder.problems.check()
    graph, writer = builder.graph, _Writer(builder, target)
    split = {"def": [""], "params": [""]}
    comments = {"def": _Comments(graph.definition), "params": _Comments(None)}
    if graph.params and graph.params is not graph.definition:
        comments["params"] = _Comments(graph.params)
    for layer in graph.declared:
        homes = writer.layer(layer)
        if single:
            merged = [*comments["def"].of(layer.name), *comments["params"].of(layer.name)]
            split["def"].append(writer.section(layer.name, homes["def"] + homes["params"], merged))
            continue
        split["def"].append(writer.section(layer.name, homes["def"], comments["def"].of(layer.name)))
        if homes["params"] or writer.wants_section(layer):
            split["params"].append(writer.section(layer.name, homes["params"], comments["params"].of(layer.name)))
    texts = {home: "\n".join(parts[1:]) + comments[home].tail() for home, parts in split.items()}
    has_params = graph.params is not None and not single
    writer.note_other_meanings(_read_as(texts, target))
    return Written(texts["def"], texts["params"] if has_params else None, writer.notes)


def _read_as(texts: dict[str, str], target: str) -> str:
    """The generation that written files will be taken for."""
    if target != "toml":
        return target
    documents = [read_toml(text, home, Problems()) for home, text in texts.items()]
    return detect(documents[0], documents[1] if documents[1].sections else documents[0], LAYER_TYPES)


class _Writer:
    def __init__(self, builder: Builder, target: str) -> None:
        self.builder, self.target, self.toml = builder, target, target == "toml"
        self.notes: list[str] = []

    def note(self, layer: Layer, text: str) -> None:
        self.notes.append(f"layer '{layer.name}': {text}")

    def reads(self, generations: tuple[Generation, ...]) -> bool:
        return self.toml or self.target in generations

    def wants_section(self, layer: Layer) -> bool:
        return not self.toml and self.target in layer.wants_params

    def section(self, name: str, lines: list[str], comments: Iterable[str]) -> str:
        header = f"[layer.{_toml_key(name)}]" if self.toml else f"[{name}]"
        return "".join(f"{line}\n" for line in (*comments, header, *lines))

    def layer(self, layer: Layer) -> dict[str, list[str]]:
        """Lines of the layer's sections by home."""
        if not self.reads(layer.read_by):
            self.note(layer, f"{self.target} has no type '{layer.type}'; written all the same")
        neuron = layer.values.get("neuron")
        if neuron and not self.reads(TYPES[neuron.type].read_by):
            self.note(layer, f"{self.target} has no neuron '{neuron.type}'; written all the same")
        homes = {"def": [self._line("type", layer.type)], "params": []}
        for key in layer.all_keys():
            home = "params" if key.name == "coeffs" and self.target == G2014 else key.home
            if key.name in _RATES and not self.toml and isinstance(layer, WeightLayer):
                homes[home] += self._rates(layer, key.name)
                continue
            if self._kept(layer, key):
                homes[home].append(self._entry(layer, key))
        return homes

    def _kept(self, layer: Layer, key: Key) -> bool:
        """Whether the key is to be written; notes it where a value that counts is lost."""
        value = self._value(layer, key)
        if value is None or (isinstance(value, list) and not value):
            return False
        given = key.name in self.builder.readers[layer.name].places or key.default is REQUIRED
        if self.reads(key.read_by):
            needed = self.target in key.demanded_by
            return given or needed or (key.name == "gpu" and self._moved(layer))
        if given and value != key.default_for(layer.values, len(layer.sources)) and not self._idle(key):
            self.note(layer, f"{self.target} has no key '{key.name}', which was {self._text(key, value)}")
        return False

    def _idle(self, key: Key) -> bool:
        return key.name in ("partialSum", "sumWidth")  # no effect on results

    def _moved(self, layer: Layer) -> bool:
        """Whether the original's default, the device of the first input, is not where the layer runs."""
        return bool(layer.sources) and not self.toml and _beneath(layer).gpu != layer.gpu

    def _value(self, layer: Layer, key: Key) -> Any:
        value = layer.values.get(key.name)
        if key.name == "gpu":
            value = value or (layer.gpu if self._moved(layer) else None)
            if value and self.target == G2012 and len(value) > 1:
                self.note(layer, f"2012 has one device per layer, not gpu={','.join(map(str, value))}")
                return value[:1]
        if key.name == "inputs" and layer.sources:
            return [source.detached_from or source.name for source in layer.sources]
        if key.name == "sumWidth" and self.target == G2014 and not value:
            return _USUAL_SUM_WIDTH
        return value

    def _entry(self, layer: Layer, key: Key) -> str:
        value = self._value(layer, key)
        if not self.toml:
            return self._line(key.name, self._text(key, value))
        native = [key.kind.to_toml(item) for item in value] if key.each else key.kind.to_toml(value)
        return f"{_toml_key(key.name)} = {_toml(native)}"

    def _line(self, name: str, text: str) -> str:
        return f"{name} = {_toml(text)}" if self.toml else f"{name}={text.replace('%', '%%')}"

    def _text(self, key: Key, value: Any) -> str:
        return ",".join(key.kind.write(item) for item in value) if key.each else key.kind.write(value)

    def note_other_meanings(self, generation: Generation) -> None:
        """Note what the same words mean to ``generation``, as which the files will be read, and not to that of the net."""
        graph = self.builder.graph
        pair = {graph.generation, generation}
        for layer in graph.declared if len(pair) == 2 else ():
            if any(layer.values.get("wball") or ()) and pair == {G2012, G2014}:
                self.note(layer, "wball limits the norm of a filter as a whole in 2014, per weight of it in 2012")
            if layer.values.get("superEps") and G2014 in pair:
                self.note(layer, "superEps does nothing in 2014")
            if layer.type == "rscale" and G2014 in pair:
                self.note(layer, "2014 tests on rescaled pictures, 2011 and 2012 on their middle")

    # -- learning rates -----------------------------------------------------------------------------------------

    def _rates(self, layer: WeightLayer, name: str) -> list[str]:
        if self.builder.graph.params is None:
            return []
        n = range(len(layer.inputs))
        if name in ("epsW", "epsB"):
            rates = [Rate(layer.epsW[i].base, layer.weight_schedule(i)) for i in n]
            if name == "epsB":
                rates = [Rate(layer.epsB.base, layer.bias_schedule())]
            return [self._line(name, ",".join(self._rate(layer, name, rate) for rate in rates))]
        if self.target != G2012 or name == "sched":
            return []
        schedules = [layer.weight_schedule(i) for i in n] if name == "schedW" else [layer.bias_schedule()]
        if len(set(schedules)) > 1:
            self.note(layer, "2012 has one schedule for all weights of a layer; kept that of the first input")
        return [f"{name}={SCHEDULE.write(schedules[0])}"] if schedules and schedules[0] != CONSTANT else []

    def _rate(self, layer: WeightLayer, name: str, rate: Rate) -> str:
        schedule = rate.schedule or CONSTANT
        if self.target != G2014:
            if self.target == G2011 and schedule != CONSTANT:
                self.note(layer, f"2011 has no schedules; {name} keeps its base, without {SCHEDULE.write(schedule)}")
            return FLOAT.write(rate.base)
        if schedule.noiseStdev:
            self.note(layer, f"2014 has no noiseStdev, which was {FLOAT.write(schedule.noiseStdev)} in {name}")
        return _rate_2014(rate.base, schedule)


def _rate_2014(base: float, schedule: Schedule) -> str:
    """Plain digits for a constant: 2014's parser reads no exponent."""
    if schedule.type == "const":
        return _digits(base)
    given = {"base": _digits(base)}
    given |= {name: FLOAT.write(value) for name, value in parameters(schedule, noise=False).items()}
    return f"{schedule.type}[{';'.join(f'{name}={text}' for name, text in given.items())}]"


def _digits(number: float) -> str:
    return f"{Decimal(repr(number)):f}".removesuffix(".0") if abs(number) < float("inf") else repr(number)


def _beneath(layer: Layer) -> Layer:
    source = layer.sources[0]
    return source.sources[0] if source.detached_from else source


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """A native value as TOML text."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


class _Comments:
    """Whole-line comments of a file by the section that they stand in or right above."""

    def __init__(self, document: Document | None) -> None:
        self.found: dict[str, list[str]] = {}
        self.waiting: list[str] = []
        section = ""
        for line in document.text.split("\n") if document else ():
            if line[:1] in ("#", ";"):
                clean = "".join(char if char.isprintable() or char == "\t" else " " for char in line[1:])
                self.waiting.append("#" + clean.rstrip())
            elif line.strip():
                header = _HEADER.match(line)
                section = header[1] if header else section
                self.found.setdefault(section, []).extend(self.waiting)
                self.waiting = []

    def of(self, name: str) -> list[str]:
        return self.found.get(name, [])

    def tail(self) -> str:
        return "".join(f"{line}\n" for line in self.waiting)
