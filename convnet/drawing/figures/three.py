"""The paper's Figure 3: the kernels of the first layer, in rows of sixteen, those of one tower above those of the other.

Each kernel is first scaled to mean 0 and variance 1, as by ``--norm-filters`` of 2012's shownet, so that all can be seen;
then all together from black to white.
"""

from convnet.checkpoint import Checkpoint
from convnet.drawing.filter_banks import filter_banks
from convnet.drawing.filter_sheet import plain_sheet
from convnet.drawing.filters import first_filters, standardised
from convnet.drawing.shapes import Raster, Scene
from convnet.errors import ConvnetError
from convnet.texts import listed

_WIDE = 772  # pixels, at most, where a weight takes some


def figure_three(checkpoint: Checkpoint) -> Scene:
    """Return the kernels of the first layer of a checkpoint that has any; raises ``ConvnetError`` for one without."""
    name = first_filters({name: layer["type"] for name, layer in checkpoint.layers.items()})
    if not name:
        raise ConvnetError(f"{checkpoint.path}: the net has no layer with filters, which Figure 3 would show")
    banks = filter_banks(checkpoint, name)
    C, k, _, _ = banks[0].filters.shape
    count = sum(bank.filters.shape[-1] for bank in banks)
    image = plain_sheet([bank._replace(filters=standardised(bank.filters)) for bank in banks], C == 3, 1)
    title = f"{count} kernels of size {C}x{k}x{k} of {listed(bank.name for bank in banks)}"
    weight = max(1, _WIDE // image.width)
    width, height = image.width * weight, image.height * weight
    return Scene(width, height, title, [Raster(0, 0, width, height, image, is_pixelated=True)])
