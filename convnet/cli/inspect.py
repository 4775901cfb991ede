"""What a file or folder is, whichever program wrote it: kind, generation, shapes, ranges, options, problems.

convnet inspect checkpoints/ConvNet__2026-11-23_17.08.50/1.5      a checkpoint of any generation, or a folder of them
convnet inspect batches/data_batch_1 batches/batches.meta         batches, descriptions, features, predictions
convnet inspect layers.cfg log.jsonl SHA256SUMS --json            layer files, logs, manifests, as JSON

Nothing in a file is executed. The status is 0 if all was read and nothing is wrong, and 1 otherwise.
"""

import argparse
import json
from collections.abc import Sequence

from convnet.cli.common import Parser, run_verb, terminal_width
from convnet.inspection import Found, inspect
from convnet.texts import message_lines


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Say what files and folders are, what is in them, and what is wrong with them."
    parser = Parser(prog, description, "checkpoints batches/data_batch_1")
    help_text = "checkpoint, batch, batches.meta, features, predictions, layer file, log, manifest; or a folder of these"
    parser.add_argument("files", metavar="FILE", nargs="+", help=help_text)
    parser.add_argument("--json", action="store_true", help="print an object of JSON for each, in a line")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet inspect") -> int:
    """Say what is in files; return the exit status, 1 if anything is wrong with one."""
    return run_verb(_inspect, parser(prog), arguments)


def _inspect(args: argparse.Namespace) -> int:
    status = 0
    for i, path in enumerate(args.files):
        found = inspect(path)
        status |= bool(found.problems)
        if i and not args.json:
            print()
        print_found(found, args.json)
    return int(status)


def print_found(found: Found, as_json: bool) -> None:
    """Print what was found in a file as lines, or as one of JSON."""
    lines = [json.dumps(found.as_dict(), allow_nan=False)] if as_json else map(message_lines, found.lines(terminal_width()))
    for line in lines:
        print(line)
