"""What a checkpoint must hold, of this program and of the originals (io 4.4 to 4.6); every reader relies on it.

Keys that no reader uses are not looked at, so that files of forks and of later versions load.
"""

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, get_type_hints

from convnet.checkpoint.formats import FORMATS
from convnet.checkpoint.position import Position
from convnet.errors import DataError
from convnet.generation import GENERATIONS
from convnet.layers import LAYER_TYPES
from convnet.layers.filters import recognise
from convnet.layers.label_tree import LabelTree
from convnet.options import OPTIONS, Option, Options
from convnet.pickles import LegacyObject, rules, text_of
from convnet.pickles.rules import (
    Faults,
    Rule,
    array,
    either,
    exactly,
    group,
    items,
    line,
    mapping,
    maybe,
    real,
    record,
    text,
    that,
    whole,
)
from convnet.texts import counted, did_you_mean

# Of what this project adds: from 2 on, a checksum stands behind the pickle; from 3 on, the originals open it.
VERSION = 3
_SIZE = 2**40  # no number of values, classes or cases is larger
_INDICES = 10_000  # of data matrices
_ENOUGH = 9  # faults of layers before others are looked for

_SIZES = whole(1, _SIZE)
_NAME = text("a name of one line without ']'", lambda v: bool(v.strip()) and v.splitlines() == [v] and "]" not in v)
_COUNT = whole(0, 2**53)
_MATRIX = array("f*", 2)
_MATRICES = items(_MATRIX)

# -- what the originals saved of a position, and what each layer holds

_LAYERS = that("a dictionary or a list of layers", lambda v: isinstance(v, list | tuple | dict) and len(v) > 0)
_STATE = {
    "epoch": _COUNT,
    "batchnum": whole(-(2**53), 2**53),
    "train_outputs": maybe(items(that("a pair", lambda _: True))),  # looked at one by one, as there are many
    "test_outputs": maybe(items(that("a pair", lambda _: True))),
}
_LAYER = {
    "inputs": maybe(items(either(text(), _COUNT))),
    "weights": either(_MATRICES, _MATRIX),
    "weightsInc": either(_MATRICES, _MATRIX),
    "biases": _MATRIX,
    "biasesInc": _MATRIX,
    "filterConns": maybe(items(items(_COUNT))),
    "children": maybe(items(text())),
    "outputFilter": text(),
}
# -- of a layer that an original saved, from which its layer file is written (``convnet.checkpoint.definition``)

_VALUE = either(real(), line(), that("None", lambda v: v is None))
_VALUES = either(_VALUE, items(_VALUE))
_PARAMETERS = mapping(line(), either(real(), line()))
_RATE = either(
    real(),
    record({"type": exactly("const"), "params": record({"base": real()})}),
    record({"type": text("another schedule than const", lambda v: v != "const"), "params": _PARAMETERS}),
)
_CHILDREN = either(
    mapping(either(whole(), text("a number", str.isdecimal)), items(whole())),
    that("None", lambda v: v is None),
    items(items(whole())),
)
_ORIGINAL = {
    "outputs": whole(0, _SIZE),
    "id": whole(),
    "dataIdx": whole(0, _INDICES),
    "padding": items(whole(-_SIZE, _SIZE)),
    "filters": whole(1, _SIZE),
    "groups": items(_SIZES),
    "size": _SIZES,
    "rootLabel": whole(),
    "tree": _CHILDREN,
    "weightSource": maybe(items(maybe(line()))),
    "weightSourceLayers": items(line()),
    "weightSourceLayerIndices": items(whole(-1, _SIZE)),
    "weightSourceMatrixIndices": items(whole(-1, _SIZE)),
    "neuron": maybe(either(line(), record({"type": line(), "params": mapping(line(), real())}))),
    **dict.fromkeys(("epsW", "epsB", "schedW", "schedB", "quantF", "quantB"), either(_RATE, items(_RATE))),
    "sched": either(_RATE, line()),
}
_WINDOWS = {"filterChannels": items(_SIZES), "filterSize": items(_SIZES)}
# What layers of a type must have beside name and type, and what else is known of theirs; the second of originals alone.
_OF_TYPE: dict[str, dict[str, Rule]] = {"conv": _WINDOWS, "local": _WINDOWS}
_OF_ORIGINAL: dict[str, dict[str, Rule]] = {
    "data": {"dataIdx": _ORIGINAL["dataIdx"], "outputs": _SIZES},
    "treefc": {"rootLabel": whole(), "outputs": _SIZES},
}
_DATA = {"start": maybe(whole(0, _SIZE)), "end": maybe(whole(0, _SIZE))}
# -- what this project adds

_PHILOX = record(
    {
        "bit_generator": exactly("Philox"),
        "state": record({"counter": items(whole(0, 2**64 - 1), 4), "key": items(whole(0, 2**64 - 1), 2)}),
        "buffer": items(whole(0, 2**64 - 1), 4),
        "buffer_pos": whole(0, 4),
        "has_uint32": whole(0, 1),
        "uinteger": whole(0, 2**32 - 1),
    }
)
CHANGES = items(record({"batches": _COUNT, "minibatches": _COUNT, "text": items(text())}))  # of the parameters
_POSITION = {
    name: {int: _COUNT, list[int]: items(whole(-1, 2**53)), list[list[int]]: items(items(_COUNT))}.get(hint)
    or rules.of_hint(hint)
    for name, hint in get_type_hints(Position).items()
    if name != "changes"
} | {"at_batch": whole(-1, 2**53), "batch": whole(), "changes": CHANGES}
_BY_MATRIX = mapping(
    either(whole(0, _INDICES), text("the number of a data matrix", lambda v: v.isdecimal() and len(v) < 5)), _SIZES
)
_OWN = record(
    {
        "dialect": exactly(*GENERATIONS),
        "layer_def_text": text("the text of a layer file", lambda v: bool(v.strip())),
        "layer_def_path": text(),
        "layer_params_text": maybe(text()),
        "layer_params_path": text(),
        "data_dims": _BY_MATRIX,
    },
    {
        "version": whole(1, VERSION),
        "format": exactly(*FORMATS),
        "at": items(whole(), 2),
        "layers": text(),
        "op": mapping(text(), either(real(), text(), items(either(real(), text())))),
        "origin": record({"generation": exactly(*GENERATIONS), "op": text()}),
        "seed": whole(),
        "step": _COUNT,
        "made_local": items(text()),
        "unshared": items(group(text(), _COUNT)),
        "num_classes": maybe(_SIZES),
        "heads": _BY_MATRIX,
        "tree": maybe(items(_COUNT)),
        "noise_state": maybe(_PHILOX),
        "moments": maybe(items(maybe(group(array("f"), array("f"))))),
        "pending": maybe(items(group(_COUNT, _COUNT, maybe(array("f"))))),
        "periods": maybe(items(_COUNT)),
        "arithmetic": text(),
        "position": maybe(record({}, _POSITION)),
        "data": maybe(
            record(
                {"mean": maybe(array("f")), "side": whole(0, 2**20), "label_names": items(text())},
                {
                    "value_mean": maybe(array("f")),
                    "picture_size": whole(0, 2**20),
                    "head_names": mapping(text(), items(text())),
                },
            )
        ),
    },
)


def faults_of(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything that is wrong in ``{"model_state": ..., "op": ...}``."""
    state, key = value["model_state"], "model_state"
    yield from record({"layers": _LAYERS}, _STATE).faults(state, key)
    if "convnet" in state:
        found = list(islice(_own_faults(state["convnet"], f"{key}['convnet']"), _ENOUGH))
        yield from found
        yield from _option_faults(value)
        if found:
            return
    if isinstance(state.get("layers"), list | tuple | dict):
        layers = state["layers"]
        found = list(islice(_layers_faults(layers, f"{key}['layers']", is_own(state)), _ENOUGH))
        yield from found
        yield from _outputs_faults(state, {} if found else _filters(layers))


def is_own(state: Mapping[str, Any]) -> bool:
    """Return whether this project trained a net last; else a program of the originals did, which carries our part along."""
    own = state.get("convnet")
    return own is not None and list(own.get("at", ())) in ([], [state.get("epoch"), state.get("batchnum")])


def _own_faults(own: Any, key: str) -> Faults:
    if isinstance(own, dict) and isinstance(own.get("version"), int) and own["version"] > VERSION:
        yield f"it was saved by a newer convnet: its version is {rules.shown(own['version'])}, known are 1 to {VERSION}"
        return
    found = list(islice(_OWN.faults(own, key), _ENOUGH))
    yield from found
    if found or not own.get("tree"):
        return
    try:
        LabelTree.from_parents([int(label) for label in own["tree"]], int(own.get("num_classes") or 0))
    except DataError as error:
        yield f"{key}['tree']: {error}"


def _word(value: Any) -> str:
    """Return a text, or ``''`` for anything else, which may be as long as the file when it is written out."""
    return text_of(value) if isinstance(value, str | bytes) else ""


def _layers_faults(layers: Any, key: str, is_own: bool) -> Faults:
    """Yield what is wrong with layer dicts, in whichever container."""
    names: set[str] = set()
    known = {
        _word(layer.get("name"))
        for layer in (layers.values() if isinstance(layers, dict) else layers)
        if isinstance(layer, dict)
    }
    for place, layer in layers.items() if isinstance(layers, dict) else enumerate(layers):
        where = f"{key}[{rules.shown(place)}]"
        type_ = _word(layer.get("type")) if isinstance(layer, dict) else ""
        needed, optional = (
            {"name": text("a name", bool) if is_own else _NAME, "type": line()} | _OF_TYPE.get(type_, {}),
            _LAYER,
        )
        if not is_own:
            kind = LAYER_TYPES.get(type_)
            read = [name for declared in (kind.keys if kind else ()) for name in declared.spellings]
            optional = dict.fromkeys(read, _VALUES) | _ORIGINAL | _LAYER | (_DATA if type_ == "data" else {})
            needed |= _OF_ORIGINAL.get(type_, {})
        rule = record(needed, optional, "a layer: a dictionary with name and type")
        found = list(islice(rule.faults(layer, where), _ENOUGH))
        yield from found
        if found:
            continue
        name = text_of(layer["name"])
        if name in names:
            yield f"{where}: there are two layers called {name!r}"
        names.add(name)
        yield from _crossed_faults(layer, where, known, len(layers))
        if not is_own:
            yield from _original_faults(layer, where)


def _crossed_faults(layer: Mapping[str, Any], key: str, names: set[str], count: int) -> Faults:
    """Yield the layers that a layer names and that do not exist: 2011 counted them, later ones are named."""
    for name in ("inputs", "weightSourceLayers", "weightSourceLayerIndices"):
        for other in layer.get(name) or ():
            if isinstance(other, int) and other >= count:
                yield f"{key}[{name!r}] names layer {other}, of {count} counted from 0"
            elif not isinstance(other, int) and text_of(other) not in names and (other or name == "inputs"):
                hint = did_you_mean(text_of(other), names)
                yield f"{key}[{name!r}] names {rules.shown(other)}, which is not in the checkpoint{hint}"
    if len({isinstance(source, int) for source in layer.get("inputs") or ()}) > 1:
        yield f"{key}['inputs'] holds names and numbers; expected one or the other"


def _original_faults(layer: Mapping[str, Any], key: str) -> Faults:
    """Yield where values of a layer of the originals, each of them right, do not suffice to write it down again."""
    inputs = len(layer.get("inputs") or ())
    if "filters" in layer and len(layer.get("groups") or ()) != inputs:
        wanted = f"a number for each of {counted(inputs, 'input')}"
        yield f"{key}['groups'] is {rules.shown(layer.get('groups'))}; expected {wanted}"
    owners = layer.get("weightSourceLayers", layer.get("weightSourceLayerIndices"))
    places = layer.get("weightSourceMatrixIndices")
    if owners is not None and places is not None and len(places) != len(owners):
        wanted = f"a number for each of {counted(len(owners), 'weight matrix')}"
        yield f"{key}['weightSourceMatrixIndices'] is {rules.shown(places)}; expected {wanted}"
    kind = LAYER_TYPES.get(text_of(layer["type"]))
    if "scale" in layer and hasattr(kind, "across"):
        yield from record({"scale": real(), "size": _SIZES}).faults(layer, key)


_OUTPUT = group(mapping(text(), items(real(finite=False))), whole(1, _SIZE))
_NUMBERS = frozenset({int, float})


def _is_output(output: Any) -> bool:
    """Return whether nothing is wrong with an entry of the history, which has a hundred thousand of them."""
    if type(output) not in (tuple, list) or len(output) != 2 or type(output[0]) is not dict:
        return False
    costs, cases = output
    return (
        type(cases) is int
        and 0 < cases <= _SIZE
        and all(
            type(cost) is str and type(values) is list and _NUMBERS.issuperset(map(type, values))
            for cost, values in costs.items()
        )
    )


def _filters(layers: Any) -> dict[str, str]:
    """Return the words of cost layers whose values follow a pattern."""
    listed = layers.values() if isinstance(layers, dict) else layers
    return {
        text_of(layer["name"]): recognise(text_of(layer["outputFilter"])) for layer in listed if layer.get("outputFilter")
    }


def _outputs_faults(state: Mapping[str, Any], filters: Mapping[str, str]) -> Faults:
    """Yield what is wrong with the history: (sums or means by cost, cases) of every batch and test."""
    for name in ("train_outputs", "test_outputs"):
        outputs = state.get(name)
        for i, output in enumerate(outputs if isinstance(outputs, list | tuple) else ()):
            key = f"model_state['{name}'][{i}]"
            if not _is_output(output):
                yield from _OUTPUT.faults(output, key)
                continue
            for name_stored, values in output[0].items():
                cost = text_of(name_stored)
                if filters.get(cost) == "detection" and len(values) % 3 != 2:
                    yield f"{key}: {cost!r} has {len(values)} values; expected two and three per class"


def _option_faults(value: Mapping[str, Any]) -> Faults:
    """Yield what is wrong with the options of a run of this project, which were all of ``op`` up to version 2."""
    hints = get_type_hints(Options)
    rule = record({}, {option.name: _option_rule(option, hints[option.name]) for option in OPTIONS})
    own, op = value["model_state"]["convnet"], value.get("op")
    if isinstance(own, dict) and "options" in own:
        yield from rule.faults(own["options"], "model_state['convnet']['options']")
    elif not isinstance(op, LegacyObject):
        yield from rule.faults(op, "op")


def _option_rule(option: Option, hint: Any) -> Rule:
    """Return the rule for the value of an option: of its type, and where runs inherit it, one that could be given."""
    typed = rules.of_hint(hint)
    if not option.sticky:
        return typed

    def could_be_given(value: Any) -> bool:
        if value == option.default:
            return True
        words = ",".join(map(text_of, value)) if isinstance(value, list) else text_of(value)
        try:
            option.kind(words)
        except argparse.ArgumentTypeError:
            return False
        return True

    allowed = that(option.kind.name, could_be_given)

    def find(value: Any, key: str) -> Faults:
        found = list(islice(typed.faults(value, key), _ENOUGH))
        yield from found or allowed.faults(value, key)

    return Rule(typed.expected, find)
