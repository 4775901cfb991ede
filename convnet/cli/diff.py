"""What changed in meaning from one definition to another.

convnet diff layers-a.cfg layers-b.cfg        exit status 0: the same net; 1: another; 2: trouble, as of diff(1)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from convnet.cli.common import Parser, open_definition, told
from convnet.graph.diff import difference, report

_TROUBLE = 2


def main(arguments: Sequence[str] | None = None, prog: str = "convnet diff") -> int:
    """Compare two definitions; returns 0 if they mean the same, 1 if not, 2 after a mistake."""
    return told(_diff, arguments, prog, failure=_TROUBLE)


def _diff(arguments: Sequence[str] | None, prog: str) -> int:
    parser = Parser(prog, "Say what changed in meaning from one definition to another.")
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help="layer definition file")
        parser.add_argument(f"--params-{name}", metavar="FILE", help=f"its parameter file [the one beside {name.upper()}]")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    args = parser.parse_args(arguments)
    old = open_definition(args, args.a, args.params_a).graph
    new = open_definition(args, args.b, args.params_b).graph
    found = difference(old, new)
    if args.json:
        print(json.dumps({"same": found.same} | asdict(found), indent=1))
    else:
        print(report(found, old, new))
    return int(not found.same)
