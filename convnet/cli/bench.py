"""How long a training step takes, where the time goes, and how near that is to what the machine can do.

convnet bench --layer-def layers-imagenet.cfg
convnet bench --layer-def layers-cifar10-26pct.cfg --mini 64 --steps 20 --json
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from convnet.backends import make_backends, reads_math
from convnet.cli.common import Parser, add_option, mini_of, run_verb, say
from convnet.data.random import synthesize
from convnet.errors import OptionError
from convnet.graph.learning import check_learning
from convnet.graph.loading import LayerFiles, parse
from convnet.net.profile import PASSES, measure, share_text
from convnet.options import BY_NAME, NATURAL
from convnet.texts import bytes_text


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Time a training step, layer by layer.", "--layer-def layers-imagenet.cfg --steps 20")
    add_option(parser, BY_NAME["layer_def"], required=True)
    parser.add_run_options("layer_params", "backend")
    parser.add_mini()
    parser.add_value("--steps", NATURAL, "steps to time", 5)
    parser.add_value("--warmup", NATURAL, "steps before that; the third is captured", 3)
    parser.add_run_options("threads", "gpu", "math")
    parser.add_argument("--json", action="store_true", help="print numbers for programs")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet bench") -> int:
    """Measure and print; return the exit status."""
    return run_verb(_bench, parser(prog), arguments)


def _bench(args: argparse.Namespace) -> int:
    files = LayerFiles.open(args.layer_def, args.layer_params or None)
    data = synthesize(parse(files))
    mini = mini_of(args, data.graph.run)
    try:
        check_learning(data.graph, files)
    except OptionError as error:  # a step without gradients of weights takes less time
        say(f"convnet: warning: {error}")
    backends = make_backends(args.backend, args.threads, args.gpu or [0], args.math)
    be = backends[0].name
    idle = {"--gpu": args.gpu and be != "cuda", "--math": not reads_math(be, args.math)}
    if flags := ", ".join(flag for flag, is_idle in idle.items() if is_idle):
        say(f"convnet: no effect on the {be} backend: {flags}")
    report = measure(data.graph, data.matrices(mini), backends, mini, args.steps, args.warmup)
    print(json.dumps(report, indent=2) if args.json else table(report, args.steps))
    return 0


def table(report: dict[str, Any], steps: int) -> str:
    """Return a row for each pass of each layer, and a summary of the steps."""
    step, peak, memory = report["step_ms"], report["peak"], report["memory"]
    head = f"{'layer':<18} {'pass':<8} {'ms':>9} {'min to max':>19}"
    lines = [f"{report['net']}, minibatch {report['mini']}, {report['device']}", ""]
    lines.append(f"{head} {'GFLOP/s':>9} {'of peak':>8} {'GB/s':>8} {'of peak':>8}")
    for layer in report["layers"]:
        for kind in PASSES:
            # A neuron that the layers beside it include has nothing to do.
            if kind in layer and layer[kind]["gbs"] and layer[kind]["ms"]["median"] >= 0.0005:
                lines.append(_row(layer["name"], kind, layer[kind]))
    issued = ", issued as a whole" if report["captured"] else ""
    if in_order := report["in_order_ms"]:
        issued += f"; {in_order['median']:.2f} ms without branches at the same time"
    lines += [
        "",
        f"step: {step['median']:.2f} ms median of {steps} ({step['min']:.2f} to {step['max']:.2f}), "
        f"{report['images_per_s']:.1f} images/s{issued}",
        f"      {report['gflops']:.1f} GFLOP/s, {report['share_of_peak']:.0%} of the peak measured here: "
        f"{peak['gflops']:.1f} GFLOP/s by {peak['by']}, "
        f"{peak['gbs']:.1f} GB/s by adding two arrays",
    ]
    if memory["peak"] is not None:
        times = f"{memory['peak'] / memory['expected']:.2f} times" if memory["expected"] else "more than"
        taken, expected = bytes_text(max(memory["peak"], 0)), bytes_text(memory["expected"])
        lines.append(f"      {taken} of memory at most, {times} the {expected} of convnet explain")
    return "\n".join(lines)


def _row(name: str, kind: str, numbers: dict[str, Any]) -> str:
    arithmetic = f"{numbers['gflops']:>9.1f} {share_text(numbers['of_flops']):>8}" if numbers["gflops"] >= 0.05 else " " * 18
    traffic = f"{numbers['gbs']:>8.1f} {share_text(numbers['of_bytes']):>8}"
    spread = f"{numbers['ms']['min']:.3f} to {numbers['ms']['max']:.3f}"
    return f"{name:<18} {kind:<8} {numbers['ms']['median']:>9.3f} {spread:>19} {arithmetic} {traffic}"
