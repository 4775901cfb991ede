"""The way in for everything that starts from layer files: two paths or texts in, a checked ``Graph`` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convnet.graph.builder import Builder
from convnet.graph.graph import NO_CHANGES, Changes, Graph
from convnet.language.diagnostics import Problems
from convnet.language.files import find, params_beside, read_document, read_text
from convnet.layers.label_tree import LabelTree


@dataclass(frozen=True)
class LayerFiles:
    """The texts of a definition and its parameters, with the names to show in messages."""

    definition: str
    definition_path: str
    params: str | None = None
    params_path: str = ""
    changes: Changes = NO_CHANGES

    @classmethod
    def open(cls, definition: str | Path, params: str | Path | None = None, prefix: str = "") -> LayerFiles:
        """Find and read both files; without ``params``, the one beside the definition (``layer-params-X.cfg``)."""
        path = find(definition, prefix)
        beside = find(params, prefix) if params else params_beside(path)
        return cls(read_text(path), str(path), read_text(beside) if beside else None, str(beside or ""))


def parse(files: LayerFiles, dialect: str = "auto", strict: bool = False) -> Builder:
    """Read, type and wire; shapes wait for the dimensions of the data. Problems are collected, not raised."""
    problems = Problems(strict, files=[files.definition_path, files.params_path])
    definition = read_document(files.definition, files.definition_path, problems)
    params = read_document(files.params, files.params_path, problems) if files.params is not None else None
    if params is None and definition.native:
        params = definition
    return Builder(definition, params, problems, dialect, files.changes).type_layers()


def build_graph(
    files: LayerFiles,
    data_dims: Mapping[int, int],
    classes: int | None = None,
    tree: LabelTree | None = None,
    dialect: str = "auto",
    strict: bool = False,
    heads: Mapping[int, int] | None = None,
) -> Graph:
    """Return the checked graph of ``files`` for data of ``data_dims``; raise ``LayerFileError`` listing every mistake."""
    return parse(files, dialect, strict).shape(data_dims, classes, tree, heads=heads)
