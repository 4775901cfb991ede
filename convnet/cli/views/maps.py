"""What a layer makes of test cases (io 7.5)."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import MAPS, SEED, ZOOM, View, chosen, test_set
from convnet.drawing.files import save_image
from convnet.drawing.maps import feature_maps, map_sheet
from convnet.options import text


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    shown = feature_maps(test_set(checkpoint, args), chosen(args, VIEW.name), args.maps or (), args.seed)
    save_image(map_sheet(shown, args.zoom or 0), out)


VIEW = View(
    "show_maps",
    text("LAYER"),
    "draw what this layer makes of twelve test cases [the first of maps]",
    _draw,
    (MAPS, SEED, ZOOM),
    takes_data=True,
)
