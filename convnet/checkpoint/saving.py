"""What this project saves: ``{"model_state": {...}, "op": ...}`` as a generation did (io 4.4), and what a resumed run needs.

``model_state["layers"]`` has the originals' layer dicts with their arrays, ``op`` their options. ``model_state["convnet"]``
is added: the texts of both layer files, our options, the seed, the number of steps, the random streams, and the position
inside an interrupted batch, so that a run goes on as if nothing had happened. The originals carry it along untouched.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint.carried import digest_of
from convnet.checkpoint.checkpoint import Checkpoint
from convnet.checkpoint.foreign import Foreign
from convnet.checkpoint.formats import Format
from convnet.checkpoint.layer_dicts import container_for, stored_graph
from convnet.checkpoint.op import values_for, values_of
from convnet.checkpoint.position import Position
from convnet.checkpoint.recorded import outputs_for
from convnet.checkpoint.schema import VERSION
from convnet.errors import CheckpointError
from convnet.generation import G2014
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.net.weights import Weights
from convnet.options import Options

# What the originals saved of a position, under their names.
_HISTORY = {"epoch": "epoch", "batch": "batchnum", "train_outputs": "train_outputs", "test_outputs": "test_outputs"}


def pack(
    net: Net,
    files: LayerFiles,
    position: Position,
    options: Options,
    form: Format,
    data: dict[str, Any] | None = None,
    provider: str = "",
    foreign: Foreign | None = None,
) -> dict[str, Any]:
    """Return what to save of a run, in the format ``form`` of its net.

    ``data`` is what it takes to show the net other pictures (``Provider.description``), ``provider`` the name of what reads
    them, ``foreign`` what the checkpoint held that the run went on from, and that nobody knows.
    """
    foreign, generation = foreign or Foreign(), form.generation
    layers = stored_graph(form.graph, generation, collect_state(net))
    values = values_for(generation, options, files, net.graph, str(Path(options.save_path).absolute()), provider)
    own_params = files.params_path if files.params_path != files.definition_path else ""  # else both are the checkpoint
    paths = {"layer_def": form.definition_path, "layer_params": form.params_path or own_params}
    values |= (written := {name: path for name, path in paths.items() if path})
    foreign.add_to(layers)
    op = foreign.options_parser(generation, values, options.as_dict(), written)
    own = {
        "version": VERSION,
        "format": form.name,
        "at": [position.epoch, position.batch],  # where the originals go on from, if they do
        "layers": digest_of(layers),
        "options": options.as_dict(),
        "op": values_of(op),
        **foreign.stored(),
        "dialect": str(net.graph.generation),
        "layer_def_text": files.definition,
        "layer_def_path": files.definition_path,
        "layer_params_text": files.params,
        "layer_params_path": files.params_path,
        "made_local": list(files.changes.local),
        "unshared": [list(pair) for pair in files.changes.unshared],
        "data_dims": {str(i): rows for i, rows in net.graph.data_dims.items()},
        "num_classes": net.graph.classes,
        **({"heads": {str(i): count for i, count in net.graph.heads.items()}} if net.graph.heads else {}),
        "tree": tree.parents if (tree := net.graph.label_tree) else None,
        "position": {name: value for name, value in vars(position).items() if _is_stored(name, value)},
        "data": data,
        **_streams(net),
    }
    history = {name: getattr(position, attribute) for attribute, name in _HISTORY.items()}
    if generation != G2014 or form.graph is not net.graph:
        history |= {name: outputs_for(history[name], form.graph, generation) for name in ("train_outputs", "test_outputs")}
    state = {**foreign.state, **history, "layers": container_for(layers, generation), "convnet": own}
    return {"model_state": state, "op": op}


def _streams(net: Net) -> dict[str, Any]:
    """Return what decides the next number beside the arrays of the layers.

    The originals never saved the running moments of superEps; nor, between updates of several minibatches (--wupdate-freq,
    updatePeriod), how many there were, how many gradients were added, and their sum.
    """
    moments = [w.moments and [net.download(w, moment) for moment in w.moments] for w in net.weights]
    pending = [
        [w.waited, w.contributions, net.download(w, w.grad) if w.contributions and not w.accumulates_into_momentum else None]
        for w in net.weights
    ]
    return {
        "seed": net.seed,
        "step": net.step,
        "noise_state": _plain(net.noise.bit_generator.state),
        "moments": moments if any(moments) else [],
        "pending": pending if any(w.waited for w in net.weights) else [],
        "periods": [w.period for w in net.weights],
        "arithmetic": arithmetic_of(net),
    }


def checkpoint_bytes(graph: Graph) -> int:
    """Return about how many bytes a checkpoint of a net takes: weights and their increments, and the mean picture."""
    return 4 * (2 * graph.parameters() + graph.data_dims.get(0, 0))


def arithmetic_of(net: Net) -> str:
    """Return what the last bits of a net's results depend on: its backends, processors and libraries."""
    return " and ".join(dict.fromkeys(be.arithmetic() for be in net.backends))


def restore_streams(net: Net, checkpoint: Checkpoint, same_weights: bool = True) -> None:
    """Put the step counter and random streams where the saved run had them.

    Without ``same_weights``, since the net was edited, moments and gradients under way are left at zero.
    """
    own = checkpoint.own
    net.step = int(own.get("step", 0))
    net.has_learned = checkpoint.is_original or net.step > 0
    if own.get("noise_state"):
        net.noise.bit_generator.state = _like(net.noise.bit_generator.state, own["noise_state"])
    if not same_weights:
        return
    for i, (weights, moments) in enumerate(_with_weights(net, own, "moments")):
        if moments is not None:
            _check_shapes(weights, moments, f"moments[{i}]")
            weights.moments = (weights.be.upload(moments[0]), weights.be.upload(moments[1]))
    for i, (weights, (waited, contributions, grad)) in enumerate(_with_weights(net, own, "pending")):
        if grad is not None:
            _check_shapes(weights, [grad], f"pending[{i}]")
        weights.restore(int(waited), int(contributions), grad)
    for weights, period in zip(net.weights, own.get("periods") or [], strict=False):
        if weights.waited and isinstance(period, int) and period > 0:
            weights.finish_with(period)


def _with_weights(net: Net, own: Mapping[str, Any], name: str) -> Iterator[tuple[Weights, Any]]:
    """Pair the net's weights with what a list of the checkpoint has for each; raises ``CheckpointError``."""
    stored = own.get(name) or []
    if stored and len(stored) != len(net.weights):
        raise CheckpointError(f"'{name}' has {len(stored)} entries; the net has {len(net.weights)} matrices and biases")
    return zip(net.weights, stored, strict=False)


def _check_shapes(weights: Weights, arrays: Iterable[np.ndarray], name: str) -> None:
    shape = tuple(weights.value.shape)
    for array in arrays:
        if array.shape != shape:
            raise CheckpointError(f"{name} has shape {array.shape}; the net needs {shape}")


def _is_stored(name: str, value: Any) -> bool:
    """Return whether it belongs to our part of a position: not the originals', and only if there is anything in it."""
    return name not in _HISTORY and (value or not name.endswith(("_runs", "final_test", "changes")))


def _plain(value: Any) -> Any:
    """Return a generator's state in types that pickles of 2012 know: arrays of 64 bits as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [int(item) for item in value] if hasattr(value, "tolist") else value


def _like(known: Any, stored: Any) -> Any:
    """Return what ``_plain`` has stored in the types of ``known``, the state of such a generator."""
    if isinstance(known, dict):
        return {key: _like(item, stored[key]) for key, item in known.items()}
    return np.array(stored, known.dtype) if isinstance(known, np.ndarray) else type(known)(stored)
