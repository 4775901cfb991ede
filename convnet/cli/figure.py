"""The paper's figures from a net of one's own, at print quality: SVG and PDF, or PNG for a screen.

convnet figure 2 layers-imagenet.cfg --out figure2.pdf    the volumes of a net: of layer files, or of a checkpoint
convnet figure 3 checkpoints --out figure3.pdf            the kernels of the first layer
convnet figure 4 checkpoints --out figure4.pdf            what it says of test pictures, and which it finds alike
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.cli.common import Parser, run_verb, say
from convnet.cli.definition import Definition
from convnet.cli.views.view import DATA_OPTIONS, add_data_options, test_set
from convnet.drawing.figures.four import figure_four
from convnet.drawing.figures.three import figure_three
from convnet.drawing.figures.two import figure_two
from convnet.drawing.files import write_picture
from convnet.drawing.shapes import Scene
from convnet.drawing.volumes import volumes_of
from convnet.errors import OptionError
from convnet.language.files import is_checkpoint
from convnet.options import LAYERS, SEED, choice, flag_of, text
from convnet.texts import one_of

_FORMS = (".svg", ".pdf", ".png")
_DOTS = 3  # for each pixel of a drawing, where it has dots: 300 per inch at the width of a page


class Figure(NamedTuple):
    """What a figure shows, how it is drawn from the arguments, and the options that it reads, beside --out."""

    about: str
    scene: Callable[[argparse.Namespace], Scene]
    reads: tuple[str, ...]


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Draw a figure of the paper with a net of one's own.\n\n"
    description += "\n".join(f"{number}: {figure.about}" for number, figure in FIGURES.items())
    parser = Parser(prog, description, "4 checkpoints --out figure4.pdf", argument_default=argparse.SUPPRESS)
    number = choice(*FIGURES)
    parser.add_argument("number", type=number, metavar="NUMBER", help=f"{number.name}: which figure")
    run_help = "checkpoint, or folder of checkpoints; of figure 2 layer files, too"
    parser.add_argument("run", type=text("RUN"), metavar="RUN", help=run_help)
    parser.add_value("--out", text("FILE"), "picture to write, .svg, .pdf or .png [figureNUMBER.svg]")
    parser.add_value("--preds", text("LAYER"), "shares of classes on the left of figure 4 [the first softmax layer]")
    what = "layer whose outputs are compared on the right of figure 4 [what the last layer of classes reads]"
    parser.add_value("--similar", LAYERS, what)
    parser.add_value("--seed", SEED, "draws the pictures shown [0]", 0)
    add_data_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet figure") -> int:
    """Draw a figure; return the exit status."""
    return run_verb(_figure, parser(prog), arguments)


def _figure(args: argparse.Namespace) -> int:
    figure = FIGURES[args.number]
    out = Path(args.out or f"figure{args.number}.svg")
    if out.suffix.lower() not in _FORMS:
        raise OptionError(f"--out {out}: the name must end in {', '.join(_FORMS)}")
    _check_options(args, figure)
    write_picture(figure.scene(args), out, _DOTS)
    print(f"Wrote {out}.")
    return 0


def _check_options(args: argparse.Namespace, figure: Figure) -> None:
    """Raise ``OptionError`` for options that the figure does not read."""
    given = [name for name, value in vars(args).items() if name not in ("number", "run", "out") and value]
    faults = []
    for name in given:
        if name not in figure.reads:
            numbers = [number for number, other in FIGURES.items() if name in other.reads]
            faults.append(f"{flag_of(name)} goes with figure {one_of(numbers)}")
    if faults:
        raise OptionError("; ".join(faults))


def _checkpoint(args: argparse.Namespace) -> Checkpoint:
    """Return the checkpoint of RUN, and say what was told of it; raises ``OptionError`` for another file."""
    if Path(args.run).is_file() and not is_checkpoint(Path(args.run)):
        raise OptionError(f"figure {args.number} shows what a net has learned: {args.run} is no checkpoint")
    _, checkpoint, remarks = find_latest(args.run, load)
    for remark in remarks:
        say(remark)
    return checkpoint


def _figure_two(args: argparse.Namespace) -> Scene:
    definition = Definition.open(args.run)
    sizes = argparse.Namespace(dialect="auto", strict=0, data_dims=None, num_classes=None)
    return figure_two(volumes_of(definition.graph(sizes).graph), f"{definition.title}: its volumes, and what they read")


def _figure_three(args: argparse.Namespace) -> Scene:
    return figure_three(_checkpoint(args))


def _figure_four(args: argparse.Namespace) -> Scene:
    return figure_four(test_set(_checkpoint(args), args), args.preds or "", args.similar or (), args.seed)


_READ_BY_FOUR = ("preds", "similar", "seed", *DATA_OPTIONS)
FIGURES = {
    "2": Figure("the volumes of a net, and the windows that its filters read", _figure_two, ()),
    "3": Figure("the kernels of the first layer, tower above tower", _figure_three, ()),
    "4": Figure("what a net says of test pictures, and which it finds alike", _figure_four, _READ_BY_FOUR),
}
