"""What the words of a net mean, in plain lines: of the table of its layers, of its files, and of the numbers of its run.

Layers, keys and neurons are told as they are declared; what is declared nowhere stands here.
"""

import inspect
import re
from collections.abc import Iterable

from convnet.graph.graph import Graph
from convnet.graph.table import COLUMNS, MEMORY, wrapped
from convnet.language.keys import Key
from convnet.language.neurons import TYPES
from convnet.language.values import NumClasses
from convnet.layers import LAYER_TYPES, Layer

Words = dict[str, dict[str, str]]  # by heading, and by word

_WORDS = {
    "case": "one picture, or whatever the net looks at, with its label",
    "label": "the right answer for a case: the number of its class",
    "class": "one of the kinds of things between which the net chooses",
    "minibatch": "the cases after which weights are changed once; --mini says how many",
    "batch": "a file of the data, of many minibatches; runs count, test and save by batches",
    "epoch": "one pass over all training batches",
    "num_classes": "in the place of a number: how many classes the data have",
    "map": "the outputs of one filter all over a picture; the colours of a picture are maps, too",
    "channels": "the maps that a layer reads",
    "filter": "a small square of weights that is laid over every place of its input",
    "weights": "the numbers that a layer multiplies its inputs by, which training finds",
    "biases": "numbers that a layer adds to its outputs, which training finds",
    "gradient": "how the cost changes with a number: training goes against it",
    "increments": "what was added to weights last; a share of it, the momentum, is added again",
    "momentum": "the share of the last change that is repeated in the next, so that steps in one direction add up",
    "weight decay": "a pull of all weights towards zero, against learning by heart",
    "learning by heart": "the training error falls, and the test error does not: more data, weight decay or dropout help",
    "training range": "the batches that the net learns from",
    "test range": "the batches, never learnt from, that say how good it is",
    "logical device": "a place in the list of --gpu; several may be one real device, or the processor",
    "checkpoint": "a file with the net and all its weights, from which a run goes on",
    "logprob": "the usual name of a cost.logreg: minus the logarithm of the right class's probability; guessing among 10 "
    "classes costs 2.3, among 1000 6.9",
    "probs": "the usual name of a softmax: probabilities of the classes, which sum to 1",
}
_VALUES = {
    "cost": "what training makes small, per case",
    "error": "share of cases for which the likeliest class is not the right one",
    "top-{k} error": "share of cases whose right class is not among the {k} likeliest",
    "mismatch": "share of predictions on the wrong side of one half",
}


def words_of(graph: Graph) -> Words:
    """Return what the words mean that occur in a net: its types, keys, neurons, costs, and words that these need."""
    types = dict.fromkeys(type(layer) for layer in graph.layers.values())
    written = {(type(layer), name) for layer in graph.declared for name in layer.check.places}
    keys = [(kind, key) for kind in types for key in kind.keys if any((kind, name) in written for name in key.spellings)]
    neurons = dict.fromkeys(layer.neuron.type for layer in graph.layers.values() if layer.neuron)
    values = _values([(name, cost.guesses) for cost in graph.costs for name in cost.value_names])
    words = _words(types, keys, neurons, values)
    names = " ".join(graph.layers) + " "
    names += NumClasses.word * any(layer.words for layer in graph.declared)
    text = " ".join([names, *(f"{word} {meaning}" for part in words.values() for word, meaning in part.items())])
    words["other words"] = {word: meaning for word, meaning in _WORDS.items() if re.search(rf"\b{word}(s|es)?\b", text)}
    return words


def all_words() -> Words:
    """Return what all words mean that there are."""
    kinds = LAYER_TYPES.values()
    values = [(name, 5) for name in _VALUES]
    words = _words(kinds, [(kind, key) for kind in kinds for key in kind.keys], TYPES, _values(values))
    return words | {"other words": _WORDS}


def glossary(words: Words, width: int = 0) -> str:
    """Return a line for each word, or more where it would be longer than ``width``; 0: it may be."""
    lines = []
    for heading, meanings in words.items():
        indent = max(map(len, meanings), default=0) + 4
        lines += ["", f"{heading}:"]
        for word, meaning in meanings.items():
            start = f"  {word}".ljust(indent)
            if width and indent > width // 2:  # the meaning stands below the word
                lines.append(start.rstrip())
                start = " " * 4
            lines.append(wrapped(start + meaning, width, " " * len(start)))
    return "\n".join(lines[1:])


def _values(names: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Return what values of costs mean, by name, for each name and how many labels may be guessed there."""
    repeated = "the error again, since one label may be guessed"
    return {
        name.format(k=guesses): repeated if guesses == 1 and "{k}" in name else _VALUES[name].format(k=guesses)
        for name, guesses in names
    }


def _words(
    types: Iterable[type[Layer]], keys: Iterable[tuple[type[Layer], Key]], neurons: Iterable[str], values: dict[str, str]
) -> Words:
    helps: dict[str, dict[str, list[str]]] = {}
    for kind, key in keys:
        helps.setdefault(key.name, {}).setdefault(key.help, []).append(kind.type)
    words = {
        "columns": {column.head: column.meaning for column in (*COLUMNS, MEMORY)},
        "types of layers": {kind.type: _meaning(kind) for kind in types},
        "neurons": {name: f"{TYPES[name].formula}, of every value" for name in neurons},
        "keys": {name: _joined(meanings) for name, meanings in sorted(helps.items())},
        "numbers of a run": values,
    }
    return {heading: meanings for heading, meanings in words.items() if meanings}


def _meaning(kind: type[Layer]) -> str:
    """Return the full name of a type and the first paragraph of what its class says."""
    first = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return first if kind.title in ("", kind.type) else f"{kind.title}: {first[:1].lower()}{first[1:]}"


def _joined(meanings: dict[str, list[str]]) -> str:
    """Return what a key means, which may be something else in other types."""
    if len(meanings) == 1:
        return next(iter(meanings))
    return "; ".join(f"of {', '.join(kinds)}: {meaning}" for meaning, kinds in meanings.items())
