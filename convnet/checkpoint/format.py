"""What this project saves: ``{"model_state": {...}, "op": {...}}`` as 2014 did (io 4.4), and what a resumed run needs.

``model_state["layers"]`` maps names to the originals' layer dicts with their arrays. ``model_state["convnet"]`` is added:
the texts of both layer files, the seed, the number of steps, the random streams, and the position inside an interrupted
batch, so that a run goes on as if nothing had happened.
"""

from typing import Any

import numpy as np

from convnet.checkpoint.checkpoint import Checkpoint
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.checkpoint.position import Position
from convnet.generation import G2014
from convnet.graph.loading import LayerFiles
from convnet.layers.fc import TreeFullyConnected
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.options import Options
from convnet.pickles import text_of

VERSION = 1  # of what this project adds
# What the originals saved of a position, under their names.
_HISTORY = {"epoch": "epoch", "batch": "batchnum", "train_outputs": "train_outputs", "test_outputs": "test_outputs"}


def pack(
    net: Net, files: LayerFiles, position: Position, options: Options, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the dict to save; ``data`` is what it takes to show the net other pictures (``Provider.description``)."""
    state = collect_state(net)
    layers = {stored["name"]: stored | state.get(stored["name"], {}) for stored in stored_graph(net.graph, G2014)}
    # What the originals never saved: the running moments of superEps; and between updates of several minibatches
    # (--wupdate-freq, updatePeriod) how many there were, how many gradients were added, and their sum.
    moments = [w.moments and [w.be.download(moment) for moment in w.moments] for w in net.weights]
    pending = [
        [w.waited, w.contributions, w.be.download(w.grad) if w.contributions and not w.accumulates_into_momentum else None]
        for w in net.weights
    ]
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
        "tree": next((layer.tree.parents for layer in net.graph.declared if isinstance(layer, TreeFullyConnected)), None),
        "noise_state": _plain(net.noise.bit_generator.state),
        "moments": moments if any(moments) else [],
        "pending": pending if any(w.waited for w in net.weights) else [],
        "position": {name: value for name, value in vars(position).items() if _is_stored(name, value)},
        "data": data,
    }
    history = {name: getattr(position, attribute) for attribute, name in _HISTORY.items()}
    return {"model_state": {**history, "layers": layers, "convnet": own}, "op": options.as_dict()}


def restore_streams(net: Net, checkpoint: Checkpoint, same_weights: bool = True) -> None:
    """Put the step counter and random streams where the saved run had them.

    Without ``same_weights``, since the net was edited, moments and gradients under way are left at zero.
    """
    own = checkpoint.own
    net.step = int(own.get("step", 0))
    if own.get("noise_state"):
        net.noise.bit_generator.state = _from_plain(own["noise_state"])
    if not same_weights:
        return
    for weights, moments in zip(net.weights, own.get("moments") or [], strict=False):
        if moments is not None:
            weights.moments = (weights.be.upload(moments[0]), weights.be.upload(moments[1]))
    for weights, (waited, contributions, grad) in zip(net.weights, own.get("pending") or [], strict=False):
        weights.waited, weights.contributions = int(waited), int(contributions)
        if grad is not None:
            weights.be.copy_in(grad, weights.grad)


def _is_stored(name: str, value: Any) -> bool:
    """Return whether it belongs to our part of a position: not the originals', and only if a history has been shortened."""
    return name not in _HISTORY and not (name.endswith("_runs") and not value)


def _plain(value: Any) -> Any:
    """Return a generator's state in types that pickles of 2012 know: arrays of 64 bits as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [int(item) for item in value] if hasattr(value, "tolist") else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {text_of(key): _from_plain(item) for key, item in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value
