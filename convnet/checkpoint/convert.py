"""A checkpoint in the format of another generation, or as arrays of NumPy, as the programs of that year would save it.

What is in that format stays as it is, whatever it holds. Else the net is made from its layer files, or from the dicts
of its layers, put into the words of the generation (``convnet.checkpoint.fitting``) and stored as that generation does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convnet.checkpoint.carried import digest_of
from convnet.checkpoint.checkpoint import Checkpoint
from convnet.checkpoint.fitting import fitting, parameters_for
from convnet.checkpoint.foreign import Foreign
from convnet.checkpoint.json_tree import plain_copy
from convnet.checkpoint.layer_dicts import LEARNED, Stored, container_for, stored_graph
from convnet.checkpoint.legacy_options import lost_options
from convnet.checkpoint.op import THEIRS, providers_read, values_for, values_of
from convnet.checkpoint.recorded import outputs_for
from convnet.checkpoint.schema import VERSION
from convnet.errors import CheckpointError
from convnet.generation import UNTIL_2012, Generation
from convnet.graph.graph import Graph
from convnet.graph.loading import build_graph
from convnet.layers.conv import Windowed
from convnet.net.state import array_faults
from convnet.options import AUTO, NPZ, Options
from convnet.pickles import LegacyObject, path_of

_SIDES = {"cifar-cropped": 32, "image": 256}  # of the pictures that are cropped


@dataclass(frozen=True)
class Converted:
    """The tree to write; whether its texts are ``as_read``; what it says in other words, and what it does not hold.

    ``needs_files``: the programs of that year, which read the parameters again, cannot read those that the net has.
    """

    value: dict[str, Any]
    as_read: bool
    told: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    needs_files: bool = False


def convert(checkpoint: Checkpoint, form: str) -> Converted:
    """Return a checkpoint in the format ``form``; raises ``CheckpointError`` where that cannot hold the net."""
    own = checkpoint.own
    if form == NPZ:
        return Converted(_marked(checkpoint, form), True)
    is_opened = isinstance(checkpoint.get("op"), LegacyObject)  # by programs of the originals
    if is_opened and checkpoint.written_as == form and (not own or own.get("format") == form):
        return Converted(dict(checkpoint), True)
    generation, graph = Generation(form), graph_of(checkpoint)
    with checkpoint.named_in_errors():
        if fault := next(array_faults(graph, checkpoint.layers), ""):
            raise CheckpointError(fault)
        fitted = fitting(graph, generation)
    needs_files = fitted.graph is not graph or bool(parameters_for(graph, generation))
    foreign = Foreign(checkpoint, graph)
    layers = _layers_for(fitted.graph, generation, checkpoint.layers)
    foreign.add_to(layers)
    if is_opened and checkpoint.written_as == form and own.get("format") == NPZ and own.get("layers") == digest_of(layers):
        return Converted(_marked(checkpoint, form), True, needs_files=needs_files)
    values, lost = _option_values(checkpoint, generation, graph)
    position = checkpoint.position()
    state = {
        **foreign.state,
        "epoch": position.epoch,
        "batchnum": position.batch,
        "train_outputs": outputs_for(position.train_outputs, fitted.graph, generation),
        "test_outputs": outputs_for(position.test_outputs, fitted.graph, generation),
        "layers": container_for(layers, generation),
    }
    op = foreign.options_parser(generation, values, checkpoint.options)
    if carried := checkpoint.carried:
        own_files = digest_of(layers) if checkpoint.has_files else carried.get("layers", "")
        state["convnet"] = plain_copy(carried) | {
            "version": VERSION,
            "format": form,
            "at": [position.epoch, position.batch] if own else list(carried["at"]),
            "layers": own_files,
            "options": _saving_as(form, plain_copy(checkpoint.options, as_read=False)),
            "op": values_of(op),
            **foreign.stored(),
        }
    return Converted({"model_state": state, "op": op}, False, fitted.told, [*fitted.notes, *lost], needs_files)


def graph_of(checkpoint: Checkpoint) -> Graph:
    """Return the net of a checkpoint, for the data that it was trained on; raises ``ConvnetError``."""
    files = checkpoint.files(str(checkpoint.path))
    return build_graph(files, dialect=checkpoint.dialect, **checkpoint.sizes)


def _layers_for(graph: Graph, generation: Generation, known: Mapping[str, Stored]) -> list[Stored]:
    """Return the layer dicts of a graph as ``generation`` stores them, with what dicts that are ``known`` have learned."""
    learned = {name: {key: stored[key] for key in LEARNED if key in stored} for name, stored in known.items()}
    for layer in graph.declared:
        if isinstance(layer, Windowed):  # 2014 has no random connections
            learned.setdefault(layer.name, {}).setdefault("filterConns", [[] for _ in layer.inputs])
    return stored_graph(graph, generation, learned)


def _marked(checkpoint: Checkpoint, form: str) -> dict[str, Any]:
    """Return the tree of a checkpoint whose own part, if it has one, says ``form``."""
    if not checkpoint.own:
        return dict(checkpoint)
    state = checkpoint["model_state"]
    own = {**state["convnet"], "format": form}
    if "options" in own:
        own["options"] = _saving_as(form, own["options"])
    return {**checkpoint, "model_state": {**state, "convnet": own}}


def _saving_as(form: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a run that goes on in ``form``, if they said in which it saves."""
    is_given = options.get("checkpoint_format", AUTO) != AUTO
    return {**options, "checkpoint_format": form} if is_given else options


def _option_values(checkpoint: Checkpoint, generation: Generation, graph: Graph) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a generation's options for the run of a checkpoint, by name, and what they cannot say."""
    options = Options.of({}, checkpoint.options)
    provider = providers_read(checkpoint.written_as, bool(options.inner_size)).get(
        options.data_provider, options.data_provider
    )
    old = values_of(checkpoint.get("op"))
    values = values_for(generation, options, checkpoint.files(), graph, path_of(old.get("save_path", "")), provider)
    of_the_run = {*THEIRS.values(), "gpu", "num_gpus", "crop_border", "inner_size", "test_only", "multiview_test"}
    for name, value in old.items():
        if name not in of_the_run and name in values:
            values[name] = path_of(value) if isinstance(value, str) else value
    lost = lost_options(checkpoint.get("op"), generation)
    if options.inner_size and generation in UNTIL_2012:
        side = (checkpoint.data or {}).get("side") or _SIDES.get(provider, 0)
        values["crop_border"] = max(0, side - options.inner_size) // 2
        if not side:
            lost.append(f"--crop-border, which {generation} has for --inner-size={options.inner_size}: give it there")
    return values, lost
