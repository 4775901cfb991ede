"""The paper's Figure 2: the volumes of a net as boxes in perspective, the windows that filters read, their sizes.

A box is seen from its left: the face on the left is one map, the front is as wide as there are many maps. Lines lead from
a window to the one output that it makes. Lengths are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from convnet.drawing.shapes import Paint, Path, Rectangle, Scene, Segment, Shape, Words
from convnet.drawing.volume_boxes import LINE, POINT, Box, Point, Window, boxes_of, windows_of
from convnet.drawing.volumes import Edge, Volumes
from convnet.texts import times

_MARGIN = 14
_MOST = 0.8  # of a map, that a window takes and still has its size beside it
_INK, _FACE, _SEEN = "#1d2733", "#8fa6bd", "#f3d9a2"
_TOP, _MAP, _FRONT = 0.10, 0.20, 0.32  # how much of what is behind the faces of a box is covered


def figure_two(volumes: Volumes, title: str) -> Scene:
    """Return the drawing of a net's volumes."""
    boxes = boxes_of(volumes)
    windows = windows_of(volumes.edges, boxes)
    shapes: list[Shape] = [shape for box in boxes.values() for shape in _faces(box)]
    shapes += [shape for edge in volumes.edges if edge not in windows for shape in _dense(edge, boxes)]
    shapes += [shape for window in dict.fromkeys(windows.values()) for shape in _block(window, boxes)]
    shapes += [shape for edge, window in windows.items() for shape in _rays(edge, window, boxes)]
    shapes += [_dot(boxes[name]) for name in dict.fromkeys(edge.target for edge in windows)]
    shapes += [shape for box in boxes.values() for shape in _sizes(box)]
    shapes += [word for window in dict.fromkeys(windows.values()) for word in _window_size(window, boxes)]
    shapes += _notes(volumes, boxes)
    return _framed(shapes, title)


def _faces(box: Box) -> list[Shape]:
    """Draw the top, the map and the front, through which the edges behind are seen faintly."""
    hidden = [(box.at(0, 0), box.at(0, 0, 1)), (box.at(0, 0, 1), box.at(0, 1, 1)), (box.at(0, 0, 1), box.at(1, 0, 1))]
    top = (box.at(0, 1), box.at(0, 1, 1), box.at(1, 1, 1), box.at(1, 1))
    side = (box.at(0, 0), box.at(0, 1), box.at(1, 1), box.at(1, 0))
    front = (box.at(1, 0), box.at(1, 1), box.at(1, 1, 1), box.at(1, 0, 1))
    behind: list[Shape] = [Path("hidden", _polyline(ends)) for ends in hidden] if box.volume.side else []
    faces = zip((top, side, front), (_TOP, _MAP, _FRONT), strict=True)
    return behind + [Path("volume", _polygon(corners), paint=Paint(_FACE, _INK, cover)) for corners, cover in faces]


def _block(window: Window, boxes: dict[str, Box]) -> list[Shape]:
    """Draw a window through all maps of the volume."""
    left, right = ([boxes[window.source].at(u, v, t) for u, v in window.corners] for t in (0, 1))
    outline = [left[0], left[1], right[1], right[2], right[3], left[3]]
    return [
        Path("window", _polygon(outline), paint=Paint(_SEEN, _INK, 0.7)),
        *(Path("ray", _polyline((left[2], end))) for end in (left[1], left[3], right[2])),
    ]


def _rays(edge: Edge, window: Window, boxes: dict[str, Box]) -> list[Shape]:
    """Draw lines from the corners of a window that are seen to the output that it makes."""
    source, target = boxes[edge.source], boxes[edge.target]
    look, point = _look(source, target), target.at(*POINT)
    _, *corners = (source.at(u, v, 1) for u, v in window.corners)
    if target.volume.column - source.volume.column > 1:
        return [_arc(look, corners[0], point, min(source.top, target.top))]
    return [Path(look, _polyline((corner, point))) for corner in corners]


def _arc(look: str, start: Point, end: Point, top: float) -> Path:
    """Return a way past the volumes between, bent above ``top``."""
    above = top - 2 * LINE
    return Path(look, [("M", start), ("C", (start[0] + 40, above, end[0] - 60, above, *end))])


def _look(source: Box, target: Box) -> str:
    """Return the look of lines; those that lead into another tower are told apart."""
    is_across = source.volume.row != target.volume.row and min(source.rows, target.rows) > 1
    return "across" if is_across else "ray"


def _dense(edge: Edge, boxes: dict[str, Box]) -> list[Shape]:
    """Draw that every output reads everything: from the ends of the one to the ends of the other."""
    source, target = boxes[edge.source], boxes[edge.target]
    look = _look(source, target)
    if target.volume.column - source.volume.column > 1:
        return [_arc(look, source.at(0.5, 1, 1), target.at(0.5, 1), min(source.top, target.top))]
    starts = [source.at(1, 1, 1), source.at(1, 0, 1)]
    ends = [target.at(0, 1), target.at(1, 0)]
    return [Path(look, _polyline(line)) for line in zip(starts, ends, strict=True)]


def _dot(box: Box) -> Shape:
    x, y = box.at(*POINT)
    return Rectangle("dot", x - 2, y - 2, 4, 4, 2)


def _sizes(box: Box) -> list[Shape]:
    """Write the sides of the maps along their edges, and below the front how many there are."""
    volume = box.volume
    words: list[Shape] = [Words("size", box.x + box.depth / 2 + 1, box.bottom + LINE, str(volume.maps), "middle")]
    if volume.side:
        x, y = box.at(0, 0.16)  # below the lines that come from the left
        words.append(Words("size", x - 4, y + 5, str(volume.side), "end"))
        x, y = box.at(0.5, 0)
        words.append(Words("size", x - 2, y + LINE - 1, str(volume.side), "end"))
    return words


def _window_size(window: Window, boxes: dict[str, Box]) -> list[Shape]:
    """Write the sides of a window on its left and below it, or in it where it takes most of the map."""
    far_low, far_high, near_high, near_low = (boxes[window.source].at(u, v) for u, v in window.corners)
    size = str(window.size)
    if window.share > _MOST:
        middle = (far_low[0] + near_high[0]) / 2, (far_low[1] + near_high[1]) / 2 + 4
        return [Words("kernel", *middle, times(f"{size}x{size}"), "middle")]
    return [
        Words("kernel", far_low[0] - 2.5, (far_low[1] + far_high[1]) / 2 + 4.5, size, "end"),
        Words("kernel", (far_low[0] + near_low[0]) / 2, near_low[1] + 10, size, "middle"),
    ]


def _notes(volumes: Volumes, boxes: dict[str, Box]) -> list[Shape]:
    """Write pooling and strides below the volumes that they leave, and ``dense`` above; once where towers agree."""
    words: list[Shape] = []
    for column in range(volumes.columns):
        leaving: dict[str, tuple[str, ...]] = {}
        dense: list[tuple[float, float]] = []
        for edge in volumes.edges:
            source, target = boxes[edge.source], boxes[edge.target]
            if source.volume.column != column:
                continue
            leaving.setdefault(edge.source, edge.notes)
            if not edge.filter_size and target.volume.column == column + 1:
                dense.append(((source.x + source.depth + target.x - target.back) / 2, min(source.top, target.top) - 8))
        if len(set(leaving.values())) == 1:
            leaving = dict(sorted(leaving.items(), key=lambda item: boxes[item[0]].bottom)[-1:])
        for name, notes in leaving.items():
            box = boxes[name]
            lines = [line for note in notes for line in _broken(note)]
            for i, line in enumerate(lines):
                x, y = box.x + box.depth + 6, box.bottom + (2.25 + i) * LINE
                words.append(Words("note", x, y, line, "middle"))
        if dense:
            words.append(Words("note", dense[0][0], min(y for _, y in dense), "dense", "middle"))
    return words


def _broken(note: str) -> list[str]:
    """Return a note in lines of two words, or of one that is long, as the paper writes them."""
    first, _, rest = note.partition(" ")
    return [first, rest] if rest else [first]


def _framed(shapes: Sequence[Shape], title: str) -> Scene:
    """Return a drawing of the shapes, moved so that all lie inside with a margin around."""
    points = [point for shape in shapes for point in _extent(shape)]
    left, top = (min(point[i] for point in points) - _MARGIN for i in (0, 1))
    width, height = (math.ceil(max(point[i] for point in points) + _MARGIN - low) for i, low in ((0, left), (1, top)))
    moved = [_moved(shape, -left, -top) for shape in shapes]
    return Scene(width, height, title, [Rectangle("paper", 0, 0, width, height), *moved])


def _extent(shape: Shape) -> list[Point]:
    """Return points that a shape reaches."""
    if isinstance(shape, Words):
        wide = 8.4 * len(shape.text)
        start = shape.x - wide * {"start": 0, "middle": 0.5, "end": 1}[shape.anchor]
        return [(start, shape.y - 12), (start + wide, shape.y + 4)]
    if isinstance(shape, Path):
        return [pair for _, at in shape.segments for pair in zip(at[::2], at[1::2], strict=True)]
    return []


def _moved(shape: Shape, dx: float, dy: float) -> Shape:
    if isinstance(shape, Path):
        moved = [(letter, tuple(v + (dy if i % 2 else dx) for i, v in enumerate(at))) for letter, at in shape.segments]
        return replace(shape, segments=moved)
    assert isinstance(shape, Words | Rectangle)
    return replace(shape, x=shape.x + dx, y=shape.y + dy)


def _polyline(points: Sequence[Point]) -> list[Segment]:
    return [("M", points[0]), *(("L", end) for _, end in pairwise(points))]


def _polygon(corners: Sequence[Point]) -> list[Segment]:
    return [*_polyline(corners), ("Z", ())]
