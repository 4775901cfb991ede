"""Batches of pictures, each class in a folder of its own, or as a table or ILSVRC-2012 has them; or of handwritten digits.

convnet makebatches pictures/ --out batches/            JPEG batches for --data-provider image
convnet makebatches labels.csv --out batches/           of a table: path, label, and perhaps train or test
convnet makebatches ilsvrc2012/ --out batches/          of the three archives, unpacked nowhere
convnet makebatches digits --out digits/                1,797 handwritten digits of 8x8 pixels
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from convnet.backends.host import cores
from convnet.cli.common import Parser, run_verb
from convnet.data.decoding import FITS, parse_color
from convnet.data.making.batch_folder import replacing
from convnet.data.making.digits import pack_digits
from convnet.data.making.ilsvrc import is_ilsvrc
from convnet.data.making.make import TEST_SHARE, More, pack_folder
from convnet.data.making.unfinished import is_unfinished
from convnet.data.pictures import LARGEST
from convnet.errors import OptionError
from convnet.interrupts import undo_if_interrupted
from convnet.options import SEED, SHARE, Kind, choice, flag_of, text, whole
from convnet.texts import counted, shell_quoted
from convnet.training.progress import left_text, rate_text
from convnet.training.status import Status

_SIZE, _BACKGROUND = 256, "white"
_COLOR = Kind(parse_color, "a colour such as white, black or #808080", "COLOR")
_OFTEN = 0.1  # seconds between two renewals of the line
_WORKERS = 256  # at most


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Pack pictures, or handwritten digits, into batches.", "pictures/ --out batches/")
    source_help = (
        "folder with one sub-folder of pictures per class, or with such folders in train/ and val/; a table of paths and "
        "labels (.csv); the folder of the three archives of ILSVRC-2012; or the word 'digits'"
    )
    parser.add_argument("source", type=text("SOURCE"), metavar="SOURCE", help=source_help)
    parser.add_argument("--out", required=True, type=text("DIR"), metavar="DIR", help="folder for the batches")
    parser.add_value("--size", whole(1, LARGEST), "side of the stored pictures", _SIZE)
    resize = "short side to --size and the rest cut off (crop) or kept (keep), or both sides to it (squash)"
    parser.add_value("--resize", choice(*FITS), resize, FITS[0])
    parser.add_argument("--gray", action="store_true", help="keep one channel, grey")
    parser.add_value("--background", _COLOR, "colour behind transparent places: a name, or #rrggbb", _BACKGROUND)
    parser.add_value("--batch-size", whole(1, 1_000_000), "pictures per batch [1024; 3072 of ILSVRC-2012]")
    parser.add_value("--test-share", SHARE, f"share of pictures kept for testing [{TEST_SHARE}, or what the source says]")
    parser.add_argument("--stratified", action="store_true", help="keep the same share of every class")
    parser.add_value("--seed", SEED, "seed of the shuffle [0]", 0)
    parser.add_value("--workers", whole(1, _WORKERS), "processes that read pictures [one for each core]")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet makebatches") -> int:
    """Pack batches; return the exit status."""
    return run_verb(_make, parser(prog), arguments)


class _Screen:
    """Lines on what was done and, on a terminal, one that is renewed: pictures done, their rate, the time left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.status = clock, Status(sys.stdout)
        self.shows = sys.stdout.isatty() and not self.status.is_dumb
        self._drawn_at = self._since = clock()
        self._first = -1  # pictures that an earlier call had done

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.status.print_whole(line)

    def abandon(self, folder: Path) -> None:
        """Take the renewed line away, from within a signal's handler, and say what becomes of the batches in ``folder``."""
        self.status.abandon()
        if is_unfinished(folder):
            os.write(2, b"convnet: the same command goes on after the batches that are whole\n")

    def tell(self, done: int, of: int) -> None:
        """Renew the line, where it is time to."""
        now = self.clock()
        if self._first < 0:
            self._first, self._since = done - 1, now
        if self.shows and (now >= self._drawn_at + _OFTEN or done == of) and now > self._since:
            self._drawn_at, rate = now, (done - self._first) / (now - self._since)
            parts = [f"{done:,} of {counted(of, 'picture')}", rate_text(rate)]
            self.status.show(parts + [left_text((of - done) / rate)] * (done < of))


def _make(args: argparse.Namespace) -> int:
    is_digits, screen = args.source == "digits", _Screen()
    usual = vars(parser("").parse_args(["digits", "--out", "digits"])) | {"source": args.source, "out": args.out}
    given = [flag_of(name) for name, value in usual.items() if getattr(args, name) != value]
    if is_digits and given:
        raise OptionError(f"{', '.join(given)}: for pictures; the digits are what they are")
    if not is_digits and Path(args.source).resolve() == Path(args.out).resolve():
        raise OptionError(f"{args.source} is the folder of the pictures; give another with --out")
    with replacing(Path(args.out), resumes=not is_digits) as folder, undo_if_interrupted(partial(screen.abandon, folder)):
        batches = pack_digits(folder) if is_digits else _pack(args, folder, screen)
        screen.status.clear()
    net = "layers-imagenet.cfg" if is_ilsvrc(Path(args.source)) else "layers-photos-64.cfg"
    net = "layers-digits.cfg" if is_digits else "LAYERS.cfg" if args.gray else net
    kind = " with a net of channels=1" if args.gray else ""
    print(f"Wrote {counted(batches, 'batch')} to {args.out}. Train on them{kind}:")
    print(f"    convnet run --layer-def {net} --data-path {shell_quoted(args.out)}")
    return 0


def _pack(args: argparse.Namespace, folder: Path, screen: _Screen) -> int:
    more = More(background=args.background, gray=args.gray, fit=args.resize, stratified=args.stratified)
    more |= {"workers": args.workers or cores(), "tell": screen.tell}
    if is_ilsvrc(Path(args.source)):
        screen.say("Looking for the pictures in the archives; this can take minutes.")
    numbers = args.size, args.batch_size, args.test_share, args.seed
    return pack_folder(Path(args.source), folder, *numbers, screen.say, **more)
