"""Pictures of a checkpoint, written as PNG; no screen is needed (io section 7).

    convnet shownet --load-file CHECKPOINT --show-filters conv1 --out filters.png
    convnet shownet --load-file CHECKPOINT --show-cost logprob --out cost.png
    convnet shownet --load-file CHECKPOINT --show-preds probs --out preds.png
    convnet shownet --load-file CHECKPOINT --show-maps conv1 --out maps.png

Without a name each shows the first there is. The last two run the net on the test data that the checkpoint names, or on
those of --data-path. Drawing curves needs matplotlib (the extra ``plot``).

Where a net has towers (conv1a and conv1b), ``--show-filters conv1`` shows both, the first above the second.

The layout of filters is the originals': 16 in a row, one-pixel gaps, all scaled together to black and white, with numbers
between; layers of many channels are shown as rows of them. ``--no-numbers`` draws what the originals drew, no more.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.cli.common import Parser, add_option, print_problems, run_verb, say
from convnet.cli.run import run
from convnet.drawing.curves import Curves, draw_cost
from convnet.drawing.files import save_image
from convnet.drawing.filter_sheet import filter_sheet, mosaic
from convnet.drawing.filters import filters_of, first_filters, normalise, standardised
from convnet.drawing.maps import feature_maps, map_sheet
from convnet.drawing.samples import TestSet, write_predictions
from convnet.errors import OptionError
from convnet.options import BY_NAME, FROM_ZERO, SEED, ZERO_ONE, flag_of, text, whole
from convnet.pickles import text_of
from convnet.texts import counted, did_you_mean, one_of

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
        ("--show-filters", text("LAYER"), "", "draw this layer's filters [the first layer's]"),
        ("--show-cost", text("NAME"), "", "draw this cost's curves [the first cost's]"),
        ("--show-preds", text("LAYER"), "", "draw what this softmax layer says of eight test cases [the first]"),
        ("--show-maps", text("LAYER"), "", "draw what this layer makes of twelve test cases [the first of maps]"),
        ("--write-features", text("LAYER"), "", "write what this layer makes of the test batches"),
        ("--feature-path", text("DIR"), "", "folder for --write-features"),
        ("--cost-idx", FROM_ZERO, None, "which value of the cost, from 0 [all]"),
        ("--smooth-test-errors", ZERO_ONE, 1, "draw means over as many tests as there are test batches"),
        ("--input-idx", FROM_ZERO, 0, "which weight matrix of the layer [0]"),
        ("--channels", FROM_ZERO, 0, "maps that a fully-connected layer's inputs are"),
        ("--local-plane", FROM_ZERO, 0, "which map of a local layer [0]"),
        ("--no-rgb", ZERO_ONE, 0, "show channels side by side in grey"),
        ("--yuv-to-rgb", ZERO_ONE, 0, "take three channels as YUV"),
        ("--norm-filters", ZERO_ONE, 0, "scale each filter to mean 0 and variance 1 first"),
        ("--only-errors", ZERO_ONE, 0, "of predictions, show only wrong ones"),
        ("--no-numbers", ZERO_ONE, 0, "draw filters as the originals did, without numbers and words"),
        ("--zoom", whole(1, 1000), None, "picture pixels per weight or value [what makes it 1000 to 1600 pixels wide]"),
        ("--seed", SEED, 0, "draws the cases and maps shown [0]"),
    ):
        parser.add_value(flag, kind, help_text, default, **(_OPTIONAL if flag.startswith("--show-") else {}))
    data = parser.add_argument_group("test data, where not those of the checkpoint")
    for option in map(BY_NAME.__getitem__, _DATA_OPTIONS):
        add_option(data, option, help=option.help.split(" [")[0])  # the default is the checkpoint's
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet shownet") -> int:
    """Draw what the options ask for; return the exit status."""
    return run_verb(_show, parser(prog), arguments)


_FIRST = True  # stands for a name that is not given
_OPTIONAL = {"nargs": "?", "const": _FIRST}

# What each option goes with; the data are those of pictures of test cases, and of features.
_OF_FILTERS = ("input_idx", "channels", "local_plane", "no_rgb", "yuv_to_rgb", "norm_filters", "no_numbers")
_GOES_WITH = (
    dict.fromkeys(("cost_idx", "smooth_test_errors"), ("show_cost",))
    | dict.fromkeys(_OF_FILTERS, ("show_filters",))
    | {"only_errors": ("show_preds",), "seed": ("show_preds", "show_maps"), "zoom": ("show_filters", "show_maps")}
    | dict.fromkeys(_DATA_OPTIONS, ("show_preds", "show_maps", "write_features"))
    | {"out": ("show_filters", "show_cost", "show_preds", "show_maps")}
)
_DEFAULTS = {"smooth_test_errors": 1}


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
    first = first_filters({name: layer["type"] for name, layer in checkpoint.layers.items()})
    name = first if args.show_filters is _FIRST else args.show_filters
    if not name:
        raise OptionError("--show-filters: no layer of the checkpoint has filters; name one of type fc, with --channels")
    layers, places = _towers(checkpoint.layers, name), (args.input_idx, args.channels, args.local_plane)
    parts = [filters_of(layer, *places) for layer in layers]
    filters = np.concatenate(parts, axis=-1)
    _check_filter_options(args, name, str(layers[0]["type"]), len(filters))
    if args.yuv_to_rgb and len(filters) == 3:
        filters = np.einsum("dc,cyxf->dyxf", _YUV, filters)
    if args.norm_filters:
        filters = standardised(filters)
    color = len(filters) == 3 and not args.no_rgb
    if args.no_numbers:
        save_image(mosaic(normalise(filters), color, zoom=args.zoom or 0), out)
        return
    numbers = zip(layers, parts, strict=True)
    names = [f"{text_of(layer['name'])[len(name) :]}{i}" for layer, part in numbers for i in range(part.shape[-1])]
    (C, k, _, F), state = filters.shape, checkpoint["model_state"]
    what = f"map {args.local_plane}, its filters at {F} places," if layers[0]["type"] == "local" else counted(F, "filter")
    when = f"epoch {state.get('epoch', 0)}, batch {state.get('batchnum', 0)}"
    save_image(filter_sheet(filters, names, f"{name}: {what} of {C}x{k}x{k}; {when}", color, args.zoom or 0), out)


def _check_filter_options(args: argparse.Namespace, name: str, kind: str, channels: int) -> None:
    """Raise ``OptionError`` for options that are not for filters of type ``kind`` with so many ``channels``."""
    effects = {
        "channels": kind not in ("conv", "local"),
        "local_plane": kind == "local",
        "no_rgb": channels == 3,
        "yuv_to_rgb": channels == 3,
    }
    if idle := [flag_of(option) for option, has_effect in effects.items() if getattr(args, option) and not has_effect]:
        raise OptionError(f"{', '.join(idle)}: no effect on '{name}', of type {kind} with {counted(channels, 'channel')}")


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
    name = "" if args.show_cost is _FIRST else args.show_cost
    draw_cost(Curves.of(checkpoint, name, args.cost_idx, bool(args.smooth_test_errors)), out)


def _show_preds(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    softmax = "" if args.show_preds is _FIRST else args.show_preds
    write_predictions(_test_set(checkpoint, args), out, softmax, bool(args.only_errors), args.seed)


def _show_maps(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    tests = _test_set(checkpoint, args)
    shown = feature_maps(tests, "" if args.show_maps is _FIRST else args.show_maps, args.seed)
    save_image(map_sheet(shown, args.zoom or 0), out)


def _test_set(checkpoint: Checkpoint, args: argparse.Namespace) -> TestSet:
    """Return the net beside its test data."""
    test_set = TestSet.open(checkpoint, _data_options(args))
    print_problems(test_set.net.graph.warnings)
    for remark in test_set.remarks:
        say(remark)
    return test_set


_PICTURES: dict[str, Callable[[Checkpoint, argparse.Namespace, Path], None]] = {
    "show_filters": _show_filters,
    "show_cost": _show_cost,
    "show_preds": _show_preds,
    "show_maps": _show_maps,
}
