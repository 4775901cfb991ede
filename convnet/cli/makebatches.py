"""Batches of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, run_verb
from convnet.data.make import pack_digits, pack_folder
from convnet.options import integer, real


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Pack batches; return the exit status."""
    parser = Parser(prog, "Pack a folder of pictures, or handwritten digits, into batches.", "pictures/ --out batches/")
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder with one sub-folder of pictures per class, or the word 'digits'")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the batches")
    add("--size", type=integer, default=256, metavar="N", help="side of the stored pictures [256]")
    add("--batch-size", type=integer, default=1024, metavar="N", help="pictures per batch [1024]")
    add("--test-share", type=real, default=0.1, metavar="X", help="share of pictures kept for testing [0.1]")
    add("--seed", type=integer, default=0, metavar="N", help="seed of the shuffle [0]")
    return run_verb(_make, parser, arguments)


def _make(args: argparse.Namespace) -> int:
    if args.source == "digits":
        batches = pack_digits(args.out)
    else:
        source = Path(args.source)
        batches = pack_folder(source, args.out, args.size, args.batch_size, args.test_share, args.seed, say=print)
    print(f"Wrote {batches} batches to {args.out}; train with --data-path {args.out}")
    return 0
