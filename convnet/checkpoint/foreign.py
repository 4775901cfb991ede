"""What a checkpoint of the originals or of a fork holds that no net says, kept for whoever reads the next one.

Keys that no generation has are put where they were. The options of the run that saved it (``op``) lie beside ours as text,
so that a file of that generation has them again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from convnet.checkpoint.checkpoint import Checkpoint
from convnet.checkpoint.forms import LEARNED
from convnet.checkpoint.json_tree import from_json, plain_copy, to_json
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.checkpoint.legacy_options import LegacyOptions
from convnet.checkpoint.op import THEIRS, declared_names, options_parser
from convnet.errors import CheckpointError
from convnet.generation import GENERATIONS, Generation
from convnet.graph.graph import Graph
from convnet.options import BY_NAME
from convnet.pickles import LegacyObject, UnsafePickle, legacy_class, text_of

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
        known = _known(graph)
        found = {
            "state": {key: value for key, value in checkpoint["model_state"].items() if key not in _STATE},
            "layers": {
                name: {key: value for key, value in layer.items() if key not in known[name]}
                for name, layer in checkpoint.layers.items()
                if name in known
            },
            "op": None,
        }
        if checkpoint.is_original and isinstance(checkpoint.get("op"), LegacyObject):
            self.generation = str(checkpoint.written_as)
            found["op"] = checkpoint["op"]
        found = plain_copy(found)
        self.state, self.layers, self.op = found["state"], found["layers"], found["op"]
        if origin := checkpoint.own.get("origin"):
            self._take(origin)

    def _take(self, origin: Mapping[str, Any]) -> None:
        """Take the options that an earlier checkpoint of this project kept; raises ``CheckpointError``."""
        try:
            self.op = from_json(text_of(origin["op"]), _no_array, as_read=False)
        except UnsafePickle as error:
            raise CheckpointError(f"model_state['convnet']['origin']['op'] is {error}") from None
        self.generation = text_of(origin["generation"])

    def stored(self) -> dict[str, Any]:
        """Return what belongs into our part of a checkpoint: nothing, or options as they were."""
        return {"origin": {"generation": self.generation, "op": to_json(self.op)[0]}} if self.op else {}

    def add_to(self, layers: Iterable[dict[str, Any]]) -> None:
        """Give layer dicts the keys that they had beside those of all generations."""
        for layer in layers:
            for key, value in self.layers.get(layer["name"], {}).items():
                layer.setdefault(key, value)

    def options_parser(self, generation: Generation, values: Mapping[str, Any], ours: Mapping[str, Any]) -> LegacyObject:
        """Return ``op`` for ``values`` of a generation's options: with those of a fork, and where it is of the generation
        itself, as it was, but for options that ``ours``, by this project's names, changed since."""
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
        return kept

    def _of_a_fork(self, generation: Generation) -> dict[str, LegacyObject]:
        """Return the options that no generation has, of the classes of ``generation``."""
        known = {name for each in GENERATIONS for name in declared_names(each)}
        module = options_parser(generation, {}).legacy_class.rpartition(".")[0]
        return {
            name: _of_module(option, module)
            for name, option in vars(self.op)["options"].items()
            if name not in known and isinstance(option, LegacyObject)
        }


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


def _known(graph: Graph) -> dict[str, set[str]]:
    """Return the keys that some generation stores of each layer of a net."""
    known: dict[str, set[str]] = {}
    for generation in GENERATIONS:
        for stored in stored_graph(graph, generation):
            known.setdefault(stored["name"], {*LEARNED, "tree", "inputNames"}).update(stored)
    return known
