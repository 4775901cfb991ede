"""A folder of batches, checked or shown.

convnet batches verify batches/                         SHA-256 of all files, labels, counts; every picture is decoded
convnet batches show batches/ --out sheet.png           pictures of each class, and how many to train and to test on

Folders of all makers will do. The status of verify is 0 if nothing is wrong, and 1 otherwise.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convnet.cli.common import Parser, run_verb, say
from convnet.cli.inspect import print_found
from convnet.drawing.files import check_image, write_picture
from convnet.errors import OptionError
from convnet.inspection import Tell, show_batches, verify_batches
from convnet.options import choice, text
from convnet.texts import aligned, counted, printable, shell_quoted
from convnet.training.status import Status

_ACTIONS = choice("verify", "show")
_OUT = "contact-sheet.png"


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Check a folder of batches, or draw what is in it.", "verify batches")
    help_text = "verify: read and check everything; show: draw pictures of each class, and count them"
    parser.add_argument("action", type=_ACTIONS, metavar="ACTION", help=help_text)
    parser.add_argument("folder", metavar="DIR", help="folder of batches")
    parser.add_argument("--out", type=text("PNG"), metavar="PNG", help=f"picture that show writes [{_OUT}]")
    parser.add_argument("--json", action="store_true", help="print what was found, or counted, as JSON")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet batches") -> int:
    """Check or show a folder of batches; return the exit status."""
    return run_verb(_batches, parser(prog), arguments)


def _batches(args: argparse.Namespace) -> int:
    if args.action == "verify" and args.out:
        raise OptionError("--out goes with show; verify writes nothing")
    return (_verify if args.action == "verify" else _show)(args)


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Tell]:
    """Yield what renews a line on a terminal; the line is gone at the end."""
    status, shows = Status(sys.stdout), sys.stdout.isatty() and not args.json
    try:
        yield lambda done, of: status.show([f"{done:,} of {counted(of, 'batch')}"]) if shows else None
    finally:
        status.clear()


def _verify(args: argparse.Namespace) -> int:
    with _progress(args) as tell:
        found = verify_batches(args.folder, tell)
    print_found(found, args.json)
    if not found.problems and not args.json:
        print("\nNothing is wrong with them.")
    return int(bool(found.problems))


def _show(args: argparse.Namespace) -> int:
    out = Path(args.out or _OUT)
    check_image(out)
    with _progress(args) as tell:
        shown = show_batches(args.folder, tell)
    for remark in shown.remarks:
        say(f"convnet: {remark}")
    if args.json:
        counts = {name: {"train": train, "test": test} for name, (train, test) in shown.counts.items()}
        print(json.dumps({"classes": counts, "sheet": str(out) if shown.sheet else None}))
    else:
        rows = [("class", "train", "test"), *((name, *map("{:,}".format, both)) for name, both in shown.counts.items())]
        print("\n".join(line.rstrip() for line in aligned([[printable(cell) for cell in row] for row in rows])))
    if shown.sheet is None:
        say("convnet: the data are no pictures, so no sheet is written")
        return 0
    write_picture(shown.sheet, out)
    if not args.json:
        print(f"\nWrote {shell_quoted(str(out))}.")
    return 0
