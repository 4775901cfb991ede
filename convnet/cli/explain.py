"""What a definition means, layer by layer, without running it.

convnet explain layers-imagenet.cfg                       the table of layers
convnet explain net.cfg params.cfg --data-dims 3072,1     for data of given sizes
convnet explain net.cfg --json                            what the originals would store of each layer
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from convnet.cli.common import Parser, open_definition, told
from convnet.graph.analysis import layer_table


def main(arguments: Sequence[str] | None = None, prog: str = "convnet explain") -> int:
    """Explain a definition; returns the exit status."""
    return told(_explain, arguments, prog)


def _explain(arguments: Sequence[str] | None, prog: str) -> int:
    parser = Parser(prog, "Say what every layer of a definition is, has and costs.")
    parser.add_argument("definition", metavar="DEF", help="layer definition file, or the name of one that is shipped")
    parser.add_argument("params", metavar="PARAMS", nargs="?", help="layer parameter file [the one beside DEF]")
    parser.add_argument("--json", action="store_true", help="print what the originals would store of each layer")
    args = parser.parse_args(arguments)
    assumed = open_definition(args, args.definition, args.params)
    if args.json:
        from convnet.checkpoint.layer_dicts import stored_net  # brings NumPy, which the table does without

        print(json.dumps(stored_net(assumed.graph, args.mini), indent=1, sort_keys=True))
    else:
        print("\n".join([*assumed.notes, *[""] * bool(assumed.notes), layer_table(assumed.graph, args.mini)]))
    return 0
