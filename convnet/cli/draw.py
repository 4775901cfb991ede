"""A graph as a picture: coloured by device, edges with their shapes, those between devices with what crosses them.

convnet draw layers-imagenet.cfg --out net.svg        to print; .html: with details of each layer; .dot: for Graphviz
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, open_definition, told, write
from convnet.drawing.dot import dot
from convnet.drawing.page import page
from convnet.drawing.picture import picture_of
from convnet.drawing.svg import svg
from convnet.errors import OptionError

_FORMS = {".svg": svg, ".html": page, ".dot": dot}


def main(arguments: Sequence[str] | None = None, prog: str = "convnet draw") -> int:
    """Draw a definition; returns the exit status."""
    return told(_draw, arguments, prog)


def _draw(arguments: Sequence[str] | None, prog: str) -> int:
    parser = Parser(prog, "Draw the graph of a definition.")
    parser.add_argument("definition", metavar="DEF", help="layer definition file, or the name of one that is shipped")
    parser.add_argument("params", metavar="PARAMS", nargs="?", help="layer parameter file [the one beside DEF]")
    parser.add_argument("--out", metavar="FILE", help="picture to write, .svg, .html or .dot [DEF's name, .svg]")
    parser.add_argument("--title", metavar="TEXT", help="what stands above the picture [DEF's name]")
    args = parser.parse_args(arguments)
    stem = Path(args.definition).stem
    out = Path(args.out or f"{stem}.svg")
    if out.suffix.lower() not in _FORMS:
        raise OptionError(f"--out {out}: the name must end in {', '.join(_FORMS)}")
    assumed = open_definition(args, args.definition, args.params)
    picture = picture_of(assumed.graph, args.title or stem, args.mini)
    write(str(out), _FORMS[out.suffix.lower()](picture))
    print("\n".join([*assumed.notes, f"Wrote {out}."]))
    return 0
