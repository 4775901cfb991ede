"""Pictures to files: drawn in memory first, so that no mistake in drawing is blamed on the file or leaves half of one."""

import io
from pathlib import Path

from PIL import Image

from convnet.drawing.pdf import pdf_of
from convnet.drawing.scene_image import image_of
from convnet.drawing.shapes import Scene
from convnet.drawing.svg import svg_of
from convnet.errors import ConvnetError
from convnet.storage import check_folder, write_atomically


def write_picture(picture: Scene | Image.Image, out: Path, dots: float = 2) -> None:
    """Write a drawing or an image in the format of the name ``out``: drawings as SVG, PDF, or ``dots`` for each pixel.

    Raises ``ConvnetError``, ``OSError`` with the name.
    """
    suffix = out.suffix.lower()
    if isinstance(picture, Image.Image):
        check_image(out)
        data = _encoded(picture, out)
    else:
        check_image(out, (".svg",))
        if suffix == ".svg":
            data = svg_of(picture).encode()
        elif suffix == ".pdf":
            data = pdf_of(picture)
        else:
            data = _encoded(image_of(picture, dots), out)
    write_atomically(out, lambda file: file.write(data))


def check_image(out: Path, others: tuple[str, ...] = ()) -> None:
    """Raise ``ConvnetError`` unless an image, or what ends in one of ``others``, can be written to ``out``."""
    check_folder(out)
    Image.init()
    suffix = out.suffix.lower()
    if suffix not in others and Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise ConvnetError(f"{out} cannot be written: '{suffix}' is no format of pictures; expected one such as .png")


def _encoded(image: Image.Image, out: Path) -> bytes:
    data = io.BytesIO()
    try:
        image.save(data, Image.registered_extensions()[out.suffix.lower()])
    except (OSError, ValueError, KeyError) as error:
        raise ConvnetError(f"{out} cannot be written: {out.suffix} files do not hold this picture ({error})") from None
    return data.getvalue()
