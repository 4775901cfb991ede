"""Makes batches: of a folder with one sub-folder of pictures per class, or of the digits that scikit-learn carries.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convnet.data.make import pack_digits, pack_folder
from convnet.errors import ConvnetError
from convnet.options import CommandParser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Make batches as the options say; returns the exit status."""
    try:
        args = _parser(prog).parse_args(arguments)
        out = Path(args.out)
        if args.source == "digits":
            batches = pack_digits(out)
        else:
            batches = pack_folder(Path(args.source), out, args.size, args.batch_size, args.test_share, args.seed, say=print)
        print(f"Wrote {batches} batches to {out}; train with --data-path {out}")
        return 0
    except ConvnetError as error:
        print(f"convnet: {error}", file=sys.stderr)
        return error.exit_code


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else "", allow_abbrev=False)
    parser.add_argument("source", help="folder with one sub-folder of pictures per class, or the word 'digits'")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the batches")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="side of the stored pictures [256]")
    parser.add_argument("--batch-size", type=int, default=1024, metavar="N", help="pictures per batch [1024]")
    parser.add_argument(
        "--test-share", type=float, default=0.1, metavar="X", help="share of pictures kept for testing [0.1]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffle [0]")
    return parser
