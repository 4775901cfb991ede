"""Test pictures that a net finds alike (io section 7): the right half of the paper's Figure 4."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import FIRST, SEED, Flag, View, test_set
from convnet.drawing.neighbour_scene import neighbour_scene
from convnet.drawing.neighbours import NEAREST, ROWS, similar
from convnet.drawing.scene_image import save_scene
from convnet.options import LAYERS, whole


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    names = () if args.similar is FIRST else args.similar
    save_scene(neighbour_scene(similar(test_set(checkpoint, args), names, args.rows, args.nearest, args.seed)), out)


VIEW = View(
    "similar",
    LAYERS,
    "draw test pictures and those nearest to them in this layer's outputs [what the last layer of classes reads]",
    _draw,
    (
        Flag("rows", whole(1, 100), "pictures to find others for", ROWS),
        Flag("nearest", whole(1, 100), "how many to find for each", NEAREST),
        SEED,
    ),
    takes_data=True,
)
