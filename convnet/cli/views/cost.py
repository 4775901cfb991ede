"""Costs over a run as curves (io 7.2)."""

import argparse
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import Flag, View, chosen
from convnet.drawing.curves import Curves, draw_cost
from convnet.options import FROM_ZERO, ZERO_ONE, text


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    draw_cost(Curves.of(checkpoint, chosen(args, VIEW.name), args.cost_idx, bool(args.smooth_test_errors)), out)


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
