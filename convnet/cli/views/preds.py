"""What a net says of test cases (io 7.4)."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import ONLY_ERRORS, SEED, View, chosen, test_set
from convnet.drawing.prediction_scene import write_predictions
from convnet.options import text


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    write_predictions(test_set(checkpoint, args), out, chosen(args, VIEW.name), bool(args.only_errors), args.seed)


VIEW = View(
    "show_preds",
    text("LAYER"),
    "draw what this softmax layer says of eight test cases [the first]",
    _draw,
    (ONLY_ERRORS, SEED),
    takes_data=True,
)
