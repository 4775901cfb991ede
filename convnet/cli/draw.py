"""A graph as a picture: coloured by device, edges with their shapes, those between devices with what crosses them.

convnet draw layers-imagenet.cfg --out net.svg        to print; so do .png, and .pdf by matplotlib
convnet draw layers-imagenet.cfg --out net.html       to point at, with details of each layer; .dot: for Graphviz
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, mini_of, run_verb, write_text
from convnet.cli.definition import Definition
from convnet.drawing.dot import dot
from convnet.drawing.files import write_picture
from convnet.drawing.page import page
from convnet.drawing.picture import picture_of
from convnet.drawing.scene import scene_of
from convnet.drawing.svg import svg
from convnet.errors import OptionError
from convnet.options import text

_TEXTS = {".svg": svg, ".html": page, ".dot": dot}
_FORMS = (*_TEXTS, ".png", ".pdf")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Draw the graph of a net.", "layers-imagenet.cfg --out net.svg")
    parser.add_definition()
    parser.add_value("--out", text("FILE"), "picture to write, .svg, .html, .dot, .png or .pdf [DEF's name, .svg]")
    parser.add_value("--title", text("TEXT"), "what stands above the picture [DEF's name]")
    parser.add_data_sizes()
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet draw") -> int:
    """Draw a definition; return the exit status."""
    return run_verb(_draw, parser(prog), arguments)


def _draw(args: argparse.Namespace) -> int:
    definition = Definition.open(args.definition, args.params)
    out = Path(args.out or f"{definition.title}.svg")
    if out.suffix.lower() not in _FORMS:
        raise OptionError(f"--out {out}: the name must end in {', '.join(_FORMS)}")
    inferred = definition.graph(args)
    picture = picture_of(inferred.graph, args.title or definition.title, mini_of(args, inferred.graph.run))
    if form := _TEXTS.get(out.suffix.lower()):
        write_text(out, form(picture))
    else:
        write_picture(scene_of(picture), out)
    print("\n".join([*inferred.notes, f"Wrote {out}."]))
    return 0
