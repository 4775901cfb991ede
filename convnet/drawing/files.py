"""Pictures to files: drawn in memory first, so that no mistake in drawing is blamed on the file or leaves half of one."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from convnet.errors import ConvnetError
from convnet.storage import check_folder, write_atomically

_MOST_PIXELS = 1 << 28


def save_image(image: Image.Image, out: Path) -> None:
    """Write a Pillow image in the format of the name ``out``; raises ``ConvnetError``, ``OSError`` with the name."""
    check_image(out)
    data = io.BytesIO()
    try:
        image.save(data, Image.registered_extensions()[out.suffix.lower()])
    except (OSError, ValueError, KeyError) as error:
        raise ConvnetError(f"{out} cannot be written: {out.suffix} files do not hold this picture ({error})") from None
    write_atomically(out, lambda file: file.write(data.getvalue()))


def check_image(out: Path) -> None:
    """Raise ``ConvnetError`` unless ``save_image`` can write to ``out``, whose folder must be there."""
    Image.init()
    known = (name for name, kind in Image.registered_extensions().items() if kind in Image.SAVE)
    _check_suffix(out, out.suffix.lower(), known)


def save_figure(figure: Any, out: Path, dpi: int) -> None:
    """Write a figure of matplotlib likewise."""
    suffix = out.suffix.lower()
    _check_suffix(out, suffix, (f".{name}" for name in figure.canvas.get_supported_filetypes()))
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a sign that the font lacks is a box
        dateless = {"metadata": {"CreationDate": None}} if suffix == ".pdf" else {}
        figure.savefig(data, dpi=dpi, format=suffix[1:], **dateless)
    write_atomically(out, lambda file: file.write(data.getvalue()))


def load_pyplot() -> Any:
    """Return matplotlib's pyplot, drawing off the screen; raises ``ConvnetError``, which names what needs none."""
    try:
        import matplotlib
    except ImportError:
        raise ConvnetError(
            "drawing this needs matplotlib: pip install matplotlib; a name that ends in .svg needs none"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def check_pixels(width: int, height: int, zoom: int) -> None:
    """Raise ``ConvnetError`` if a picture, ``zoom`` times as large, is more than anything shows."""
    if width * height * zoom**2 > _MOST_PIXELS:
        fitting = max(1, int((_MOST_PIXELS / (width * height)) ** 0.5))
        raise ConvnetError(
            f"--zoom {zoom} makes a picture of {width * zoom}x{height * zoom} pixels, which is too large; "
            f"--zoom {fitting} is not"
        )


def _check_suffix(out: Path, suffix: str, known: Iterable[str]) -> None:
    check_folder(out)
    if suffix not in known:
        raise ConvnetError(f"{out} cannot be written: '{suffix}' is no format of pictures; expected one such as .png")
