"""``convnet convert DEF [PARAMS] --to toml|2011|2012|2014``: the same net in another dialect of the layer files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import told
from convnet.cli.messages import tell_problems
from convnet.errors import OptionError
from convnet.generation import GENERATIONS
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.writer import TARGETS, Written, write_files


def main(arguments: Sequence[str] | None = None, prog: str = "convnet convert") -> int:
    """Convert a pair of files; returns the exit status."""
    return told(_convert, arguments, prog)


def _convert(arguments: Sequence[str] | None, prog: str) -> int:
    args = _parser(prog).parse_args(arguments)
    files = LayerFiles.open(args.definition, args.params)
    builder = parse(files, args.dialect, args.strict)
    single = args.to == "toml" and len(args.out or ()) < 2
    written = write_files(builder, args.to, single)
    _save(written, args.out, files) if args.out else _show(written)
    tell_problems(builder.problems.warnings)
    for note in written.notes:
        print(f"not kept: {note}", file=sys.stderr)
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Translate layer files; what the target cannot say is listed on standard error."
    )
    parser.add_argument("definition", metavar="DEF", help="layer definition file")
    parser.add_argument("params", metavar="PARAMS", nargs="?", help="parameter file; default: the one beside DEF")
    parser.add_argument("--to", required=True, choices=TARGETS, help="dialect to write")
    parser.add_argument(
        "--dialect", default="auto", choices=("auto", *GENERATIONS), help="dialect of DEF; default: told apart"
    )
    parser.add_argument("--strict", action="store_true", help="refuse what is only warned of")
    out_help = "file or files to write: one for TOML, two for INI or divided TOML; default: standard output"
    parser.add_argument("--out", nargs="+", metavar="FILE", help=out_help)
    return parser


def _save(written: Written, out: list[str], files: LayerFiles) -> None:
    wanted = [written.definition] + ([written.params] if written.params is not None else [])
    if len(out) != len(wanted):
        raise OptionError(f"--out takes {len(wanted)} file name{'s' * (len(wanted) > 1)} here, not {len(out)}")
    sources = {Path(path).resolve() for path in (files.definition_path, files.params_path) if path}
    if sources & {Path(path).resolve() for path in out} or len(set(out)) != len(out):
        raise OptionError("--out must name other files than those that are read, each once")
    for path, text in zip(out, wanted, strict=True):
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise OptionError(f"{path} cannot be written: {error.strerror}") from None


def _show(written: Written) -> None:
    print(written.definition, end="")
    if written.params is not None:
        print("\n# ---- parameters: the second file ----\n")
        print(written.params, end="")
