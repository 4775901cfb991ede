"""A drawing as PDF, by matplotlib (the extra ``plot``): the shapes of its SVG at the same places, its words as text."""

import io
import math
import warnings
from typing import Any

import numpy as np
from PIL import Image

from convnet.drawing.shapes import LOOKS, Path, Raster, Rectangle, Scene, Words, arrow_head, leaves
from convnet.errors import ConvnetError
from convnet.texts import printable

_INCH = 72  # pixels, so that a pixel is a point
_NARROWER = 0.9  # letters, since those of matplotlib's font are wider than Helvetica's
_DOTS, _LARGEST = 4, 4_000  # for each pixel of a picture whose pixels are to be seen, and along its side at most
_CODES = {"M": 1, "L": 2, "C": 4, "Z": 79}  # of matplotlib.path.Path, for each point
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def pdf_of(scene: Scene) -> bytes:
    """Return a drawing as a PDF document; raises ``ConvnetError`` without matplotlib."""
    try:
        import matplotlib.figure
    except ImportError:
        text = "PDF needs matplotlib: pip install matplotlib; names that end in .svg and .png need none"
        raise ConvnetError(text) from None
    figure = matplotlib.figure.Figure(figsize=(scene.width / _INCH, scene.height / _INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    for order, shape in enumerate(leaves(scene.shapes)):
        if isinstance(shape, Words):
            _write(axes, shape, order)
        elif isinstance(shape, Raster):
            _paste(axes, shape, order)
        else:
            _draw(axes, shape, order)
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a sign that the font lacks is a box
        figure.savefig(data, dpi=_DOTS * _INCH, format="pdf", metadata={"CreationDate": None})
    return data.getvalue()


def _draw(axes: Any, shape: Rectangle | Path, order: int) -> None:
    """Draw a shape over all of smaller ``order``."""
    from matplotlib import patches, path

    if isinstance(shape, Rectangle):
        place, style = (shape.x, shape.y), f"round,pad=0,rounding_size={shape.radius}" if shape.radius else "square,pad=0"
        box = patches.FancyBboxPatch(place, shape.width, shape.height, style, **_painted(shape), zorder=order)
        axes.add_patch(box)
        return
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    for letter, at in shape.segments:
        pairs = list(zip(at[::2], at[1::2], strict=True)) or [points[0]]  # what Z returns to
        points += pairs
        codes += [_CODES[letter]] * len(pairs)
    axes.add_patch(patches.PathPatch(path.Path(points, codes), **_painted(shape), zorder=order))
    if shape.arrow:
        axes.add_patch(patches.Polygon(arrow_head(shape), color=LOOKS[shape.look].line, linewidth=0, zorder=order))


def _paste(axes: Any, raster: Raster, order: int) -> None:
    """Draw a picture; of one whose pixels are to be seen each is made many, since viewers of PDF may smooth them."""
    image = raster.image.convert("RGBA")
    if raster.is_pixelated:
        times = max(1, min(math.ceil(_DOTS * raster.width / image.width), _LARGEST // max(image.size)))
        image = image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)
    place = (raster.x, raster.x + raster.width, raster.y + raster.height, raster.y)
    how = "nearest" if raster.is_pixelated else "antialiased"
    axes.imshow(np.asarray(image), extent=place, aspect="auto", interpolation=how, zorder=order)


def _painted(shape: Rectangle | Path) -> dict[str, Any]:
    """Return the colours and lines of a shape as arguments of matplotlib."""
    from matplotlib.colors import to_rgba

    look, paint = LOOKS[shape.look], shape.paint
    fill, line = paint.fill or look.fill, paint.line or look.line
    return {
        "facecolor": "none" if fill == "none" else to_rgba(fill, paint.fill_opacity),
        "edgecolor": "none" if line == "none" else to_rgba(line, paint.line_opacity),
        "linewidth": look.width,
        "linestyle": (0, tuple(dash / look.width for dash in look.dashes)) if look.dashes else "-",
    }


def _write(axes: Any, words: Words, order: int) -> None:
    from matplotlib.patheffects import Stroke

    look = LOOKS[words.look]
    # The rim is written beside the words: words with an effect would be outlines, which nobody can search.
    for effects in ([[Stroke(linewidth=look.halo, foreground="#ffffff")]] if look.halo else []) + [[]]:
        axes.text(
            words.x,
            words.y,
            printable(words.text),
            color=words.paint.fill or look.fill,
            fontsize=look.size * _NARROWER,
            fontweight="bold" if look.is_bold else "normal",
            ha=_ANCHORS[words.anchor],
            va="baseline",
            zorder=order,
            parse_math=False,
            path_effects=effects,
        )
