"""A drawing as SVG: shapes, text and pictures, no fonts of its own, nothing from elsewhere; every text escaped.

Its style is for itself alone, whatever page it stands in. Looks that have another in the dark take it where a person
prefers that, in a page or alone.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from convnet.drawing.picture import Picture
from convnet.drawing.scene import scene_of
from convnet.drawing.shapes import DARK, LOOKS, Group, Look, Paint, Path, Raster, Rectangle, Scene, Shape, Words, leaves

_FONTS = "'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif"


class Link(NamedTuple):
    """What makes a box of a page a link: where it leads, what it is called for those who do not see it, other attributes."""

    target: str
    label: str
    more: str


def svg(picture: Picture) -> str:
    """Return the picture as a complete SVG document."""
    return svg_of(scene_of(picture))


def svg_of(scene: Scene, links: Sequence[Link] = ()) -> str:
    """Return a drawing as a complete SVG document; with ``links``, its boxes are links in the page around it."""
    size = f'viewBox="0 0 {scene.width:.0f} {scene.height:.0f}" width="{scene.width:.0f}" height="{scene.height:.0f}"'
    # An image has no parts that could be pointed at, for those who do not see it.
    role = f'role="group" aria-label="{text(scene.title)}"' if links else 'role="img"'
    title = "" if links else f"<title>{text(scene.title)}</title>"
    drawn = list(leaves(scene.shapes))
    looks = {shape.look for shape in drawn if not isinstance(shape, Raster)}
    has_arrows = any(isinstance(shape, Path) and shape.arrow for shape in drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="convnet" {size} {role}>{title}<style>{_style(looks)}</style>',
        f"<defs>{_arrow('arrow', 'edge')}{_arrow('red-arrow', 'crossing')}</defs>" * has_arrows,
        *(_shape(shape, links) for shape in scene.shapes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def text(raw: str) -> str:
    """Return ``raw`` as XML text, without characters that XML forbids."""
    return escape("".join(char if char.isprintable() else " " for char in raw))


def _style(used: set[str]) -> str:
    """Return the looks that are ``used`` as a style sheet for this drawing alone."""
    rules = {"text": f"font-family:{_FONTS}"} | {f".{name}": _css(look) for name, look in LOOKS.items() if name in used}
    dark = [f".convnet .{name}{{{_colors(look)}}}" for name, look in DARK.items() if name in used]
    lines = [f".convnet {name}{{{rule}}}" for name, rule in rules.items()]
    return "\n".join([*lines, *([f"@media (prefers-color-scheme:dark){{{''.join(dark)}}}"] if dark else [])])


def _colors(look: Look) -> str:
    """Return the colours of a look in the dark as declarations of CSS."""
    said = {"fill": look.fill, "stroke": look.line}
    return ";".join(f"{name}:{color}" for name, color in said.items() if color != "none")


def _css(look: Look) -> str:
    """Return a look as declarations of CSS."""
    said = {"fill": look.fill} if look.fill != "none" or look.line != "none" else {}
    if look.size:
        said |= {"font-size": f"{look.size:g}px"} | ({"font-weight": "bold"} if look.is_bold else {})
        if look.halo:
            said |= {"paint-order": "stroke", "stroke": "#fff", "stroke-width": f"{look.halo}px", "stroke-linejoin": "round"}
    else:
        said |= {"stroke": look.line} if look.line != "none" else {}
        said |= {"stroke-width": f"{look.width:g}"}
        said |= {"stroke-dasharray": " ".join(map(str, look.dashes))} if look.dashes else {}
    return ";".join(f"{name}:{value}" for name, value in said.items())


def _arrow(name: str, look: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.6 8 4 0 7.4z" fill="{LOOKS[look].line}"/></marker>'
    )


def _shape(shape: Shape, links: Sequence[Link] = ()) -> str:
    if isinstance(shape, Group):
        return _group(shape, links)
    if isinstance(shape, Words):
        x, y, color = f"{shape.x:.1f}", f"{shape.y:.1f}", f' style="fill:{shape.paint.fill}"' if shape.paint.fill else ""
        anchor = f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
        return f'<text class="{shape.look}" x="{x}" y="{y}"{anchor}{color}>{text(shape.text)}</text>'
    if isinstance(shape, Raster):
        return _raster(shape)
    look = f'class="{shape.look}"{_paint(shape.paint)}'
    if isinstance(shape, Rectangle):
        size = f'width="{shape.width:.1f}" height="{shape.height:.1f}"' + (f' rx="{shape.radius:g}"' if shape.radius else "")
        return f'<rect {look} x="{shape.x:.1f}" y="{shape.y:.1f}" {size}/>'
    path = "".join(letter + " ".join(f"{value:.1f}" for value in at) for letter, at in shape.segments)
    marker = f' marker-end="url(#{"red-arrow" if shape.look == "crossing" else "arrow"})"' if shape.arrow else ""
    return f'<path {look} d="{path}"{marker}/>'


def _raster(raster: Raster) -> str:
    data = io.BytesIO()
    raster.image.save(data, "PNG", optimize=True)
    place = f'x="{raster.x:.1f}" y="{raster.y:.1f}" width="{raster.width:.1f}" height="{raster.height:.1f}"'
    pixels = ' style="image-rendering:pixelated"' * raster.is_pixelated
    link = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    return f'<image {place} preserveAspectRatio="none"{pixels} href="{link}"/>'


def _group(group: Group, links: Sequence[Link]) -> str:
    body = "\n".join(map(_shape, group.shapes))
    if not links:
        title = "\n".join(map(text, group.title.split("\n")))
        return f'<g class="layer"><title>{title}</title>\n{body}</g>'
    link = links[group.number]
    return f'<a class="layer" href="#{link.target}" aria-label="{text(link.label)}"{link.more}>\n{body}</a>'


def _paint(paint: Paint) -> str:
    said = {"fill": paint.fill, "stroke": paint.line}
    said |= {"fill-opacity": f"{paint.fill_opacity:g}" if paint.fill_opacity != 1 else ""}
    said |= {"stroke-opacity": f"{paint.line_opacity:g}" if paint.line_opacity != 1 else ""}
    return "".join(f' {name}="{value}"' for name, value in said.items() if value)
