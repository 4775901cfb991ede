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
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet.checkpoint import find_latest, history_of, load, position_of, stored_option, unpack_layers
from convnet.errors import ConvnetError, OptionError
from convnet.language.source import nearest
from convnet.options import BY_NAME, CommandParser, zero_one
from convnet.training.costs import Outputs

_PER_ROW = 16
_MOST = 16 * 24  # filters shown; the rest is left out
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


def filter_mosaic(filters: np.ndarray, color: bool) -> np.ndarray:
    """Filters (channels, k, k, count) as one picture: rows of them with one-pixel black gaps, values in 0 to 1.

    In ``color`` three channels make one coloured patch; else the channels of a filter stand side by side in grey.
    """
    channels, k, _, count = filters[..., :_MOST].shape
    per_row = _PER_ROW if color else max(1, math.ceil(_PER_ROW / channels))
    rows = math.ceil(count / per_row)
    wide = k if color else k * channels
    canvas = np.zeros((rows * (k + 1) + 1, per_row * (wide + 1) + 1, 3 if color else 1))
    for i in range(count):
        y, x = 1 + (i // per_row) * (k + 1), 1 + (i % per_row) * (wide + 1)
        patch = filters[..., i]
        flat = patch.transpose(1, 2, 0) if color else patch.transpose(1, 0, 2).reshape(k, wide)[..., None]
        canvas[y : y + k, x : x + wide] = flat
    return canvas


def filters_of(layer: dict[str, Any], index: int = 0, channels: int = 0, plane: int = 0) -> np.ndarray:
    """Weight matrix ``index`` of a stored layer as filters (channels, k, k, count).

    A local layer shows, for output map ``plane``, its filter at every position. A fully-connected layer needs
    ``channels`` to see its inputs as square maps. Raises ``ConvnetError`` where that is impossible.
    """
    name = layer["name"]
    matrices = layer.get("weights")
    if not isinstance(matrices, list) or not matrices:
        raise ConvnetError(f"layer '{name}' of type {layer['type']} has no weights to show")
    if not 0 <= index < len(matrices):
        raise OptionError(f"--input-idx {index}: layer '{name}' has {len(matrices)} weight matrices, counted from 0")
    weights = np.asarray(matrices[index], np.float64)
    if layer["type"] in ("conv", "local"):
        C, k = int(layer["filterChannels"][index]), int(layer["filterSize"][index])
        if layer["type"] == "conv":
            return weights.reshape(C, k, k, -1)
        places = weights.reshape(-1, C, k, k, weights.shape[1])  # w[m, c, ky, kx, f]
        if not 0 <= plane < places.shape[-1]:
            raise OptionError(f"--local-plane {plane}: layer '{name}' has {places.shape[-1]} maps, counted from 0")
        return places[..., plane].transpose(1, 2, 3, 0)
    side = math.isqrt(len(weights) // channels) if channels else 0
    if not channels or side * side * channels != len(weights):
        raise OptionError(f"layer '{name}' has {len(weights)} inputs: --channels must say how many square maps they are")
    return weights.reshape(channels, side, side, -1)


def normalise(filters: np.ndarray, each: bool = False) -> np.ndarray:
    """All filters scaled together to 0 to 1, or first each to mean 0 and variance 1."""
    if each:
        axes = (0, 1, 2)
        spread = filters.std(axis=axes, keepdims=True)
        filters = (filters - filters.mean(axis=axes, keepdims=True)) / np.where(spread > 0, spread, 1)
    low, high = filters.min(), filters.max()
    return (filters - low) / (high - low) if high > low else filters * 0 + 0.5


@dataclass
class Curves:
    """One value of one cost: ``train`` per data batch, ``test`` at the batches ``tested``; the batches of an epoch."""

    train: list[float]
    test: list[float]
    tested: list[int]
    epoch: int

    @classmethod
    def of(cls, checkpoint: dict[str, Any], name: str, index: int, smooth: bool) -> Curves:
        """Read a checkpoint's history; ``smooth`` means over as many tests as there are test batches."""
        history, position = history_of(checkpoint), position_of(checkpoint)
        outputs = Outputs.of_stored(unpack_layers(checkpoint))
        shown = ([outputs.shown(*pair) for pair in history[key]] for key in ("train_outputs", "test_outputs"))
        train, test = (_curve(costs, name, index) for costs in shown)
        if smooth:
            span = max(1, len(stored_option(checkpoint, "test_range") or [1]))
            test = [float(np.mean(test[max(0, i - span + 1) : i + 1])) for i in range(len(test))]
        every = stored_option(checkpoint, "test_freq") or max(1, len(train) // max(1, len(test)))
        tested = position.get("tests_at") or [every * (i + 1) for i in range(len(test))]
        return cls(train, test, tested, len(stored_option(checkpoint, "train_range") or train) or 1)


def draw_cost(curves: Curves, title: str, out: Path) -> None:
    """Training costs in black, test costs in red and held until the next test, as the originals drew them."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 5))
    batches = len(curves.train)
    axes.plot(np.arange(1, batches + 1) / curves.epoch, curves.train, "k-", label="Training set")
    if curves.test:
        held = [*curves.tested, max(batches, curves.tested[-1])]
        axes.plot(
            np.array(held) / curves.epoch, [*curves.test, curves.test[-1]], "r-", drawstyle="steps-post", label="Test set"
        )
    axes.set(title=title, xlabel="Epoch", ylabel=title)
    axes.legend()
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


def _pyplot() -> Any:
    """matplotlib, drawing off the screen."""
    try:
        import matplotlib
    except ImportError:
        raise ConvnetError("drawing this needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _show_cost(checkpoint: dict[str, Any], args: argparse.Namespace, out: Path) -> None:
    curves = Curves.of(checkpoint, args.show_cost, args.cost_idx, bool(args.smooth_test_errors))
    draw_cost(curves, f"{args.show_cost}[{args.cost_idx}]", out)


def _show_preds(checkpoint: dict[str, Any], args: argparse.Namespace, out: Path) -> None:
    from convnet.drawing import samples

    pyplot = _pyplot()
    cases = samples.predictions(_test_set(args), args.show_preds, bool(args.only_errors), args.seed)
    heading = "Mistaken test samples" if args.only_errors else "Random test samples"
    samples.draw_predictions(cases, heading, out, pyplot)


def _show_maps(checkpoint: dict[str, Any], args: argparse.Namespace, out: Path) -> None:
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
    return TestSet(args.load_file, given)


def _show_filters(checkpoint: dict[str, Any], args: argparse.Namespace, out: Path) -> None:
    towers = [
        filters_of(layer, args.input_idx, args.channels, args.local_plane)
        for layer in _towers(unpack_layers(checkpoint), args.show_filters)
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
    hint = nearest(name, layers)
    raise OptionError(f"no layer '{name}' in the checkpoint" + (f"; did you mean '{hint}'?" if hint else ""))


def _curve(outputs: Sequence[dict[str, list[float]]], name: str, index: int) -> list[float]:
    known = sorted({cost for costs in outputs for cost in costs})
    if outputs and name not in known:
        hint = nearest(name, known)
        raise OptionError(
            f"no cost '{name}' in the checkpoint; it has {', '.join(known)}" + (f"; did you mean '{hint}'?" if hint else "")
        )
    values = [costs[name] for costs in outputs if name in costs]
    if any(index >= len(value) or index < 0 for value in values):
        raise OptionError(f"--cost-idx {index}: '{name}' has {len(values[0])} values, counted from 0")
    return [value[index] for value in values]


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


_PICTURES: dict[str, Callable[[dict[str, Any], argparse.Namespace, Path], None]] = {
    "show_filters": _show_filters,
    "show_cost": _show_cost,
    "show_preds": _show_preds,
    "show_maps": _show_maps,
}
