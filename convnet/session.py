"""What a run needs, opened from its options: layer files, data, plan, backend, net, and the checkpoint it goes on from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convnet import options as declared
from convnet.assume import expected_classes
from convnet.backends import make_backend, why_not_cuda
from convnet.backends.base import Backend
from convnet.checkpoint import (
    CheckpointFolder,
    find_latest,
    history_of,
    layer_files,
    load,
    new_folder,
    position_of,
    restore_streams,
    unpack_layers,
)
from convnet.data import demo
from convnet.data.provider import Provider, Request
from convnet.data.providers import open_provider
from convnet.errors import OptionError
from convnet.graph import Builder, Graph
from convnet.language.files import find, read_text
from convnet.net import Net
from convnet.outputs import Outputs
from convnet.printing import Printer
from convnet.reading import LayerFiles, parse
from convnet.storage import cache_folder
from convnet.train import Plan, Position

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
        if given.get("load_file"):
            path, checkpoint, remarks = find_latest(given["load_file"], load)
        options = declared.complete(given, _stored_options(checkpoint))
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

    @classmethod
    def open(cls, opening: Opening) -> Session:
        """Find and check everything before anything is computed; raises ``ConvnetError``."""
        options, checkpoint, remarks = opening.options, opening.checkpoint, opening.remarks
        train, test, plan = _data(options, opening.request, remarks)
        position = None
        if checkpoint is not None:
            position = Position.restored(history_of(checkpoint), position_of(checkpoint), len(plan.train))
        folder = _folder(options, opening.path, opening.given, remarks)
        return cls(options, opening.files, opening.builder, train, test, plan, folder, checkpoint, position, remarks)

    def graph(self, printer: Printer) -> Graph:
        """The checked graph; its layers are announced unless the run goes on from a checkpoint."""
        graph = self.builder.shape(self.train.dims, self.train.classes, self.train.tree)
        for warning in graph.warnings:
            print(warning.render(sys.stderr.isatty()), file=sys.stderr)
        if not graph.costs:
            raise OptionError(f"{self.files.definition_path} has no cost layer, so there is nothing to train or test")
        printer.outputs = Outputs.of(graph)
        if self.checkpoint is None:
            printer.layers(graph)
        return graph

    def backend(self) -> Backend:
        """The backend asked for; says why ``auto`` did not take a GPU."""
        options = self.options
        if options["backend"] == "auto":
            reason = why_not_cuda()
            self.remarks += [f"Not on a GPU: {reason}."] if reason else []
        gpus = options["gpu"] or [0]
        return make_backend(options["backend"], options["threads"], gpus[0], options["math"])

    def net(self, graph: Graph, be: Any) -> Net:
        """The net, with the checkpoint's weights and random streams if there is one."""
        options = self.options
        state = unpack_layers(self.checkpoint) if self.checkpoint else None
        net = Net(graph, be, options["mini"], options["seed"], state, options["wupdate_freq"])
        if self.checkpoint:
            restore_streams(net, self.checkpoint)
        return net


def _stored_options(checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    stored = checkpoint["op"] if checkpoint else None
    return stored if isinstance(stored, dict) else {}


def _files(
    options: dict[str, Any], given: dict[str, Any], checkpoint: dict[str, Any] | None, remarks: list[str]
) -> LayerFiles:
    """The layer files: of the command line, or of the checkpoint with the parameter file read anew (io 1.5)."""
    prefix = options["layer_path"]
    if checkpoint is None:
        return LayerFiles.open(options["layer_def"], options["layer_params"] or None, prefix)
    if "convnet" not in checkpoint["model_state"] and options["layer_def"]:
        return LayerFiles.open(options["layer_def"], options["layer_params"] or None, prefix)
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
        threads=options["threads"] or os.cpu_count() or 1,
    )


def _data(options: dict[str, Any], request: Request, remarks: list[str]) -> tuple[Provider, Provider, Plan]:
    """Providers for training and testing, and which batches each uses."""
    name = options["data_provider"]
    test = open_provider(name, request)
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
    if path is None or given.get("save_path"):
        return CheckpointFolder(new_folder(options["save_path"]), options["keep"])
    folder = CheckpointFolder(path.resolve().parent, options["keep"])
    if not options["test_only"]:
        moved = folder.set_aside(path)
        remarks += [
            f"Going on from {path.name}: the newer {old.name.removesuffix('.aside')} is kept as {old.name}." for old in moved
        ]
    return folder
