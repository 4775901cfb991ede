"""How long a training step takes, where the time goes, and how near that is to what the machine can do.

convnet bench --layer-def layers-imagenet.cfg
convnet bench --layer-def layers-cifar10-26pct.cfg --mini 64 --steps 20 --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from convnet.backends import make_backends
from convnet.cli.common import Parser, add_option, run_verb
from convnet.data.random import synthesize
from convnet.graph.loading import LayerFiles, parse
from convnet.net.profile import measure
from convnet.options import BY_NAME, NATURAL


def main(arguments: Sequence[str] | None = None, prog: str = "convnet bench") -> int:
    """Measure and print; return the exit status."""
    parser = Parser(prog, "Time a training step, layer by layer.", "--layer-def layers-imagenet.cfg --steps 20")
    add_option(parser, BY_NAME["layer_def"], required=True)
    parser.add_run_options("layer_params", "backend", "mini")
    parser.add_value("--steps", NATURAL, "steps to time", 5)
    parser.add_value("--warmup", NATURAL, "steps before that; the third is captured", 3)
    parser.add_run_options("threads", "gpu", "math")
    parser.add_argument("--json", action="store_true", help="print numbers for programs")
    return run_verb(_bench, parser, arguments)


def _bench(args: argparse.Namespace) -> int:
    files = LayerFiles.open(args.layer_def, args.layer_params or None)
    data = synthesize(lambda: parse(files))
    backends = make_backends(args.backend, args.threads, args.gpu or [0], args.math)
    report = measure(data.graph, data.matrices(args.mini), backends, args.mini, args.steps, args.warmup)
    print(json.dumps(report.as_dict(), indent=2) if args.json else report.text())
    return 0
