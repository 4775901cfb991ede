"""What changed in meaning from one definition to another: layers, wiring, shapes, weights, rates; never the text.

Layers are matched by name, then by what they are and what stands around them, which finds those that were renamed.
Comments, the order of keys and of sections, defaults written out and the spelling of a generation make no difference;
nor do keys that only steer the originals' kernels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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

    removed: list[str]
    added: list[str]
    renamed: dict[str, str]
    changed: dict[str, dict[str, tuple[str, str]]]
    totals: dict[str, tuple[int, int]]

    @property
    def same(self) -> bool:
        """Whether both mean the same; names are part of the meaning, since checkpoints hold weights by name."""
        return not (self.removed or self.added or self.renamed or self.changed)


def difference(old: Graph, new: Graph) -> Difference:
    """Return what changed from ``old`` to ``new``."""
    before, after = _described(old), _described(new)
    matched = _match(before, after)
    changed = {now: _changes(before[was], after[now], matched) for was, now in matched.items()}
    return Difference(
        removed=[name for name in before if name not in matched],
        added=[name for name in after if name not in matched.values()],
        renamed={was: now for was, now in matched.items() if was != now},
        changed={name: changes for name, changes in changed.items() if changes},
        totals={name: (total, _totals(new)[name]) for name, total in _totals(old).items()},
    )


def _totals(graph: Graph) -> dict[str, int]:
    macs = sum(layer.macs() for layer in graph.declared)
    return {"layers": len(graph.declared), "parameters": graph.parameters(), "multiply-adds": macs}


# -- the meaning of one layer


@dataclass(frozen=True)
class _Described:
    """A layer's meaning by key, and the names of the declared layers that it reads and that read it."""

    meaning: dict[str, str]
    inputs: list[str]
    readers: set[str]


_Net = dict[str, _Described]


def _described(graph: Graph) -> _Net:
    described = {layer.name: _Described(_meaning(graph, layer), _input_names(layer), set()) for layer in graph.declared}
    for name, layer in described.items():
        for below in layer.inputs:
            described[below].readers.add(name)
    return described


def _input_names(layer: Layer) -> list[str]:
    return [source.detached_from or source.name for source in layer.sources]


def _meaning(graph: Graph, layer: Layer) -> dict[str, str]:
    """Return what the layer's keys mean, by key, in one spelling for all generations."""
    meaning = {"type": _SPELLINGS.get(layer.type, layer.type), "gpu": ",".join(map(str, layer.gpu))}
    for key in layer.keys:
        if key.name not in _SPECIAL:
            meaning[key.name] = _text(key, getattr(layer, key.name))
    meaning["neuron"] = layer.neuron.text if layer.neuron and layer.neuron.type != "ident" else ""
    if isinstance(layer, WeightLayer):
        per_weight = graph.generation == G2012  # whose limits hold per weight of a filter (numerics 13.6)
        limits = [limit * (layer.weights_per_filter(i) if per_weight else 1) for i, limit in enumerate(layer.wball)]
        meaning["wball"] = _joined(f"{limit:g}" if limit else "" for limit in limits)
        meaning["epsW"] = _joined(_rate(rate, layer.weight_schedule(i)) for i, rate in enumerate(layer.epsW))
        meaning["epsB"] = _rate(layer.epsB, layer.bias_schedule())
        meaning["parameters"] = f"{layer.parameters():,}"
    meaning["shape"] = shape_text(layer)
    return {name: text for name, text in meaning.items() if text}


def _text(key: Key, value: Any) -> str:
    if key.each:
        return _joined("" if item is None else key.kind.write(item) for item in value)
    return "" if value is None else key.kind.write(value)


def _joined(texts: Iterable[str]) -> str:
    """Return one text for all inputs if they agree, since a single value serves all."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)


def _rate(rate: Rate, schedule: Schedule) -> str:
    return RATE.write(Rate(rate.base, None if schedule == CONSTANT else schedule))


def _changes(old: _Described, new: _Described, matched: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what was and what is, by key, of a layer whose inputs were renamed as ``matched`` says."""
    changes = {}
    if [matched.get(name) for name in old.inputs] != new.inputs:
        changes["inputs"] = (", ".join(old.inputs), ", ".join(new.inputs))
    for name in dict.fromkeys([*old.meaning, *new.meaning]):
        was, now = old.meaning.get(name, ""), new.meaning.get(name, "")
        if was != now:
            changes[name] = was, now
    return changes


# -- which layer is which


def _match(before: _Net, after: _Net) -> dict[str, str]:
    """Return new names by old ones, in the old order."""
    # The same name means the same layer.
    matched = {name: name for name in before if name in after}
    pairs = [(a, b) for a in before if a not in matched for b in after if b not in before]
    likeness = {(a, b): _likeness(before[a].meaning, after[b].meaning) for a, b in pairs}
    # Others are matched in rounds, for each pair is a reason for their neighbours to match too; the most alike first.
    for threshold in _CLOSE:
        while renamed := _closest(likeness, before, after, matched, threshold):
            matched |= renamed
            taken = set(renamed.values())
            likeness = {(a, b): like for (a, b), like in likeness.items() if a not in renamed and b not in taken}
    return {name: matched[name] for name in before if name in matched}


def _closest(
    likeness: dict[tuple[str, str], float], before: _Net, after: _Net, matched: dict[str, str], threshold: float
) -> dict[str, str]:
    """Return pairs whose likeness and neighbours reach ``threshold``, the best first, each layer once."""
    scores = {}
    for (a, b), like in likeness.items():
        above = _shared({matched.get(name) for name in before[a].inputs}, set(after[b].inputs))
        below = _shared({matched.get(name) for name in before[a].readers}, after[b].readers)
        if like and like + above + below >= threshold:
            scores[a, b] = like + above + below
    pairs: dict[str, str] = {}
    for a, b in sorted(scores, key=lambda pair: -scores[pair]):
        if a not in pairs and b not in pairs.values():
            pairs[a] = b
    return pairs


def _likeness(old: dict[str, str], new: dict[str, str]) -> float:
    """Return the share of keys that mean the same, 0 to 1; 0 for layers of different types."""
    if old["type"] != new["type"]:
        return 0.0
    names = {*old, *new}
    return sum(old.get(name) == new.get(name) for name in names) / len(names)


def _shared(old: set[str | None], new: set[str]) -> float:
    """Return the share of neighbours that are the same, 0 to 1."""
    return len(old & new) / len(old | new) if old or new else 1.0


# -- in words


def report(difference: Difference, old: Graph, new: Graph) -> str:
    """Return the differences as lines: - removed, + added, = renamed, ~ changed; then what became of the totals."""
    if difference.same:
        return "No difference in meaning."
    lines = [f"--- {old.definition.path}", f"+++ {new.definition.path}"]
    lines += [f"- {_introduction(old.layers[name])}" for name in difference.removed]
    lines += [f"+ {_introduction(new.layers[name])}" for name in difference.added]
    lines += [f"= {was} is now {now}" for was, now in difference.renamed.items()]
    # Layers that changed in the same way share one entry.
    alike: dict[str, list[str]] = {}
    for name, changes in difference.changed.items():
        alike.setdefault(repr(changes), []).append(name)
    for names in alike.values():
        lines.append(f"~ {', '.join(names)}")
        changes = difference.changed[names[0]]
        lines += [f"    {key}: {was or 'none'} -> {now or 'none'}" for key, (was, now) in changes.items()]
    for name, (total, now_total) in difference.totals.items():
        change = f" -> {now_total:,} ({now_total - total:+,})" if total != now_total else ", as before"
        lines.append(f"{name}: {total:,}{change}")
    return "\n".join(lines)


def _introduction(layer: Layer) -> str:
    inputs, size = ", ".join(_input_names(layer)), shape_text(layer)
    return f"{layer.name}: {layer.type}" + (f" of {inputs}" if inputs else "") + (f", {size}" if size else "")
