"""What changed in meaning from one definition to another: layers, wiring, shapes, weights, rates; never the text.

Layers are matched by name, then by what they are and what stands around them, which finds those that were renamed.
Comments, the order of keys and of sections, defaults written out and the spelling of a generation make no difference;
nor do keys that only steer the originals' kernels.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from convnet.generation import G2012
from convnet.graph.analysis import shape_texts
from convnet.graph.graph import Graph
from convnet.language.keys import Key
from convnet.language.schedules import CONSTANT, RATE, Rate, Schedule
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer
from convnet.options import flag_of

_SPELLINGS = {"hs": "dropout2", "pass": "concat"}  # types that compute the same
_NO_EFFECT = {"partialSum", "sumWidth", "superMom", "threads"}
_RATES = {"epsW", "epsB", "schedW", "schedB", "sched"}
_SPECIAL = {"inputs", "gpu", "neuron", "wball", *_NO_EFFECT, *_RATES}
_CLOSE = (2.2, 1.6)  # likeness of two layers, at most 3, from which on they count as one renamed
_MANY = 100_000  # pairs of layers of one type that are all compared
_NEAR = 8  # of more, places apart among those of their type; and neighbours of a match that has no more


@dataclass(frozen=True)
class Difference:
    """From a net to another. ``renamed`` holds old and new names, ``changed`` by new name what was and what is, by key.

    So does ``run``, of the options that the sections ``[run]`` give.
    """

    removed: list[str]
    added: list[str]
    renamed: dict[str, str]
    changed: dict[str, dict[str, tuple[str, str]]]
    run: dict[str, tuple[str, str]]
    totals: dict[str, tuple[int, int]]

    @property
    def same(self) -> bool:
        """Whether both mean the same; names are part of the meaning, since checkpoints hold weights by name."""
        return not (self.removed or self.added or self.renamed or self.changed or self.run)

    def sentences(self) -> Iterator[str]:
        """Yield what changed, without the totals: ``layer drop is gone``, ``conv1 filters: 32 -> 64``."""
        yield from (f"layer {name} is gone" for name in self.removed)
        yield from (f"layer {name} is new" for name in self.added)
        yield from (f"layer {was} is called {now}" for was, now in self.renamed.items())
        for name, changes in self.changed.items():
            yield from (f"{name} {line}" for line in _change_texts(changes))
        yield from (f"[run] {line}" for line in _change_texts(self.run))


def difference(old: Graph, new: Graph) -> Difference:
    """Return what changed from ``old`` to ``new``."""
    before, after = _described(old), _described(new)
    matched = _match(before, after)
    found = set(matched.values())
    changed = {now: _changes(before[was], after[now], matched) for was, now in matched.items()}
    return Difference(
        removed=[name for name in before if name not in matched],
        added=[name for name in after if name not in found],
        renamed={was: now for was, now in matched.items() if was != now},
        changed={name: changes for name, changes in changed.items() if changes},
        run=_differing(*({flag_of(name)[2:]: str(value) for name, value in graph.run.items()} for graph in (old, new))),
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
    shapes = shape_texts(graph)
    described = {
        layer.name: _Described(_meaning(graph, layer, shapes[layer.name]), _input_names(layer), set())
        for layer in graph.declared
    }
    for name, layer in described.items():
        for below in layer.inputs:
            described[below].readers.add(name)
    return described


def _input_names(layer: Layer) -> list[str]:
    return [source.detached_from or source.name for source in layer.sources]


def _meaning(graph: Graph, layer: Layer, shape: str) -> dict[str, str]:
    """Return what the layer's keys mean, by key, in one spelling for all generations."""
    values = _values(graph, layer) | {"shape": shape}
    joined = {name: _joined(value) if isinstance(value, list) else value for name, value in values.items()}
    return {name: text for name, text in joined.items() if text}


def _values(graph: Graph, layer: Layer) -> dict[str, str | list[str]]:
    """Return the values of a layer by key, of keys that take one per input a list."""
    values: dict[str, str | list[str]] = {"type": _SPELLINGS.get(layer.type, layer.type)}
    values["gpu"] = ",".join(map(str, layer.gpu))
    for key in layer.keys:
        if key.name not in _SPECIAL:
            values[key.name] = _text(key, layer.as_written(key))
    values["neuron"] = layer.neuron.text if layer.neuron and layer.neuron.type != "ident" else ""
    if isinstance(layer, WeightLayer):
        per_weight = graph.generation == G2012  # whose limits hold per weight of a filter (numerics 13.6)
        limits = [limit * (layer.weights_per_filter(i) if per_weight else 1) for i, limit in enumerate(layer.wball)]
        values["wball"] = [f"{limit:g}" if limit else "" for limit in limits]
        values["epsW"] = [_rate(rate, layer.weight_schedule(i)) for i, rate in enumerate(layer.epsW)]
        values["epsB"] = _rate(layer.epsB, layer.bias_schedule())
        values["parameters"] = f"{layer.parameters():,}"
    return values


def _text(key: Key, value: Any) -> str | list[str]:
    if key.each:
        return ["" if item is None else key.kind.write(item) for item in value]
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
    return changes | _differing(old.meaning, new.meaning)


def _differing(old: dict[str, str], new: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what was and what is, by key, where these are not the same."""
    pairs = {name: (old.get(name, ""), new.get(name, "")) for name in (old | new)}
    return {name: (was, now) for name, (was, now) in pairs.items() if was != now}


def value_changes(old: Graph, new: Graph) -> Iterator[str]:
    """Yield what changed in the values of keys that can change while a net trains: ``conv1 epsW[0]: 0.001 -> 0.0005``."""
    for layer in new.declared:
        if layer.name not in old.layers:
            continue
        was, now = _values(old, old.layers[layer.name]), _values(new, layer)
        for key in [key.name for key in layer.keys if key.can_change and key.name in now]:
            before, after = was.get(key, ""), now[key]
            if isinstance(before, str) or isinstance(after, str):
                pairs = {key: (str(before), str(after))}
            else:
                pairs = {f"{key}[{i}]": pair for i, pair in enumerate(zip(before, after, strict=False))}
            changes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            yield from (f"{layer.name} {text}" for text in _change_texts(changes))


# -- which layer is which


def _match(before: _Net, after: _Net) -> dict[str, str]:
    """Return new names by old ones, in the old order."""
    # The same name means the same layer.
    matched = {name: name for name in before if name in after}
    pairs = _Pairs(before, after, matched)
    # Others are matched in rounds, for each pair is a reason for their neighbours to match too; the most alike first.
    for threshold in _CLOSE:
        changed = list(pairs.likeness)
        while renamed := pairs.closest(changed, threshold):
            matched |= renamed
            changed = pairs.beside(renamed)
    return {name: matched[name] for name in before if name in matched}


class _Pairs:
    """Pairs of an old and a new layer of one type that may be the same, and how alike they are.

    Of types with very many layers only those are compared that stand near each other in both files, or beside a match.
    """

    def __init__(self, before: _Net, after: _Net, matched: dict[str, str]) -> None:
        self.before, self.after, self.matched = before, after, matched
        self.taken: set[str] = set()
        self.likeness: dict[tuple[str, str], float] = {}
        self.partners: dict[str, list[str]] = {}
        self.places = [{name: i for i, name in enumerate(net)} for net in (before, after)]
        by_type: dict[str, list[str]] = {}
        for name, layer in after.items():
            if name not in before:
                by_type.setdefault(layer.meaning["type"], []).append(name)
        met: Counter[str] = Counter()
        unmatched = [name for name in before if name not in matched]
        counts = Counter(before[name].meaning["type"] for name in unmatched)
        for old in unmatched:
            kind = before[old].meaning["type"]
            others, place = by_type.get(kind, []), met[kind]
            met[kind] += 1
            if counts[kind] * len(others) > _MANY:
                others = others[max(0, place - _NEAR) : place + _NEAR + 1]
            for new in others:
                self._add(old, new)

    def _add(self, old: str, new: str) -> None:
        if (old, new) not in self.likeness:
            self.likeness[old, new] = _likeness(self.before[old].meaning, self.after[new].meaning)
            self.partners.setdefault(old, []).append(new)

    def closest(self, pairs: Iterable[tuple[str, str]], threshold: float) -> dict[str, str]:
        """Return those of ``pairs`` whose likeness and neighbours reach ``threshold``, the best first, each layer once."""
        scores = {pair: score for pair in pairs if self._is_open(*pair) and (score := self._score(*pair)) >= threshold}
        found: dict[str, str] = {}
        old_places, new_places = self.places
        for old, new in sorted(scores, key=lambda pair: (-scores[pair], old_places[pair[0]], new_places[pair[1]])):
            if old not in found and new not in self.taken:
                found[old] = new
                self.taken.add(new)
        return found

    def beside(self, renamed: dict[str, str]) -> list[tuple[str, str]]:
        """Return the pairs whose scores have changed because of what is ``renamed``: of the neighbours of these."""
        olds: dict[str, None] = {}
        for was, now in renamed.items():
            sides = [(self.before[was].inputs, self.after[now].inputs), (self.before[was].readers, self.after[now].readers)]
            for old_side, new_side in sides:
                olds |= dict.fromkeys(old_side)
                if len(old_side) <= _NEAR and len(new_side) <= _NEAR:
                    for old, new in product(old_side, new_side):
                        if new not in self.before and self._is_open(old, new):
                            self._add(old, new)
        return [(old, new) for old in olds for new in self.partners.get(old, ())]

    def _is_open(self, old: str, new: str) -> bool:
        return old not in self.matched and new not in self.taken

    def _score(self, old: str, new: str) -> float:
        """Return the likeness of a pair and of its neighbours, 0 to 3; 0 for layers of different types."""
        before, after, like = self.before[old], self.after[new], self.likeness[old, new]
        if not like:
            return 0.0
        above = _shared({self.matched.get(name) for name in before.inputs}, set(after.inputs))
        return like + above + _shared({self.matched.get(name) for name in before.readers}, after.readers)


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
    for mark, graph, names in (("-", old, difference.removed), ("+", new, difference.added)):
        shapes = shape_texts(graph)
        lines += [f"{mark} {_introduction(graph.layers[name], shapes[name])}" for name in names]
    lines += [f"= {was} is now {now}" for was, now in difference.renamed.items()]
    # Layers that changed in the same way share one entry.
    alike: dict[str, list[str]] = {}
    for name, changes in difference.changed.items():
        alike.setdefault(repr(changes), []).append(name)
    for names in alike.values():
        lines.append(f"~ {', '.join(names)}")
        changes = difference.changed[names[0]]
        lines += _change_texts(changes, "    ")
    if difference.run:
        lines += ["~ [run]", *_change_texts(difference.run, "    ")]
    for name, (total, now_total) in difference.totals.items():
        change = f" -> {now_total:,} ({now_total - total:+,})" if total != now_total else ", as before"
        lines.append(f"{name}: {total:,}{change}")
    return "\n".join(lines)


def _change_texts(changes: dict[str, tuple[str, str]], before: str = "") -> list[str]:
    return [f"{before}{key}: {was or 'none'} -> {now or 'none'}" for key, (was, now) in changes.items()]


def _introduction(layer: Layer, size: str) -> str:
    inputs = ", ".join(_input_names(layer))
    return f"{layer.name}: {layer.type}" + (f" of {inputs}" if inputs else "") + (f", {size}" if size else "")
