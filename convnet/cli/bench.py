"""``convnet bench``: how long a training step takes, where the time goes, and how near that is to what the machine can do.

convnet bench --layer-def layers-imagenet.cfg
convnet bench --layer-def layers-cifar10-26pct.cfg --mini 64 --steps 20 --json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from convnet.backends import NAMES, make_backends
from convnet.data.random import synthesize
from convnet.errors import ConvnetError
from convnet.graph.loading import LayerFiles, parse
from convnet.net.profile import measure
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
    print(json.dumps(report.as_dict(), indent=2) if args.json else report.text())
    return 0


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
