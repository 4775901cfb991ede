"""What a checkpoint of the originals or of a fork holds that no net says, kept for whoever reads the next one.

Keys that no generation has are put where they were. The options of the run that saved it (``op``) lie beside ours as text,
so that a file of that generation has them again.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from convnet.checkpoint.checkpoint import Checkpoint
from convnet.checkpoint.fitting import fitting
from convnet.checkpoint.json_tree import CONTAINERS, KINDS, from_json, items_of, plain_copy, to_json
from convnet.checkpoint.layer_dicts import LEARNED, stored_graph
from convnet.checkpoint.legacy_options import LegacyOptions
from convnet.checkpoint.op import THEIRS, declared_names, options_in, options_parser
from convnet.errors import CheckpointError
from convnet.generation import GENERATIONS, Generation
from convnet.graph.graph import Graph
from convnet.options import BY_NAME
from convnet.pickles import LegacyObject, UnsafePickle, legacy_class, path_of, text_of

_STATE = {"epoch", "batchnum", "train_outputs", "test_outputs", "layers", "convnet"}


class Foreign:
    """Keys of ``state`` and of ``layers`` that nobody knows, and ``op``, options of ``generation``, if it has any."""

    def __init__(self, checkpoint: Checkpoint | None = None, graph: Graph | None = None) -> None:
        self.state: dict[str, Any] = {}
        self.layers: dict[str, dict[str, Any]] = {}
        self.op: LegacyObject | None = None
        self.generation = ""
        if checkpoint is None or graph is None:
            return
        known, own = _known(graph, checkpoint), {id(layer) for layer in checkpoint.layers.values()}
        found = {
            "state": {
                key: value
                for key, value in checkpoint["model_state"].items()
                if key not in _STATE and _stands_alone(value, own)
            },
            "layers": {
                name: {key: value for key, value in layer.items() if key not in known[name] and _stands_alone(value, own)}
                for name, layer in checkpoint.layers.items()
                if name in known
            },
            "op": checkpoint.get("op") if checkpoint.is_original and _is_parser(checkpoint.get("op")) else None,
        }
        found = plain_copy(found)
        self.state, self.layers, self.op = found["state"], found["layers"], found["op"]
        self.generation = str(checkpoint.written_as) if self.op else ""
        if origin := checkpoint.own.get("origin"):
            self._take(origin)

    def _take(self, origin: Mapping[str, Any]) -> None:
        """Take the options that an earlier checkpoint of this project kept; raises ``CheckpointError``."""
        try:
            self.op = from_json(text_of(origin["op"]), _no_array, as_read=False)
        except UnsafePickle as error:
            raise CheckpointError(f"model_state['convnet']['origin']['op'] is {error}") from None
        if not _is_parser(self.op):
            raise CheckpointError("model_state['convnet']['origin']['op'] is not the text of options")
        self.generation = text_of(origin["generation"])

    def stored(self) -> dict[str, Any]:
        """Return what belongs into our part of a checkpoint: nothing, or options as they were."""
        return {"origin": {"generation": self.generation, "op": to_json(self.op)[0]}} if self.op else {}

    def add_to(self, layers: Iterable[dict[str, Any]]) -> None:
        """Give layer dicts the keys that they had beside those of all generations."""
        for layer in layers:
            for key, value in self.layers.get(layer["name"], {}).items():
                layer.setdefault(key, value)

    def options_parser(
        self, generation: Generation, values: Mapping[str, Any], ours: Mapping[str, Any], written: Collection[str] = ()
    ) -> LegacyObject:
        """Return ``op`` for ``values`` of a generation's options: with those of a fork, and where it is of the generation
        itself, as it was, but for options that ``ours``, by this project's names, changed since, and for the names of layer
        files that are not there and have been ``written`` anew."""
        made = options_parser(generation, values)
        if self.op is None:
            return made
        if self.generation != generation:
            vars(made)["options"] |= self._of_a_fork(generation)
            return made
        taken = LegacyOptions(self.op, generation).taken
        kept = plain_copy(self.op, as_read=False)
        options, new = vars(kept)["options"], vars(made)["options"]
        for name, option in new.items():
            options.setdefault(name, option)
        for our_name, name in THEIRS.items():
            value = ours.get(our_name)
            if name in new and value is not None and value != taken.get(our_name, BY_NAME[our_name].default):
                vars(options[name]).update(value=vars(new[name])["value"], value_given=True)
        for name in ("layer_def", "layer_params"):
            if name in written and not os.path.lexists(path_of(vars(options[name]).get("value"))):
                vars(options[name])["value"] = vars(new[name])["value"]
        return kept

    def _of_a_fork(self, generation: Generation) -> dict[str, LegacyObject]:
        """Return the options that no generation has, of the classes of ``generation``."""
        known = {name for each in GENERATIONS for name in declared_names(each)}
        module = options_parser(generation, {}).legacy_class.rpartition(".")[0]
        return {
            name: _of_module(option, module)
            for name, option in options_in(self.op).items()
            if name not in known and isinstance(option, LegacyObject)
        }


def _is_parser(op: object) -> bool:
    """Return whether it is an ``OptionsParser`` with options by name, which hold what can be written."""
    if not isinstance(op, LegacyObject) or not isinstance(getattr(op, "options", None), dict):
        return False
    return all(isinstance(one, LegacyObject) for one in options_in(op).values()) and _stands_alone(op, set())


def _stands_alone(value: Any, layers: Collection[int]) -> bool:
    """Return whether a value can be written, and holds none of the ``layers``, by identity, with all their arrays."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if id(one) in layers:
            return False
        if isinstance(one, CONTAINERS) and id(one) not in seen:
            seen.add(id(one))
            waiting += [part for pair in items_of(one) for part in pair]
        elif isinstance(one, np.ndarray) and one.dtype.kind not in KINDS:
            return False
    return True


def _no_array(name: str) -> Any:
    raise KeyError(name)


def _of_module(value: Any, module: str) -> Any:
    """Return an option with all that it holds, of the classes of another module."""
    if isinstance(value, type) and issubclass(value, LegacyObject):
        return legacy_class(module, value.legacy_class.rpartition(".")[2])
    if not isinstance(value, LegacyObject):
        return value
    made = legacy_class(module, value.legacy_class.rpartition(".")[2])()
    vars(made).update({name: _of_module(item, module) for name, item in vars(value).items()})
    return made


def _known(graph: Graph, checkpoint: Checkpoint) -> dict[str, set[str]]:
    """Return the keys that some generation stores of each layer of a net, in its own words and in the checkpoint's."""
    known: dict[str, set[str]] = {}
    stored = [layer for generation in GENERATIONS for layer in stored_graph(graph, generation)]
    if graph.generation != checkpoint.written_as:
        with suppress(CheckpointError):  # npz holds what that generation has no words for
            stored += stored_graph(fitting(graph, checkpoint.written_as).graph, checkpoint.written_as)
    for layer in stored:
        known.setdefault(layer["name"], {*LEARNED, "tree", "inputNames"}).update(layer)
    return known
