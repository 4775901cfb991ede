"""Batches of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from convnet.cli.common import Parser, run_verb
from convnet.data.batch_folder import replacing
from convnet.data.decoding import parse_color
from convnet.data.make import pack_digits, pack_folder
from convnet.data.pictures import LARGEST
from convnet.errors import OptionError
from convnet.options import SEED, SHARE, Kind, flag_of, text, whole
from convnet.texts import counted, shell_quoted

_SIZE, _BATCH_SIZE, _TEST_SHARE, _BACKGROUND = 256, 1024, 0.1, "white"
_COLOR = Kind(parse_color, "a colour such as white, black or #808080", "COLOR")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Pack a folder of pictures, or handwritten digits, into batches.", "pictures/ --out batches/")
    source_help = "folder with one sub-folder of pictures per class, or the word 'digits'"
    parser.add_argument("source", type=text("SOURCE"), metavar="SOURCE", help=source_help)
    parser.add_argument("--out", required=True, type=text("DIR"), metavar="DIR", help="folder for the batches")
    parser.add_value("--size", whole(1, LARGEST), "side of the stored pictures", _SIZE)
    parser.add_value("--batch-size", whole(1, 1_000_000), "pictures per batch", _BATCH_SIZE)
    parser.add_value("--test-share", SHARE, "share of pictures kept for testing", _TEST_SHARE)
    parser.add_value("--seed", SEED, "seed of the shuffle [0]", 0)
    parser.add_value("--background", _COLOR, "colour behind transparent places: a name, or #rrggbb", _BACKGROUND)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Pack batches; return the exit status."""
    return run_verb(_make, parser(prog), arguments)


def _pack(args: argparse.Namespace, folder: Path) -> int:
    if args.source == "digits":
        return pack_digits(folder)
    numbers = args.size, args.batch_size, args.test_share, args.seed
    return pack_folder(Path(args.source), folder, *numbers, say=partial(print, flush=True), background=args.background)


def _make(args: argparse.Namespace) -> int:
    of_pictures: dict[str, Any] = {"size": _SIZE, "batch_size": _BATCH_SIZE, "test_share": _TEST_SHARE, "seed": 0}
    of_pictures["background"] = parse_color(_BACKGROUND)
    given = [flag_of(name) for name, default in of_pictures.items() if getattr(args, name) != default]
    if args.source == "digits" and given:
        raise OptionError(f"{', '.join(given)}: for pictures; the digits are what they are")
    if args.source != "digits" and Path(args.source).resolve() == Path(args.out).resolve():
        raise OptionError(f"{args.source} is the folder of the pictures; give another with --out")
    with replacing(Path(args.out)) as folder:
        batches = _pack(args, folder)
    net = "layers-digits.cfg" if args.source == "digits" else "layers-photos-64.cfg"
    print(f"Wrote {counted(batches, 'batch')} to {args.out}. Train on them:")
    print(f"    convnet run --layer-def {net} --data-path {shell_quoted(args.out)}")
    return 0
