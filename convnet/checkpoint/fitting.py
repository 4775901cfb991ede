"""Which generations hold a net, and the net as one of them says it: for checkpoints, which hold it whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from convnet.errors import CheckpointError
from convnet.generation import G2012, G2014, GENERATIONS, UNTIL_2012, Generation
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, build_graph
from convnet.graph.writer import write_graph
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document, read_ini
from convnet.language.schedules import CONSTANT
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer
from convnet.options import NPZ

_SHOWN = 4


@dataclass(frozen=True)
class Fitted:
    """A net that a generation knows, what it says in other words (``told``), and what of it is lost (``notes``)."""

    graph: Graph
    told: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fitting(graph: Graph, generation: Generation) -> Fitted:
    """Return the net of a graph with shapes in the words of ``generation``, of the same layers where it has them.

    Raises ``CheckpointError`` where it would be another net, naming layers and the formats that hold them.
    """
    written = write_graph(graph, generation)
    if written.unfit:
        more = [f"and {len(written.unfit) - _SHOWN} more"] if len(written.unfit) > _SHOWN else []
        found = "; ".join([*written.unfit[:_SHOWN], *more])
        raise CheckpointError(
            f"a checkpoint of {generation} cannot hold this net: {found} (formats that do: {', '.join(holding(graph))})"
        )
    if (
        graph.generation == generation
        and not written.told
        and all(_says_rates_as(layer, generation) for layer in graph.declared)
    ):
        return Fitted(graph)
    params = written.params if graph.params is not None else None
    files = LayerFiles(written.definition, f"{generation}.cfg", params, f"{generation}-params.cfg" if params else "")
    shaped = build_graph(files, graph.data_dims, graph.classes, graph.label_tree, generation, heads=graph.heads)
    return Fitted(shaped, written.told, written.notes)


def _says_rates_as(layer: Layer, generation: Generation) -> bool:
    """Return whether a layer's learning rates change, if they do, as the files of ``generation`` say it."""
    if not isinstance(layer, WeightLayer):
        return True
    in_rates = any(rate.schedule for rate in (*layer.epsW, layer.epsB))
    beside = layer.sched or (layer.schedW, layer.schedB) != (CONSTANT, CONSTANT)
    return not (in_rates and generation != G2014) and not (beside and generation != G2012)


def files_for(graph: Graph, files: LayerFiles, generation: Generation) -> tuple[str, str]:
    """Return a definition and a parameter file for the programs of ``generation``, which look for both whenever they go on.

    Empty is the definition where it is there, for it is not read; and the parameters where they are there and those programs
    read them (``parameters_for``).
    """
    written = write_graph(graph, generation)
    params = parameters_for(graph, generation) if os.path.lexists(files.params_path or "") else written.params or ""
    return "" if os.path.lexists(files.definition_path) else written.definition, params


def parameters_for(graph: Graph, generation: Generation) -> str:
    """Return a parameter file for the programs of ``generation``, which read one whenever they go on.

    Empty where they read the net's own: it says all in their words, with a section for every layer that they want one for.
    """
    own = graph.params
    written = write_graph(graph, generation).params or ""
    is_theirs = own is not None and own is not graph.definition and not own.native
    if (
        is_theirs
        and _says_all(graph, read_ini(written, "", Problems()), generation)
        and fitting(graph, generation).graph is graph
    ):
        return ""
    return written


def _says_all(graph: Graph, written: Document, generation: Generation) -> bool:
    """Return whether the parameters of a net have the sections and keys of those ``written`` for a generation.

    Until 2012 a single value did not serve all inputs of a layer.
    """
    own = graph.params
    for section in (written.sections[layer.name] for layer in graph.declared if layer.name in written.sections):
        if own is None or section.name not in own.sections:
            return False
        for entry in section.entries.values():
            given = own.entry(section.name, entry.key)
            is_short = given and str(given.raw).count(",") < str(entry.raw).count(",")
            if given is None or (is_short and generation in UNTIL_2012):
                return False
    return True


def misfits(graph: Graph, generation: Generation) -> list[str]:
    """Return what of a net ``generation`` has no words for, each with the name of its layer."""
    return write_graph(graph, generation).unfit


def holding(graph: Graph) -> list[str]:
    """Return the formats of checkpoints that hold a net, the latest generation first."""
    return [*(generation for generation in reversed(GENERATIONS) if not misfits(graph, generation)), NPZ]
