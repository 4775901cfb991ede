"""What a checkpoint says, whichever program wrote it; nothing in the file is executed (io 4.4 to 4.8)."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from convnet import pickles
from convnet.checkpoint.definition import generation_of, stored_dims, stored_tree, written_files
from convnet.checkpoint.position import Position
from convnet.checkpoint.schema import faults_of
from convnet.errors import CheckpointError, DataError
from convnet.generation import Generation
from convnet.graph.graph import Changes
from convnet.graph.loading import LayerFiles
from convnet.language.files import is_checkpoint
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Costs
from convnet.options import BY_NAME
from convnet.pickles import UnsafePickle, path_of, text_of
from convnet.pickles.rules import message
from convnet.texts import counted

# Options that the originals kept under other names, and those that they kept under ours.
_LEGACY = {
    "train_range": "train_batch_range",
    "test_range": "test_batch_range",
    "test_freq": "testing_freq",
    "epochs": "num_epochs",
    "mini": "minibatch_size",
    "data_provider": "dp_type",
}
_INHERITED = (*_LEGACY, "data_path", "test_one", "crop_border", "inner_size", "color_noise")

_OWN = {"dialect", "layer_def_text", "layer_def_path", "layer_params_text", "layer_params_path", "data_dims"}
_CHECKED = 2  # the version of our own from which on a checksum stands behind the pickle
_PLAIN = (str, bytes, int, float)


class Checkpoint(dict[str, Any]):
    """``{"model_state": {...}, "op": {...}}`` as it lies in the file, and what that means.

    ``own`` is what this project adds to 2014's format (``convnet.checkpoint.format``); empty in files of the originals.
    ``path`` is the file, for messages.
    """

    path: Path = Path("checkpoint")

    @property
    def own(self) -> dict[str, Any]:
        own: dict[str, Any] = self["model_state"].get("convnet", {})  # ``load`` has looked at it
        return own

    @property
    def is_original(self) -> bool:
        """Whether a program of 2011, 2012 or 2014 wrote it."""
        return not self.own

    @cached_property
    def layers(self) -> dict[str, dict[str, Any]]:
        """Layer dicts with their arrays by name, whichever container a generation used."""
        return {text_of(layer["name"]): layer for layer in _layer_dicts(self["model_state"]["layers"])}

    @property
    def generation(self) -> Generation:
        """Generation of its layer files, or of the program that wrote it."""
        return generation_of(self.layers) if self.is_original else Generation(text_of(self.own["dialect"]))

    def files(self, name: str = "the checkpoint") -> LayerFiles:
        """Return its layer files; of the originals, which saved none, files called ``name`` written from its layers."""
        own = self.own
        if self.is_original:
            with self.named_in_errors():
                return written_files(self.layers, name)
        changes = Changes(
            tuple(text_of(name) for name in own.get("made_local", ())),
            tuple((text_of(name), int(i)) for name, i in own.get("unshared", ())),
        )
        params = own["layer_params_text"]
        return LayerFiles(
            text_of(own["layer_def_text"]),
            path_of(own["layer_def_path"]),
            text_of(params) if params is not None else None,
            path_of(own["layer_params_path"]),
            changes,
        )

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Put the file's name before what is raised inside, which is wrong with its contents."""
        try:
            yield
        except (CheckpointError, DataError) as error:
            raise CheckpointError(f"{self.path}: {error}") from None

    @property
    def data_dims(self) -> dict[int, int]:
        """Features of each data matrix."""
        if self.is_original:
            return stored_dims(self.layers)
        return {int(i): int(rows) for i, rows in self.own["data_dims"].items()}

    @property
    def classes(self) -> int | None:
        """Number of classes of the data, where it is known."""
        return self.own.get("num_classes")

    @property
    def heads(self) -> dict[int, int]:
        """Classes of the labels by matrix of the data, where they are not ``classes``."""
        return {int(i): int(count) for i, count in self.own.get("heads", {}).items()}

    @property
    def label_tree(self) -> LabelTree | None:
        """The tree of labels that a treefc layer was trained with."""
        own = self.own
        if self.is_original:
            with self.named_in_errors():
                return stored_tree(self.layers)
        return LabelTree.from_parents([int(v) for v in own["tree"]], int(own["num_classes"])) if own.get("tree") else None

    def position(self, batches: list[int] | None = None) -> Position:
        """Return where its run stood, which trains on ``batches``; by default those that it trained on."""
        state = self["model_state"]
        train, test = (self._outputs(state.get(key) or []) for key in ("train_outputs", "test_outputs"))
        epoch, batch = int(state.get("epoch", 0)), int(state.get("batchnum", 0))
        position = Position(epoch, batch, train_outputs=train, test_outputs=test)
        batches = batches or self.options.get("train_range") or [1]
        if epoch:  # the originals did not save how many batches were done (io 2.3)
            position.batches_done = max(0, len(batches) * (epoch - 1) + batch - batches[0] + 1)
        for name, value in (self.own.get("position") or {}).items():
            if name in vars(position):
                setattr(position, name, list(value) if isinstance(value, tuple) else value)
        if not position.cases:  # early checkpoints of this project counted minibatches alone
            position.cases = position.minibatches * int(self.option("mini") or 0)
        return position

    def _outputs(self, stored: Any) -> list[tuple[Costs, int]]:
        """Return (sums, cases) of every batch, which 2011 and 2012 saved divided by the cases (io 2.6)."""
        averaged = self.is_original and not any("outputFilter" in layer for layer in self.layers.values())
        outputs = []
        for costs, cases in stored:
            scale = int(cases) if averaged else 1
            sums = {text_of(name): [float(value) * scale for value in values] for name, values in costs.items()}
            outputs.append((sums, int(cases)))
        return outputs

    def option(self, name: str) -> Any:
        """Return an option of the run that saved it, by this project's name; ``None`` where it had none."""
        return self.options.get(name)

    def _legacy_option(self, name: str) -> Any:
        """Return a plain value, or a list of them, from the options of an original; ``None`` where it had none."""
        options = getattr(self.get("op"), "options", None)
        option = options.get(_LEGACY.get(name, name)) if isinstance(options, dict) else None
        value = getattr(option, "value", None)
        listed = value if isinstance(value, list) else [value]
        return value if all(isinstance(item, _PLAIN) for item in listed) else None

    @cached_property
    def options(self) -> dict[str, Any]:
        """Options that a resumed run takes over; of an original's, those that describe its data and its training."""
        op = self.get("op")
        if isinstance(op, dict):
            return {name: path_of(value) if isinstance(value, str | bytes) else value for name, value in op.items()}
        options: dict[str, Any] = {}
        for name in _INHERITED:
            value = self._legacy_option(name)
            text = ",".join(map(str, value)) if isinstance(value, list) else path_of(str(value))
            with suppress(argparse.ArgumentTypeError):
                if value is not None:
                    options[name] = BY_NAME[name].kind(text)
        if "cropped" not in options.get("data_provider", ""):
            options.pop("crop_border", None)  # 2011 and 2012 kept its default of 4 for data that they did not crop
        return options


def load(path: str | Path) -> Checkpoint:
    """Return what a checkpoint of any generation holds; nothing in the file is executed. Raises ``CheckpointError``.

    >>> state = load("checkpoints/ConvNet__2026-11-23_10.00.00/1.5")["model_state"]  # doctest: +SKIP
    >>> state["layers"]["conv1"]["weights"][0].shape  # doctest: +SKIP
    (363, 64)
    """
    try:
        value, has_checksum, excess = pickles.read(path)
    except UnsafePickle as error:
        other = "" if is_checkpoint(Path(path)) else "; no checkpoint begins as this file does"
        raise CheckpointError(f"{error}{other}") from None
    checkpoint = _recognised(path, value)
    version = checkpoint.own.get("version")
    if excess or (not has_checksum and isinstance(version, int) and version >= _CHECKED):
        text = (
            f"{counted(excess, 'byte')} too many stand behind its end"
            if excess
            else "the checksum behind its end is missing"
        )
        raise CheckpointError(f"{path}: damaged; {text}")
    if fault := message(faults_of(checkpoint)):
        raise CheckpointError(f"{path}: {fault}")
    return checkpoint


def _recognised(path: str | Path, value: Any) -> Checkpoint:
    """Return the checkpoint that a file holds, as far as it looks like one; raises ``CheckpointError``."""
    checkpoint = None
    if isinstance(value, dict) and isinstance(value.get("model_state"), dict):
        own = value["model_state"].get("convnet")
        if "convnet" in value["model_state"] and not (isinstance(own, dict) and own.keys() >= _OWN):
            raise CheckpointError(f"{path}: damaged; 'convnet' lacks what every checkpoint of this program holds there")
        checkpoint = Checkpoint(value)
    elif isinstance(value, list | dict) and _layer_dicts(value):  # the layers alone (io 4.4)
        state = {"layers": value, "epoch": 0, "batchnum": 0, "train_outputs": [], "test_outputs": []}
        checkpoint = Checkpoint({"model_state": state, "op": {}})
    if checkpoint is None:
        raise CheckpointError(f"{path}: not a checkpoint; it holds a {type(value).__name__} without layers")
    checkpoint.path = Path(path)
    return checkpoint


def _layer_dicts(container: Any) -> list[dict[str, Any]]:
    layers = list(container.values()) if isinstance(container, dict) else container
    return [layer for layer in layers if isinstance(layer, dict) and "name" in layer and "type" in layer]
