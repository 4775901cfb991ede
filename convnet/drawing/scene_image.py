"""A drawing as a Pillow image: words in whatever font has their letters, and no library beside Pillow."""

import math
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from convnet.drawing.shapes import LOOKS, Leaf, Path, Raster, Rectangle, Scene, Words, arrow_head, leaves
from convnet.drawing.sheet import MOST_PIXELS, fitted
from convnet.errors import ConvnetError

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_STEPS = 16  # straight pieces of a bend
_FINER = 2
_BOLD = 30  # of a letter's size, which bold lines are wider by on each side
Point = tuple[float, float]


def image_of(scene: Scene, dots: float = 1) -> Image.Image:
    """Return a drawing as an image of ``dots`` for each of its pixels; one for each, where it would be too large.

    One with slanting lines is drawn larger and scaled down, since Pillow's lines have steps. Raises ``ConvnetError``.
    """
    shapes = list(leaves(scene.shapes))
    for scale in (dots * _FINER if any(map(_slants, shapes)) else dots, dots, 1):
        size = round(scene.width * scale), round(scene.height * scale)
        if math.prod(size) <= MOST_PIXELS:
            break
    else:
        raise ConvnetError(f"a picture of {size[0]}x{size[1]} pixels is too large for its format; write .svg or .pdf")
    image = Image.new("RGB", size, "#ffffff")
    draw = ImageDraw.Draw(image, "RGBA")
    for shape in shapes:
        _draw(image, draw, shape, scale)
    wanted = round(scene.width * dots), round(scene.height * dots)
    return image.resize(wanted, Image.Resampling.BOX) if scale > dots else image


def _slants(shape: Leaf) -> bool:
    """Return whether a shape is drawn by lines that lead another way than along the sides of the drawing."""
    if isinstance(shape, Rectangle):
        return shape.radius > 0
    if not isinstance(shape, Path) or (shape.paint.line or LOOKS[shape.look].line) == "none":
        return False
    points = [at[-2:] for _, at in shape.segments if at]
    return any(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(points))


def _draw(image: Image.Image, draw: ImageDraw.ImageDraw, shape: Leaf, scale: float) -> None:
    if isinstance(shape, Raster):
        left, top, right, bottom = _box(shape, scale)
        how = Image.Resampling.NEAREST if shape.is_pixelated else Image.Resampling.LANCZOS
        picture = shape.image.convert("RGBA").resize((max(1, right - left), max(1, bottom - top)), how)
        image.paste(picture, (left, top), picture)
    elif isinstance(shape, Words):
        look = LOOKS[shape.look]
        words, font = fitted(shape.text, round(look.size * scale))
        color = shape.paint.fill or look.fill
        at, anchor = (shape.x * scale, shape.y * scale), _ANCHORS[shape.anchor]
        rim = round(look.halo * scale / 2) or int(look.size * scale / _BOLD) * look.is_bold
        draw.text(at, words, color, font, anchor, stroke_width=rim, stroke_fill="#ffffff" if look.halo else color)
    else:
        _paint(draw, shape, scale)


def _paint(draw: ImageDraw.ImageDraw, shape: Rectangle | Path, scale: float) -> None:
    look, paint = LOOKS[shape.look], shape.paint
    fill = _color(paint.fill or look.fill, paint.fill_opacity)
    line = _color(paint.line or look.line, paint.line_opacity)
    width = max(1, round(look.width * scale)) if look.width else 0
    if isinstance(shape, Rectangle):
        left, top, right, bottom = _box(shape, scale)
        if right > left and bottom > top:
            draw.rounded_rectangle((left, top, right - 1, bottom - 1), shape.radius * scale, fill, line, width)
        return
    if shape.arrow:
        draw.polygon([(x * scale, y * scale) for x, y in arrow_head(shape)], line)
    for points, is_closed in _outlines(shape, scale):
        if is_closed:
            draw.polygon(points, fill)
            if line and width:
                draw.line([*points, *points[:2]], line, width, joint="curve")  # an outline of Pillow's lies inside
        elif line:
            for piece in _dashes(points, look.dashes, scale) if look.dashes else [points]:
                draw.line(piece, line, width, joint="curve")


def _dashes(points: Sequence[Point], dashes: Sequence[float], scale: float) -> list[list[Point]]:
    """Return the parts of straight lines between ``points`` that a pattern of dashes and gaps leaves."""
    left, number, pieces = dashes[0] * scale, 0, [[points[0]]]
    for (x, y), (right, down) in pairwise(points):
        length = math.dist((x, y), (right, down))
        done = 0.0
        while length - done > left:
            done += left
            at = x + (right - x) * done / length, y + (down - y) * done / length
            if number % 2 == 0:
                pieces[-1].append(at)
            else:
                pieces.append([at])
            number += 1
            left = dashes[number % len(dashes)] * scale
        left -= length - done
        if number % 2 == 0:
            pieces[-1].append((right, down))
    return [piece for piece in pieces if len(piece) > 1]


def _box(shape: Raster | Rectangle, scale: float) -> tuple[int, int, int, int]:
    """Return the dots of a shape: (left, top, right, bottom), the last two excluded."""
    right, bottom = shape.x + shape.width, shape.y + shape.height
    left, top, right, bottom = (round(value * scale) for value in (shape.x, shape.y, right, bottom))
    return left, top, right, bottom


def _color(color: str, opacity: float) -> str | None:
    """Return a colour as Pillow takes it."""
    return None if color == "none" else f"{color}{round(255 * opacity):02x}"


def _outlines(path: Path, scale: float) -> list[tuple[list[tuple[float, float]], bool]]:
    """Return (points, is it closed) of every part of a path, bends as straight pieces."""
    parts: list[tuple[list[tuple[float, float]], bool]] = []
    for letter, at in path.segments:
        points = [(x * scale, y * scale) for x, y in zip(at[::2], at[1::2], strict=True)]
        if letter == "M":
            parts.append((points, False))
        elif letter == "Z":
            parts[-1] = (parts[-1][0], True)
        elif letter == "L":
            parts[-1][0].extend(points)
        else:
            start = parts[-1][0][-1]
            parts[-1][0].extend(_bend((start, *points), step / _STEPS) for step in range(1, _STEPS + 1))
    return parts


def _bend(corners: tuple[tuple[float, float], ...], at: float) -> tuple[float, float]:
    """Return a point of the cubic curve with these four corners."""
    shares = (1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3
    x, y = (sum(share * corner[axis] for share, corner in zip(shares, corners, strict=True)) for axis in (0, 1))
    return x, y
