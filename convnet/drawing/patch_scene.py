"""The strongest patches of maps as a drawing: for each map a square of nine, below each the value of the output."""

from PIL import Image

from convnet.drawing.headed_scene import headed_scene
from convnet.drawing.patches import OUTSIDE, PATCHES, Patch, TopPatches
from convnet.drawing.shapes import LOOKS, Paint, Raster, Rectangle, Scene, Shape, Words
from convnet.drawing.sheet import trimmed
from convnet.texts import counted

_ACROSS, _IN_ROW = 4, 3  # maps in a row, patches of one in a row
_SIDE, _GAP, _VALUE, _HEAD, _TOP, _BETWEEN = 96, 6, 16, 26, 104, 34  # pixels
_SMOOTH = 48  # pixels of a patch, of which so many are no longer seen as squares


def patch_scene(found: TopPatches) -> Scene:
    """Return the drawing of what was found."""
    across = min(_ACROSS, len(found.numbers))
    block = _IN_ROW * (_SIDE + _GAP) - _GAP + _BETWEEN
    tall = _HEAD + PATCHES // _IN_ROW * (_SIDE + _VALUE + _GAP) + _BETWEEN // 2
    width = max(across * block + _BETWEEN, 2 * block)
    height = _TOP + -(-len(found.numbers) // across) * tall
    title, caption = _words(found)
    shapes = _key(found)
    for i, (number, patches) in enumerate(zip(found.numbers, found.patches, strict=True)):
        x, y = _BETWEEN + i % across * block, _TOP + i // across * tall
        name = trimmed(found.names[number], LOOKS["column"].size, block - _BETWEEN)
        shapes.append(Words("column", x, y + 15, name))
        if not patches:
            shapes.append(Words("label", x, y + _HEAD + 14, "no test picture excites it anywhere"))
        for place, patch in enumerate(patches):
            down, right = divmod(place, _IN_ROW)
            shapes += _patch(patch, x + right * (_SIDE + _GAP), y + _HEAD + down * (_SIDE + _VALUE + _GAP))
    return headed_scene(width, height, title, [caption], shapes, _BETWEEN)


def _words(found: TopPatches) -> tuple[str, str]:
    """Return the title, and what is said below it."""
    total = len(found.names)
    few = f"{len(found.numbers)} of {total}" if len(found.numbers) < total else f"all {total}"
    what = "maps" if found.names[0].startswith("map ") else "outputs"
    title = f"{found.layer}: what excites {few} {what} most, of {counted(found.cases, 'test picture')}"
    if found.field is None:
        return title, "Whole pictures, the most exciting first, below each the largest output."
    size = found.field.size
    text = f"Each patch is the {size}x{size} pixels that the strongest output of a picture sees, below it its value."
    return title, text


def _key(found: TopPatches) -> list[Shape]:
    """Say what the colour beside pictures means, if it is seen."""
    patches = (patch.pixels for kept in found.patches for patch in kept)
    if not any((pixels == OUTSIDE).all(axis=-1).any() for pixels in patches):
        return []
    swatch = Rectangle("swatch", _BETWEEN, 71, 14, 12, 2, Paint("#" + bytes(OUTSIDE).hex()))
    return [swatch, Words("subtitle", _BETWEEN + 20, 81, "beside the picture")]


def _patch(patch: Patch, x: float, y: float) -> list[Shape]:
    """Draw a patch, as large as all others, with its value below."""
    scale = _SIDE / max(patch.pixels.shape[:2])
    height, width = (side * scale for side in patch.pixels.shape[:2])
    image = Image.fromarray(patch.pixels)
    left, top = x + (_SIDE - width) / 2, y + (_SIDE - height) / 2
    return [
        Raster(left, top, width, height, image, max(image.size) < _SMOOTH),
        Rectangle("frame", left, top, width, height),
        Words("weight", x + _SIDE / 2, y + _SIDE + 12, f"{patch.value:.3g}", "middle"),
    ]
