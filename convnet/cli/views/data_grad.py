"""Which pixels move a prediction: the gradient of a cost or of an output at the data (io section 7).

2012's program had the option; what computed it was taken out of the release.
"""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import ONLY_ERRORS, SEED, View, chosen, test_set
from convnet.drawing.gradient_scene import gradient_scene
from convnet.drawing.gradients import gradient_cases
from convnet.drawing.scene_image import save_scene
from convnet.options import text


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    tests = test_set(checkpoint, args)
    shown = gradient_cases(tests, chosen(args, VIEW.name), bool(args.only_errors), args.seed)
    save_scene(gradient_scene(*shown), out)


VIEW = View(
    "show_data_grad",
    text("COST"),
    "draw which pixels of eight test cases move this cost [the first], or an output: LAYER:CLASS, or LAYER: the largest",
    _draw,
    (ONLY_ERRORS, SEED),
    takes_data=True,
)
