"""A drawing as a file: SVG; or PNG and PDF by matplotlib (the extra ``plot``), the same shapes at the same places."""

import math
from pathlib import Path as File
from typing import Any

import numpy as np
from PIL import Image

from convnet.drawing.files import load_pyplot, save_figure
from convnet.drawing.shapes import LOOKS, Group, Path, Raster, Rectangle, Scene, Shape, Words
from convnet.drawing.svg import svg_of
from convnet.errors import ConvnetError
from convnet.storage import check_folder, write_atomically
from convnet.texts import one_of, printable

_INCH = 72  # pixels, so that a pixel is a point
_NARROWER = 0.9  # letters, since those of matplotlib's font are wider than Helvetica's
_LARGEST = 32_000  # pixels
_PRINT = 4  # dots for each pixel of what has dots in a PDF
_CODES = {"M": 1, "L": 2, "C": 4, "Z": 79}  # of matplotlib.path.Path, for each point
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}
_ARROW = ((-3.4, -7), (0, 1), (3.4, -7))  # around the end of an edge that leads down


FORMS = (".svg", ".png", ".pdf")


def write_scene(scene: Scene, out: File) -> None:
    """Draw into a file, .svg, .png or .pdf, with two dots for each pixel where it has dots; raises ``ConvnetError``."""
    suffix = out.suffix.lower()
    if suffix not in FORMS:
        raise ConvnetError(f"{out} cannot be written: '{suffix}' is no format of drawings; expected {one_of(FORMS)}")
    if suffix == ".svg":
        check_folder(out)
        text = svg_of(scene).encode()
        write_atomically(out, lambda file: file.write(text))
    else:
        _write_figure(scene, out, suffix == ".png")


def _write_figure(scene: Scene, out: File, has_dots: bool) -> None:
    scale = 2 if 2 * max(scene.width, scene.height) <= _LARGEST else 1
    if has_dots and scale * max(scene.width, scene.height) > _LARGEST:
        text = f"{out}: a picture of {scene.width:.0f}x{scene.height:.0f} pixels is too large for its format"
        raise ConvnetError(f"{text}; write .svg or .pdf")
    pyplot = load_pyplot()
    figure = pyplot.figure(figsize=(scene.width / _INCH, scene.height / _INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    for order, shape in enumerate(scene.shapes):
        _draw(axes, shape, order)
    save_figure(figure, out, dpi=(scale if has_dots else _PRINT) * _INCH)
    pyplot.close(figure)


def _draw(axes: Any, shape: Shape, order: int) -> None:
    """Draw a shape over all of smaller ``order``."""
    from matplotlib import patches, path

    if isinstance(shape, Group):
        for part in shape.shapes:
            _draw(axes, part, order)
    elif isinstance(shape, Words):
        _write(axes, shape, order)
    elif isinstance(shape, Raster):
        _paste(axes, shape, order)
    elif isinstance(shape, Rectangle):
        place, style = (shape.x, shape.y), f"round,pad=0,rounding_size={shape.radius}" if shape.radius else "square,pad=0"
        box = patches.FancyBboxPatch(place, shape.width, shape.height, style, **_painted(shape), zorder=order)
        axes.add_patch(box)
    else:
        points: list[tuple[float, float]] = []
        codes: list[int] = []
        for letter, at in shape.segments:
            pairs = list(zip(at[::2], at[1::2], strict=True)) or [points[0]]  # what Z returns to
            points += pairs
            codes += [_CODES[letter]] * len(pairs)
        axes.add_patch(patches.PathPatch(path.Path(points, codes), **_painted(shape), zorder=order))
        if shape.arrow:
            x, y = points[-1]
            corners = [(x + dx, y + dy) for dx, dy in _ARROW]
            axes.add_patch(patches.Polygon(corners, color=LOOKS[shape.look].line, linewidth=0, zorder=order))


def _paste(axes: Any, raster: Raster, order: int) -> None:
    """Draw a picture; of one whose pixels are to be seen each is made many, since viewers of PDF may smooth them."""
    image = raster.image.convert("RGBA")
    if raster.is_pixelated:
        times = max(1, min(math.ceil(_PRINT * raster.width / image.width), _LARGEST // 8 // max(image.size)))
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
    # The rim is written beside the words: words with an effect would be outlines in a PDF, which nobody can search.
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
