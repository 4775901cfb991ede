"""The paper's Figure 2: the volumes of a net as boxes in perspective, the windows that filters read, their sizes.

A box is seen from its left: the face on the left is one map, the front is as wide as there are many maps. Lines lead from
a window to the one output that it makes. Lengths are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from convnet.drawing.picture import times
from convnet.drawing.shapes import Paint, Path, Rectangle, Scene, Segment, Shape, Words
from convnet.drawing.volumes import Volume, Volumes, Way

_HIGHEST, _BEND = 250, 0.45  # height of the largest map; heights grow as sides to this power
_BACK, _RISE = 0.40, 0.30  # how far the rear edge of a map lies to the left and up, of its height
_GAP, _MARGIN, _LINE = 62, 14, 15
_POINT, _WINDOW = (0.5, 0.76), (0.46, 0.36)  # where an output, and the window below it, lie on a map
_SMALLEST = 11  # window
_FACES = ((0.10, "#8fa6bd"), (0.20, "#8fa6bd"), (0.32, "#8fa6bd"))  # top, map, front
_SEEN = "#f3d9a2"

Point = tuple[float, float]


class _Box(NamedTuple):
    """A volume at its place: the near lower corner of its map, the map's height, how far back and up, and the depth."""

    volume: Volume
    x: float
    y: float
    height: float
    back: float
    rise: float
    depth: float

    def at(self, u: float, v: float, t: float = 0) -> Point:
        """Return the point at ``u`` from the rear edge to the near one, ``v`` upward, ``t`` from the map to the right."""
        return self.x - self.back * (1 - u) + self.depth * t, self.y - self.height * v - self.rise * (1 - u)

    @property
    def bottom(self) -> float:
        return self.y

    @property
    def top(self) -> float:
        return self.y - self.height - self.rise


def figure_two(volumes: Volumes, title: str) -> Scene:
    """Return the drawing of a net's volumes."""
    boxes = _boxes(volumes)
    shapes: list[Shape] = [shape for box in boxes.values() for shape in _faces(box)]
    drawn: set[tuple[str, int, int]] = set()
    for way in volumes.ways:
        if not way.filter_size:
            shapes += _dense(way, boxes)
            continue
        if _place(way, boxes) not in drawn:
            drawn.add(_place(way, boxes))
            shapes += _block(way, boxes)
        shapes += _sights(way, boxes)
    shapes += [_dot(boxes[name]) for name in dict.fromkeys(way.target for way in volumes.ways if way.filter_size)]
    shapes += [shape for box in boxes.values() for shape in _sizes(box)]
    shapes += _window_sizes(volumes.ways, boxes)
    shapes += _notes(volumes, boxes)
    return _framed(shapes, title)


def _boxes(volumes: Volumes) -> dict[str, _Box]:
    """Return the boxes of all volumes at their places; the first row and column begin at 0."""
    sides = [volume.side for volume in volumes.volumes.values() if volume.side]
    measures = {name: _measures(volume, max(sides, default=1)) for name, volume in volumes.volumes.items()}
    columns = [volume.column for volume in volumes.volumes.values()]
    towers = [name for name, volume in volumes.volumes.items() if columns.count(volume.column) > 1]
    pitch = max((measures[name][0] + measures[name][2] for name in towers), default=0) + 4 * _LINE
    boxes, x = {}, 0.0
    for column in range(volumes.columns):
        here = [volume for volume in volumes.volumes.values() if volume.column == column]
        x += max(measures[volume.name][1] for volume in here) + (_label_room(here) if column else 0)
        for volume in here:
            height, back, rise, depth = measures[volume.name]
            y = volume.row * pitch + (height + rise) / 2
            boxes[volume.name] = _Box(volume, x, y, height, back, rise, depth)
        x += max(measures[volume.name][3] for volume in here) + _GAP
    return boxes


def _label_room(volumes: Sequence[Volume]) -> float:
    """Return the width of what stands on the left of maps."""
    return max(8.0 * len(str(volume.side)) if volume.side else 0 for volume in volumes)


def _measures(volume: Volume, largest: int) -> tuple[float, float, float, float]:
    """Return height, back, rise and depth of a volume, in a net whose largest maps have the side ``largest``."""
    if not volume.side:
        height = 40 + 11 * math.log2(max(volume.maps, 1))
        return height, 5, 4, 11
    height = max(26, _HIGHEST * (volume.side / largest) ** _BEND)
    return height, _BACK * height, _RISE * height, min(64, 4 + 2 * math.sqrt(volume.maps))


def _faces(box: _Box) -> list[Shape]:
    """Draw the top, the map and the front, through which the edges behind are seen faintly."""
    hidden = [(box.at(0, 0), box.at(0, 0, 1)), (box.at(0, 0, 1), box.at(0, 1, 1)), (box.at(0, 0, 1), box.at(1, 0, 1))]
    top = (box.at(0, 1), box.at(0, 1, 1), box.at(1, 1, 1), box.at(1, 1))
    side = (box.at(0, 0), box.at(0, 1), box.at(1, 1), box.at(1, 0))
    front = (box.at(1, 0), box.at(1, 1), box.at(1, 1, 1), box.at(1, 0, 1))
    behind: list[Shape] = [Path("hidden", _polyline(ends)) for ends in hidden] if box.volume.side else []
    faces = zip((top, side, front), _FACES, strict=True)
    return behind + [
        Path("volume", _polygon(corners), paint=Paint(fill, fill_opacity=cover)) for corners, (cover, fill) in faces
    ]


def _frame(way: Way, boxes: dict[str, _Box]) -> list[tuple[float, float]]:
    """Return the corners (u, v) of the window of a way on the map that it leaves."""
    source, target = boxes[way.source], boxes[way.target]
    share = min(1.0, max(way.filter_size / way.side, _SMALLEST / source.height))
    u, v = _WINDOW[0], max(_WINDOW[1], share / 2 + 1.6 * _LINE / source.height)  # with room for its size below
    if not _is_in_tower(source, boxes) and (rows := _rows(target, boxes)) > 1:  # each window toward its tower
        v = 0.5 - 0.6 * (target.volume.row - source.volume.row) / rows
    u, v = (min(max(middle, share / 2), 1 - share / 2) for middle in (u, v))
    near, far = share / 2, -share / 2
    return [(u + du, v + dv) for du, dv in ((far, far), (far, near), (near, near), (near, far))]


def _place(way: Way, boxes: dict[str, _Box]) -> tuple[str, int, int]:
    """Return by what windows that are drawn over each other are the same."""
    _, high = boxes[way.source].at(*_frame(way, boxes)[1])
    return way.source, way.filter_size, round(high)


def _rows(box: _Box, boxes: dict[str, _Box]) -> int:
    """Return how many volumes the column of a box has."""
    return sum(other.volume.column == box.volume.column for other in boxes.values())


def _is_in_tower(box: _Box, boxes: dict[str, _Box]) -> bool:
    return _rows(box, boxes) > 1


def _block(way: Way, boxes: dict[str, _Box]) -> list[Shape]:
    """Draw a window through all maps of the volume."""
    corners = _frame(way, boxes)
    left, right = ([boxes[way.source].at(u, v, t) for u, v in corners] for t in (0, 1))
    outline = [left[0], left[1], right[1], right[2], right[3], left[3]]
    return [
        Path("window", _polygon(outline), paint=Paint(_SEEN, fill_opacity=0.7)),
        *(Path("window", _polyline((left[2], end))) for end in (left[1], left[3], right[2])),
    ]


def _sights(way: Way, boxes: dict[str, _Box]) -> list[Shape]:
    """Draw lines from the corners of a window that are seen to the output that it makes."""
    source, target = boxes[way.source], boxes[way.target]
    look, point = _look(source, target, boxes), target.at(*_POINT)
    _, *corners = (source.at(u, v, 1) for u, v in _frame(way, boxes))
    if target.volume.column - source.volume.column > 1:
        return [_arc(look, corners[0], point, min(source.top, target.top))]
    return [Path(look, _polyline((corner, point))) for corner in corners]


def _arc(look: str, start: Point, end: Point, top: float) -> Path:
    """Return a way past the volumes between, bent above ``top``."""
    above = top - 2 * _LINE
    return Path(look, [("M", start), ("C", (start[0] + 40, above, end[0] - 60, above, *end))])


def _look(source: _Box, target: _Box, boxes: dict[str, _Box]) -> str:
    """Return the look of lines; those that lead into another tower are told apart."""
    is_across = source.volume.row != target.volume.row and all(_is_in_tower(box, boxes) for box in (source, target))
    return "across" if is_across else "sight"


def _dense(way: Way, boxes: dict[str, _Box]) -> list[Shape]:
    """Draw that every output reads everything: from the ends of the one to the ends of the other."""
    source, target = boxes[way.source], boxes[way.target]
    look = _look(source, target, boxes)
    if target.volume.column - source.volume.column > 1:
        return [_arc(look, source.at(0.5, 1, 1), target.at(0.5, 1), min(source.top, target.top))]
    starts = [source.at(1, 1, 1), source.at(1, 0, 1)]
    ends = [target.at(0, 1), target.at(1, 0)]
    return [Path(look, _polyline(line)) for line in zip(starts, ends, strict=True)]


def _dot(box: _Box) -> Shape:
    x, y = box.at(*_POINT)
    return Rectangle("dot", x - 2, y - 2, 4, 4, 2)


def _sizes(box: _Box) -> list[Shape]:
    """Write the sides of the maps along their edges, and below the front how many there are."""
    volume = box.volume
    words: list[Shape] = [Words("size", box.x + box.depth / 2 + 1, box.bottom + _LINE, str(volume.maps), "middle")]
    if volume.side:
        x, y = box.at(0, 0.16)  # below the lines that come from the left
        words.append(Words("size", x - 4, y + 5, str(volume.side), "end"))
        x, y = box.at(0.5, 0)
        words.append(Words("size", x - 3, y + _LINE, str(volume.side), "end" if box.height < 120 else "middle"))
    return words


def _window_sizes(ways: Iterable[Way], boxes: dict[str, _Box]) -> list[Shape]:
    """Write the sides of each window on its left and below it."""
    words: dict[tuple[str, int, int], list[Shape]] = {}
    for way in ways:
        if not way.filter_size or (place := _place(way, boxes)) in words:
            continue
        far_low, far_high, near_high, near_low = (boxes[way.source].at(u, v) for u, v in _frame(way, boxes))
        size, middle = str(way.filter_size), (far_low[1] + far_high[1]) / 2
        if way.filter_size > 0.8 * way.side:  # no room beside it
            x, y = (far_low[0] + near_high[0]) / 2, (far_low[1] + near_high[1]) / 2
            words[place] = [Words("kernel", x, y + 4, times(f"{size}x{size}"), "middle")]
            continue
        left = Words("kernel", far_low[0] - 2.5, middle + 4.5, size, "end")
        words[place] = [left, Words("kernel", (far_low[0] + near_low[0]) / 2, near_low[1] + 10, size, "middle")]
    return [word for pair in words.values() for word in pair]


def _notes(volumes: Volumes, boxes: dict[str, _Box]) -> list[Shape]:
    """Write pooling and strides below the volumes that they leave, and ``dense`` above; once where towers agree."""
    words: list[Shape] = []
    for column in range(volumes.columns):
        leaving: dict[str, tuple[str, ...]] = {}
        dense: list[tuple[float, float]] = []
        for way in volumes.ways:
            source, target = boxes[way.source], boxes[way.target]
            if source.volume.column != column:
                continue
            leaving.setdefault(way.source, way.notes)
            if not way.filter_size and target.volume.column == column + 1:
                dense.append(((source.x + source.depth + target.x - target.back) / 2, min(source.top, target.top) - 8))
        if len(set(leaving.values())) == 1:
            leaving = dict(sorted(leaving.items(), key=lambda item: boxes[item[0]].bottom)[-1:])
        for name, notes in leaving.items():
            box = boxes[name]
            lines = [line for note in notes for line in _broken(note)]
            for i, line in enumerate(lines):
                x, y = box.x + box.depth + 6, box.bottom + (2.25 + i) * _LINE
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
    if isinstance(shape, Words):
        return Words(shape.look, shape.x + dx, shape.y + dy, shape.text, shape.anchor, shape.paint)
    if isinstance(shape, Rectangle):
        return Rectangle(shape.look, shape.x + dx, shape.y + dy, shape.width, shape.height, shape.radius, shape.paint)
    assert isinstance(shape, Path)
    moved = [(letter, tuple(v + (dy if i % 2 else dx) for i, v in enumerate(at))) for letter, at in shape.segments]
    return Path(shape.look, moved, shape.arrow, shape.paint)


def _polyline(points: Sequence[Point]) -> list[Segment]:
    return [("M", points[0]), *(("L", end) for _, end in pairwise(points))]


def _polygon(corners: Sequence[Point]) -> list[Segment]:
    return [*_polyline(corners), ("Z", ())]
