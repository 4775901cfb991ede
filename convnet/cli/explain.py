"""What a definition means, layer by layer, without running it.

convnet explain layers-imagenet.cfg                       the table of layers
convnet explain net.cfg params.cfg --data-dims 3072,1     for data of given sizes
convnet explain net.cfg --json                            what the originals would store of each layer
"""

import argparse
import json
from collections.abc import Sequence

from convnet.cli.common import Parser, open_graph, run_verb
from convnet.graph.analysis import layer_table


def main(arguments: Sequence[str] | None = None, prog: str = "convnet explain") -> int:
    """Explain a definition; return the exit status."""
    parser = Parser(prog, "Say what every layer of a definition is, has and costs.", "layers-imagenet.cfg --mini 64")
    parser.add_definition()
    parser.add_data_sizes()
    parser.add_argument("--json", action="store_true", help="print what the originals would store of each layer")
    return run_verb(_explain, parser, arguments)


def _explain(args: argparse.Namespace) -> int:
    inferred = open_graph(args, args.definition, args.params)
    if args.json:
        from convnet.checkpoint.layer_dicts import stored_net  # brings NumPy, which the table does without

        print(json.dumps(stored_net(inferred.graph, args.mini), indent=1, sort_keys=True))
    else:
        print("\n".join([*inferred.notes, *[""] * bool(inferred.notes), layer_table(inferred.graph, args.mini)]))
    return 0
