"""Where boxes stand: ranks by longest path, a column for each device, few crossings, straight lines.

The steps are Sugiyama's: rank, bend points for edges that pass ranks by, order within ranks by the mean of the neighbours,
then places as near to the neighbours as the order and the columns allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from convnet.drawing.picture import HOST, Device, Edge, Picture

BOX_WIDTH, BOX_HEIGHT = 216, 44
TOP, MARGIN = 104, 28
_GAP = 26  # between neighbours
_LANE = 16  # width of a bend point
_BAND_GAP = 80  # between columns
_SWEEPS = 12
_ROW, _CROSSING_ROW, _HEAD_ROW = 32, 88, 84  # between ranks; wider where edges cross between devices, and over columns
_PORT = 46  # between the ends of edges at one box


@dataclass(eq=False)
class Spot:
    """A box, or a bend point of an edge (without a name): its rank, column, width, and the middle of it."""

    rank: int
    column: Device
    name: str = ""
    x: float = 0.0
    above: list[Spot] = field(default_factory=list)
    below: list[Spot] = field(default_factory=list)

    @property
    def width(self) -> int:
        return BOX_WIDTH if self.name else _LANE


@dataclass(frozen=True)
class Route:
    """An edge and the points it passes, from the foot of a box to the head of another."""

    edge: Edge
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Layout:
    """Middles of boxes by name, routes of edges, (left, right) of columns by device, and the size of it all."""

    boxes: dict[str, tuple[float, float]]
    routes: list[Route]
    columns: dict[Device, tuple[float, float]]
    width: float
    height: float


def lay_out(picture: Picture) -> Layout:
    """Find a place for everything in ``picture``."""
    ranks = ranks_of(picture)
    boxes = {name: Spot(ranks[name], box.device, name) for name, box in picture.boxes.items()}
    chains = [_chain(edge, boxes) for edge in picture.edges]
    rows: dict[int, list[Spot]] = defaultdict(list)
    for spot in dict.fromkeys([*boxes.values(), *(spot for chain in chains for spot in chain)]):
        rows[spot.rank].append(spot)
    columns = _columns(picture, rows)
    for sweep in range(_SWEEPS):
        for rank in sorted(rows, reverse=sweep % 2 == 1):
            _arrange(rows[rank], columns, down=sweep % 2 == 0)
    for rank in sorted(rows):
        _place_host(rows[rank], columns)
    _even_out(boxes, columns)
    heights = _heights(picture, ranks)
    routes = [_route(edge, chain, heights) for edge, chain in zip(picture.edges, chains, strict=True)]
    places = {name: (spot.x, heights[spot.rank]) for name, spot in boxes.items()}
    right = max(
        [*(right for _, right in columns.values()), *(spot.x + spot.width / 2 for row in rows.values() for spot in row)]
    )
    return Layout(places, routes, columns, right + MARGIN, max(heights.values(), default=0) + BOX_HEIGHT / 2 + MARGIN)


def ranks_of(picture: Picture) -> dict[str, int]:
    """Rank by longest path from the top; what has nothing above it stands just above its first reader."""
    above: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, list[str]] = defaultdict(list)
    for edge in picture.edges:
        above[edge.target].append(edge.source)
        readers[edge.source].append(edge.target)
    ranks: dict[str, int] = {}
    for name in picture.boxes:  # file order: sources first
        ranks[name] = max((ranks[source] + 1 for source in above[name]), default=0)
    for name in picture.boxes:
        if not above[name] and readers[name]:
            ranks[name] = min(ranks[reader] for reader in readers[name]) - 1
    return ranks


def _chain(edge: Edge, boxes: dict[str, Spot]) -> list[Spot]:
    """The boxes of an edge and bend points in the ranks between, linked."""
    source, target = boxes[edge.source], boxes[edge.target]
    column = target.column if source.column == HOST else source.column
    chain = [source, *(Spot(rank, column) for rank in range(source.rank + 1, target.rank)), target]
    for upper, lower in pairwise(chain):
        upper.below.append(lower)
        lower.above.append(upper)
    return chain


def _columns(picture: Picture, rows: dict[int, list[Spot]]) -> dict[Device, tuple[float, float]]:
    """Left and right of each device's column: as wide as its fullest rank."""
    columns, left = {}, float(MARGIN)
    for device in picture.devices or [HOST]:
        fullest = max((_extent([spot for spot in row if spot.column == device]) for row in rows.values()), default=0.0)
        width = max(fullest, BOX_WIDTH) + 2 * _GAP
        columns[device] = (left, left + width)
        left += width + _BAND_GAP
    return columns


def _extent(spots: Sequence[Spot]) -> float:
    return sum(spot.width for spot in spots) + _GAP * max(len(spots) - 1, 0)


def _arrange(row: list[Spot], columns: dict[Device, tuple[float, float]], down: bool) -> None:
    """Order and place a rank's spots within their columns, near their neighbours above (``down``) or below."""
    for device, (left, right) in columns.items():
        spots = [spot for spot in row if spot.column == device]
        middle = (left + right) / 2
        wanted = {spot: _mean(spot.above if down else spot.below, middle, device) for spot in spots}
        spots.sort(key=wanted.__getitem__)
        _pack(spots, wanted.__getitem__, left + _GAP, right - _GAP)


def _mean(neighbours: list[Spot], otherwise: float, column: Device) -> float:
    """The mean place of neighbours, those of the own column if there are any."""
    near = [spot for spot in neighbours if spot.column == column] or [spot for spot in neighbours if spot.column != HOST]
    return sum(spot.x or otherwise for spot in near) / len(near) if near else otherwise


def _pack(spots: list[Spot], wanted: Callable[[Spot], float], left: float, right: float) -> None:
    """Place spots in their order as near to where they want to be as ``left`` and ``right`` allow.

    Neighbours that want the same place share it out around it: runs are moved as one.
    """
    runs: list[tuple[list[Spot], float]] = []  # spots side by side, and the middle they want
    for spot in spots:
        run, middle = [spot], wanted(spot)
        while runs and _right(*runs[-1]) + _GAP > middle - _extent(run) / 2:
            before, its_middle = runs.pop()
            middle = (len(before) * its_middle + len(run) * middle) / (len(before) + len(run))
            run = [*before, *run]
        half = _extent(run) / 2
        runs.append((run, min(max(middle, left + half), right - half)))
    limit = right
    for run, middle in reversed(runs):
        edge = min(_right(run, middle), limit)
        for spot in reversed(run):
            spot.x = edge - spot.width / 2
            edge -= spot.width + _GAP
        limit = edge


def _right(run: list[Spot], middle: float) -> float:
    return middle + _extent(run) / 2


def _place_host(row: list[Spot], columns: dict[Device, tuple[float, float]]) -> None:
    """Data stand over the middle of their readers, or as near to it as the rank has room."""
    if HOST in columns:
        return
    placed = [spot for spot in row if spot.column != HOST]
    for spot in (spot for spot in row if spot.column == HOST):
        wanted = sum(reader.x for reader in spot.below) / len(spot.below) if spot.below else MARGIN + BOX_WIDTH / 2
        steps = [wanted + sign * step for step in range(0, 4000, 6) for sign in (1, -1)]
        least = MARGIN + _GAP + spot.width / 2
        spot.x = next(x for x in steps if x >= least and _is_free(x, spot, placed))
        placed.append(spot)


def _is_free(x: float, spot: Spot, placed: list[Spot]) -> bool:
    return all(abs(x - other.x) >= (spot.width + other.width) / 2 + _GAP for other in placed)


def _even_out(boxes: dict[str, Spot], columns: dict[Device, tuple[float, float]]) -> None:
    """A column in which one box stands in every rank is a straight line."""
    for device, (left, right) in columns.items():
        spots = [spot for spot in boxes.values() if spot.column == device]
        if len({spot.rank for spot in spots}) == len(spots) and right - left <= BOX_WIDTH + 2 * _GAP:
            for spot in spots:
                spot.x = (left + right) / 2


def _heights(picture: Picture, ranks: dict[str, int]) -> dict[int, float]:
    """The middle of each rank."""
    crossing = {ranks[edge.target] for edge in picture.edges if edge.sent}
    first = min((ranks[name] for name, box in picture.boxes.items() if box.device != HOST), default=0)
    heights, y = {}, TOP + BOX_HEIGHT / 2
    for rank in range(min(ranks.values(), default=0), max(ranks.values(), default=0) + 1):
        if heights:
            heading = rank == first and len(picture.devices) > 1
            y += BOX_HEIGHT + (_CROSSING_ROW if rank in crossing else _HEAD_ROW if heading else _ROW)
        heights[rank] = y
    return heights


def _route(edge: Edge, chain: list[Spot], heights: dict[int, float]) -> Route:
    source, target = chain[0], chain[-1]
    points = [(source.x + _port(source.below, chain[1]), heights[source.rank] + BOX_HEIGHT / 2)]
    for spot in chain[1:-1]:
        points += [(spot.x, heights[spot.rank] - BOX_HEIGHT / 2), (spot.x, heights[spot.rank] + BOX_HEIGHT / 2)]
    points.append((target.x + _port(target.above, chain[-2]), heights[target.rank] - BOX_HEIGHT / 2))
    return Route(edge, points)


def _port(ends: list[Spot], end: Spot) -> float:
    """Where at a box, from its middle, the edge to ``end`` is tied: in the order of the other ends."""
    order = sorted(ends, key=lambda spot: spot.x)
    spread = min(_PORT, (BOX_WIDTH - 40) / len(order))
    return (order.index(end) - (len(order) - 1) / 2) * spread
