"""The same net in another dialect of the layer files.

convnet convert layers-imagenet.cfg --to toml                                       on standard output
convnet convert net.cfg params.cfg --to 2014 --out layers-2014.cfg params-2014.cfg
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, print_problems, run_verb, say, write_text
from convnet.cli.definition import Definition
from convnet.errors import OptionError
from convnet.graph.loading import LayerFiles
from convnet.graph.writer import TARGETS, Written, write_files
from convnet.options import NATURAL, choice, text
from convnet.texts import counted


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Translate layer files; what the target cannot say is listed on standard error."
    parser = Parser(prog, description, "layers-imagenet.cfg --to toml --out layers-imagenet.toml")
    parser.add_definition()
    target = choice(*TARGETS)
    parser.add_argument("--to", required=True, type=target, metavar=target.metavar, help="dialect to write")
    parser.add_value("--num-classes", NATURAL, "what to write for num_classes, which the originals do not know")
    out_help = "file or files to write: one for TOML, two for INI or divided TOML [standard output]"
    parser.add_argument("--out", nargs="+", type=text("FILE"), metavar="FILE", help=out_help)
    parser.add_run_options("dialect", "strict")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet convert") -> int:
    """Convert a pair of files; return the exit status."""
    return run_verb(_convert, parser(prog), arguments)


def _convert(args: argparse.Namespace) -> int:
    definition = Definition.open(args.definition, args.params)
    builder = definition.builder(args.dialect, bool(args.strict))
    builder.report_no_layers()
    single = args.to == "toml" and len(args.out or ()) < 2
    known = definition.checkpoint.classes if definition.checkpoint else None
    written = write_files(builder, args.to, single, args.num_classes or known or 0)
    if args.out:
        _save(written, args.out, definition.files)
    else:
        print(written.definition, end="")
        if written.params is not None:
            print(f"\n# ---- parameters: the second file ----\n\n{written.params}", end="")
    print_problems(builder.problems.warnings)
    for note in written.notes:
        say(f"not kept: {note}")
    return 0


def _save(written: Written, out: list[str], files: LayerFiles) -> None:
    texts = [written.definition] + ([written.params] if written.params is not None else [])
    if len(out) != len(texts):
        raise OptionError(f"--out takes {counted(len(texts), 'file name')} here, not {len(out)}")
    sources = {Path(path).resolve() for path in (files.definition_path, files.params_path) if path}
    if sources & {Path(path).resolve() for path in out} or len(set(out)) != len(out):
        raise OptionError("--out must name other files than those that are read, each once")
    for path, content in zip(out, texts, strict=True):
        write_text(path, content)
