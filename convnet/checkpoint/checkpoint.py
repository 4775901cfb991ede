"""What a checkpoint says, whichever program wrote it; nothing in the file is executed (io 4.4 to 4.8)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from convnet import pickles
from convnet.checkpoint import npz
from convnet.checkpoint.carried import digest_of
from convnet.checkpoint.definition import generation_of, remark_on, stored_dims, stored_tree, written_files
from convnet.checkpoint.legacy_options import LegacyOptions
from convnet.checkpoint.position import Change, Position
from convnet.checkpoint.schema import faults_of, is_own
from convnet.errors import CheckpointError, DataError
from convnet.generation import UNTIL_2012, Generation
from convnet.graph.graph import Changes
from convnet.graph.loading import LayerFiles
from convnet.language.files import is_checkpoint
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Costs
from convnet.pickles import Content, UnsafePickle, path_of, text_of
from convnet.pickles.rules import message
from convnet.texts import counted

_OWN = {"dialect", "layer_def_text", "layer_def_path", "layer_params_text", "layer_params_path", "data_dims"}
_CHECKED = 2  # the version of our own from which on a checksum stands behind the pickle
_OF_FILES = ("layer_def", "layer_params", "layer_path", "dialect")


class Sizes(TypedDict):
    """Features by matrix of the data, classes and their tree, and the classes of other matrices."""

    data_dims: dict[int, int]
    classes: int | None
    tree: LabelTree | None
    heads: dict[int, int]


class Checkpoint(dict[str, Any]):
    """``{"model_state": {...}, "op": ...}`` as it lies in the file, and what that means.

    ``own`` is what this project adds to the originals' formats (``convnet.checkpoint.saving``); empty in files of theirs,
    and where one of them has trained on: ``carried`` is what it took along. ``path`` is the file, for messages.
    """

    path: Path = Path("checkpoint")

    @property
    def carried(self) -> dict[str, Any]:
        """The part of this project, whether it is of the batch that the checkpoint is of or of an earlier one."""
        carried: dict[str, Any] = self["model_state"].get("convnet", {})  # ``load`` has looked at it
        return carried

    @cached_property
    def own(self) -> dict[str, Any]:
        return self.carried if is_own(self["model_state"]) else {}

    @property
    def is_original(self) -> bool:
        """Whether a program of 2011, 2012 or 2014 has trained it last."""
        return not self.own

    @property
    def has_files(self) -> bool:
        """Whether it holds the layer files that its net was made from."""
        return bool(self._with_files)

    @cached_property
    def _with_files(self) -> dict[str, Any]:
        """What was carried along, if its layer files still make the layers of the checkpoint."""
        known = self.carried.get("layers")
        holds = self.own or (known and digest_of(self.layers.values()) == known)
        return self.carried if holds else {}

    @property
    def remarks(self) -> list[str]:
        """What a person should know of it who goes on from it."""
        lacking = [] if self._with_files else [line for line in [remark_on(self.layers)] if line]
        if self.own or not self.carried:
            return lacking
        at = ".".join(map(str, self.carried["at"]))
        files = "layer files, seed and data" if self._with_files else "seed and data; its layers are not those of its files"
        return [
            f"A program of the originals trained it on from {at}; of what this one saved there, it keeps {files}.",
            *lacking,
        ]

    @cached_property
    def layers(self) -> dict[str, dict[str, Any]]:
        """Layer dicts with their arrays by name, whichever container a generation used."""
        return {text_of(layer["name"]): layer for layer in _layer_dicts(self["model_state"]["layers"])}

    @property
    def generation(self) -> Generation:
        """Generation of its layer files, or of the program that wrote it."""
        known = self._with_files
        return Generation(text_of(known["dialect"])) if known else generation_of(self.layers)

    @property
    def written_as(self) -> Generation:
        """Generation in whose way its layers are stored."""
        return generation_of(self.layers)

    @property
    def dialect(self) -> str:
        """As which generation ``files`` are read: as the run read them, or that of the program that wrote the checkpoint."""
        return self.option("dialect") or "auto" if self.has_files else self.generation

    def files(self, name: str = "the checkpoint") -> LayerFiles:
        """Return its layer files; of the originals, which saved none, files called ``name`` written from its layers."""
        own = self._with_files
        if not own:
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
        known = self._with_files
        return {int(i): int(rows) for i, rows in known["data_dims"].items()} if known else stored_dims(self.layers)

    @property
    def classes(self) -> int | None:
        """Number of classes of the data, where it is known."""
        return self._with_files.get("num_classes")

    @property
    def data(self) -> dict[str, Any] | None:
        """What its data were (``Provider.description``), where it is known."""
        return self.carried.get("data")

    @property
    def heads(self) -> dict[int, int]:
        """Classes of the labels by matrix of the data, where they are not ``classes``."""
        return {int(i): int(count) for i, count in self._with_files.get("heads", {}).items()}

    @property
    def label_tree(self) -> LabelTree | None:
        """The tree of labels that a treefc layer was trained with."""
        own = self._with_files
        if not own:
            with self.named_in_errors():
                return stored_tree(self.layers)
        return LabelTree.from_parents([int(v) for v in own["tree"]], int(own["num_classes"])) if own.get("tree") else None

    @property
    def sizes(self) -> Sizes:
        """What ``build_graph`` and ``Builder.shape`` take to make the net for the data that it was trained on."""
        return Sizes(data_dims=self.data_dims, classes=self.classes, tree=self.label_tree, heads=self.heads)

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
        position.changes = [
            Change(batches=int(one["batches"]), minibatches=int(one["minibatches"]), text=[text_of(t) for t in one["text"]])
            for one in position.changes
        ]
        if not position.cases:  # early checkpoints of this project counted minibatches alone
            position.cases = position.minibatches * int(self.option("mini") or 0)
        return position

    def _outputs(self, stored: Any) -> list[tuple[Costs, int]]:
        """Return (sums, cases) of every batch, which 2011 and 2012 saved divided by the cases (io 2.6)."""
        averaged = not any("outputFilter" in layer for layer in self.layers.values())
        if self.own:
            averaged = "format" in self.own and self.written_as in UNTIL_2012  # earlier versions saved sums
        outputs = []
        for costs, cases in stored:
            scale = int(cases) if averaged else 1
            sums = {text_of(name): [float(value) * scale for value in values] for name, values in costs.items()}
            outputs.append((sums, int(cases)))
        return outputs

    def option(self, name: str) -> Any:
        """Return an option of the run that saved it, by this project's name; ``None`` where it had none."""
        return self.options.get(name)

    @cached_property
    def options(self) -> dict[str, Any]:
        """Options that a resumed run takes over; of an original's, those that describe its data and its training."""
        op = self.get("op")
        own = self.carried.get("options") or (op if isinstance(op, dict) else {})
        options = {name: path_of(value) if isinstance(value, str | bytes) else value for name, value in own.items()}
        if self.carried and not self.has_files:
            options = {name: value for name, value in options.items() if name not in _OF_FILES}
        return options | (self._legacy_options.taken if self._legacy_options else {})

    @property
    def options_left(self) -> list[str]:
        """A line for each option of an original's run that changed results and that a resumed run does not take over."""
        return self._legacy_options.left if self._legacy_options else []

    @cached_property
    def _legacy_options(self) -> LegacyOptions | None:
        op = self.get("op")
        return None if isinstance(op, dict) else LegacyOptions(op, self.generation, self.carried.get("op"))


def load(path: str | Path) -> Checkpoint:
    """Return what a checkpoint of any generation holds; nothing in the file is executed. Raises ``CheckpointError``.

    >>> state = load("checkpoints/ConvNet__2026-11-23_10.00.00/1.5")["model_state"]  # doctest: +SKIP
    >>> state["layers"]["conv1"]["weights"][0].shape  # doctest: +SKIP
    (363, 64)
    """
    try:
        content = npz.read(path) if npz.is_npz(path) else pickles.read(path)
    except UnsafePickle as error:
        other = "" if is_checkpoint(Path(path)) else "; no checkpoint begins as this file does"
        raise CheckpointError(f"{error}{other}") from None
    return of_content(path, content)


def of_content(path: str | Path, content: Content) -> Checkpoint:
    """Return the checkpoint that was read from ``path``; raises ``CheckpointError`` for one that is damaged or is none."""
    checkpoint = recognised(path, content.value)
    if content.excess or (not content.has_checksum and _needs_checksum(checkpoint)):
        text = (
            f"{counted(content.excess, 'byte')} too many stand behind its end"
            if content.excess
            else "the checksum behind its end is missing"
        )
        raise CheckpointError(f"{path}: damaged; {text}")
    if fault := message(faults_of(checkpoint)):
        raise CheckpointError(f"{path}: {fault}")
    return checkpoint


def _needs_checksum(checkpoint: Checkpoint) -> bool:
    """Return whether this project wrote a file, at whose end a checksum stands.

    An original that saves its part again, without one, has all keys in the order of Python 2's dicts.
    """
    state, version = checkpoint["model_state"], checkpoint.carried.get("version")
    is_ours = list(state)[:2] == ["epoch", "batchnum"] or isinstance(checkpoint.get("op"), dict)
    return is_ours and isinstance(version, int) and version >= _CHECKED


def recognised(path: str | Path, value: Any) -> Checkpoint:
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
