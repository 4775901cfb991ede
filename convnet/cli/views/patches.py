"""What excites the maps of a layer most: the nine test pictures of each, cut to what the strongest output sees."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import MAPS, SEED, View, chosen, test_set
from convnet.drawing.patch_scene import patch_scene
from convnet.drawing.patches import top_patches
from convnet.drawing.scene_image import save_scene
from convnet.options import text


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    found = top_patches(test_set(checkpoint, args), chosen(args, VIEW.name), args.maps or (), args.seed)
    save_scene(patch_scene(found), out)


VIEW = View(
    "top_patches",
    text("LAYER"),
    "draw what excites maps of this layer most in the test pictures [the first of maps]",
    _draw,
    (MAPS, SEED),
    takes_data=True,
)
