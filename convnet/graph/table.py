"""Layers as a table that fits the width it is shown in: all columns where there is room, else the most important ones."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from convnet.graph.analysis import Memory, ReceptiveField, memories, rate_text, receptive_fields, shape_texts
from convnet.graph.graph import Graph
from convnet.graph.replicas import devices, passes
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer
from convnet.texts import columns_of, counted, listed, printable, shortened

_GAP = 2  # blanks between columns
_LEAST_WIDTH = 20


class Described(NamedTuple):
    """What a row of the table shows."""

    layer: Layer
    memory: Memory
    field: ReceptiveField | None
    shape: str

    @property
    def weighted(self) -> WeightLayer | None:
        return self.layer if isinstance(self.layer, WeightLayer) else None


class Column(NamedTuple):
    """A column: its head, what it means, and its cell in a row, of which 0 is left empty.

    ``head_of_few`` stands above it in a table of few columns, ``few`` is its cell there. ``least`` is how many letters its
    texts may be cut to; 1: they are not cut, 0: they are numbers, which stand to the right.
    """

    head: str
    meaning: str
    cell: Callable[[Described], str | int | float]
    least: int = 0
    head_of_few: str = ""
    few: Callable[[Described], str] | None = None


def _type(row: Described) -> str:
    layer = row.layer
    return f"{layer.type} ({layer.neuron.text})" if layer.detached_from and layer.neuron else layer.type


def _plain_type(row: Described) -> str:
    layer = row.layer
    return layer.neuron.text if layer.detached_from and layer.neuron else layer.type


def _inputs(row: Described) -> str:
    return listed([source.name for source in row.layer.sources])  # a table is as wide as its widest cell


def _written_inputs(row: Described) -> str:
    return listed([source.written_name for source in row.layer.sources])


def _size(row: Described) -> str | int:
    if row.field and row.layer.sources:
        return row.field.size
    return "" if row.field or row.layer.is_cost else "all"


def _step(row: Described) -> int:
    return row.field.step if row.field and row.layer.sources else 0


def _gpu(row: Described) -> str:
    return ",".join(map(str, row.layer.gpu)) if row.layer.gpu[0] >= 0 else ""


def _decay(row: Described) -> str:
    return ", ".join(dict.fromkeys(f"{wc:.4g}" for wc in row.weighted.wc)) if row.weighted else ""


COLUMNS = (
    Column("layer", "name of the layer: its [section] in the layer file", lambda row: row.layer.name, 10),
    Column("type", "what the layer computes", _type, 8, few=_plain_type),
    Column("inputs", "the layers that it reads", _inputs, 8, few=_written_inputs),
    Column("output", "what it gives for one case: maps x height x width, or how many values", lambda row: row.shape),
    Column(
        "parameters",
        "numbers that training changes: weights and biases",
        lambda row: row.weighted.parameters() if row.weighted else 0,
        head_of_few="params",
    ),
    Column(
        "multiply-adds",
        "multiplications, each with an addition, for one case on its way through the layer",
        lambda row: row.layer.macs(),
        head_of_few="mult-adds",
    ),
    Column("outputs", "megabytes that the outputs of a minibatch take", lambda row: row.memory.outputs / 1e6),
    Column("gradients", "megabytes of their gradients in training", lambda row: row.memory.gradients / 1e6),
    Column("weights", "megabytes of weights, biases and their momenta", lambda row: row.memory.weights / 1e6),
    Column("field", "receptive field: the side of the square of pixels that one output sees; all: everything", _size),
    Column("step", "pixels between the fields of neighbouring outputs", _step),
    Column("gpu", "logical device that the layer runs on", _gpu, 1),
    Column(
        "learning rate",
        "how far a step goes against the gradient; from the beginning of the training to its end",
        lambda row: rate_text(row.weighted) if row.weighted else "",
        1,
    ),
    Column("decay", "weight decay: the share by which weights shrink in a step, over the learning rate", _decay, 1),
)
MEMORY = Column("MB", "megabytes that the layer takes while a minibatch trains", lambda row: row.memory.total / 1e6)
_BY_HEAD = {column.head: column for column in (*COLUMNS, MEMORY)}
# Where not all fit, in order of importance.
_CORE, _ENOUGH = 4, 16  # so many columns get so many letters before there are others
_FEW = [
    _BY_HEAD[head]
    for head in ("layer", "type", "output", "parameters", "inputs", "multiply-adds", "MB", "learning rate", "field", "gpu")
]


def described(graph: Graph, mini: int) -> list[Described]:
    """Return a row for each layer, for minibatches of ``mini`` cases."""
    memory, fields, shapes = memories(graph, mini), receptive_fields(graph), shape_texts(graph)
    return [Described(layer, memory[name], fields[name], shapes[name]) for name, layer in graph.layers.items()]


def layer_table(graph: Graph, mini: int = 128, width: int = 0) -> str:
    """Return the layers as a table: a line each, then totals; memory is that of minibatches of ``mini`` cases.

    No line is longer than ``width`` letters, unless that is 0 or next to nothing.
    """
    rows = described(graph, mini)
    table = _whole(rows, mini)
    left_out = ""
    if width and max(map(columns_of, table)) > width:
        width = max(width, _LEAST_WIDTH)
        table, columns = _fitting(rows, width)
        shown = {*columns, *([column for column in COLUMNS if column.head in _MEMORIES] if MEMORY in columns else [])}
        missing = [column.head for column in COLUMNS if column not in shown]
        left_out = f"Left out to fit {width} columns: {', '.join(missing)}; 'convnet explain --wide' shows all."
    total = sum(row.memory.total for row in rows)
    ends = [_summary(graph, sum(row.layer.macs() for row in rows), total, mini, width), left_out]
    return "\n".join([*table, "", *(wrapped(line, width) for line in ends if line)])


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return a text in lines of at most ``width`` columns, those after the first behind ``indent``; 0: in one."""
    if not width or columns_of(text) <= width:
        return text
    padded = "".join(char + "\0" * (columns_of(char) - 1) for char in text)  # as many letters as columns
    lines = textwrap.fill(padded, max(width, _LEAST_WIDTH), subsequent_indent=indent, break_on_hyphens=False)
    return lines.replace("\0", "")


_MEMORIES = ("outputs", "gradients", "weights")


def _whole(rows: Sequence[Described], mini: int) -> list[str]:
    """Return a table of all columns."""
    cells = [[cell_text(column.cell(row)) for column in COLUMNS] for row in rows]
    total = totals(rows, COLUMNS, cell_text)
    widths = [max(map(columns_of, texts)) for texts in zip([column.head for column in COLUMNS], *cells, total, strict=True)]
    first, last = (COLUMNS.index(_BY_HEAD[head]) for head in ("outputs", "weights"))
    start, stop = (sum(widths[:i]) + _GAP * i for i in (first, last + 1))
    over = " " * start + f"MB at {counted(mini, 'case')}".center(stop - start - _GAP, "-")
    return [over, *_lines(COLUMNS, [column.head for column in COLUMNS], cells, total, widths)]


def _fitting(rows: Sequence[Described], room: int) -> tuple[list[str], list[Column]]:
    """Return a table that is ``room`` letters wide at most, and its columns."""
    cells = {column: [brief((column.few or column.cell)(row)) for row in rows] for column in _FEW}
    total = dict(zip(_FEW, totals(rows, _FEW, brief), strict=True))
    heads = {column: column.head_of_few or column.head for column in _FEW}
    natural = {column: max(map(columns_of, [heads[column], total[column], *cells[column]])) for column in _FEW}
    widths: dict[Column, int] = {}

    def widen(most: int) -> None:
        for column in widths:
            spare = room - sum(widths.values()) - _GAP * (len(widths) - 1)
            widths[column] += max(0, min(natural[column], most, widths[column] + spare) - widths[column])

    for column in _FEW:
        if len(widths) == _CORE:
            widen(_ENOUGH)
        least = min(natural[column], max(column.least, len(heads[column]))) if column.least > 1 else natural[column]
        if widths and sum(widths.values()) + _GAP * len(widths) + least > room:
            break
        widths[column] = least
    widen(room)
    columns = [column for column in (*COLUMNS, MEMORY) if column in widths]
    grid = [[cells[column][i] for column in columns] for i in range(len(rows))]
    chosen = [heads[column] for column in columns], grid, [total[column] for column in columns]
    return list(_lines(columns, *chosen, [widths[column] for column in columns])), columns


def totals(rows: Sequence[Described], columns: Sequence[Column], write: Callable[[Any], str]) -> list[str]:
    """Return the last row of a table: sums, by ``write``, where there are any."""
    summed = {"parameters", "multiply-adds", MEMORY.head, *_MEMORIES}
    return ["total"] + [
        write(sum(column.cell(row) for row in rows)) if column.head in summed else "" for column in columns[1:]
    ]


def _lines(
    columns: Sequence[Column],
    heads: Sequence[str],
    cells: Sequence[Sequence[str]],
    last: Sequence[str],
    widths: Sequence[int],
) -> list[str]:
    rule = "-" * (sum(widths) + _GAP * (len(widths) - 1))
    head, *rows, total = (_line(columns, row, widths) for row in (heads, *cells, last))
    return [head, rule, *rows, rule, total]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        text = shortened(cell, width)
        blanks = " " * (width - columns_of(text))
        shown.append(text + blanks if column.least else blanks + text)
    return (" " * _GAP).join(shown).rstrip()


def cell_text(value: str | int | float, count: Callable[[int], str] = "{:,}".format) -> str:
    """Return a cell as it is shown, whole numbers by ``count``."""
    if isinstance(value, str):
        return printable(value)
    return (f"{value:,.1f}" if isinstance(value, float) else count(value)) if value else ""


def brief(value: str | int | float) -> str:
    """Return a number as a person reads it: ``950``, ``17.5 k``, ``61.0 M``."""
    if not isinstance(value, int) or value < 1000:
        return cell_text(value, str)
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if value < 999.95 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 1e12:,.1f} T"


def _summary(graph: Graph, macs: int, memory: int, mini: int, width: int) -> str:
    where = f"{counted(len(graph.layers), 'layer')} on {counted(len(devices(graph)), 'logical device')}"
    where += f" in {passes(graph)} passes" if passes(graph) > 1 else ""
    what = f"{graph.generation} files, {where}, {counted(graph.parameters(), 'parameter')}"
    costs = f"{counted(macs, 'multiply-add')} per case, {memory / 1e6:,.0f} MB to train on {counted(mini, 'case')}"
    epochs = f", for {counted(graph.run['epochs'], 'epoch')}" if "epochs" in graph.run else ""
    path = printable(graph.definition.path)
    return f"{shortened(path, width - 1) if width else path}: {what}, {costs}{epochs}."
