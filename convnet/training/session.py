"""What a run needs, opened from its options: layer files, data, plan, backend, net, and the checkpoint it goes on from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convnet import options as declared
from convnet.backends import choose_backends
from convnet.backends.base import Backend
from convnet.checkpoint import (
    CheckpointFolder,
    find_latest,
    history_of,
    inherited_options,
    layer_files,
    load,
    new_folder,
    position_of,
    restore_streams,
    unpack_layers,
)
from convnet.checkpoint.definition import generation_of, stored_tree, written_files
from convnet.checkpoint.format import tree_of
from convnet.data import demo
from convnet.data.provider import Provider, Request
from convnet.data.providers import open_provider
from convnet.errors import OptionError
from convnet.generation import COMPAT
from convnet.graph.builder import Builder
from convnet.graph.graph import Graph
from convnet.graph.infer import expected_classes
from convnet.graph.loading import LayerFiles, parse
from convnet.language.files import find, read_text
from convnet.layers.label_tree import LabelTree
from convnet.net import placement
from convnet.net.initial import initial_state
from convnet.net.memory_check import check_memory
from convnet.net.net import Net
from convnet.net.surgery import apply_edits
from convnet.storage import cache_folder
from convnet.training.costs import Outputs
from convnet.training.evaluator import Tester, write_features
from convnet.training.log import Printer
from convnet.training.trainer import Plan, Position

_EPOCHS = 50000  # the originals' default: until stopped
_DEMO_EPOCHS = 90  # the paper's; the demonstration stops long before
_TEST_FREQ = 57


@dataclass
class Opening:
    """What the options name, before any data are looked at."""

    given: dict[str, Any]
    options: dict[str, Any]
    files: LayerFiles
    builder: Builder
    request: Request
    checkpoint: dict[str, Any] | None
    path: Path | None
    remarks: list[str]

    @classmethod
    def of(cls, given: dict[str, Any]) -> Opening:
        """Find the layer files and the checkpoint; raises ``ConvnetError`` with every mistake in them."""
        remarks: list[str] = []
        checkpoint, path = None, None
        source = given.get("load_file") or _saved_before(given.get("save_file", ""))
        if source:
            path, checkpoint, remarks = find_latest(source, load)
        options = declared.complete(given, inherited_options(checkpoint) if checkpoint else None)
        declared.check_together(options)
        if checkpoint is None and not options["layer_def"]:
            raise OptionError("--layer-def is missing (or --load-file, to go on from a checkpoint); see --help")
        files = _files(options, given, checkpoint, remarks)
        builder = parse(files, options["dialect"], bool(options["strict"]))
        builder.problems.check()
        return cls(given, options, files, builder, _request(options, builder, files), checkpoint, path, remarks)


@dataclass
class Session:
    """Everything that a run needs, opened from its options: files, data, plan, and the checkpoint it goes on from."""

    options: dict[str, Any]
    files: LayerFiles
    builder: Builder
    train: Provider
    test: Provider
    plan: Plan
    folder: CheckpointFolder
    checkpoint: dict[str, Any] | None
    position: Position | None
    remarks: list[str]
    state: dict[str, Any] | None = None  # weights to begin with; None: drawn
    was_edited: bool = False

    @classmethod
    def open(cls, opening: Opening) -> Session:
        """Find and check everything before anything is computed; raises ``ConvnetError``."""
        options, checkpoint, remarks = opening.options, opening.checkpoint, opening.remarks
        train, test, plan = _data(options, opening.request, remarks)
        position = None
        if checkpoint is not None:
            position = Position.restored(history_of(checkpoint), position_of(checkpoint), plan.train)
        folder = _folder(options, opening.path, opening.given, remarks)
        state = unpack_layers(checkpoint) if checkpoint else None
        return cls(options, opening.files, opening.builder, train, test, plan, folder, checkpoint, position, remarks, state)

    def shape(self) -> Graph:
        """The graph of the files, shaped for the data and checked; its ``warnings`` are for the user."""
        return self._shaped()

    def prepare(self, graph: Graph, printer: Printer) -> Graph:
        """Announce the layers unless the run goes on from a checkpoint, and apply edits; returns the graph to run."""
        if not graph.costs:
            raise OptionError(f"{self.files.definition_path} has no cost layer, so there is nothing to train or test")
        printer.outputs = Outputs.of(graph)
        printer.compat = COMPAT[self.options["compat"]]
        if self.checkpoint is None:
            printer.layers(graph)
        return self._edited(graph, printer)

    def _shaped(self) -> Graph:
        tree = self.train.tree or (_stored_tree(self.checkpoint) if self.checkpoint else None)
        return self.builder.shape(self.train.dims, self.train.classes, tree)

    def _edited(self, graph: Graph, printer: Printer) -> Graph:
        """The graph after --unshare-weights and --conv-to-local, which also change ``files`` and ``state``."""
        local, unshare = self.options["conv_to_local"], self.options["unshare_weights"]
        if not local and not unshare:
            return graph
        state = self.state if self.state is not None else initial_state(graph, self.options["seed"])
        surgery = apply_edits(graph, state, local, unshare)
        for line in surgery.lines:
            printer.line(line)
        self.state, self.files = surgery.state, replace(self.files, changes=self.files.changes | surgery.changes)
        self.builder = parse(self.files, self.options["dialect"], bool(self.options["strict"]))
        self.options["conv_to_local"], self.options["unshare_weights"] = [], []
        self.was_edited = True
        return self._shaped()

    def backends(self, graph: Graph) -> list[Backend]:
        """The backend asked for, one for each logical device where it runs on GPUs. Remarks why ``auto`` did not take a
        GPU, and where layers run that ask for more devices than ``--gpu`` lists."""
        options = self.options
        gpus = options["gpu"] or [0]
        backends, reason = choose_backends(options["backend"], options["threads"], gpus, options["math"])
        self.remarks += [f"Not on a GPU: {reason}."] if reason else []
        if backends[0].name == "cuda":
            self.remarks += placement.remarks(graph, gpus)
        return backends

    def net(self, graph: Graph, backends: list[Backend]) -> Net:
        """The net, with the checkpoint's weights and random streams; raises ``BackendError`` if memory cannot hold it."""
        options = self.options
        compat = COMPAT[options["compat"]]
        training = not (options["test_only"] or options["write_features"])
        check_memory(graph, backends, options["mini"], training)
        net = Net(graph, backends, options["mini"], options["seed"], self.state, options["wupdate_freq"], compat=compat)
        if self.checkpoint:
            restore_streams(net, self.checkpoint, not self.was_edited)
        net.prepare(options["mini"], training)
        return net

    def tester(self, net: Net) -> Tester:
        """What tests the net; raises ``OptionError`` for options that do not fit it."""
        return Tester.of(net, self.test, self.options, str(self.folder.path))

    def write_features(self, net: Net) -> list[Path]:
        """--write-features: files of what a layer makes of the test batches."""
        options = self.options
        layer, folder = options["write_features"], Path(options["feature_path"])
        source = options["load_file"] or self.files.definition_path
        return write_features(net, self.test, self.plan.test, layer, folder, source)


def _saved_before(folder: str) -> str:
    """``folder`` if a run saved checkpoints there, to go on from them (--save-file, io 1.5)."""
    return folder if folder and CheckpointFolder(Path(folder)).names() else ""


def _stored_tree(checkpoint: dict[str, Any]) -> LabelTree | None:
    own = checkpoint["model_state"].get("convnet")
    return tree_of(own) if own else stored_tree(unpack_layers(checkpoint))


def _files(
    options: dict[str, Any], given: dict[str, Any], checkpoint: dict[str, Any] | None, remarks: list[str]
) -> LayerFiles:
    """The layer files: of the command line, or of the checkpoint with the parameter file read anew (io 1.5)."""
    prefix = options["layer_path"]
    if checkpoint is None:
        return LayerFiles.open(options["layer_def"], options["layer_params"] or None, prefix)
    if "convnet" not in checkpoint["model_state"]:
        return _legacy_files(options, given, checkpoint)
    files = layer_files(checkpoint)
    if given.get("layer_params"):
        path = find(given["layer_params"], prefix)
        return replace(files, params=read_text(path), params_path=str(path))
    _compare(
        files.definition_path, files.definition, "architecture comes from the checkpoint; the file is not read", remarks
    )
    if files.params is not None and _compare(files.params_path, files.params, "its new values hold from here on", remarks):
        return replace(files, params=read_text(Path(files.params_path)))
    return files


def _legacy_files(options: dict[str, Any], given: dict[str, Any], checkpoint: dict[str, Any]) -> LayerFiles:
    """For a checkpoint of an original: the files named, or what its layers say, in the dialect of their generation."""
    if given.get("layer_def"):
        return LayerFiles.open(given["layer_def"], given.get("layer_params"), options["layer_path"])
    layers = unpack_layers(checkpoint)
    files = written_files(layers, "the checkpoint")
    if options["dialect"] == "auto":
        options["dialect"] = generation_of(layers)
    if given.get("layer_params"):
        path = find(given["layer_params"], options["layer_path"])
        return replace(files, params=read_text(path), params_path=str(path))
    return files


def _compare(path: str, text: str, consequence: str, remarks: list[str]) -> bool:
    """Whether the file at ``path`` exists and differs from ``text``; remarks on it."""
    if not path or not Path(path).is_file() or read_text(Path(path)) == text:
        return False
    remarks.append(f"{path} has changed since the checkpoint was saved: {consequence}.")
    return True


def _request(options: dict[str, Any], builder: Builder, files: LayerFiles) -> Request:
    return Request(
        path=options["data_path"],
        seed=options["seed"],
        crop_border=options["crop_border"],
        inner_size=options["inner_size"],
        color_noise=options["color_noise"],
        scalar_mean=options["scalar_mean"],
        classes=expected_classes(builder),
        parse=lambda: parse(files, options["dialect"], bool(options["strict"])),
        compat=COMPAT[options["compat"]],
        threads=options["threads"] or os.cpu_count() or 1,
    )


def _data(options: dict[str, Any], request: Request, remarks: list[str]) -> tuple[Provider, Provider, Plan]:
    """Providers for training and testing, and which batches each uses."""
    name = options["data_provider"]
    test = open_provider(name, replace(request, multiview=bool(options["multiview_test"])))
    train_range, test_range = test.default_ranges()
    train_range, test_range = options["train_range"] or train_range, options["test_range"] or test_range
    test.check_range(test_range, "test")
    train = open_provider(name, replace(request, training=True, batches=train_range))
    if not options["test_only"]:
        train.check_range(train_range, "training")
    plan = Plan(
        train_range,
        test_range,
        options["epochs"] or _EPOCHS,
        options["test_freq"] or _TEST_FREQ,
        bool(options["test_one"]),
        options["max_batches"] or 0,
        options["mini"],
    )
    if isinstance(test, demo.Demo):
        _plan_demo(options, plan, remarks)
    options["train_range"], options["test_range"] = train_range, test_range
    options["epochs"], options["test_freq"] = plan.epochs, plan.test_freq
    remarks += [problem for provider in (train, test) for problem in dict.fromkeys(provider.problems)]
    return train, test, plan


def _plan_demo(options: dict[str, Any], plan: Plan, remarks: list[str]) -> None:
    plan.epochs = options["epochs"] or _DEMO_EPOCHS
    plan.test_freq = options["test_freq"] or demo.TRAIN_BATCHES
    text = f"No --data-path: training on the demonstration set, drawn shapes in {cache_folder()}."
    if options["max_batches"] is None and not options["epochs"]:
        plan.max_batches = demo.TRAIN_BATCHES
        text += f" It stops after {plan.max_batches} batches; --max-batches 0 goes on."
    remarks.append(text)


def _folder(options: dict[str, Any], path: Path | None, given: dict[str, Any], remarks: list[str]) -> CheckpointFolder:
    """Where to save: the folder loaded from, unless --save-path is given; a new dated one otherwise."""
    if options["save_file"]:
        return CheckpointFolder(Path(options["save_file"]), options["keep"])
    if path is None or given.get("save_path"):
        return CheckpointFolder(new_folder(options["save_path"]), options["keep"])
    folder = CheckpointFolder(path.resolve().parent, options["keep"])
    if not options["test_only"]:
        moved = folder.set_aside(path)
        remarks += [
            f"Going on from {path.name}: the newer {old.name.removesuffix('.aside')} is kept as {old.name}." for old in moved
        ]
    return folder
