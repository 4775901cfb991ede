"""The net of a run: its graph as a drawing, and its layers as a table."""

from convnet.drawing.picture import picture_of
from convnet.drawing.scene import scene_of
from convnet.drawing.svg import svg_of
from convnet.graph.graph import Graph
from convnet.graph.table import COLUMNS, cell_text, described, totals
from convnet.options import BY_NAME
from convnet.pages.parts import Html, details, drawing, element, facts, figure, html, section, table
from convnet.pages.report.reported_run import ReportedRun
from convnet.texts import counted

_BOXES, _ROWS = 150, 300


def net_section(run: ReportedRun) -> Html:
    """Return drawing and table of a net; nothing where no checkpoint says what it is."""
    graph = run.graph
    if graph is None:
        return Html("")
    sizes = (run.options.get("mini"), graph.run.get("mini"))
    mini = next((size for size in sizes if isinstance(size, int) and size > 0), BY_NAME["mini"].default)
    return section("net", "The net", _drawing(graph, run.title, mini), _table(graph, mini))


def _drawing(graph: Graph, title: str, mini: int) -> Html:
    if len(graph.declared) > _BOXES:
        many = counted(len(graph.declared), "layer")
        return element("p", f"A drawing of {many} is too large for this page; “convnet draw” makes one.")
    picture = picture_of(graph, title, mini)
    caption = f"{title}: {picture.subtitle}. Data come in at the top; a box is a layer, with its neuron."
    drawn = drawing("The graph", svg_of(scene_of(picture)), is_of_paper=True)
    return details("The graph", figure(drawn, caption), is_open=True)


def _table(graph: Graph, mini: int) -> Html:
    rows = described(graph, mini)
    shown = rows[:_ROWS]
    cells = [[cell_text(column.cell(row)) for row in shown] for column in COLUMNS]
    total = totals(rows, COLUMNS, cell_text)
    kept = [i for i, column in enumerate(cells) if any(column)]
    columns = [COLUMNS[i] for i in kept]
    foot = [total[i] for i in kept]
    if len(rows) > len(shown):
        foot[1] = f"{len(rows) - len(shown):,} more"
    caption = f"Layers; memory is that of training on {counted(mini, 'case')} at a time, in megabytes"
    words = [i for i, column in enumerate(columns) if column.least > 1]
    body = [[cells[i][row] for i in kept] for row in range(len(shown))]
    meanings = facts((column.head, column.meaning) for column in columns)
    grid = table(caption, [column.head for column in columns], body, foot, words)
    return html(Html(grid + "\n" + details("What the columns mean", meanings)))
