"""The demonstration set: up to 1000 classes of drawn pictures, made on the spot, so that a net trains without any data.

A class is a shape, a colour and a texture; place, size, turn, background and light vary. Class c is drawn with frequency
proportional to 1/(c+1), as common words and things are spread: within minutes a net can learn what is common, and
go on to what is rare. The pictures are JPEG batches in the layout of ``convnet.data.pictures``, drawn when first asked
for and kept in the user's cache folder.
"""

import colorsys
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from convnet import pickles
from convnet.backends.host import cores
from convnet.data.batches import write_file
from convnet.data.images import color_axes
from convnet.data.pictures import Pictures
from convnet.data.provider import Request
from convnet.errors import DataError, reason_of
from convnet.pickles import UnsafePickle
from convnet.storage import cache_folder
from convnet.texts import bytes_text

SHAPES = ("disc", "square", "triangle", "diamond", "star", "cross", "ring", "hexagon", "crescent", "bar")
COLORS = ("red", "orange", "yellow", "lime", "green", "teal", "azure", "blue", "purple", "pink")
TEXTURES = ("plain", "rows", "columns", "slanted", "checked", "dotted", "rippled", "shaded", "grained", "gridded")
CLASSES = len(SHAPES) * len(COLORS) * len(TEXTURES)

TRAIN_BATCHES = 12
TEST_BATCH = TRAIN_BATCHES + 1
BATCH_CASES = 512
_MEAN_CASES = 200
_VERSION = 1  # of the drawings; part of the folder's name
_ADVICE = "; set CONVNET_CACHE_DIR to a folder with room"

Color = tuple[int, int, int]
Outline = list[tuple[float, float]]


class Demo(Pictures):
    """Pictures of ``request.classes`` classes; needs no files.

    256x256, and 32x32 below 100 classes, as for CIFAR nets, unless these are too small for what is wanted.
    """

    name = "demo"
    reads = Pictures.reads - {"data_path"}

    def __init__(self, request: Request) -> None:
        classes = request.classes or CLASSES
        if not 1 < classes <= CLASSES:
            raise DataError(f"the demonstration set has 2 to {CLASSES} classes, the net {classes}; give --data-path")
        self.side = 256 if classes >= 100 or max(request.inner_size, request.picture_size) > 32 else 32
        self.classes = classes
        was_there = (_folder(classes, self.side) / "data_batch_1").exists()
        super().__init__(replace(request, path=str(prepare(classes, self.side))))
        if not was_there:
            size = bytes_text((self.folder / "data_batch_1").stat().st_size * TEST_BATCH)
            place = f"is drawn into {self.folder} as it is needed, {size} in all"
            self.problems.append(f"The demonstration set {place}; CONVNET_CACHE_DIR names another place for it.")
        self.numbers, self.test_numbers = list(range(1, TEST_BATCH + 1)), [TEST_BATCH]
        self.where = "the demonstration set"

    def read_parts(self, number: int) -> list[tuple[Path, dict[str, Any]]]:
        self.check_range([number], "demonstration")
        path = self.folder / f"data_batch_{number}"
        if not _is_whole(path, self.classes, BATCH_CASES):
            write_batch(path, number, self.classes, self.side, self.request.threads)
        self.files[number] = [path]
        return super().read_parts(number)


def prepare(classes: int, side: int) -> Path:
    """Return the folder of a demonstration set, with its description and first batch; others are drawn when asked for.

    What is damaged there is drawn again. Raises ``DataError`` where there is no place for it.
    """
    folder = _folder(classes, side)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"no place for the demonstration set in {folder}: {reason_of(error)}{_ADVICE}") from None
    if not _is_whole(folder / "batches.meta", classes, 3 * side * side):
        random = np.random.default_rng(0)
        sample = np.stack([np.asarray(draw(int(random.integers(classes)), side, random)) for _ in range(_MEAN_CASES)])
        pixels = sample.reshape(-1, 3).astype(np.float64)
        meta = {
            # The mean picture is one colour, the set having no preferred place.
            "data_mean": np.repeat(pixels.mean(axis=0), side * side).astype(np.float32)[:, None],
            "color_pca": color_axes(np.cov(pixels, rowvar=False)),
            "num_vis": 3 * side * side,
            "batch_size": BATCH_CASES,
            "label_names": [f"{TEXTURES[t]} {COLORS[c]} {SHAPES[s]}" for s, c, t in map(attributes, range(classes))],
        }
        _write(folder / "batches.meta", meta, classes, 3 * side * side)
    if not _is_whole(folder / "data_batch_1", classes, BATCH_CASES):
        write_batch(folder / "data_batch_1", 1, classes, side, cores())
    return folder


def _folder(classes: int, side: int) -> Path:
    return cache_folder() / f"demo-{classes}x{side}-v{_VERSION}"


def attributes(label: int) -> tuple[int, int, int]:
    """Return (shape, colour, texture) of a class; neighbouring classes differ in all three."""
    return label % 10, (label // 10 + label) % 10, (label // 100 + label) % 10


def write_batch(path: Path, number: int, classes: int, side: int, threads: int) -> None:
    """Draw and write one batch; its pictures depend on ``number`` alone."""
    frequencies = 1.0 / np.arange(1, classes + 1)  # Zipf's law
    labels = np.random.default_rng([number, 1]).choice(classes, BATCH_CASES, p=frequencies / frequencies.sum())

    def picture(case: int) -> bytes:
        random = np.random.default_rng([number, 2, case])
        data = io.BytesIO()
        draw(int(labels[case]), side, random).save(data, "JPEG", quality=90)
        return data.getvalue()

    with ThreadPoolExecutor(threads) as workers:
        pictures = list(workers.map(picture, range(BATCH_CASES)))
    _write(path, {"data": pictures, "labels": [[int(label)] for label in labels]}, classes, BATCH_CASES)


def _write(path: Path, value: dict[str, Any], *facts: int) -> None:
    """Write a file with a checksum, and with ``facts`` of the set that it belongs to."""
    write_file(path, value | {"drawn_for": list(facts)}, _ADVICE, checksum=True)


def _is_whole(path: Path, *facts: int) -> bool:
    """Return whether a file is there as it was written; one that is not is drawn again."""
    try:
        content = pickles.read(path)
    except UnsafePickle:
        return False
    return content.has_checksum and isinstance(content.value, dict) and content.value.get("drawn_for") == list(facts)


def draw(label: int, side: int, random: np.random.Generator) -> Image.Image:
    """Draw one picture of a class."""
    shape, color, texture = attributes(label)
    hue = color / len(COLORS) + random.uniform(-0.03, 0.03)
    bright = _rgb(hue, random.uniform(0.7, 1.0), random.uniform(0.75, 1.0))
    dark = int(bright[0] * 0.35), int(bright[1] * 0.35), int(bright[2] * 0.35)
    background = _rgb(random.uniform(), random.uniform(0, 0.35), random.uniform(0.15, 0.95))
    picture = Image.new("RGB", (side, side), background)
    filling = _texture(texture, side, bright, dark, random)
    picture.paste(filling, mask=_mask(shape, side, random))
    return picture


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def _outline(shape: int, radius: float) -> Outline:
    """Return the corners of a shape around the origin."""

    def around(count: int, *radii: float, start: float = -math.pi / 2) -> Outline:
        angles = [start + 2 * math.pi * i / count for i in range(count)]
        return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(angles)]

    arm = radius * 0.32
    cross = [(arm, -radius), (arm, -arm), (radius, -arm), (radius, arm), (arm, arm), (arm, radius)]
    outlines = {
        "square": around(4, radius, start=math.pi / 4),
        "triangle": around(3, radius),
        "diamond": [(0, -radius), (radius * 0.6, 0), (0, radius), (-radius * 0.6, 0)],
        "star": around(10, radius, radius * 0.42),
        "cross": cross + [(-x, -y) for x, y in cross],
        "hexagon": around(6, radius),
        "bar": [(-radius, -arm), (radius, -arm), (radius, arm), (-radius, arm)],
    }
    return outlines.get(SHAPES[shape], around(48, radius))


def _mask(shape: int, side: int, random: np.random.Generator) -> Image.Image:
    """Draw a shape of random place, size and turn, white on black."""
    radius = side * random.uniform(0.28, 0.44)
    turn = random.uniform(-0.4, 0.4)
    x0, y0 = (side / 2 + side * random.uniform(-0.12, 0.12) for _ in range(2))
    cos, sin = math.cos(turn), math.sin(turn)

    def place(points: Outline) -> Outline:
        return [(x0 + x * cos - y * sin, y0 + x * sin + y * cos) for x, y in points]

    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    pen.polygon(place(_outline(shape, radius)), fill=255)
    if SHAPES[shape] in ("ring", "crescent"):
        hole = _outline(0, radius * (0.55 if SHAPES[shape] == "ring" else 0.8))
        shift = 0.0 if SHAPES[shape] == "ring" else radius * 0.45
        pen.polygon(place([(x + shift, y) for x, y in hole]), fill=0)
    return mask


def _texture(texture: int, side: int, bright: Color, dark: Color, random: np.random.Generator) -> Image.Image:
    """Fill a picture with one texture in two shades of a colour."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    period = side * random.uniform(0.06, 0.1)
    phase = random.uniform(0, period)
    across, down = (x + phase) / period, (y + phase) / period
    wave = {
        "plain": np.ones_like(x),
        "rows": np.sin(2 * np.pi * down) > 0,
        "columns": np.sin(2 * np.pi * across) > 0,
        "slanted": np.sin(2 * np.pi * (across + down) / 1.4) > 0,
        "checked": (np.sin(np.pi * across) > 0) ^ (np.sin(np.pi * down) > 0),
        "dotted": (np.sin(np.pi * across) * np.sin(np.pi * down)) ** 2 < 0.4,
        "rippled": np.sin(2 * np.pi * np.hypot(across - side / period / 2, down - side / period / 2)) > 0,
        "shaded": x / side,
        "grained": random.random((side, side), np.float32) > 0.5,
        "gridded": (across % 1 > 0.3) & (down % 1 > 0.3),
    }[TEXTURES[texture]]
    mix = np.asarray(wave, np.float32)[..., None]
    shades = mix * np.array(bright, np.float32) + (1 - mix) * np.array(dark, np.float32)
    return Image.fromarray(shades.astype(np.uint8))
