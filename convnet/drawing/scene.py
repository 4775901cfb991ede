"""A picture of a graph as shapes at their places: columns of devices, boxes of layers, edges, what crosses, a legend."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from convnet.drawing.layout import BOX_HEIGHT, BOX_WIDTH, MARGIN, Layout, Point, Route, lay_out
from convnet.drawing.picture import HOST, Box, Device, Picture
from convnet.drawing.shapes import Group, Paint, Path, Rectangle, Scene, Segment, Shape, Words
from convnet.texts import bytes_text, shortened

# (fill, line, column) by device, told apart in grey and by the colour-blind (after Paul Tol's muted scheme)
_COLORS = (
    ("#cfe3f5", "#2b6aa6", "#eef5fb"),
    ("#fbdcbc", "#b8651b", "#fdf4ea"),
    ("#cfe9cf", "#3a7d3a", "#eff8ef"),
    ("#e3d3ee", "#7446a0", "#f7f1fb"),
    ("#f6d0d9", "#a83a58", "#fcf0f3"),
    ("#d5e8e6", "#2f7f79", "#eff7f6"),
    ("#eee3b4", "#8a7512", "#faf7e6"),
    ("#dcdcdc", "#555555", "#f5f5f5"),
)
_HOST_COLORS = ("#ffffff", "#777777", "#ffffff")
_LEGEND_ROW = 24


def scene_of(picture: Picture, layout: Layout | None = None) -> Scene:
    """Return the drawing of a picture, laid out as in ``layout``."""
    layout = layout or lay_out(picture)
    width = max(layout.width, 15.5 * len(picture.title) + 2 * MARGIN, 7.0 * len(picture.subtitle) + 2 * MARGIN, 610)
    legend, rows = _legend(picture, width, layout.height)
    height = layout.height + 16 + _LEGEND_ROW * rows
    shapes: list[Shape] = [
        Rectangle("paper", 0, 0, round(width), round(height)),
        Words("title", width / 2, 38, picture.title, "middle"),
        Words("subtitle", width / 2, 60, picture.subtitle, "middle"),
    ]
    layout = _centred(layout, (width - layout.width) / 2)
    shapes += _columns(picture, layout)
    shapes += [_edge(route, picture) for route in sorted(layout.routes, key=lambda route: route.edge.sent > 0)]
    shapes += [_box(i, box, *layout.boxes[box.name], picture) for i, box in enumerate(picture.boxes.values())]
    shapes += [_edge_words(route, layout) for route in layout.routes if not route.edge.sent]
    shapes += _crossings(layout)
    shapes += legend
    return Scene(width, height, picture.title, shapes)


def colors(picture: Picture, device: Device) -> tuple[str, str, str]:
    """Return fill, line and column colour of a device."""
    return _HOST_COLORS if device == HOST else _COLORS[picture.devices.index(device) % len(_COLORS)]


def device_text(device: Device) -> str:
    """Return ``device 0``, ``devices 0, 1`` or ``host``."""
    return f"device{'s' * (len(device) > 1)} {', '.join(map(str, device))}" if device else "host"


def _centred(layout: Layout, shift: float) -> Layout:
    """Return a layout moved to the right, all but its width."""
    return layout._replace(
        boxes={name: (x + shift, y) for name, (x, y) in layout.boxes.items()},
        routes=[Route(edge, [(x + shift, y) for x, y in points]) for edge, points in layout.routes],
        columns={device: (left + shift, right + shift) for device, (left, right) in layout.columns.items()},
    )


def _columns(picture: Picture, layout: Layout) -> list[Shape]:
    if len(picture.devices) < 2:
        return []
    shapes: list[Shape] = []
    highest = min(layout.boxes[name][1] for name, box in picture.boxes.items() if box.device != HOST)
    top, bottom = highest - BOX_HEIGHT / 2 - 46, layout.height - MARGIN + 14
    middle = sum(sum(sides) for sides in layout.columns.values()) / (2 * len(layout.columns))
    for device, (left, right) in layout.columns.items():
        _, line, fill = colors(picture, device)
        x, anchor = (left + 14, "start") if (left + right) / 2 < middle else (right - 14, "end")
        shapes += [
            Rectangle("panel", left, top, right - left, bottom - top, 14, Paint(fill, line, line_opacity=0.35)),
            Words("column", x, top + 21, device_text(device), anchor, Paint(line)),
        ]
    return shapes


def _box(number: int, box: Box, x: float, y: float, picture: Picture) -> Group:
    fill, line, _ = colors(picture, box.device)
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    shapes: list[Shape] = [
        Rectangle("box", left, top, BOX_WIDTH, BOX_HEIGHT, 7, Paint(fill, line)),
        *_volume(box.volume, left + 29, y, line),
        Words("name", left + 58, y - 4, shortened(box.name, 14)),
        Words("label", left + 58, y + 13, shortened(box.label, 25)),
        Words("weight", left + BOX_WIDTH - 8, y - 5, box.weight, "end"),
    ]
    return Group(number, "\n".join([box.name, *(f"{name}: {value}" for name, value in box.details)]), shapes)


def _volume(volume: tuple[int, int], x: float, y: float, line: str) -> list[Shape]:
    """Draw an output as a block whose face is the side of the maps, and whose depth their number; without maps as a bar."""
    maps, side = volume
    if maps <= 0:
        return []
    face = 4 + 22 * min(1, math.log2(max(side, 1)) / 8)
    depth = 2 + 12 * min(1, math.log2(max(maps, 1)) / 9)
    if side == 1:
        face, depth = 4, 6 + 26 * min(1, math.log2(max(maps, 1)) / 12)
        return [Rectangle("bar", x - depth / 2, y - face / 2, depth, face, paint=Paint(line, fill_opacity=0.75))]
    dx, dy = depth, depth * 0.45
    left, top = x - (face + dx) / 2, y - (face - dy) / 2
    right, bottom = left + face, top + face
    return [
        Path("face", _polygon(corners), paint=Paint(line, line, opacity))
        for opacity, corners in (
            (0.22, [(left, top), (right, top), (right, bottom), (left, bottom)]),
            (0.10, [(left, top), (left + dx, top - dy), (right + dx, top - dy), (right, top)]),
            (0.5, [(right, top), (right + dx, top - dy), (right + dx, bottom - dy), (right, bottom)]),
        )
    ]


def _polygon(corners: Sequence[Point]) -> list[Segment]:
    return [("M", corners[0]), *(("L", corner) for corner in corners[1:]), ("Z", ())]


def _edge(route: Route, picture: Picture) -> Path:
    edge, points = route
    segments: list[Segment] = [("M", points[0])]
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        segments.append(("C", (x1, middle, x2, middle, x2, y2)) if abs(x1 - x2) > 0.5 else ("L", (x2, y2)))
    look = "crossing" if edge.sent else "host" if picture.boxes[edge.source].device == HOST else "edge"
    return Path(look, segments, arrow=True)


def _edge_words(route: Route, layout: Layout) -> Words:
    """Write the shape beside an edge within a device."""
    (x1, y1), (x2, y2) = route.points[-2:]
    y = (y1 + y2) / 2 + 3 if abs(x2 - x1) <= 0.5 else y2 - 9
    is_left = x2 < layout.boxes[route.edge.target][0] - 1
    x, anchor = (x2 - 6, "end") if is_left else (x2 + 6, "start")
    return Words("shape", x, y, route.edge.shape, anchor)


def _crossings(layout: Layout) -> list[Shape]:
    """Label what crosses from each box to other devices: on the edge, or amid most of the edges where several leave."""
    leaving: dict[str, list[Route]] = {}
    for route in layout.routes:
        if route.edge.sent:
            leaving.setdefault(route.edge.source, []).append(route)
    return [shape for routes in leaving.values() for shape in _crossing_label(routes)]


def _crossing_label(routes: list[Route]) -> list[Shape]:
    edge = routes[0].edge
    to_right = [route for route in routes if route.points[1][0] >= route.points[0][0]]
    side = to_right if 2 * len(to_right) >= len(routes) else [route for route in routes if route not in to_right]
    points = [_on_curve(route.points[0], route.points[1], 0.3 if len(routes) == 1 else 0.22) for route in side]
    x, y = (sum(point[i] for point in points) / len(points) for i in (0, 1))
    lines = [edge.shape, bytes_text(edge.sent) + (f", {len(routes)} times" if len(routes) > 1 else "")]
    wide = 8 * max(map(len, lines)) + 8
    return [
        Rectangle("pill", x - wide / 2, y - 15, wide, 30, 6),
        Words("sent", x, y - 2.5, lines[0], "middle"),
        Words("sent", x, y + 11, lines[1], "middle"),
    ]


def _on_curve(start: Point, end: Point, t: float) -> Point:
    """Return the point at ``t`` in 0 to 1 of the bend from ``start`` to ``end``."""
    across, down = 3 * t**2 - 2 * t**3, 1.5 * t * (1 - t) + t**3
    return start[0] + (end[0] - start[0]) * across, start[1] + (end[1] - start[1]) * down


Symbol = Callable[[float, float], list[Shape]]  # drawn at a place, 20 wide


def _legend(picture: Picture, width: float, y: float) -> tuple[list[Shape], int]:
    """Say what colours and lines mean, in centred rows, and how many of them."""
    entries: list[tuple[Symbol | None, str]] = []
    for device in [HOST, *picture.devices] if len(picture.devices) > 1 else ():
        entries.append((partial(_swatch, colors(picture, device)), device_text(device)))
    entries.append((lambda x, y: _volume((64, 32), x + 6, y - 4, "#555555"), "output: side and number of maps"))
    entries.append((None, "number in a box: its parameters"))
    if picture.sent:
        words = f"between devices: {bytes_text(picture.sent)} per minibatch of {picture.mini}, as much back"
        entries.append((lambda x, y: [Path("crossing", [("M", (x, y - 4)), ("L", (x + 20, y - 4))])], words))
    rows: list[list[tuple[Symbol | None, str]]] = [[]]
    for entry in entries:
        if rows[-1] and _row_width([*rows[-1], entry]) > width - 2 * MARGIN:
            rows.append([])
        rows[-1].append(entry)
    shapes: list[Shape] = []
    for number, row in enumerate(rows):
        x, base = (width - _row_width(row)) / 2, y + 22 + _LEGEND_ROW * number
        for symbol, words in row:
            shapes += symbol(x, base) if symbol else []
            shapes.append(Words("subtitle", x + 28 * bool(symbol), base, words))
            x += _row_width([(symbol, words)])
    return shapes, len(rows)


def _swatch(colors: tuple[str, str, str], x: float, y: float) -> list[Shape]:
    return [Rectangle("swatch", x, y - 10, 18, 12, 3, Paint(*colors[:2]))]


def _row_width(entries: Sequence[tuple[Symbol | None, str]]) -> float:
    return sum(30 * bool(symbol) + 6.6 * len(words) + 22 for symbol, words in entries)
