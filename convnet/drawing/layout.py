"""Where boxes stand: ranks by longest path, a column for each device, few crossings, straight lines.

The steps are Sugiyama's: rank; bend points for edges that pass ranks by; order within ranks by the mean of the neighbours;
then places as near to the neighbours as the order and the columns allow. Lengths are pixels, x and y those of middles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from convnet.drawing.picture import HOST, Device, Edge, Picture

BOX_WIDTH, BOX_HEIGHT = 216, 44
TOP, MARGIN = 104, 28
_GAP = 26  # between neighbours
_BEND_WIDTH = 16
_COLUMN_GAP = 80
_SWEEPS = 12
_ROW, _CROSSING_ROW, _HEAD_ROW = 32, 88, 84  # between ranks; wider where edges cross between devices, and over columns
_PORT = 46  # between the ends of edges at one box

Columns = dict[Device, tuple[float, float]]  # (left, right)
Point = tuple[float, float]


@dataclass(eq=False)
class Spot:
    """A box, or a bend point of an edge (without a name): rank, column, x, and neighbours in other ranks."""

    rank: int
    column: Device
    name: str = ""
    x: float = 0.0
    above: list[Spot] = field(default_factory=list)
    below: list[Spot] = field(default_factory=list)

    @property
    def width(self) -> int:
        return BOX_WIDTH if self.name else _BEND_WIDTH


class Route(NamedTuple):
    """An edge and the points it passes, from the foot of a box to the head of another."""

    edge: Edge
    points: list[Point]


class Layout(NamedTuple):
    """Middles of boxes by name, routes of edges, columns of devices, and the size of everything."""

    boxes: dict[str, Point]
    routes: list[Route]
    columns: Columns
    width: float
    height: float


def lay_out(picture: Picture) -> Layout:
    """Find a place for everything in ``picture``."""
    ranks = _ranks(picture)
    boxes = {name: Spot(ranks[name], box.device, name) for name, box in picture.boxes.items()}
    chains = [_chain(edge, boxes) for edge in picture.edges]
    rows: dict[int, list[Spot]] = defaultdict(list)
    for spot in dict.fromkeys([*boxes.values(), *(spot for chain in chains for spot in chain)]):
        rows[spot.rank].append(spot)
    columns = _columns(picture, rows)
    for sweep in range(_SWEEPS):
        for rank in sorted(rows, reverse=sweep % 2 == 1):
            _arrange(rows[rank], columns, down=sweep % 2 == 0)
    if HOST not in columns:
        for rank in sorted(rows):
            _place_host(rows[rank])
    _straighten(boxes, columns)
    heights = _heights(picture, ranks)
    spots = [spot for row in rows.values() for spot in row]
    below, above = {spot: _ports(spot.below) for spot in spots}, {spot: _ports(spot.above) for spot in spots}
    routes = []
    for edge, chain in zip(picture.edges, chains, strict=True):
        ends = below[chain[0]][chain[1]], above[chain[-1]][chain[-2]]
        routes.append(Route(edge, _points(chain, heights, *ends)))
    rights = [right for _, right in columns.values()] + [spot.x + spot.width / 2 for spot in spots]
    bottom = max(heights.values(), default=0) + BOX_HEIGHT / 2
    places = {name: (spot.x, heights[spot.rank]) for name, spot in boxes.items()}
    return Layout(places, routes, columns, max(rights) + MARGIN, bottom + MARGIN)


def _ranks(picture: Picture) -> dict[str, int]:
    """Rank by longest path from the top; what has nothing above it stands just above its first consumer."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for edge in picture.edges:
        above[edge.target].append(edge.source)
        below[edge.source].append(edge.target)
    ranks: dict[str, int] = {}
    for name in picture.boxes:  # file order: sources first
        ranks[name] = max((ranks[source] + 1 for source in above[name]), default=0)
    for name in picture.boxes:
        if not above[name] and below[name]:
            ranks[name] = min(ranks[target] for target in below[name]) - 1
    return ranks


def _chain(edge: Edge, boxes: dict[str, Spot]) -> list[Spot]:
    """Link the boxes of an edge by bend points in the ranks between."""
    source, target = boxes[edge.source], boxes[edge.target]
    column = target.column if source.column == HOST else source.column
    chain = [source, *(Spot(rank, column) for rank in range(source.rank + 1, target.rank)), target]
    for upper, lower in pairwise(chain):
        upper.below.append(lower)
        lower.above.append(upper)
    return chain


def _columns(picture: Picture, rows: dict[int, list[Spot]]) -> Columns:
    """Make each device's column as wide as its fullest rank."""
    columns, left = {}, float(MARGIN)
    for device in picture.devices or [HOST]:
        widths = [_extent([spot for spot in row if spot.column == device]) for row in rows.values()]
        right = left + max([BOX_WIDTH, *widths]) + 2 * _GAP
        columns[device] = (left, right)
        left = right + _COLUMN_GAP
    return columns


def _extent(spots: Sequence[Spot]) -> float:
    return sum(spot.width for spot in spots) + _GAP * max(len(spots) - 1, 0)


def _arrange(row: list[Spot], columns: Columns, down: bool) -> None:
    """Order and place a rank's spots within their columns, near their neighbours above (``down``) or below."""
    for device, (left, right) in columns.items():
        spots = [spot for spot in row if spot.column == device]
        targets = {spot: _mean_x(spot.above if down else spot.below, (left + right) / 2, device) for spot in spots}
        spots.sort(key=targets.__getitem__)
        _pack(spots, targets, left + _GAP, right - _GAP)


def _mean_x(neighbours: list[Spot], default: float, column: Device) -> float:
    """Return the mean place of neighbours, of those in ``column`` if there are any."""
    near = [spot for spot in neighbours if spot.column == column] or [spot for spot in neighbours if spot.column != HOST]
    return sum(spot.x or default for spot in near) / len(near) if near else default


def _pack(spots: list[Spot], targets: dict[Spot, float], left: float, right: float) -> None:
    """Place spots in their order as near to their targets as ``left`` and ``right`` allow."""
    # Neighbours that would overlap become a run, spots side by side, whose middle is at the mean of their targets.
    runs: list[tuple[list[Spot], float, float]] = []  # with its extent
    for spot in spots:
        run, middle, extent = [spot], targets[spot], float(spot.width)
        while runs and runs[-1][1] + runs[-1][2] / 2 + _GAP > middle - extent / 2:
            before, its_middle, its_extent = runs.pop()
            middle = (len(before) * its_middle + len(run) * middle) / (len(before) + len(run))
            before += run
            run, extent = before, its_extent + _GAP + extent
        runs.append((run, min(max(middle, left + extent / 2), right - extent / 2), extent))
    # From the right, each run ends where the next begins if it would overlap that.
    limit = right
    for run, middle, extent in reversed(runs):
        limit = min(middle + extent / 2, limit)
        for spot in reversed(run):
            spot.x = limit - spot.width / 2
            limit -= spot.width + _GAP


def _place_host(row: list[Spot]) -> None:
    """Place data layers over the middle of their consumers, or as near to it as the rank has room."""
    placed = [spot for spot in row if spot.column != HOST]
    for spot in (spot for spot in row if spot.column == HOST):
        target = sum(consumer.x for consumer in spot.below) / len(spot.below) if spot.below else MARGIN + BOX_WIDTH / 2
        spot.x = next(
            x
            for x in (target + sign * step for step in range(0, 4000, 6) for sign in (1, -1))
            if x >= MARGIN + _GAP + spot.width / 2
            and all(abs(x - other.x) >= (spot.width + other.width) / 2 + _GAP for other in placed)
        )
        placed.append(spot)


def _straighten(boxes: dict[str, Spot], columns: Columns) -> None:
    """Make a straight line of each column in which every rank has one box."""
    for device, (left, right) in columns.items():
        spots = [spot for spot in boxes.values() if spot.column == device]
        if len({spot.rank for spot in spots}) == len(spots) and right - left <= BOX_WIDTH + 2 * _GAP:
            for spot in spots:
                spot.x = (left + right) / 2


def _heights(picture: Picture, ranks: dict[str, int]) -> dict[int, float]:
    """Return y of each rank."""
    crossing = {ranks[edge.target] for edge in picture.edges if edge.sent}
    first = min((ranks[name] for name, box in picture.boxes.items() if box.device != HOST), default=0)
    heights: dict[int, float] = {}
    y = TOP + BOX_HEIGHT / 2
    for rank in range(min(ranks.values(), default=0), max(ranks.values(), default=0) + 1):
        if heights:
            under_heads = rank == first and len(picture.devices) > 1
            y += BOX_HEIGHT + (_CROSSING_ROW if rank in crossing else _HEAD_ROW if under_heads else _ROW)
        heights[rank] = y
    return heights


def _points(chain: list[Spot], heights: dict[int, float], leaves: float, arrives: float) -> list[Point]:
    """Return the points of a chain, which ``leaves`` its first box and ``arrives`` at its last so far from their middles."""
    source, target = chain[0], chain[-1]
    points = [(source.x + leaves, heights[source.rank] + BOX_HEIGHT / 2)]
    for spot in chain[1:-1]:
        points += [(spot.x, heights[spot.rank] - BOX_HEIGHT / 2), (spot.x, heights[spot.rank] + BOX_HEIGHT / 2)]
    points.append((target.x + arrives, heights[target.rank] - BOX_HEIGHT / 2))
    return points


def _ports(ends: list[Spot]) -> dict[Spot, float]:
    """Return where the edges to ``ends`` meet a box, from its middle; edges stand in the order of their other ends."""
    order = sorted(ends, key=lambda spot: spot.x)
    spread = min(_PORT, (BOX_WIDTH - 40) / max(len(order), 1))
    return {end: (place - (len(order) - 1) / 2) * spread for place, end in enumerate(order)}
