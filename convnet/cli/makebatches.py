"""Batches of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from convnet.cli.common import Parser, run_verb
from convnet.data.make import pack_digits, pack_folder
from convnet.errors import DataError
from convnet.options import SEED, SHARE, whole
from convnet.storage import Claim


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Pack batches; return the exit status."""
    parser = Parser(prog, "Pack a folder of pictures, or handwritten digits, into batches.", "pictures/ --out batches/")
    source_help = "folder with one sub-folder of pictures per class, or the word 'digits'"
    parser.add_argument("source", metavar="SOURCE", help=source_help)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the batches")
    parser.add_value("--size", whole(1, 4096), "side of the stored pictures", 256)
    parser.add_value("--batch-size", whole(1, 1_000_000), "pictures per batch", 1024)
    parser.add_value("--test-share", SHARE, "share of pictures kept for testing", 0.1)
    parser.add_value("--seed", SEED, "seed of the shuffle [0]", 0)
    return run_verb(_make, parser, arguments)


def _pack(args: argparse.Namespace) -> int:
    if args.source == "digits":
        return pack_digits(args.out)
    say = partial(print, flush=True)
    return pack_folder(Path(args.source), args.out, args.size, args.batch_size, args.test_share, args.seed, say)


def _make(args: argparse.Namespace) -> int:
    with Claim("batch", DataError, "name another folder with --out").taken(args.out):
        batches = _pack(args)
    print(f"Wrote {batches} batches to {args.out}; train with --data-path {args.out}")
    return 0
