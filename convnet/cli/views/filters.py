"""Filters of a layer (io 7.3).

Where a net has towers (conv1a and conv1b), ``--show-filters conv1`` shows both, the first above the second.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import ZOOM, Flag, View
from convnet.drawing.filter_banks import FilterBank, filter_banks
from convnet.drawing.filter_sheet import filter_sheet, plain_sheet
from convnet.drawing.filters import first_filters, standardised
from convnet.drawing.local_sheet import local_sheet
from convnet.errors import OptionError
from convnet.options import FROM_ZERO, ZERO_ONE, flag_of, text
from convnet.texts import counted, listed

_YUV = np.array([[1, 0, 1.28033], [1, -0.21482, -0.38059], [1, 2.12798, 0]])


def _draw(checkpoint: Checkpoint, layer: str, args: argparse.Namespace) -> Image.Image:
    name = layer or first_filters({name: layer["type"] for name, layer in checkpoint.layers.items()})
    if not name:
        raise OptionError(f"{FILTERS.flag}: no layer of the checkpoint has filters; name one of type fc, with --channels")
    banks = filter_banks(checkpoint, name, args.input_idx, args.channels, args.local_plane)
    C = len(banks[0].filters)
    _check_filter_options(args, name, banks[0].type, C)
    banks = [bank._replace(filters=_as_asked(bank.filters, args)) for bank in banks]
    color, zoom = C == 3 and not args.no_rgb, args.zoom or 0
    title = _title(checkpoint, args, name, banks)
    if args.no_numbers:
        return plain_sheet(banks, color, zoom)
    return (local_sheet if banks[0].modules else filter_sheet)(banks, title, color, zoom)


def _as_asked(filters: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Return filters in the colours and at the scale that options ask for."""
    if args.yuv_to_rgb and len(filters) == 3:
        filters = np.einsum("dc,cyxf->dyxf", _YUV, filters)
    return standardised(filters) if args.norm_filters else filters


def _title(checkpoint: Checkpoint, args: argparse.Namespace, name: str, banks: Sequence[FilterBank]) -> str:
    """Return a line that says which filters these are, of what they read, and when."""
    C, k, _, _ = banks[0].filters.shape
    F, state = sum(bank.filters.shape[-1] for bank in banks), checkpoint["model_state"]
    what = f"map {args.local_plane}, its filters at {F} places," if banks[0].modules else counted(F, "filter")
    sources = listed(f"'{source}'" for source in dict.fromkeys(bank.source for bank in banks))
    matrices = len(checkpoint.layers[banks[0].name]["weights"])
    which = f", input {args.input_idx} of {matrices}" if matrices > 1 else ""
    when = f"epoch {state.get('epoch', 0)}, batch {state.get('batchnum', 0)}"
    return f"{name}: {what} of {C}x{k}x{k} on {sources}{which}; {when}"


def _check_filter_options(args: argparse.Namespace, name: str, kind: str, channels: int) -> None:
    """Raise ``OptionError`` for options that are not for filters of type ``kind`` with so many ``channels``."""
    effects = {
        "channels": kind not in ("conv", "local"),
        "local_plane": kind == "local",
        "no_rgb": channels == 3,
        "yuv_to_rgb": channels == 3,
    }
    if idle := [flag_of(option) for option, has_effect in effects.items() if getattr(args, option) and not has_effect]:
        raise OptionError(f"{', '.join(idle)}: no effect on '{name}', of type {kind} with {counted(channels, 'channel')}")


FILTERS = View(
    "show_filters",
    text("LAYER"),
    "draw this layer's filters [the first layer's]",
    _draw,
    (
        Flag("input_idx", FROM_ZERO, "which weight matrix of the layer [0]"),
        Flag("channels", FROM_ZERO, "maps that a fully-connected layer's inputs are [those of the layer below]"),
        Flag("local_plane", FROM_ZERO, "which map of a local layer [0]"),
        Flag("no_rgb", ZERO_ONE, "show channels side by side in grey"),
        Flag("yuv_to_rgb", ZERO_ONE, "take three channels as YUV"),
        Flag("norm_filters", ZERO_ONE, "scale each filter to mean 0 and variance 1 first"),
        Flag("no_numbers", ZERO_ONE, "draw filters as the originals did, without numbers and words"),
        ZOOM,
    ),
)
