"""Pictures of a checkpoint, written as PNG; no screen is needed (io section 7).

    convnet shownet --load-file CHECKPOINT --show-filters conv1 --out filters.png
    convnet shownet --load-file CHECKPOINT --show-cost logprob --out cost.png
    convnet shownet --load-file CHECKPOINT --show-preds probs --out preds.png
    convnet shownet --load-file CHECKPOINT --show-maps conv1 --out maps.png

The last two run the net on the test data that the checkpoint names, or on those of --data-path.

Where a net has towers (conv1a and conv1b), ``--show-filters conv1`` shows both, the first above the second.

The layout of filters is the originals': 16 in a row, one-pixel gaps, all scaled together to black and white. Drawing
curves and predictions needs matplotlib (the extra ``plot``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.cli.messages import tell_problems
from convnet.drawing.curves import Curves, draw_cost, load_pyplot
from convnet.drawing.filters import filter_mosaic, filters_of, normalise
from convnet.errors import ConvnetError, OptionError, did_you_mean
from convnet.options import BY_NAME, CommandParser, zero_one

_DATA_OPTIONS = ("data_path", "data_provider", "test_range", "crop_border", "inner_size", "backend", "threads")
_YUV = np.array([[1, 0, 1.28033], [1, -0.21482, -0.38059], [1, 2.12798, 0]])


def main(arguments: Sequence[str] | None = None, prog: str = "convnet shownet") -> int:
    """Draw what the options ask for; returns the exit status."""
    try:
        return show(arguments, prog)
    except ConvnetError as error:
        print(f"convnet: {error}", file=sys.stderr)
        return error.exit_code


def show(arguments: Sequence[str] | None, prog: str = "convnet shownet") -> int:
    """As ``main``, raising ``ConvnetError``."""
    args = _parser(prog).parse_args(arguments)
    if args.write_features or args.feature_path:
        return _write_features(args)
    wanted = [name for name in _PICTURES if getattr(args, name)]
    flags = ["--" + name.replace("_", "-") for name in _PICTURES]
    if not wanted:
        raise OptionError(f"nothing to show: give one of {', '.join(flags)}")
    if len(wanted) > 1 and args.out:
        raise OptionError(f"--out names one picture; give one of {', '.join(flags)} at a time")
    if args.only_errors and not args.show_preds:
        raise OptionError("--only-errors goes with --show-preds")
    path, checkpoint, remarks = find_latest(args.load_file, load)
    for remark in remarks:
        print(remark, file=sys.stderr)
    for name in wanted:
        out = Path(args.out or name.removeprefix("show_") + ".png")
        try:
            _PICTURES[name](checkpoint, args, out)
        except (OSError, ValueError) as error:
            raise ConvnetError(f"{out} cannot be written: {error}") from None
        print(f"Wrote {out} from {path}")
    return 0


def _show_cost(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    curves = Curves.of(checkpoint, args.show_cost, args.cost_idx, bool(args.smooth_test_errors))
    draw_cost(curves, f"{args.show_cost}[{args.cost_idx}]", out)


def _show_preds(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    from convnet.drawing import samples

    pyplot = load_pyplot()
    cases = samples.predictions(_test_set(args), args.show_preds, bool(args.only_errors), args.seed)
    heading = "Mistaken test samples" if args.only_errors else "Random test samples"
    samples.draw_predictions(cases, heading, out, pyplot)


def _show_maps(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    from convnet.drawing import samples

    samples.draw_maps(samples.feature_maps(_test_set(args), args.show_maps, args.seed), args.zoom).save(out)


def _write_features(args: argparse.Namespace) -> int:
    """As ``convnet run --test-only --write-features``; in 2011 and 2012 it was shownet that did it."""
    from convnet.cli.run import run

    options = ["--test-only", "--load-file", args.load_file]
    options += ["--write-features", args.write_features, "--feature-path", args.feature_path]
    for name in _DATA_OPTIONS:
        value = getattr(args, name)
        if value is not None:
            options += [BY_NAME[name].flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return run(options)


def _test_set(args: argparse.Namespace) -> Any:
    """The net beside its test data, with what the options say of these."""
    from convnet.drawing.samples import TestSet

    given = {name: value for name in _DATA_OPTIONS if (value := getattr(args, name)) is not None}
    test_set = TestSet(args.load_file, given)
    tell_problems(test_set.graph.warnings)
    return test_set


def _show_filters(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    towers = [
        filters_of(layer, args.input_idx, args.channels, args.local_plane)
        for layer in _towers(checkpoint.layers, args.show_filters)
    ]
    filters = np.concatenate(towers, axis=-1)
    if args.yuv_to_rgb and len(filters) == 3:
        filters = np.einsum("dc,cyxf->dyxf", _YUV, filters)
    color = len(filters) == 3 and not args.no_rgb
    mosaic = filter_mosaic(normalise(filters, bool(args.norm_filters)), color)
    pixels = np.round(255 * mosaic).astype(np.uint8)
    picture = Image.fromarray(pixels if color else pixels[..., 0])
    picture.resize((picture.width * args.zoom, picture.height * args.zoom), Image.Resampling.NEAREST).save(out)


def _towers(layers: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The layer called ``name``; or, where a net has towers, ``name`` with a letter behind, one below the other."""
    if name in layers:
        return [layers[name]]
    towers = [layer for other, layer in sorted(layers.items()) if other[:-1] == name and other[-1].isalpha()]
    alike = {(layer["type"], str(layer.get("filterSize")), str(layer.get("filterChannels"))) for layer in towers}
    if towers and len(alike) == 1:
        return towers
    raise OptionError(f"no layer '{name}' in the checkpoint" + did_you_mean(name, layers))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog, description="Draw what a checkpoint has learned, and what it says of test data.", allow_abbrev=False
    )
    add = parser.add_argument
    add("-f", "--load-file", required=True, metavar="PATH", help="checkpoint file or folder")
    add("--out", default="", metavar="PNG", help="picture to write [filters.png, cost.png]")
    add("--show-filters", default="", metavar="LAYER", help="draw this layer's filters")
    add("--show-cost", default="", metavar="NAME", help="draw this cost's curves")
    add("--show-preds", default="", metavar="LAYER", help="draw what this softmax layer says of eight test cases")
    add("--show-maps", default="", metavar="LAYER", help="draw what this layer makes of twelve test cases")
    add("--write-features", default="", metavar="LAYER", help="write what this layer makes of test batches")
    add("--feature-path", default="", metavar="DIR", help="where to write features")
    add("--cost-idx", type=int, default=0, metavar="N", help="which value of the cost [0]")
    add("--smooth-test-errors", type=zero_one, default=1, metavar="0/1", help="smooth many test values [1]")
    add("--input-idx", type=int, default=0, metavar="N", help="which weight matrix of the layer [0]")
    add("--channels", type=int, default=0, metavar="N", help="maps that a fully-connected layer's inputs are")
    add("--local-plane", type=int, default=0, metavar="N", help="which map of a local layer [0]")
    for flag, text in (
        ("--no-rgb", "show channels side by side in grey"),
        ("--yuv-to-rgb", "take three channels as YUV"),
        ("--norm-filters", "scale each filter to mean 0 and variance 1 first"),
        ("--only-errors", "of predictions, show only wrong ones"),
    ):
        add(flag, type=zero_one, nargs="?", const=1, default=0, metavar="0/1", help=text)
    add("--zoom", type=int, default=4, metavar="N", help="picture pixels per weight [4]")
    add("--seed", type=int, default=0, metavar="N", help="draws the cases and maps shown [0]")
    data = parser.add_argument_group("test data, where not those of the checkpoint")
    for name in _DATA_OPTIONS:
        option = BY_NAME[name]
        data.add_argument(option.flag, type=option.kind, choices=option.choices or None, default=None, help=option.help)
    return parser


_PICTURES: dict[str, Callable[[Checkpoint, argparse.Namespace, Path], None]] = {
    "show_filters": _show_filters,
    "show_cost": _show_cost,
    "show_preds": _show_preds,
    "show_maps": _show_maps,
}
