"""Views of test cases: what a net says of them, what moves that, what layers make of them, which are alike (io 7)."""

import argparse
from collections.abc import Sequence

from PIL import Image

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import SEED, ZOOM, Flag, View, test_set
from convnet.drawing.gradient_scene import gradient_scene
from convnet.drawing.gradients import gradient_cases
from convnet.drawing.maps import feature_maps, map_sheet
from convnet.drawing.neighbour_scene import neighbour_scene
from convnet.drawing.neighbours import NEAREST, ROWS, similar
from convnet.drawing.patch_scene import patch_scene
from convnet.drawing.patches import top_patches
from convnet.drawing.prediction_scene import prediction_scene
from convnet.drawing.samples import predictions
from convnet.drawing.shapes import Scene
from convnet.options import LAYERS, ZERO_ONE, text, whole
from convnet.options.kinds import whole_numbers

_NUMBERS = Flag("maps", whole_numbers(0, "0,5,9"), "which maps, up to sixteen [such as --seed draws]", None)
_ONLY_ERRORS = Flag("only_errors", ZERO_ONE, "of test cases, show only those that the net gets wrong")


def _predictions(checkpoint: Checkpoint, layer: str, args: argparse.Namespace) -> Scene:
    cases = predictions(test_set(checkpoint, args), layer, bool(args.only_errors), args.seed)
    return prediction_scene(cases, bool(args.only_errors))


def _gradients(checkpoint: Checkpoint, start: str, args: argparse.Namespace) -> Scene:
    return gradient_scene(*gradient_cases(test_set(checkpoint, args), start, bool(args.only_errors), args.seed))


def _maps(checkpoint: Checkpoint, layer: str, args: argparse.Namespace) -> Image.Image:
    return map_sheet(feature_maps(test_set(checkpoint, args), layer, args.maps or (), args.seed), args.zoom or 0)


def _patches(checkpoint: Checkpoint, layer: str, args: argparse.Namespace) -> Scene:
    return patch_scene(top_patches(test_set(checkpoint, args), layer, args.maps or (), args.seed))


def _similar(checkpoint: Checkpoint, layers: Sequence[str], args: argparse.Namespace) -> Scene:
    return neighbour_scene(similar(test_set(checkpoint, args), layers, args.rows, args.nearest, args.seed))


PREDICTIONS = View(
    "show_preds",
    text("LAYER"),
    "draw what this softmax layer says of eight test cases [the first]",
    _predictions,
    (_ONLY_ERRORS, SEED),
    takes_data=True,
)
GRADIENTS = View(  # of which 2012's release lacks what computed them
    "show_data_grad",
    text("COST"),
    "draw which pixels of eight test cases move this cost [the first], or an output: LAYER:CLASS, or LAYER: the largest",
    _gradients,
    (_ONLY_ERRORS, SEED),
    takes_data=True,
)
MAPS = View(
    "show_maps",
    text("LAYER"),
    "draw what this layer makes of twelve test cases [the first of maps]",
    _maps,
    (_NUMBERS, SEED, ZOOM),
    takes_data=True,
)
PATCHES = View(
    "top_patches",
    text("LAYER"),
    "draw what excites maps of this layer most in the test pictures [the first of maps]",
    _patches,
    (_NUMBERS, SEED),
    takes_data=True,
)
SIMILAR = View(  # the right half of the paper's Figure 4
    "similar",
    LAYERS,
    "draw test pictures and those nearest to them in this layer's outputs [what the last layer of classes reads]",
    _similar,
    (
        Flag("rows", whole(1, 100), "pictures to find others for", ROWS),
        Flag("nearest", whole(1, 100), "how many to find for each", NEAREST),
        SEED,
    ),
    takes_data=True,
)
