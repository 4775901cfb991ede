"""What a definition means, layer by layer, without running it.

convnet explain layers-imagenet.cfg                       the table of layers
convnet explain net.cfg params.cfg --data-dims 3072,1     for data of given sizes
convnet explain net.cfg --json                            what the originals would store of each layer
convnet explain checkpoints/RUN --wide                    the net of a checkpoint, in all columns
convnet explain net.cfg --glossary                        what the words in it mean
"""

import argparse
import json
import shutil
from collections.abc import Sequence

from convnet.cli.common import MISSING, Parser, mini_of, run_verb
from convnet.cli.definition import Definition
from convnet.errors import OptionError
from convnet.graph.glossary import all_words, glossary, words_of
from convnet.graph.table import layer_table, wrapped


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Say what every layer of a net is, has and costs.", "layers-imagenet.cfg --mini 64")
    parser.add_definition(nargs="?")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--wide", action="store_true", help="show all columns, however wide the table is")
    shown.add_argument("--glossary", action="store_true", help="say what the words mean: those of DEF, or all there are")
    shown.add_argument("--json", action="store_true", help="print what the originals would store of each layer")
    parser.add_data_sizes()
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet explain") -> int:
    """Explain a definition; return the exit status."""
    return run_verb(_explain, parser(prog), arguments)


def _explain(args: argparse.Namespace) -> int:
    width = 0 if args.wide else shutil.get_terminal_size().columns
    if args.definition is None:
        if not args.glossary:
            raise OptionError(f"DEF {MISSING}")
        print(glossary(all_words(), width))
        return 0
    inferred = Definition.open(args.definition, args.params).graph(args)
    mini = mini_of(args, inferred.graph.run)
    if args.glossary:
        print(glossary(words_of(inferred.graph), width))
    elif args.json:
        from convnet.checkpoint.layer_dicts import stored_net  # brings NumPy, which the table does without

        print(json.dumps(stored_net(inferred.graph, mini), indent=1, sort_keys=True))
    else:
        notes = [wrapped(note, width) for note in inferred.notes]
        print("\n".join([*notes, *[""] * bool(notes), layer_table(inferred.graph, mini, width)]))
    return 0
