"""Where the boxes of a net's volumes stand on the paper's Figure 2, and the windows on them. Lengths are pixels.

A box is seen from its left: the face on the left is one map, the front is as wide as there are many maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from convnet.drawing.volumes import Edge, Volume, Volumes

LINE = 15  # of words
POINT = (0.5, 0.76)  # where on a map the output lies to which lines are drawn
_HIGHEST, _BEND = 250, 0.45  # height of the largest map; heights grow as sides to this power
_BACK, _RISE = 0.40, 0.30  # how far the rear edge of a map lies to the left and up, of its height
_GAP = 62
_MIDDLE = (0.56, 0.36)  # of a window on a map
_SMALLEST = 11  # window

Point = tuple[float, float]


class Box(NamedTuple):
    """A volume at its place: the near lower corner of its map, the map's height, how far back and up, and the depth."""

    volume: Volume
    x: float
    y: float
    height: float
    back: float
    rise: float
    depth: float
    rows: int  # of volumes in its column

    def at(self, u: float, v: float, t: float = 0) -> Point:
        """Return the point at ``u`` from the rear edge to the near one, ``v`` upward, ``t`` from the map to the right."""
        return self.x - self.back * (1 - u) + self.depth * t, self.y - self.height * v - self.rise * (1 - u)

    @property
    def bottom(self) -> float:
        return self.y

    @property
    def top(self) -> float:
        return self.y - self.height - self.rise


class Window(NamedTuple):
    """The window of filters of ``size`` on the volume ``source``: its middle (u, v), and the share of a map's side."""

    source: str
    size: int
    u: float
    v: float
    share: float

    @property
    def corners(self) -> list[Point]:
        """The corners (u, v): at the rear edge the lower, the upper, at the near edge the upper, the lower."""
        near, far = self.share / 2, -self.share / 2
        return [(self.u + du, self.v + dv) for du, dv in ((far, far), (far, near), (near, near), (near, far))]


def boxes_of(volumes: Volumes) -> dict[str, Box]:
    """Return the boxes of all volumes at their places; the first row and column begin at 0."""
    sides = [volume.side for volume in volumes.volumes.values() if volume.side]
    measures = {name: _measures(volume, max(sides, default=1)) for name, volume in volumes.volumes.items()}
    columns = [volume.column for volume in volumes.volumes.values()]
    towers = [name for name, volume in volumes.volumes.items() if columns.count(volume.column) > 1]
    pitch = max((measures[name][0] + measures[name][2] for name in towers), default=0) + 4 * LINE
    boxes, x = {}, 0.0
    for column in range(volumes.columns):
        here = [volume for volume in volumes.volumes.values() if volume.column == column]
        x += max(measures[volume.name][1] for volume in here) + (_label_room(here) if column else 0)
        for volume in here:
            height, back, rise, depth = measures[volume.name]
            y = volume.row * pitch + (height + rise) / 2
            boxes[volume.name] = Box(volume, x, y, height, back, rise, depth, len(here))
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


def windows_of(edges: Iterable[Edge], boxes: dict[str, Box]) -> dict[Edge, Window]:
    """Return the window of every edge that has one; several towers that read the same one share it."""
    windows: dict[Edge, Window] = {}
    for edge in edges:
        if not edge.filter_size:
            continue
        source, target = boxes[edge.source], boxes[edge.target]
        share = min(1.0, max(edge.filter_size / edge.side, _SMALLEST / source.height))
        room = 1.6 * LINE / source.height  # for the size below it
        u, v = _MIDDLE[0], max(_MIDDLE[1], share / 2 + room)
        if source.rows == 1 < target.rows:  # each window toward its tower
            v = 0.5 - 0.6 * (target.volume.row - source.volume.row) / target.rows
        for other in windows.values():
            if (
                other.source == edge.source
                and other.size != edge.filter_size
                and abs(other.v - v) < (other.share + share) / 2
            ):
                v = other.v - (other.share + share) / 2 - room
        u, v = (min(max(middle, share / 2), 1 - share / 2) for middle in (u, v))
        windows[edge] = Window(edge.source, edge.filter_size, u, v, share)
    return windows
