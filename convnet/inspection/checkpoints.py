"""Checkpoints of every generation, and of this program in every format (io section 4)."""

from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint
from convnet.checkpoint.checkpoint import of_content, recognised
from convnet.checkpoint.layer_dicts import LEARNED
from convnet.errors import CheckpointError, DataError, LayerFileError
from convnet.generation import G2011, G2012, G2014
from convnet.graph.loading import parse
from convnet.inspection.found import Found, arrays_in
from convnet.net.state import array_faults
from convnet.pickles import Content, text_of
from convnet.texts import listed
from convnet.training.costs import Outputs

_PROGRAMS = {G2011: "cuda-convnet (2011)", G2012: "the programs of the 2012 release", G2014: "cuda-convnet2 (2014)"}
_DAMAGED = "go on from an earlier checkpoint of the run, or from a copy of this one"
_TOLD = 20  # arrays that are wrong
_BY_HAND = "a net of layers that are right can take its weights over in Python: docs/python.md"
_DIVERGED = "training diverged before it was saved; go on from an earlier checkpoint, with lower rates"


def is_checkpoint(value: Any) -> bool:
    """Return whether an object from a pickle looks like a checkpoint of any generation, damaged or not."""
    try:
        return recognised("", value) is not None
    except CheckpointError:
        return isinstance(value, dict) and "model_state" in value


def found_checkpoint(found: Found, content: Content) -> None:
    """Add what a checkpoint says."""
    found.kind = "a checkpoint"
    try:
        checkpoint = of_content(found.path, content)
    except CheckpointError as error:
        found.blame(error, _DAMAGED)
        found.arrays = arrays_in(content.value, wanted=lambda key: key not in ("inputLayers", "op"))
        return
    found.program, found.generation = _program(checkpoint), str(checkpoint.written_as)
    if not content.has_checksum and checkpoint.is_original:
        found.remarks.append("It has no checksum, as the originals write none: damage within arrays cannot be seen.")
    found.remarks += checkpoint.remarks + checkpoint.options_left
    found.facts = _facts(checkpoint)
    names = _check_net(found, checkpoint)
    found.facts["layers"] = _layer_rows(checkpoint, names)
    layers = ((name, checkpoint.layers[name]) for name in names)
    found.arrays = arrays_in({name: {key: layer[key] for key in LEARNED[:4] if key in layer} for name, layer in layers})
    wrong = [array for array in found.arrays if array.not_finite and not array.shared_with]
    found.arrays += arrays_in({key: (checkpoint.data or {}).get(key) for key in ("mean", "value_mean")}, "data")
    if wrong:
        where = listed((f"{array.not_finite:,} in {array.name}" for array in wrong), _TOLD)
        found.blame(f"numbers that are not finite: {where}", _DIVERGED)


def _layer_rows(checkpoint: Checkpoint, order: list[str]) -> list[dict[str, Any]]:
    """Return name, type, inputs and outputs of each layer in ``order``; 2011 counts inputs."""
    layers, stored = checkpoint.layers, list(checkpoint.layers)
    rows = []
    for name in order:
        inputs = [text_of(i) if isinstance(i, str | bytes) else stored[i] for i in layers[name].get("inputs") or []]
        kind, outputs = text_of(layers[name]["type"]), layers[name].get("outputs")
        rows.append({"name": name, "type": kind, "inputs": inputs, "outputs": outputs})
    return rows


def _program(checkpoint: Checkpoint) -> str:
    if checkpoint.own:
        return "convnet"
    theirs = _PROGRAMS[checkpoint.written_as]
    return f"{theirs}, which went on from a checkpoint of convnet" if checkpoint.carried else theirs


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return position, costs, options and data of a checkpoint."""
    position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
    own, data = checkpoint.own, checkpoint.data or {}
    facts: dict[str, Any] = {"format": own.get("format"), "version": own.get("version")}
    facts |= {"epoch": position.epoch, "batch": position.batch, "batches_done": position.batches_done}
    facts |= {"batches_recorded": len(position.train_outputs), "tests_recorded": len(position.test_outputs)}
    for name, recorded in (("last_train", position.train_outputs), ("last_test", position.test_outputs)):
        if recorded:
            facts[name] = outputs.named(*recorded[-1])
    files = checkpoint.files if checkpoint.has_files else None
    facts["layer_files"] = [path for path in (files().definition_path, files().params_path) if path] if files else []
    facts |= {"data_dims": {str(i): rows for i, rows in sorted(checkpoint.data_dims.items())}, "classes": checkpoint.classes}
    facts["heads"] = {str(i): count for i, count in checkpoint.heads.items()}
    facts["label_names"] = [text_of(name) for name in data.get("label_names") or ()]
    options = {name: value for name, value in checkpoint.options.items() if value not in (None, "", [])}
    return facts | {"seed": own.get("seed"), "options": options}


def _check_net(found: Found, checkpoint: Checkpoint) -> list[str]:
    """Add what hinders the net of a checkpoint from being built with its arrays; return its layers, in order if known."""
    names = list(checkpoint.layers)
    try:
        builder = parse(checkpoint.files(Path(found.path).name), checkpoint.dialect)
        graph = builder.shape(**checkpoint.sizes)
    except LayerFileError as error:
        first = listed((str(problem).replace("\n", " ") for problem in error.problems), 3)
        found.blame(f"its layers make no net: {first}", _BY_HAND)
    except (CheckpointError, DataError) as error:
        found.blame(error, _BY_HAND)
    else:
        names = list(graph.layers) if sorted(graph.layers) == sorted(names) else names
        if faults := [*array_faults(graph, checkpoint.layers)]:
            found.blame("; ".join(faults[:_TOLD]) + f"; and {len(faults) - _TOLD:,} more" * (len(faults) > _TOLD), _DAMAGED)
    return names
