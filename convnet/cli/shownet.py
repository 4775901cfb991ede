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

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.cli.common import Parser, add_option, print_problems, run_verb, say
from convnet.cli.run import run
from convnet.drawing.curves import Curves, draw_cost, load_pyplot
from convnet.drawing.files import save_image
from convnet.drawing.filters import draw_mosaic, filter_mosaic, filters_of, normalise
from convnet.drawing.samples import TestSet, draw_predictions, feature_maps, maps_mosaic, predictions
from convnet.errors import OptionError, did_you_mean, one_of
from convnet.options import BY_NAME, FROM_ZERO, SEED, ZERO_ONE, flag_of, text, whole

_DATA_OPTIONS = ("data_path", "data_provider", "test_range", "crop_border", "inner_size", "backend", "threads")
_YUV = np.array([[1, 0, 1.28033], [1, -0.21482, -0.38059], [1, 2.12798, 0]])


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Draw what a checkpoint has learned, and what it says of test data."
    example = "--load-file checkpoints --show-filters conv1 --out filters.png"
    parser = Parser(prog, description, example, argument_default=argparse.SUPPRESS)
    add_option(parser, BY_NAME["load_file"], required=True, help="checkpoint, or folder of checkpoints")
    for flag, kind, default, help_text in (
        ("--out", text("PNG"), "", "picture to write [filters.png, cost.png, preds.png, maps.png]"),
        ("--show-filters", text("LAYER"), "", "draw this layer's filters"),
        ("--show-cost", text("NAME"), "", "draw this cost's curves"),
        ("--show-preds", text("LAYER"), "", "draw what this softmax layer says of eight test cases"),
        ("--show-maps", text("LAYER"), "", "draw what this layer makes of twelve test cases"),
        ("--write-features", text("LAYER"), "", "write what this layer makes of the test batches"),
        ("--feature-path", text("DIR"), "", "folder for --write-features"),
        ("--cost-idx", FROM_ZERO, 0, "which value of the cost [0]"),
        ("--smooth-test-errors", ZERO_ONE, 1, "draw means over as many tests as there are test batches"),
        ("--input-idx", FROM_ZERO, 0, "which weight matrix of the layer [0]"),
        ("--channels", FROM_ZERO, 0, "maps that a fully-connected layer's inputs are"),
        ("--local-plane", FROM_ZERO, 0, "which map of a local layer [0]"),
        ("--no-rgb", ZERO_ONE, 0, "show channels side by side in grey"),
        ("--yuv-to-rgb", ZERO_ONE, 0, "take three channels as YUV"),
        ("--norm-filters", ZERO_ONE, 0, "scale each filter to mean 0 and variance 1 first"),
        ("--only-errors", ZERO_ONE, 0, "of predictions, show only wrong ones"),
        ("--zoom", whole(1, 1000), 4, "picture pixels per weight"),
        ("--seed", SEED, 0, "draws the cases and maps shown [0]"),
    ):
        parser.add_value(flag, kind, help_text, default)
    data = parser.add_argument_group("test data, where not those of the checkpoint")
    for option in map(BY_NAME.__getitem__, _DATA_OPTIONS):
        add_option(data, option, help=option.help.split(" [")[0])  # the default is the checkpoint's
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet shownet") -> int:
    """Draw what the options ask for; return the exit status."""
    return run_verb(_show, parser(prog), arguments)


# What each option goes with; the data are those of pictures of test cases, and of features.
_GOES_WITH = (
    dict.fromkeys(("cost_idx", "smooth_test_errors"), ("show_cost",))
    | dict.fromkeys(("input_idx", "channels", "local_plane", "no_rgb", "yuv_to_rgb", "norm_filters"), ("show_filters",))
    | {"only_errors": ("show_preds",), "seed": ("show_preds", "show_maps"), "zoom": ("show_filters", "show_maps")}
    | dict.fromkeys(_DATA_OPTIONS, ("show_preds", "show_maps", "write_features"))
    | {"out": ("show_filters", "show_cost", "show_preds", "show_maps")}
)
_DEFAULTS = {"cost_idx": 0, "smooth_test_errors": 1, "input_idx": 0, "channels": 0, "local_plane": 0, "zoom": 4, "seed": 0}


def _check_options(args: argparse.Namespace) -> None:
    """Raise ``OptionError`` for options that what is asked for does not read."""
    faults = [
        f"{flag_of(name)} goes with {one_of(map(flag_of, others))}"
        for name, others in _GOES_WITH.items()
        if getattr(args, name, None) not in (None, "", _DEFAULTS.get(name, 0)) and not any(getattr(args, o) for o in others)
    ]
    asked = [flag_of(name) for name in _PICTURES if getattr(args, name)]
    if (args.write_features or args.feature_path) and asked:
        faults.append(f"--write-features writes files and draws nothing; give {one_of(asked)} in another call")
    if faults:
        raise OptionError("; ".join(faults))


def _show(args: argparse.Namespace) -> int:
    _check_options(args)
    if args.write_features or args.feature_path:  # as of ``convnet run``; in 2011 and 2012 it was shownet that did it
        mode = {"test_only": 1, "write_features": args.write_features or "", "feature_path": args.feature_path or ""}
        return run({"load_file": args.load_file, **mode, **_data_options(args)})
    wanted = [name for name in _PICTURES if getattr(args, name)]
    flags = ", ".join(map(flag_of, _PICTURES))
    if not wanted:
        raise OptionError(f"nothing to show: give one of {flags}")
    if len(wanted) > 1 and args.out:
        raise OptionError(f"--out names one picture; give one of {flags} at a time")
    path, checkpoint, remarks = find_latest(args.load_file, load)
    for remark in remarks:
        say(remark)
    for name in wanted:
        out = Path(args.out or name.removeprefix("show_") + ".png")
        _PICTURES[name](checkpoint, args, out)
        print(f"Wrote {out} from {path}")
    return 0


def _data_options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _DATA_OPTIONS if name in args}


def _show_filters(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    layers, places = _towers(checkpoint.layers, args.show_filters), (args.input_idx, args.channels, args.local_plane)
    filters = np.concatenate([filters_of(layer, *places) for layer in layers], axis=-1)
    _check_filter_options(args, str(layers[0]["type"]), len(filters))
    if args.yuv_to_rgb and len(filters) == 3:
        filters = np.einsum("dc,cyxf->dyxf", _YUV, filters)
    color = len(filters) == 3 and not args.no_rgb
    mosaic = filter_mosaic(normalise(filters, bool(args.norm_filters)), color)
    save_image(draw_mosaic(mosaic, args.zoom), out)


def _check_filter_options(args: argparse.Namespace, kind: str, channels: int) -> None:
    """Raise ``OptionError`` for options that filters of a layer of type ``kind``, of so many ``channels``, do not read."""
    effects = {
        "channels": kind not in ("conv", "local"),
        "local_plane": kind == "local",
        "no_rgb": channels == 3,
        "yuv_to_rgb": channels == 3,
    }
    if idle := [flag_of(name) for name, has_effect in effects.items() if getattr(args, name) and not has_effect]:
        of_channels = f"{channels} channel{'s' * (channels != 1)}"
        raise OptionError(f"{', '.join(idle)}: no effect on '{args.show_filters}', of type {kind} with {of_channels}")


def _towers(layers: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the layer called ``name``; or, where a net has towers, those called ``name`` with a letter behind."""
    if name in layers:
        return [layers[name]]
    towers = [layer for other, layer in sorted(layers.items()) if other[:-1] == name and other[-1].isalpha()]
    shapes = {(layer["type"], str(layer.get("filterSize")), str(layer.get("filterChannels"))) for layer in towers}
    if len(shapes) == 1:
        return towers
    raise OptionError(f"no layer '{name}' in the checkpoint" + did_you_mean(name, layers))


def _show_cost(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    curves = Curves.of(checkpoint, args.show_cost, args.cost_idx, bool(args.smooth_test_errors))
    draw_cost(curves, f"{args.show_cost}[{args.cost_idx}]", out)


def _show_preds(_: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    pyplot = load_pyplot()  # or say at once that it is missing
    cases = predictions(_test_set(args), args.show_preds, bool(args.only_errors), args.seed)
    draw_predictions(cases, f"{'Mistaken' if args.only_errors else 'Random'} test samples", out, pyplot)


def _show_maps(_: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    maps = feature_maps(_test_set(args), args.show_maps, args.seed)
    save_image(draw_mosaic(maps_mosaic(maps), args.zoom), out)


def _test_set(args: argparse.Namespace) -> TestSet:
    """Return the net beside its test data."""
    test_set = TestSet(args.load_file, _data_options(args))
    print_problems(test_set.graph.warnings)
    for remark in test_set.remarks:
        say(remark)
    return test_set


_PICTURES: dict[str, Callable[[Checkpoint, argparse.Namespace, Path], None]] = {
    "show_filters": _show_filters,
    "show_cost": _show_cost,
    "show_preds": _show_preds,
    "show_maps": _show_maps,
}
