"""Batches of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, run_verb
from convnet.data.decoding import parse_color
from convnet.data.make import pack_digits, pack_folder
from convnet.errors import shell_quoted
from convnet.options import INTEGER, REAL, Kind

_COLOR = Kind(parse_color, "a colour such as white, black or #808080", "COLOR")


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Pack batches; return the exit status."""
    parser = Parser(prog, "Pack a folder of pictures, or handwritten digits, into batches.", "pictures/ --out batches/")
    source_help = "folder with one sub-folder of pictures per class, or the word 'digits'"
    parser.add_argument("source", metavar="SOURCE", help=source_help)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the batches")
    parser.add_value("--size", INTEGER, "side of the stored pictures", 256)
    parser.add_value("--batch-size", INTEGER, "pictures per batch", 1024)
    parser.add_value("--test-share", REAL, "share of pictures kept for testing", 0.1)
    parser.add_value("--seed", INTEGER, "seed of the shuffle [0]", 0)
    help_text = "colour behind transparent places: a name, or #rrggbb"
    parser.add_value(
        "--background", Kind(parse_color, "a colour such as white, black or #808080", "COLOR"), help_text, "white"
    )
    return run_verb(_make, parser, arguments)


def _make(args: argparse.Namespace) -> int:
    if args.source == "digits":
        batches = pack_digits(args.out)
    else:
        source = Path(args.source)
        numbers = args.size, args.batch_size, args.test_share, args.seed
        batches = pack_folder(source, args.out, *numbers, say=print, background=args.background)
    print(f"Wrote {batches} batches to {args.out}; train with --data-path {shell_quoted(str(args.out))}")
    return 0
