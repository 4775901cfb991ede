"""The net that a word of the command line names: layer files, or a checkpoint of any generation, told by what is in it."""

import argparse
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convnet.cli.common import print_problems, say
from convnet.errors import LayerFileError
from convnet.graph.builder import Builder
from convnet.graph.infer import InferredData, infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.language.files import find, is_checkpoint, read_text

if TYPE_CHECKING:
    from convnet.checkpoint import Checkpoint


class Definition(NamedTuple):
    """Layer files, and the checkpoint that they come from, ``None`` for files."""

    files: LayerFiles
    checkpoint: "Checkpoint | None" = None

    @classmethod
    def open(cls, path: str, params: str | None = None) -> "Definition":
        """Open layer files, or a checkpoint or the newest of a folder; ``params`` go before those of a checkpoint.

        Raises ``ConvnetError``.
        """
        if not is_checkpoint(Path(path)):
            return cls(LayerFiles.open(path, params))
        from convnet.checkpoint import find_latest, load  # brings NumPy, which layer files do without

        file, checkpoint, remarks = find_latest(path, load)
        for remark in remarks:
            say(f"convnet: warning: {remark}")
        files = checkpoint.files(str(file))
        if checkpoint.has_files:  # as git names what is in a commit
            first, second = (
                f"{file}:{Path(name).name}" if name else "" for name in (files.definition_path, files.params_path)
            )
            files = replace(files, definition_path=first, params_path=second)
        if params:
            beside = find(params)
            files = replace(files, params=read_text(beside), params_path=str(beside))
        return cls(files, checkpoint)

    @property
    def title(self) -> str:
        """A name for it, without folders and endings."""
        path = Path(self.files.definition_path)
        if self.checkpoint is None:
            return path.stem
        return path.name if not self.checkpoint.has_files else Path(path.name.rpartition(":")[2]).stem

    def builder(self, dialect: str, strict: bool) -> Builder:
        """Return what the files say, read as the run of a checkpoint read them."""
        if self.checkpoint and dialect == "auto":
            dialect = self.checkpoint.dialect
        return parse(self.files, dialect, strict)

    def graph(self, args: argparse.Namespace, beside: "Checkpoint | None" = None) -> InferredData:
        """Return the checked graph for --data-dims and --num-classes, those of the checkpoint, or inferred ones.

        A definition ``beside`` a checkpoint is for the same data, where these fit. Prints warnings.
        """
        builder, dims = self.builder(args.dialect, bool(args.strict)), dict(enumerate(args.data_dims or ()))
        inferred = None
        if self.checkpoint:
            inferred = _for_data_of(self.checkpoint, builder, dims, args.num_classes)
        elif beside and not dims:
            with suppress(LayerFileError):
                inferred = _for_data_of(beside, builder.clone(), dims, args.num_classes)
        inferred = inferred or infer_data(builder, args.data_dims, args.num_classes)
        print_problems(inferred.graph.warnings)
        return inferred


def _for_data_of(checkpoint: "Checkpoint", builder: Builder, dims: Mapping[int, int], classes: int | None) -> InferredData:
    """Return the graph for the data that a checkpoint was trained on, of which ``dims`` and ``classes`` may be others."""
    dims, classes, tree = dict(dims) or checkpoint.data_dims, classes or checkpoint.classes, checkpoint.label_tree
    graph = builder.shape(dims, classes, tree, heads=checkpoint.heads)
    return InferredData(graph, dims, {}, classes or 0, 0, tree, [], checkpoint.heads)
