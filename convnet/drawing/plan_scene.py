"""A plan of steps on many ranks as bars, a panel for each scheme: 100 % is R ranks that are R times as fast as one."""

from convnet.drawing.plot import Frame, star, ticks
from convnet.drawing.shapes import Paint, Path, Rectangle, Scene, Shape, Words
from convnet.planning.plan import Plan
from convnet.planning.steps import Step
from convnet.texts import TIMES, counted, printable, shortened

_LEFT, _TOP, _HIGH, _GAP = 64, 196, 250, 26
_PANEL, _SLOT = 286, 56  # widths at least, of a panel and of a bar in it
_MOST = 2.5  # times the ideal, to which longer bars are cut
_ARITHMETIC, _WAITING, _HIDDEN = Paint("#3f86c4"), Paint("#d2691e"), Paint("#2a9d76")
_LEGEND = (
    (_ARITHMETIC, "arithmetic"),
    (_WAITING, "waiting for links"),
    (_HIDDEN, "links busy while ranks compute: costs nothing"),
    (None, "fastest on so many ranks"),
)
_ABOUT = {
    "data": "each rank has its cases; gradients are summed",
    "model": "each rank has a part of every layer",
    "hybrid": "convolutions by data, fc layers by model",
}


def plan_scene(found: Plan) -> Scene:
    """Draw the steps of a plan: arithmetic and waiting one above the other, what is hidden beside it."""
    name = printable(found.graph.definition.path).rpartition("/")[2]
    title = f"{shortened(name, 40)} on {counted(max(found.steps), 'rank')}: where the time of a step goes"
    lines = [
        f"{found.machine.describe()}; a step of {counted(found.one.mini, 'case')} takes one rank {_time(found.one.seconds)}",
        "Height of a bar: the time of a step; 100 % if R ranks did R times the work of one in the same time. "
        "Bars that are cut show shares.",
    ]
    panel = max(_PANEL, _SLOT * len(found.steps))
    width, bottom = _LEFT + 3 * panel + 2 * _GAP + 16, _TOP + _HIGH
    shapes: list[Shape] = [
        Rectangle("ground", 0, 0, width, bottom + 56),
        Words("heading", 16, 32, title),
        *(Words("faint", 16, 54 + 17 * i, shortened(line, width // 6)) for i, line in enumerate(lines)),
        *_legend(16, 98),
    ]
    steps = [(ranks, step) for ranks, several in found.steps.items() for step in several]
    up = min(max(1.25, 1.05 * max(1 / found.efficiency(step) for _, step in steps)), _MOST)
    for i, (scheme, about) in enumerate(_ABOUT.items()):
        shown = [step for ranks, step in steps if step.scheme == scheme or ranks == 1]
        frame = Frame(_LEFT + i * (panel + _GAP), _TOP, panel, _HIGH, (0, len(shown)), (0, up))
        shapes += _grid(frame, has_numbers=i == 0)
        shapes += [Words("panel-name", frame.left, _TOP - 58, scheme), Words("faint", frame.left, _TOP - 42, about)]
        for place, step in enumerate(shown):
            shapes += _bars(frame, place, found, step)
        shapes.append(Words("faint", frame.left + panel / 2, bottom + 38, "ranks", "middle"))
    return Scene(width, bottom + 56, title, shapes)


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _grid(frame: Frame, has_numbers: bool) -> list[Shape]:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    shapes: list[Shape] = []
    for value, text in ticks(0, 100 * frame.up[1]):
        y = frame.y(value / 100)
        shapes.append(Path("mark" if value == 100 else "grid", [("M", (frame.left, y)), ("L", (right, y))]))
        shapes += [Words("faint", frame.left - 7, y + 4, f"{text} %", "end")] * has_numbers
    return [*shapes, Path("axis", [("M", (frame.left, frame.top)), ("L", (frame.left, bottom)), ("L", (right, bottom))])]


def _bars(frame: Frame, place: int, found: Plan, step: Step) -> list[Shape]:
    """Draw a step: its two parts, what is hidden beside them, and its numbers above; one too long is cut, in proportion."""
    wide, x = min(0.5 * frame.width / frame.across[1], 44), frame.x(place + 0.5)
    whole, bottom = 1 / found.efficiency(step), frame.top + frame.height
    high = min(whole, frame.up[1])
    parts = (
        (x - wide / 2, wide, 0.0, step.arithmetic, _ARITHMETIC),
        (x - wide / 2, wide, step.arithmetic, step.seconds, _WAITING),
        (x + wide / 2 + 2, wide / 4, 0.0, step.hidden, _HIDDEN),
    )
    shapes: list[Shape] = []
    for left, width, start, end, paint in parts:
        below, above = (frame.y(high * min(seconds / step.seconds, 1.0)) for seconds in (start, end))
        if below - above > 0.05:
            shapes.append(Rectangle("bar", left, above, width, below - above, paint=paint))
    top, speedup = frame.y(high), found.speedup(step)
    if whole > high:
        shapes += [Rectangle("ground", x - wide / 2 - 1, top + dy, wide + 2, 2) for dy in (6, 10)]
    shapes.append(Words("words", x, top - 17, f"{speedup:.{1 if speedup >= 10 else 2}f}{TIMES}", "middle"))
    shapes.append(Words("faint", x, top - 5, _time(step.seconds), "middle"))
    shapes.append(Words("words", x, bottom + 18, str(step.ranks), "middle"))
    if step.ranks > 1 and step is found.best(step.ranks):
        shapes.append(star("test-dot", x + 10 + 4 * len(str(step.ranks)), bottom + 14, 6))
    return shapes


def _legend(x: float, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for paint, text in _LEGEND:
        shapes.append(Rectangle("bar", x, y - 11, 16, 14, paint=paint) if paint else star("test-dot", x + 8, y - 4, 6))
        shapes.append(Words("words", x + 22, y, text))
        x += 22 + 6.4 * len(text) + 24
    return shapes
