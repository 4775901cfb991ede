"""What a notebook shows of a net: its layers as a table, and its graph as a picture. Without scripts, in light and dark."""

from html import escape

from convnet.graph.graph import Graph
from convnet.graph.table import COLUMNS, cell_text, described, totals
from convnet.texts import printable

_ROWS, _COLUMNS = 200, COLUMNS[:6]


class Drawing:
    """A picture that notebooks show; ``svg`` is its text."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg


def html_table(graph: Graph, title: str) -> str:
    """Return the layers of a graph as a table in HTML, in the colours of the page around it."""
    rows = described(graph, 1)
    total = totals(rows, _COLUMNS, cell_text)
    if len(rows) > _ROWS:
        total[2] = f"{len(rows) - _ROWS:,} more"
    head, foot = _row("th", [column.head for column in _COLUMNS]), _row("th", total)
    body = "".join(_row("td", [cell_text(column.cell(row)) for column in _COLUMNS]) for row in rows[:_ROWS])
    return f"<table><caption>{_text(title)}</caption><thead>{head}</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"


def _row(kind: str, cells: list[str]) -> str:
    sides = ["left" if column.least else "right" for column in _COLUMNS]
    pairs = zip(sides, cells, strict=True)
    return "<tr>" + "".join(f'<{kind} style="text-align:{side}">{_text(cell)}</{kind}>' for side, cell in pairs) + "</tr>"


def _text(raw: str) -> str:
    return escape(printable(raw))
