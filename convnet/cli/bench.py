"""``convnet bench``: how long a training step takes, where the time goes, and how near that is to what the machine can do.

convnet bench --layer-def layers-imagenet.cfg
convnet bench --layer-def layers-cifar10-26pct.cfg --mini 64 --steps 20 --json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from convnet.backends import NAMES, make_backends
from convnet.data.random import synthesize
from convnet.errors import ConvnetError
from convnet.graph.loading import LayerFiles, parse
from convnet.net.profile import PASSES, measure
from convnet.options import CommandParser, integers, natural


def main(arguments: Sequence[str] | None = None, prog: str = "convnet bench") -> int:
    """Measure and print; returns the exit status."""
    try:
        args = _parser(prog).parse_args(arguments)
        files = LayerFiles.open(args.layer_def, args.layer_params or None)
        fitted = synthesize(parse(files))
        backends = make_backends(args.backend, args.threads, args.gpu or [0], args.math)
        report = measure(fitted.graph, fitted.matrices(args.mini), backends, args.mini, args.steps, args.warmup)
    except ConvnetError as error:
        print(f"convnet: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(report.as_dict(), indent=2) if args.json else table(report.as_dict(), args.steps))
    return 0


def table(report: dict[str, Any], steps: int) -> str:
    """Return a row for each pass of each layer, and a summary of the steps."""
    step, peak = report["step_ms"], report["peak"]
    head = f"{'layer':<18} {'pass':<8} {'ms':>9} {'min to max':>19}"
    lines = [f"{report['net']}, minibatch {report['mini']}, {report['device']}", ""]
    lines.append(f"{head} {'GFLOP/s':>9} {'of peak':>8} {'GB/s':>8} {'of peak':>8}")
    for layer in report["layers"]:
        for kind in PASSES:
            if kind in layer and layer[kind]["ms"]["median"] >= 0.0005:
                lines.append(_row(layer["name"], kind, layer[kind]))
    lines += [
        "",
        f"step: {step['median']:.2f} ms median of {steps} ({step['min']:.2f} to {step['max']:.2f}), "
        f"{report['images_per_s']:.1f} images/s{', issued as a whole' if report['captured'] else ''}",
        f"      {report['gflops']:.1f} GFLOP/s, {report['share_of_peak']:.0%} of the peak measured here: "
        f"{peak['gflops']:.1f} GFLOP/s by a large product or convolution, "
        f"{peak['gbs']:.1f} GB/s by adding two arrays",
    ]
    return "\n".join(lines)


def _row(name: str, kind: str, numbers: dict[str, Any]) -> str:
    arithmetic = f"{numbers['gflops']:>9.1f} {numbers['of_flops']:>8.0%}" if numbers["gflops"] >= 0.05 else " " * 18
    traffic = f"{numbers['gbs']:>8.1f} {numbers['of_bytes']:>8.0%}"
    spread = f"{numbers['ms']['min']:.3f} to {numbers['ms']['max']:.3f}"
    return f"{name:<18} {kind:<8} {numbers['ms']['median']:>9.3f} {spread:>19} {arithmetic} {traffic}"


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("--layer-def", required=True, help="layer definition file")
    parser.add_argument("--layer-params", default="", help="layer parameter file")
    parser.add_argument("--backend", choices=NAMES, default="auto")
    parser.add_argument("--mini", type=natural, default=128, help="minibatch size [128]")
    parser.add_argument("--steps", type=natural, default=5, help="steps to time [5]")
    parser.add_argument("--warmup", type=natural, default=3, help="steps before that; the third is captured [3]")
    parser.add_argument("--threads", type=int, default=0, help="processor threads (0 = all)")
    parser.add_argument("--gpu", type=integers, help="which GPU, or several: 0,1 [0]")
    parser.add_argument("--math", choices=("float32", "tf32"), default="float32")
    parser.add_argument("--json", action="store_true", help="print numbers for programs")
    return parser
