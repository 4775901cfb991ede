"""Filters of a layer (io 7.3).

Where a net has towers (conv1a and conv1b), ``--show-filters conv1`` shows both, the first above the second.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import ZOOM, Flag, View, chosen
from convnet.drawing.files import save_image
from convnet.drawing.filter_sheet import filter_sheet, mosaic
from convnet.drawing.filters import filters_of, first_filters, normalise, standardised
from convnet.errors import OptionError
from convnet.options import FROM_ZERO, ZERO_ONE, flag_of, text
from convnet.pickles import text_of
from convnet.texts import counted, did_you_mean

_YUV = np.array([[1, 0, 1.28033], [1, -0.21482, -0.38059], [1, 2.12798, 0]])


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    first = first_filters({name: layer["type"] for name, layer in checkpoint.layers.items()})
    name = chosen(args, VIEW.name) or first
    if not name:
        raise OptionError(f"{VIEW.flag}: no layer of the checkpoint has filters; name one of type fc, with --channels")
    layers, places = _towers(checkpoint.layers, name), (args.input_idx, args.channels, args.local_plane)
    parts = [filters_of(layer, *places) for layer in layers]
    filters = np.concatenate(parts, axis=-1)
    _check_filter_options(args, name, str(layers[0]["type"]), len(filters))
    if args.yuv_to_rgb and len(filters) == 3:
        filters = np.einsum("dc,cyxf->dyxf", _YUV, filters)
    if args.norm_filters:
        filters = standardised(filters)
    color = len(filters) == 3 and not args.no_rgb
    if args.no_numbers:
        save_image(mosaic(normalise(filters), color, zoom=args.zoom or 0), out)
        return
    numbers = zip(layers, parts, strict=True)
    names = [f"{text_of(layer['name'])[len(name) :]}{i}" for layer, part in numbers for i in range(part.shape[-1])]
    (C, k, _, F), state = filters.shape, checkpoint["model_state"]
    what = f"map {args.local_plane}, its filters at {F} places," if layers[0]["type"] == "local" else counted(F, "filter")
    when = f"epoch {state.get('epoch', 0)}, batch {state.get('batchnum', 0)}"
    save_image(filter_sheet(filters, names, f"{name}: {what} of {C}x{k}x{k}; {when}", color, args.zoom or 0), out)


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


def _towers(layers: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the layer called ``name``; or, where a net has towers, those called ``name`` with a letter behind."""
    if name in layers:
        return [layers[name]]
    towers = [layer for other, layer in sorted(layers.items()) if other[:-1] == name and other[-1].isalpha()]
    shapes = {(layer["type"], str(layer.get("filterSize")), str(layer.get("filterChannels"))) for layer in towers}
    if len(shapes) == 1:
        return towers
    raise OptionError(f"no layer '{name}' in the checkpoint" + did_you_mean(name, layers))


VIEW = View(
    "show_filters",
    text("LAYER"),
    "draw this layer's filters [the first layer's]",
    _draw,
    (
        Flag("input_idx", FROM_ZERO, "which weight matrix of the layer [0]"),
        Flag("channels", FROM_ZERO, "maps that a fully-connected layer's inputs are"),
        Flag("local_plane", FROM_ZERO, "which map of a local layer [0]"),
        Flag("no_rgb", ZERO_ONE, "show channels side by side in grey"),
        Flag("yuv_to_rgb", ZERO_ONE, "take three channels as YUV"),
        Flag("norm_filters", ZERO_ONE, "scale each filter to mean 0 and variance 1 first"),
        Flag("no_numbers", ZERO_ONE, "draw filters as the originals did, without numbers and words"),
        ZOOM,
    ),
)
