"""A picture as SVG: nothing but shapes and text, no links, no fonts of its own; every text escaped."""

import math
from html import escape
from itertools import pairwise

from convnet.drawing.layout import BOX_HEIGHT, BOX_WIDTH, MARGIN, Layout, Point, Route, lay_out
from convnet.drawing.picture import HOST, Box, Device, Picture, megabytes

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
_LEGEND = 64
_STYLE = """text{font-family:'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1d2733}
.title{font-size:22px;font-weight:bold}.subtitle{font-size:12.5px;fill:#4d5966}.column{font-size:14px;font-weight:bold}
.name{font-size:14px;font-weight:bold}.label{font-size:12px}.weight{font-size:11px;fill:#4d5966}
.shape{font-size:11px;fill:#4d5966}.sent{font-size:11px;font-weight:bold;fill:#b3122a}
.pill{fill:#fff;stroke:#d01c36;stroke-width:1}
.shape{paint-order:stroke;stroke:#fff;stroke-width:3.5px;stroke-linejoin:round}
.edge{fill:none;stroke:#5b6672;stroke-width:1.4}.host{stroke-dasharray:4 3}
.crossing{fill:none;stroke:#d01c36;stroke-width:2.4}"""


def svg(picture: Picture) -> str:
    """Return the picture as a complete SVG document."""
    layout = lay_out(picture)
    width = max(layout.width, 15.5 * len(picture.title) + 2 * MARGIN, 7.0 * len(picture.subtitle) + 2 * MARGIN, 610)
    shift = (width - layout.width) / 2
    height = layout.height + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img"><title>{text(picture.title)}</title><style>{_STYLE}</style>',
        f"<defs>{_arrow('arrow', '#5b6672')}{_arrow('red-arrow', '#d01c36')}</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text class="title" x="{width / 2:.1f}" y="38" text-anchor="middle">{text(picture.title)}</text>',
        f'<text class="subtitle" x="{width / 2:.1f}" y="60" text-anchor="middle">{text(picture.subtitle)}</text>',
        f'<g transform="translate({shift:.1f} 0)">',
        *_columns(picture, layout),
        *(_edge_path(route, picture) for route in sorted(layout.routes, key=lambda route: route.edge.sent > 0)),
        *(_box(number, box, *layout.boxes[box.name], picture) for number, box in enumerate(picture.boxes.values())),
        *(_edge_text(route, layout) for route in layout.routes if not route.edge.sent),
        *_crossings(layout),
        "</g>",
        _legend(picture, width, layout.height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def text(raw: str, limit: int = 0) -> str:
    """Return ``raw`` as XML text, without characters that XML forbids, cut to ``limit`` characters."""
    clean = "".join(char if char.isprintable() else " " for char in raw)
    return escape(clean if not limit or len(clean) <= limit else clean[: limit - 1] + "…")


def colors(picture: Picture, device: Device) -> tuple[str, str, str]:
    """Return fill, line and column colour of a device."""
    return _HOST_COLORS if device == HOST else _COLORS[picture.devices.index(device) % len(_COLORS)]


def _arrow(name: str, color: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.6 8 4 0 7.4z" fill="{color}"/></marker>'
    )


def _columns(picture: Picture, layout: Layout) -> list[str]:
    if len(picture.devices) < 2:
        return []
    parts = []
    highest = min(layout.boxes[name][1] for name, box in picture.boxes.items() if box.device != HOST)
    top, bottom = highest - BOX_HEIGHT / 2 - 46, layout.height - MARGIN + 14
    for device, (left, right) in layout.columns.items():
        _, line, fill = colors(picture, device)
        x, anchor = (left + 14, "start") if left + right < layout.width else (right - 14, "end")
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="14" '
            f'fill="{fill}" stroke="{line}" stroke-opacity=".35"/>'
            f'<text class="column" x="{x:.1f}" y="{top + 21:.1f}" text-anchor="{anchor}" '
            f'style="fill:{line}">{device_text(device)}</text>'
        )
    return parts


def device_text(device: Device) -> str:
    """Return ``device 0``, ``devices 0, 1`` or ``host``."""
    return f"device{'s' * (len(device) > 1)} {', '.join(map(str, device))}" if device else "host"


def _box(number: int, box: Box, x: float, y: float, picture: Picture) -> str:
    fill, line, _ = colors(picture, box.device)
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    details = "\n".join(text(line) for line in [box.name, *(f"{name}: {value}" for name, value in box.details)])
    lines = [
        f'<g class="layer" data-layer="{number}"><title>{details}</title>',
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7" fill="{fill}" stroke="{line}"'
        ' stroke-width="1.3"/>',
        _volume(box.volume, left + 29, y, line),
        f'<text class="name" x="{left + 58:.1f}" y="{y - 4:.1f}">{text(box.name, 14)}</text>',
        f'<text class="label" x="{left + 58:.1f}" y="{y + 13:.1f}">{text(box.label, 25)}</text>',
        f'<text class="weight" x="{left + BOX_WIDTH - 8:.1f}" y="{y - 5:.1f}" text-anchor="end">{box.weight}</text></g>',
    ]
    return "\n".join(lines)


def _volume(volume: tuple[int, int], x: float, y: float, line: str) -> str:
    """Draw an output as a block whose face is the side of the maps, and whose depth their number; without maps as a bar."""
    maps, side = volume
    if maps <= 0:
        return ""
    face = 4 + 22 * min(1, math.log2(max(side, 1)) / 8)
    depth = 2 + 12 * min(1, math.log2(max(maps, 1)) / 9)
    if side == 1:
        face, depth = 4, 6 + 26 * min(1, math.log2(max(maps, 1)) / 12)
        left, top = x - depth / 2, y - face / 2
        return f'<rect x="{left:.1f}" y="{top:.1f}" width="{depth:.1f}" height="{face}" fill="{line}" fill-opacity=".75"/>'
    dx, dy = depth, depth * 0.45
    left, top = x - (face + dx) / 2, y - (face - dy) / 2
    right, bottom = left + face, top + face
    return (
        f'<g stroke="{line}" stroke-width=".9" stroke-linejoin="round" fill="{line}">'
        f'<path fill-opacity=".22" d="M{left:.1f} {top:.1f}h{face:.1f}v{face:.1f}h{-face:.1f}z"/>'
        f'<path fill-opacity=".10" d="M{left:.1f} {top:.1f}l{dx:.1f} {-dy:.1f}h{face:.1f}l{-dx:.1f} {dy:.1f}z"/>'
        f'<path fill-opacity=".5" d="M{right:.1f} {top:.1f}l{dx:.1f} {-dy:.1f}v{face:.1f}L{right:.1f} {bottom:.1f}z"/></g>'
    )


def _edge_path(route: Route, picture: Picture) -> str:
    edge, points = route
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        bend = f"C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
        path += bend if abs(x1 - x2) > 0.5 else f"L{x2:.1f} {y2:.1f}"
    style = "crossing" if edge.sent else "edge host" if picture.boxes[edge.source].device == HOST else "edge"
    return f'<path class="{style}" d="{path}" marker-end="url(#{"red-arrow" if edge.sent else "arrow"})"/>'


def _edge_text(route: Route, layout: Layout) -> str:
    """Write the shape beside an edge within a device."""
    (x1, y1), (x2, y2) = route.points[-2:]
    y = (y1 + y2) / 2 + 3 if abs(x2 - x1) <= 0.5 else y2 - 9
    is_left = x2 < layout.boxes[route.edge.target][0] - 1
    x, anchor = (x2 - 6, "end") if is_left else (x2 + 6, "start")
    return f'<text class="shape" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(route.edge.shape)}</text>'


def _crossings(layout: Layout) -> list[str]:
    """Label what crosses from each box to other devices: on the edge, or amid most of the edges where several leave."""
    leaving: dict[str, list[Route]] = {}
    for route in layout.routes:
        if route.edge.sent:
            leaving.setdefault(route.edge.source, []).append(route)
    return [_crossing_label(routes) for routes in leaving.values()]


def _crossing_label(routes: list[Route]) -> str:
    edge = routes[0].edge
    to_right = [route for route in routes if route.points[1][0] >= route.points[0][0]]
    side = to_right if 2 * len(to_right) >= len(routes) else [route for route in routes if route not in to_right]
    points = [_on_curve(route.points[0], route.points[1], 0.3 if len(routes) == 1 else 0.22) for route in side]
    x, y = (sum(point[i] for point in points) / len(points) for i in (0, 1))
    lines = [edge.shape, megabytes(edge.sent) + (f", {len(routes)} times" if len(routes) > 1 else "")]
    wide = 8 * max(map(len, lines)) + 8
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - 15:.1f}" width="{wide}" height="30" rx="6" class="pill"/>'
        f'<text class="sent" x="{x:.1f}" y="{y - 2.5:.1f}" text-anchor="middle">{text(lines[0])}</text>'
        f'<text class="sent" x="{x:.1f}" y="{y + 11:.1f}" text-anchor="middle">{lines[1]}</text>'
    )


def _on_curve(start: Point, end: Point, t: float) -> Point:
    """Return the point at ``t`` in 0 to 1 of the bend from ``start`` to ``end``."""
    across, down = 3 * t**2 - 2 * t**3, 1.5 * t * (1 - t) + t**3
    return start[0] + (end[0] - start[0]) * across, start[1] + (end[1] - start[1]) * down


def _legend(picture: Picture, width: float, y: float) -> str:
    """Say what colours and lines mean, in centred rows."""
    entries = []
    for device in [HOST, *picture.devices]:
        fill, line, _ = colors(picture, device)
        swatch = f'<rect width="18" height="12" y="-10" rx="3" fill="{fill}" stroke="{line}"/>'
        entries.append((swatch, device_text(device)))
    entries.append((_volume((64, 32), 6, -4, "#555555"), "output: side and number of maps"))
    entries.append(('<text class="weight" x="-6">17 k</text>', "parameters"))
    if picture.sent:
        words = f"between devices: {megabytes(picture.sent)} per minibatch of {picture.mini}, as much back"
        entries.append(('<path d="M0 -4h20" class="crossing"/>', words))
    rows: list[list[tuple[str, str]]] = [[]]
    for entry in entries:
        if rows[-1] and _row_width([*rows[-1], entry]) > width - 2 * MARGIN:
            rows.append([])
        rows[-1].append(entry)
    parts = []
    for number, row in enumerate(rows):
        x = (width - _row_width(row)) / 2
        for symbol, words in row:
            place = f'<g transform="translate({x:.1f} {y + 22 + 24 * number:.1f})">'
            parts.append(f'{place}{symbol}<text class="subtitle" x="28">{text(words)}</text></g>')
            x += _row_width([(symbol, words)])
    return "\n".join(parts)


def _row_width(entries: list[tuple[str, str]]) -> float:
    return sum(30 + 6.6 * len(words) + 22 for _, words in entries)
