"""What a notebook shows of a net: its layers as a table, and its graph as a picture. Without scripts, in light and dark."""

from html import escape

from convnet.errors import counted, printable
from convnet.graph.analysis import shape_texts
from convnet.graph.graph import Graph
from convnet.layers.weighted import WeightLayer

_ROWS = 200


class Drawing:
    """A picture that notebooks show; ``svg`` is its text."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg


def html_table(graph: Graph, title: str) -> str:
    """Return the layers of a graph as a table in HTML, in the colours of the page around it."""
    shapes = shape_texts(graph)
    rows = []
    for name, layer in list(graph.layers.items())[:_ROWS]:
        numbers = layer.parameters() if isinstance(layer, WeightLayer) else 0, layer.macs()
        inputs = ", ".join(source.name for source in layer.sources)
        rows.append(_row("td", [name, layer.type, inputs, shapes[name], *(f"{n:,}" if n else "" for n in numbers)]))
    more = len(graph.layers) - len(rows)
    totals = [counted(len(graph.layers), "layer"), "", f"{more:,} more" if more else "", "", f"{graph.parameters():,}"]
    totals.append(f"{sum(layer.macs() for layer in graph.layers.values()):,}")
    head = _row("th", ["layer", "type", "inputs", "output", "parameters", "multiply-adds"])
    body, foot = "".join(rows), _row("th", totals)
    return f"<table><caption>{_text(title)}</caption><thead>{head}</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"


def _row(kind: str, cells: list[str]) -> str:
    sides = ["left"] * 3 + ["right"] * 3
    pairs = zip(sides, cells, strict=True)
    return "<tr>" + "".join(f'<{kind} style="text-align:{side}">{_text(cell)}</{kind}>' for side, cell in pairs) + "</tr>"


def _text(raw: str) -> str:
    return escape(printable(raw))
