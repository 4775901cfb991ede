"""What a checkpoint holds: ``{'model_state': {...}, 'op': {...}}`` as in 2014, and what this project adds to it.

``model_state['layers']`` maps names to the originals' layer dicts with their arrays. Added are the texts of both layer
files, the seed, the number of steps, and the position inside an interrupted batch: all that is needed to go on as if
nothing had happened. Files of all generations are read, as plain data (io 4.4 to 4.8).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from convnet import pickles
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.errors import CheckpointError
from convnet.generation import G2014
from convnet.graph.graph import Changes
from convnet.graph.loading import LayerFiles
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.options import BY_NAME
from convnet.pickles import UnsafePickle, text_of

VERSION = 1  # of what this project adds
# Options that the originals kept under other names.
_LEGACY = {
    "train_range": "train_batch_range",
    "test_range": "test_batch_range",
    "test_freq": "testing_freq",
    "epochs": "num_epochs",
    "mini": "minibatch_size",
    "data_provider": "dp_type",
}


def load(path: str | Path) -> dict[str, Any]:
    """The dict in a checkpoint, of any generation; nothing in the file is executed. Raises ``CheckpointError``.

    >>> state = load("checkpoints/ConvNet__2026-11-23_10.00.00/1.5")["model_state"]  # doctest: +SKIP
    >>> state["layers"]["conv1"]["weights"][0].shape  # doctest: +SKIP
    (363, 64)
    """
    try:
        value = pickles.load(path)
    except UnsafePickle as error:
        raise CheckpointError(str(error)) from None
    if isinstance(value, dict) and isinstance(value.get("model_state"), dict):
        return value
    if isinstance(value, list | dict) and _layer_dicts(value):
        return {
            "model_state": {"layers": value, "epoch": 0, "batchnum": 0, "train_outputs": [], "test_outputs": []},
            "op": {},
        }
    raise CheckpointError(f"{path}: not a checkpoint; it holds a {type(value).__name__} without layers")


def pack(
    net: Net,
    files: LayerFiles,
    history: dict[str, Any],
    position: dict[str, Any],
    options: dict[str, Any],
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The dict to save: ``history`` is what the originals kept beside the layers, ``position`` what a resumed run needs,
    ``data`` what it takes to show the net other pictures (``Provider.description``)."""
    state = collect_state(net)
    layers = {stored["name"]: stored | state.get(stored["name"], {}) for stored in stored_graph(net.graph, G2014)}
    own = {
        "version": VERSION,
        "seed": net.seed,
        "step": net.step,
        "dialect": str(net.graph.generation),
        "layer_def_text": files.definition,
        "layer_def_path": files.definition_path,
        "layer_params_text": files.params,
        "layer_params_path": files.params_path,
        "made_local": list(files.changes.local),
        "unshared": [list(pair) for pair in files.changes.unshared],
        "data_dims": {str(i): rows for i, rows in net.graph.data_dims.items()},
        "num_classes": net.graph.classes,
        "tree": next((layer.parents for layer in net.graph.declared if isinstance(layer, TreeFullyConnected)), None),
        "noise_state": _plain(net.noise.bit_generator.state),
        "moments": _moments(net),
        "pending": _pending(net),
        "position": position,
        "data": data,
    }
    return {"model_state": {**history, "layers": layers, "convnet": own}, "op": dict(options)}


def unpack_layers(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Layer dicts by name, whichever container a generation used."""
    return {text_of(layer["name"]): layer for layer in _layer_dicts(checkpoint["model_state"]["layers"])}


def layer_files(checkpoint: dict[str, Any]) -> LayerFiles:
    """The layer files embedded in a checkpoint of this project; raises ``CheckpointError`` for those of the originals."""
    own = checkpoint["model_state"].get("convnet")
    if not isinstance(own, dict):
        raise CheckpointError("the checkpoint holds no layer files, since an original wrote it; give --layer-def")
    params = own["layer_params_text"]
    return LayerFiles(
        text_of(own["layer_def_text"]),
        text_of(own["layer_def_path"]),
        text_of(params) if params is not None else None,
        text_of(own["layer_params_path"]),
        Changes(
            tuple(text_of(name) for name in own.get("made_local", ())),
            tuple((text_of(name), int(i)) for name, i in own.get("unshared", ())),
        ),
    )


def tree_of(own: dict[str, Any]) -> LabelTree | None:
    """The tree of labels that a treefc layer was trained with, from what this project adds to a checkpoint."""
    return LabelTree.from_parents([int(v) for v in own["tree"]], int(own["num_classes"])) if own.get("tree") else None


def history_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """epoch, batchnum, train_outputs and test_outputs, whose outputs 2011 and 2012 kept divided by the cases (io 2.6)."""
    state = checkpoint["model_state"]
    averaged = "convnet" not in state and not any("outputFilter" in layer for layer in _layer_dicts(state["layers"]))
    history: dict[str, Any] = {"epoch": int(state.get("epoch", 0)), "batchnum": int(state.get("batchnum", 0))}
    for key in ("train_outputs", "test_outputs"):
        pairs = [(costs, int(cases)) for costs, cases in state.get(key) or []]
        history[key] = [
            ({text_of(n): [float(v) * (cases if averaged else 1) for v in values] for n, values in costs.items()}, cases)
            for costs, cases in pairs
        ]
    return history


def stored_option(checkpoint: dict[str, Any], name: str) -> Any:
    """An option of the run that saved the checkpoint, in this project's name; ``None`` where it had none."""
    op = checkpoint.get("op")
    if isinstance(op, dict):
        return op.get(name)
    option = getattr(op, "options", {}).get(_LEGACY.get(name, name))
    return getattr(option, "value", None)


def inherited_options(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The options that a resumed run takes over; of an original's, those that describe its data and its training."""
    op = checkpoint.get("op")
    if isinstance(op, dict):
        return op
    found: dict[str, Any] = {}
    for name in (*_LEGACY, "data_path", "test_one", "crop_border", "inner_size", "color_noise"):
        value = stored_option(checkpoint, name)
        try:
            text = ",".join(map(str, value)) if isinstance(value, list) else text_of(str(value))
            found[name] = BY_NAME[name].kind(text) if value is not None else None
        except (ValueError, argparse.ArgumentTypeError):
            continue
    if "cropped" not in (found.get("data_provider") or ""):
        found.pop("crop_border", None)  # 2011 and 2012 kept its default of 4 for data that they did not crop
    return {name: value for name, value in found.items() if value is not None}


def position_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Where inside a batch the saved run stopped, and what it had counted; empty for the originals' files."""
    own = checkpoint["model_state"].get("convnet") or {}
    return own.get("position") or {}


def restore_streams(net: Net, checkpoint: dict[str, Any], same_weights: bool = True) -> None:
    """Put the step counter and random streams where the saved run had them.

    Without ``same_weights``, since the net was changed, moments and gradients under way are left at zero.
    """
    own = checkpoint["model_state"].get("convnet") or {}
    net.step = int(own.get("step", 0))
    if own.get("noise_state"):
        net.noise.bit_generator.state = _revived(own["noise_state"])
    if not same_weights:
        return
    for weights, moments in zip(net.weights, own.get("moments") or [], strict=False):
        if moments is not None:
            weights.moments = (weights.be.upload(moments[0]), weights.be.upload(moments[1]))
    for weights, pending in zip(net.weights, own.get("pending") or [], strict=False):
        weights.waited, weights.contributions = int(pending[0]), int(pending[1])
        if pending[2] is not None:
            weights.be.copy_in(pending[2], weights.grad)


def _layer_dicts(container: Any) -> list[dict[str, Any]]:
    layers = list(container.values()) if isinstance(container, dict) else container
    return [layer for layer in layers if isinstance(layer, dict) and "name" in layer and "type" in layer]


def _moments(net: Net) -> list[Any]:
    """Running moments of superEps, which the originals never saved."""
    if not any(weights.moments for weights in net.weights):
        return []
    return [w.moments and [w.be.download(w.moments[0]), w.be.download(w.moments[1])] for w in net.weights]


def _pending(net: Net) -> list[Any]:
    """Between updates of several minibatches (--wupdate-freq, updatePeriod): what has been counted and added up."""
    if not any(weights.waited for weights in net.weights):
        return []
    return [
        [w.waited, w.contributions, w.be.download(w.grad) if w.contributions and not w.accumulates_into_momentum else None]
        for w in net.weights
    ]


def _plain(value: Any) -> Any:
    """A generator's state in types that pickles of 2012 know: arrays of 64 bits as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [int(item) for item in value] if hasattr(value, "tolist") else value


def _revived(value: Any) -> Any:
    import numpy as np

    if isinstance(value, dict):
        return {text_of(key): _revived(item) for key, item in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value
