"""Costs over a run as curves (io 7.2)."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.common import say
from convnet.cli.views.view import Flag, View, chosen
from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.figure import write_scene
from convnet.options import FROM_ZERO, ZERO_ONE, text
from convnet.training.history import History


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    history, remarks = History.of_checkpoint(checkpoint)
    for remark in remarks:
        say(f"convnet: {remark}")
    scene = curve_scene([history], chosen(args, VIEW.name), args.cost_idx, bool(args.smooth_test_errors))
    write_scene(scene, out)


VIEW = View(
    "show_cost",
    text("NAME"),
    "draw this cost's curves [the first cost's]",
    _draw,
    (
        Flag("cost_idx", FROM_ZERO, "which value of the cost, from 0 [all]", None),
        Flag("smooth_test_errors", ZERO_ONE, "draw means over as many tests as there are test batches", 1),
    ),
)
