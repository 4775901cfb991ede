"""A drawing as a Pillow image: words in whatever font has their letters, and no library beside Pillow."""

from pathlib import Path as File

from PIL import Image, ImageDraw

from convnet.drawing.figure import write_scene
from convnet.drawing.files import check_pixels, save_image
from convnet.drawing.shapes import LOOKS, Group, Path, Raster, Rectangle, Scene, Shape, Words
from convnet.drawing.sheet import fitted

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_STEPS = 16  # straight pieces of a bend
VECTORS = (".svg", ".pdf")


def save_scene(scene: Scene, out: File, scale: float = 1) -> None:
    """Write a drawing: lines as lines where the format holds them, else ``scale`` dots for each pixel, by Pillow alone."""
    if out.suffix.lower() in VECTORS:
        write_scene(scene, out)
    else:
        save_image(image_of(scene, scale), out)


def image_of(scene: Scene, scale: float = 1) -> Image.Image:
    """Return a drawing as an image, ``scale`` dots for each of its pixels."""
    width, height = round(scene.width * scale), round(scene.height * scale)
    check_pixels(width, height, 1)
    image = Image.new("RGB", (width, height), "#ffffff")
    draw = ImageDraw.Draw(image, "RGBA")
    for shape in scene.shapes:
        _draw(image, draw, shape, scale)
    return image


def _draw(image: Image.Image, draw: ImageDraw.ImageDraw, shape: Shape, scale: float) -> None:
    if isinstance(shape, Group):
        for part in shape.shapes:
            _draw(image, draw, part, scale)
    elif isinstance(shape, Raster):
        left, top, right, bottom = _box(shape, scale)
        how = Image.Resampling.NEAREST if shape.is_pixelated else Image.Resampling.LANCZOS
        picture = shape.image.convert("RGB")
        image.paste(picture.resize((max(1, right - left), max(1, bottom - top)), how), (left, top))
    elif isinstance(shape, Words):
        look = LOOKS[shape.look]
        words, font = fitted(shape.text, round(look.size * scale))
        at = shape.x * scale, shape.y * scale
        color, halo = shape.paint.fill or look.fill, round(look.halo * scale / 2)
        draw.text(at, words, color, font, _ANCHORS[shape.anchor], stroke_width=halo, stroke_fill="#ffffff")
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
    for points, is_closed in _outlines(shape, scale):
        if is_closed:
            draw.polygon(points, fill, line, width)
        elif line:
            draw.line(points, line, width)


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
