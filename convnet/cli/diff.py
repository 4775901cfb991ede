"""What changed in meaning from one definition to another.

convnet diff layers-a.cfg layers-b.cfg        exit status 0: the same net; 1: another; 2: trouble, as of diff(1)
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from convnet.cli.common import DEFINITION, Parser, run_verb
from convnet.cli.definition import Definition
from convnet.graph.diff import difference, report
from convnet.options import text

_TROUBLE = 2


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    example = "layers-cifar10-19pct.cfg layers-cifar10-18pct.cfg"
    parser = Parser(prog, "Say what changed in meaning from one net to another.", example)
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help=DEFINITION)
        parser.add_value(f"--params-{name}", text("FILE"), f"its parameter file [the one beside {name.upper()}]")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    parser.add_data_sizes()
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet diff") -> int:
    """Compare two definitions; return 0 if they mean the same, 1 if not, 2 after a mistake."""
    return run_verb(_diff, parser(prog), arguments, failure=_TROUBLE)


def _diff(args: argparse.Namespace) -> int:
    pair = Definition.open(args.a, args.params_a), Definition.open(args.b, args.params_b)
    checkpoint = next((one.checkpoint for one in pair if one.checkpoint), None)
    old, new = (one.graph(args, beside=checkpoint).graph for one in pair)
    changes = difference(old, new)
    print(json.dumps({"same": changes.same} | asdict(changes), indent=1) if args.json else report(changes, old, new))
    return int(not changes.same)
