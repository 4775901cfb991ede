"""What changed in meaning from one definition to another: layers, wiring, shapes, weights, rates; never the text.

convnet diff layers-a.cfg layers-b.cfg        exit status 0: the same net; 1: another; 2: trouble, as of diff(1)

Layers are matched by name, then by what they are and what stands around them, which finds those that were renamed.
Comments, the order of keys and of sections, defaults written out and the spelling of a generation make no difference;
nor do keys that only steer the originals' kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from convnet.generation import G2012
from convnet.graph.analysis import shape_text
from convnet.graph.graph import Graph
from convnet.language.keys import Key
from convnet.language.schedules import CONSTANT, RATE, Rate, Schedule
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer

_SPELLINGS = {"hs": "dropout2", "pass": "concat"}  # types that compute the same
_NO_EFFECT = {"partialSum", "sumWidth", "superMom", "threads"}
_RATES = {"epsW", "epsB", "schedW", "schedB", "sched"}
_SPECIAL = {"inputs", "gpu", "neuron", "wball", *_NO_EFFECT, *_RATES}
_CLOSE = (2.2, 1.6)  # likeness of two layers, at most 3, from which on they count as one renamed


@dataclass(frozen=True)
class Difference:
    """From a net to another. ``renamed`` holds old and new names, ``changed`` by new name what was and what is, by key."""

    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    changed: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether both mean the same; names are part of the meaning, since checkpoints hold weights by name."""
        return not (self.removed or self.added or self.renamed or self.changed)


def difference(old: Graph, new: Graph) -> Difference:
    """What changed from ``old`` to ``new``."""
    before, after = _described(old), _described(new)
    matched = _match(before, after)
    back = set(matched.values())
    changed = {theirs: _changes(before[mine], after[theirs], matched) for mine, theirs in matched.items()}
    return Difference(
        removed=[name for name in before if name not in matched],
        added=[name for name in after if name not in back],
        renamed={mine: theirs for mine, theirs in matched.items() if mine != theirs},
        changed={name: changes for name, changes in changed.items() if changes},
        totals={name: (_total(old, name), _total(new, name)) for name in ("layers", "parameters", "multiply-adds")},
    )


def _total(graph: Graph, name: str) -> int:
    if name == "layers":
        return len(graph.declared)
    return graph.parameters() if name == "parameters" else sum(layer.macs() for layer in graph.declared)


# -- the meaning of one layer


@dataclass(frozen=True)
class _Described:
    """A layer's meaning by key, and the declared layers before and behind it."""

    meaning: dict[str, str]
    inputs: list[str]
    readers: set[str]


def _described(graph: Graph) -> dict[str, _Described]:
    readers: dict[str, set[str]] = {layer.name: set() for layer in graph.declared}
    inputs = {layer.name: [_declared(source) for source in layer.sources] for layer in graph.declared}
    for name, sources in inputs.items():
        for source in sources:
            readers[source].add(name)
    return {
        layer.name: _Described(_meaning(graph, layer), inputs[layer.name], readers[layer.name]) for layer in graph.declared
    }


def _declared(layer: Layer) -> str:
    return layer.detached_from or layer.name


def _meaning(graph: Graph, layer: Layer) -> dict[str, str]:
    meaning = {"type": _SPELLINGS.get(layer.type, layer.type), "gpu": ",".join(map(str, layer.gpu))}
    for key in layer.all_keys():
        if key.name not in _SPECIAL:
            meaning[key.name] = _text(key, getattr(layer, key.name))
    neuron = layer.values.get("neuron")
    meaning["neuron"] = neuron.text if neuron and neuron.type != "ident" else ""
    if isinstance(layer, WeightLayer):
        per_weight = graph.generation == G2012  # whose limits hold per weight of a filter (numerics 13.6)
        limits = [
            limit * (layer.weights_per_filter(i) if per_weight else 1) for i, limit in enumerate(layer.values["wball"])
        ]
        meaning["wball"] = _joined(f"{limit:g}" if limit else "" for limit in limits)
        meaning["epsW"] = _joined(_rate(rate, layer.weight_schedule(i)) for i, rate in enumerate(layer.epsW))
        meaning["epsB"] = _rate(layer.epsB, layer.bias_schedule())
        meaning["parameters"] = f"{layer.parameters():,}"
    meaning["shape"] = shape_text(layer)
    return {name: text for name, text in meaning.items() if text}


def _text(key: Key, value: Any) -> str:
    if value is None:
        return ""
    if key.each:
        return _joined("" if item is None else str(key.kind.write(item)) for item in value)
    return str(key.kind.write(value))


def _joined(texts: Iterable[str]) -> str:
    """One text for all inputs if they agree, since a single value serves all."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)


def _rate(rate: Rate, schedule: Schedule) -> str:
    return RATE.write(Rate(rate.base, None if schedule == CONSTANT else schedule))


def _changes(old: _Described, new: _Described, matched: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = dict.fromkeys([*old.meaning, *new.meaning])
    changes = {name: (old.meaning.get(name, ""), new.meaning.get(name, "")) for name in names}
    changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
    if [matched.get(name) for name in old.inputs] != new.inputs:
        changes = {"inputs": (", ".join(old.inputs), ", ".join(new.inputs))} | changes
    return changes


# -- which layer is which


def _match(before: dict[str, _Described], after: dict[str, _Described]) -> dict[str, str]:
    """New names by old ones, in the old order: the same names first, then the most alike with the same neighbours."""
    matched = {name: name for name in before if name in after}
    left = [name for name in before if name not in matched]
    open_names = [name for name in after if name not in before]
    likeness = {(a, b): _likeness(before[a].meaning, after[b].meaning) for a in left for b in open_names}
    for threshold in _CLOSE:
        while found := _closest(likeness, before, after, matched, threshold):
            matched |= found
            taken = set(found.values())
            likeness = {(a, b): like for (a, b), like in likeness.items() if a not in found and b not in taken}
    return {name: matched[name] for name in before if name in matched}


def _closest(
    likeness: dict[tuple[str, str], float],
    before: dict[str, _Described],
    after: dict[str, _Described],
    matched: dict[str, str],
    threshold: float,
) -> dict[str, str]:
    """Pairs whose likeness and neighbours reach ``threshold``, the best first, each layer once."""
    scores = {}
    for (a, b), like in likeness.items():
        above = _shared({matched.get(name) for name in before[a].inputs}, set(after[b].inputs))
        below = _shared({matched.get(name) for name in before[a].readers}, after[b].readers)
        if like and like + above + below >= threshold:
            scores[a, b] = like + above + below
    found: dict[str, str] = {}
    for a, b in sorted(scores, key=lambda pair: -scores[pair]):
        if a not in found and b not in found.values():
            found[a] = b
    return found


def _likeness(old: dict[str, str], new: dict[str, str]) -> float:
    """Share of keys that mean the same, 0 to 1; 0 for layers of different types."""
    if old["type"] != new["type"]:
        return 0.0
    names = {*old, *new}
    return sum(old.get(name) == new.get(name) for name in names) / len(names)


def _shared(old: set[str | None], new: set[str]) -> float:
    return len(old & new) / len(old | new) if old or new else 1.0


# -- in words


def report(found: Difference, old: Graph, new: Graph) -> str:
    """The differences as lines: - removed, + added, = renamed, ~ changed; then what became of the totals."""
    if found.same:
        return "No difference in meaning."
    lines = [f"--- {old.definition.path}", f"+++ {new.definition.path}"]
    lines += [f"- {_introduced(old.layers[name])}" for name in found.removed]
    lines += [f"+ {_introduced(new.layers[name])}" for name in found.added]
    lines += [f"= {was} is now {name}" for was, name in found.renamed.items()]
    alike: dict[str, list[str]] = {}
    for name, changes in found.changed.items():
        alike.setdefault(repr(changes), []).append(name)
    for names in alike.values():
        lines.append(f"~ {', '.join(names)}")
        changes = found.changed[names[0]]
        lines += [f"    {key}: {was or 'none'} -> {is_now or 'none'}" for key, (was, is_now) in changes.items()]
    for name, (was, is_now) in found.totals.items():
        lines.append(f"{name}: {was:,}" + (f" -> {is_now:,} ({is_now - was:+,})" if was != is_now else ", as before"))
    return "\n".join(lines)


def _introduced(layer: Layer) -> str:
    inputs = ", ".join(_declared(source) for source in layer.sources)
    size = shape_text(layer)
    return f"{layer.name}: {layer.type}" + (f" of {inputs}" if inputs else "") + (f", {size}" if size else "")
