"""The same net in another dialect of the layer files, or a checkpoint in the format of another generation.

convnet convert layers-imagenet.cfg --to toml                                       on standard output
convnet convert net.cfg params.cfg --to 2014 --out layers-2014.cfg params-2014.cfg
convnet convert RUN --to 2011 --out 1.5                          the checkpoint; without --out, or with --layers, its files
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from convnet.cli.common import Parser, print_problems, run_verb, say, write_text
from convnet.cli.definition import Definition
from convnet.errors import CheckpointError, LayerFileError, OptionError, reason_of
from convnet.generation import UNTIL_2012
from convnet.graph.builder import Builder
from convnet.graph.loading import LayerFiles
from convnet.graph.writer import TARGETS, Written, write_files
from convnet.language.files import is_checkpoint
from convnet.options import AUTO, NATURAL, NPZ, choice, text
from convnet.storage import check_folder, write_atomically
from convnet.texts import counted, listed, printable, shell_quoted

if TYPE_CHECKING:
    from convnet.checkpoint import Checkpoint

_LAYER_FILES = (".cfg", ".toml", ".ini")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Translate layer files, or checkpoints; what the target cannot say is listed on standard error."
    parser = Parser(prog, description, "layers-imagenet.cfg --to toml --out layers-imagenet.toml")
    parser.add_definition()
    target = choice(*TARGETS, NPZ)
    help_text = "dialect to write, or format of a checkpoint: npz is one of NumPy's own"
    parser.add_argument("--to", required=True, type=target, metavar=target.metavar, help=help_text)
    parser.add_argument("--layers", action="store_true", help="write the layer files of a checkpoint, not a checkpoint")
    parser.add_argument("--zip", action="store_true", help="compress a checkpoint of 2011 or 2012, as their --zip-save does")
    parser.add_value("--num-classes", NATURAL, "what to write for num_classes, which the originals do not know")
    out_help = "file or files to write: one for TOML and checkpoints, two for INI or divided TOML [layer files are printed]"
    parser.add_argument("--out", nargs="+", type=text("FILE"), metavar="FILE", help=out_help)
    parser.add_run_options("dialect", "strict")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet convert") -> int:
    """Convert a pair of files or a checkpoint; return the exit status."""
    return run_verb(_convert, parser(prog), arguments)


def _convert(args: argparse.Namespace) -> int:
    to_print = not args.out and args.to != NPZ and not args.zip  # which a checkpoint is not for
    is_layers = args.layers or args.to == "toml" or to_print or str((args.out or [""])[0]).endswith(_LAYER_FILES)
    path = Path(args.definition)
    if not is_layers and (is_checkpoint(path) or (args.to == NPZ and not path.exists())):
        return _convert_checkpoint(args)
    if args.to == NPZ or args.zip:
        raise OptionError(f"{'--to npz' if args.to == NPZ else '--zip'} is of checkpoints, and this would write layer files")
    definition = Definition.open(args.definition, args.params)
    builder = definition.builder(args.dialect, bool(args.strict))
    builder.report_no_layers()
    single = args.to == "toml" and len(args.out or ()) < 2
    known = definition.checkpoint
    written = write_files(_shaped(builder, known), args.to, single, args.num_classes or (known and known.classes) or 0)
    if args.out:
        _save(written, args.out, definition.files)
    else:
        print(written.definition, end="")
        if written.params is not None:
            print(f"\n# ---- parameters: the second file ----\n\n{written.params}", end="")
    print_problems(builder.problems.warnings)
    _tell(written.told, written.notes)
    return 0


def _shaped(builder: Builder, known: "Checkpoint | None") -> Builder:
    """Return what to write, with the shapes of a checkpoint's net, which tell keys that a generation works out itself."""
    if known and not builder.problems.errors:
        shaped = builder.clone()
        with suppress(LayerFileError):
            shaped.shape(**known.sizes)
            return shaped
    return builder


def _convert_checkpoint(args: argparse.Namespace) -> int:
    from convnet.checkpoint import convert, find_latest, load, write_as  # brings NumPy, which layer files do without
    from convnet.checkpoint.op import values_of
    from convnet.pickles import path_of

    of_layers = {
        args.params: args.params,
        "--num-classes": args.num_classes,
        "--dialect": args.dialect != AUTO,
        "--strict": args.strict,
    }
    if idle := [name for name, given in of_layers.items() if given]:
        raise OptionError(f"for layer files, not for a checkpoint: {listed(idle)}; --layers writes those of a checkpoint")
    if not args.out:
        raise OptionError("--out says which file to write; layer files are printed with --layers")
    if len(args.out) > 1:
        raise OptionError(f"--out takes one checkpoint to write, not {len(args.out)}; layer files are written with --layers")
    if args.zip and args.to not in UNTIL_2012:
        raise OptionError(f"--zip is for checkpoints of {' and '.join(UNTIL_2012)}; those of {args.to} are not compressed")
    file, checkpoint, remarks = find_latest(args.definition, load)
    for remark in remarks:
        say(f"convnet: warning: {remark}")
    path = Path(args.out[0])
    if path.resolve() == file.resolve() or path.is_dir():
        raise OptionError(f"--out must name another file than the one that is read, not {path}")
    check_folder(path)
    converted = convert(checkpoint, args.to)
    try:
        write_atomically(path, lambda stream: write_as(args.to, converted.value, stream, args.zip, converted.as_read))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {reason_of(error)}") from None
    _tell(converted.told, converted.notes)
    if args.to != NPZ:
        _tell_files(
            args.to, file, path_of(values_of(converted.value.get("op")).get("layer_def") or ""), converted.needs_files
        )
    return 0


def _tell_files(year: str, checkpoint: Path, definition: str, in_other_words: bool) -> None:
    """Tell which layer files the programs of a year look for whenever they go on, where these are not there (io 1.5)."""
    is_missing = bool(definition) and not os.path.lexists(definition)
    if is_missing and year in UNTIL_2012:
        shown = printable(definition)
        say(f"the programs of {year} take no other --layer-def than {shown}, which must be there; it is not read")
    if is_missing or in_other_words:
        wanted = "--layer-params" if year in UNTIL_2012 else "--layer-def and --layer-params"
        command = f"convnet convert {shell_quoted(str(checkpoint))} --to {year} --out layers.cfg layer-params.cfg"
        say(f"the programs of {year} read the parameters again; for files to give them as {wanted}: {command}")


def _tell(told: Sequence[str], notes: Sequence[str]) -> None:
    for line in told:
        say(f"in other words: {line}")
    for line in notes:
        say(f"not kept: {line}")


def _save(written: Written, out: list[str], files: LayerFiles) -> None:
    texts = [written.definition] + ([written.params] if written.params is not None else [])
    if len(out) != len(texts):
        raise OptionError(f"--out takes {counted(len(texts), 'file name')} here, not {len(out)}")
    sources = {Path(path).resolve() for path in (files.definition_path, files.params_path) if path}
    if sources & {Path(path).resolve() for path in out} or len(set(out)) != len(out):
        raise OptionError("--out must name other files than those that are read, each once")
    for path, content in zip(out, texts, strict=True):
        write_text(path, content)
