"""Pictures of a checkpoint; no screen is needed (io section 7).

    convnet shownet --load-file CHECKPOINT --show-filters conv1 --out filters.png
    convnet shownet --load-file CHECKPOINT --show-cost logprob --out cost.png
    convnet shownet --load-file CHECKPOINT --show-preds probs --out preds.png
    convnet shownet --load-file CHECKPOINT --show-confusion --out confusion.svg
    convnet shownet --load-file CHECKPOINT --show-maps conv1 --out maps.png
    convnet shownet --load-file CHECKPOINT --show-data-grad logprob --out data-grad.png
    convnet shownet --load-file CHECKPOINT --top-patches conv2 --out patches.png
    convnet shownet --load-file CHECKPOINT --similar fc64 --out similar.png

Without a name each shows the first there is. What shows test cases runs the net on the test data that the checkpoint
names, or on those of --data-path. With ``--with`` curves are of several runs. All but filters and maps can be .svg, and
.pdf, which needs matplotlib (the extra ``plot``).

Where a net has towers (conv1a and conv1b), ``--show-filters conv1`` shows both, the first above the second.

The layout of filters is the originals': 16 in a row, one-pixel gaps, all scaled together to black and white, with numbers
between; layers of many channels are shown as rows of them, those of a local layer where they lie in the picture.
``--no-numbers`` draws what the originals drew, no more.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.checkpoint import find_latest, load
from convnet.cli.common import Parser, add_option, run_verb, say
from convnet.cli.run import run
from convnet.cli.views import VIEWS
from convnet.cli.views.view import DATA_OPTIONS, FIRST, View, add_data_options, data_options
from convnet.drawing.files import write_picture
from convnet.errors import OptionError
from convnet.options import BY_NAME, flag_of, text
from convnet.texts import listed, one_of

_FEATURES = ("write_features", "feature_path")
_FLAGS = {flag.name: flag for view in VIEWS for flag in view.flags}
# What each option goes with; the data are those of pictures of test cases, and of features.
_GOES_WITH = (
    {name: [view.name for view in VIEWS if _FLAGS[name] in view.flags] for name in _FLAGS}
    | dict.fromkeys(DATA_OPTIONS, [view.name for view in VIEWS if view.takes_data] + ["write_features"])
    | {"out": [view.name for view in VIEWS]}
)


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Draw what a checkpoint has learned, and what it says of test data."
    example = "--load-file checkpoints --show-filters conv1 --out filters.png"
    parser = Parser(prog, description, example, argument_default=argparse.SUPPRESS)
    add_option(parser, BY_NAME["load_file"], required=True, help="checkpoint, or folder of checkpoints")
    parser.add_value("--out", text("PNG"), f"picture to write [{listed([view.file for view in VIEWS])}]", "")
    for view in VIEWS:
        parser.add_value(view.flag, view.shows, view.help, "", nargs="?", const=FIRST)
    parser.add_value("--write-features", text("LAYER"), "write what this layer makes of the test batches", "")
    parser.add_value("--feature-path", text("DIR"), "folder for --write-features", "")
    for flag in _FLAGS.values():
        parser.add_value(flag_of(flag.name), flag.kind, flag.help, flag.default)
    add_data_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet shownet") -> int:
    """Draw what the options ask for; return the exit status."""
    return run_verb(_show, parser(prog), arguments)


def _show(args: argparse.Namespace) -> int:
    wanted = [view for view in VIEWS if getattr(args, view.name) is not None]
    _check_options(args, wanted)
    if args.write_features or args.feature_path:  # as of ``convnet run``; in 2011 and 2012 it was shownet that did it
        mode = {"test_only": 1} | {name: getattr(args, name) or "" for name in _FEATURES}
        return run({"load_file": args.load_file, **mode, **data_options(args)})
    flags = ", ".join(view.flag for view in VIEWS)
    if not wanted:
        raise OptionError(f"nothing to show: give one of {flags}")
    if len(wanted) > 1 and args.out:
        raise OptionError(f"--out names one picture; give one of {flags} at a time")
    path, checkpoint, remarks = find_latest(args.load_file, load)
    for remark in remarks:
        say(remark)
    for view in wanted:
        out = Path(args.out or view.file)
        write_picture(view.draw(checkpoint, getattr(args, view.name) or "", args), out, view.dots)
        print(f"Wrote {out} from {path}")
    return 0


def _check_options(args: argparse.Namespace, wanted: Sequence[View]) -> None:
    """Raise ``OptionError`` for options that what is asked for does not read."""
    faults = [
        f"{flag_of(name)} goes with {one_of(map(flag_of, others))}"
        for name, others in _GOES_WITH.items()
        if _is_given(args, name) and all(getattr(args, other) is None for other in others)
    ]
    asked = [view.flag for view in wanted]
    if (args.write_features or args.feature_path) and asked:
        faults.append(f"--write-features writes files and draws nothing; give {one_of(asked)} in another call")
    if faults:
        raise OptionError("; ".join(faults))


def _is_given(args: argparse.Namespace, name: str) -> bool:
    default = _FLAGS[name].default if name in _FLAGS else 0
    return getattr(args, name, None) not in (None, "", default)
