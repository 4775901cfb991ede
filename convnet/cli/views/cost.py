"""Costs over a run as curves (io 7.2), beside those of other runs."""

import argparse

from convnet.checkpoint import Checkpoint
from convnet.cli.common import say
from convnet.cli.views.view import Flag, View
from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.shapes import Scene
from convnet.options import FROM_ZERO, PATHS, ZERO_ONE, text
from convnet.texts import path_text
from convnet.training.history import History


def _draw(checkpoint: Checkpoint, cost: str, args: argparse.Namespace) -> Scene:
    others = getattr(args, "with") or []
    found = [History.of_checkpoint(checkpoint), *map(History.read, others)]
    for _, remarks in found:
        for remark in remarks:
            say(remark)
    histories = [history for history, _ in found]
    titles = [history.title for history in histories]
    if len(set(titles)) < len(titles):  # of folders that are called alike
        for history, path in zip(histories, [checkpoint.path, *others], strict=True):
            history.title = path_text(path)
    return curve_scene(histories, cost, args.cost_idx, bool(args.smooth_test_errors))


COST = View(
    "show_cost",
    text("NAME"),
    "draw this cost's curves [the first cost's]",
    _draw,
    (
        Flag("cost_idx", FROM_ZERO, "which value of the cost, from 0 [all]", None),
        Flag("with", PATHS, "further runs for the same picture, by their folders, logs or checkpoints", None),
        Flag("smooth_test_errors", ZERO_ONE, "draw means over as many tests as there are test batches", 1),
    ),
    dots=2,
)
