"""The options of a run, declared once: for the command line, for ``--config run.toml``, for checkpoints, for the listing.

Names, meanings and descriptions are the originals' (io section 1), with their faults mended: every problem is reported,
non-zero exit, switches take a value or none, modes such as --test-only are not inherited by a resumed run.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, NoReturn

from convnet.errors import OptionError, did_you_mean, nearest
from convnet.generation import GENERATIONS


def zero_one(text: str) -> int:
    """0 or 1."""
    if text.strip() in ("0", "1"):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not 0 or 1")


def batch_range(text: str) -> list[int]:
    """Batch numbers: ``1-5``, ``6``, ``1-3,7``."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"{text!r} is no range of batches; expected 1-5, 6, or 1-3,7")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def names(text: str) -> list[str]:
    """Names separated by commas."""
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def integers(text: str) -> list[int]:
    """Numbers separated by commas."""
    try:
        return [int(piece) for piece in text.split(",") if piece.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None


def natural(text: str) -> int:
    """A whole number from 1."""
    if text.strip().isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")


@dataclass(frozen=True)
class Option:
    """One option. ``sticky`` ones are inherited by a run that resumes from a checkpoint."""

    flag: str
    kind: Callable[[str], Any]
    help: str
    default: Any = None
    sticky: bool = True
    choices: tuple[str, ...] = ()
    group: str = "run"
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def switch(self) -> bool:
        return self.kind is zero_one


OPTIONS = (
    Option("--load-file", str, "Load file", "", False, group="net", aliases=("-f",)),
    Option("--layer-def", str, "Layer definition file", "", group="net"),
    Option("--layer-params", str, "Layer parameter file", "", group="net"),
    Option("--layer-path", str, "Layer file path prefix", "", group="net"),
    Option("--dialect", str, "Generation of the layer files", "auto", True, ("auto", *GENERATIONS), "net"),
    Option("--strict", zero_one, "Refuse what the originals accepted by mistake?", 0, group="net"),
    Option("--mini", natural, "Minibatch size", 128, group="net"),
    Option("--compat", str, "Repeat what this generation did wrong", "", True, ("", *GENERATIONS), "net"),
    Option("--seed", int, "Random seed", 0, group="net"),
    Option("--wupdate-freq", natural, "Minibatches between weight updates", 1, group="net"),
    Option("--conv-to-local", names, "Convert given conv layers to unshared local", [], False, group="net"),
    Option("--unshare-weights", names, "Unshare weight matrices in given layers", [], False, group="net"),
    Option("--conserve-mem", zero_one, "Conserve GPU memory? (always done)", 1, group="net"),
    Option("--data-provider", str, "Data provider", "", group="data"),
    Option("--data-path", str, "Data path", "", group="data"),
    Option("--train-range", batch_range, "Data batch range: training", None, group="data"),
    Option("--test-range", batch_range, "Data batch range: testing", None, group="data"),
    Option("--crop-border", int, "Cropped DP: crop border size", 0, group="data"),
    Option("--inner-size", int, "Cropped DP: crop size (0 = don't crop)", 0, group="data"),
    Option("--color-noise", float, "Add PCA noise to color channels with given scale", 0.0, group="data"),
    Option("--scalar-mean", float, "Subtract this scalar from image (-1 = don't)", -1.0, group="data"),
    Option("--epochs", natural, "Number of epochs", None, group="training"),
    Option("--max-batches", int, "Stop after this many batches (0 = don't)", None, False, group="training"),
    Option("--test-freq", natural, "Testing frequency", None, group="training"),
    Option("--test-one", zero_one, "Test on one batch at a time?", 1, group="training"),
    Option("--check-grads", zero_one, "Check gradients and quit?", 0, False, group="training"),
    Option("--test-only", zero_one, "Test and quit?", 0, False, group="training"),
    Option("--multiview-test", zero_one, "Cropped DP: test on multiple patches?", 0, False, group="testing"),
    Option("--logreg-name", str, "Logreg cost whose predictions are written", "", False, group="testing"),
    Option("--test-out", str, "Write test case predictions to given path", "", False, group="testing"),
    Option("--write-features", str, "Write test data features from given layer", "", False, group="testing"),
    Option("--feature-path", str, "Write test data features to this path", "", False, group="testing"),
    Option("--save-file", str, "Save file override", "", False, group="training"),
    Option("--save-path", str, "Save path", "checkpoints", group="training"),
    Option("--force-save", zero_one, "Force save before quitting", 0, False, group="training"),
    Option("--keep", natural, "Checkpoints to keep", 2, group="training"),
    Option("--backend", str, "Backend", "auto", False, ("auto", "reference", "cpu", "cuda"), "machine"),
    Option("--gpu", integers, "GPU override", None, False, group="machine"),
    Option("--math", str, "Products in full float32, or TF32", "float32", True, ("float32", "tf32"), "machine"),
    Option("--threads", int, "Processor threads (0 = all)", 0, False, group="machine"),
    Option("--config", str, "Options from a TOML file", "", False, group="machine"),
)
BY_NAME = {option.name: option for option in OPTIONS}
# Options of the originals that chose among graphics cards or files; accepted, so that old command lines run.
IGNORED = ("--num-gpus", "--max-filesize", "--zip-save", "--pca-noise")


class CommandParser(argparse.ArgumentParser):
    """Raises instead of leaving, so that all problems are reported in one way."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def make_parser(prog: str = "convnet run") -> argparse.ArgumentParser:
    """The command line of a run."""
    parser = CommandParser(
        prog=prog,
        description="Train, test or go on training a network that two layer files describe.",
        argument_default=argparse.SUPPRESS,
    )
    for option in OPTIONS:
        extra: dict[str, Any] = {"type": option.kind, "help": option.help, "metavar": _metavar(option)}
        if option.switch:
            extra |= {"nargs": "?", "const": 1}
        if option.choices:
            extra |= {"choices": option.choices, "metavar": None}
        if option.default not in (None, ""):
            extra["help"] += f" [{option.default}]"
        parser.add_argument(*option.aliases, option.flag, **extra)
    for flag in IGNORED:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    return parser


def parse(arguments: Sequence[str], prog: str = "convnet run") -> dict[str, Any]:
    """The options given on the command line and in ``--config``, by name; the command line wins.

    Raises ``OptionError`` with everything that is wrong.
    """
    parser = make_parser(prog)
    for argument in arguments:
        if argument.startswith("-f="):
            raise OptionError(f"{argument}: write '-f {argument[3:]}' or '--load-file={argument[3:]}'")
    given, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        raise OptionError("; ".join(_unknown(argument) for argument in unknown))
    options = {name: value for name, value in vars(given).items() if name in BY_NAME}
    if options.get("config"):
        options = read_config(Path(options["config"])) | options
    return options


def read_config(path: Path) -> dict[str, Any]:
    """Options from a TOML file: ``layer-def = "net.cfg"``, ``epochs = 10``, ``test-only = true``."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config {path}: not valid TOML: {error}") from None
    options: dict[str, Any] = {}
    faults = []
    for key, value in table.items():
        option = BY_NAME.get(key.replace("-", "_"))
        if option is None:
            faults.append(f"unknown option '{key}'" + did_you_mean(key, [o.flag.lstrip("-") for o in OPTIONS]))
            continue
        try:
            options[option.name] = _from_toml(option, value)
        except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise OptionError(f"--config {path}: " + "; ".join(faults))
    return options


class Options(
    make_dataclass(
        "_Options",
        [(o.name, Any, field(default_factory=lambda o=o: o.default)) for o in OPTIONS]
        + [("given", Any, field(default=frozenset()))],
        frozen=True,
    )
):
    """Every option of a run. ``given`` names those of the command line and of --config."""

    @classmethod
    def of(cls, given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Options:
        """Return every option: as given, else as a checkpoint's run had it, else its default."""
        inherited = {name: value for name, value in (stored or {}).items() if name in BY_NAME and BY_NAME[name].sticky}
        return cls(**(inherited | dict(given)), given=frozenset(given))

    def as_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of them."""
        return {option.name: getattr(self, option.name) for option in OPTIONS}

    def check(self) -> None:
        """Raise ``OptionError`` for options that need or exclude each other."""
        faults = []
        if self.write_features and not self.feature_path:
            faults.append("--write-features needs --feature-path, the folder to write to")
        if self.feature_path and not self.write_features:
            faults.append("--feature-path needs --write-features, the layer whose features to write")
        if self.write_features and not self.test_only:
            faults.append("--write-features must be used in conjunction with --test-only: it writes test data features")
        if self.write_features and self.multiview_test:
            faults.append("--write-features writes features of one view; leave --multiview-test out")
        if faults:
            raise OptionError("; ".join(faults))


def _metavar(option: Option) -> str:
    kinds = {
        zero_one: "0/1", batch_range: "A-B", names: "NAME,...", natural: "N", int: "N", float: "X", str: "TEXT",
    }  # fmt: skip
    return kinds.get(option.kind, "TEXT")


def _unknown(argument: str) -> str:
    if not argument.startswith("-"):
        return f"unexpected argument '{argument}'; options start with --"
    word = argument.split("=")[0]
    hint = nearest(word, [option.flag for option in OPTIONS])
    return f"unknown option {word}" + (f"; did you mean {hint}?" if hint else "; see --help")


def _from_toml(option: Option, value: Any) -> Any:
    if isinstance(value, bool):
        return option.kind(str(int(value)))
    if isinstance(value, list):
        value = ",".join(map(str, value))
    result = option.kind(str(value))
    if option.choices and result not in option.choices:
        raise ValueError(f"{value!r} is none of {', '.join(option.choices)}")
    return result
