"""The options of a run, declared once: for the command line, for ``--config run.toml``, for checkpoints, for the listing.

Names and descriptions are the originals' (io section 1), with their faults mended: every problem is reported, the exit
status is not 0, switches take a value or none, and a resumed run does not inherit modes such as --test-only.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnet.errors import OptionError, did_you_mean, one_of
from convnet.generation import GENERATIONS


def zero_one(text: str) -> int:
    """Read 0 or 1."""
    if text.strip() in ("0", "1"):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not 0 or 1")


def batch_range(text: str) -> list[int]:
    """Read batch numbers: ``1-5``, ``6``, ``1-3,7``."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a range of batches; expected 1-5, 6, or 1-3,7")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def names(text: str) -> list[str]:
    """Read names separated by commas."""
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def integers(text: str) -> list[int]:
    """Read whole numbers separated by commas."""
    try:
        return [int(piece) for piece in text.split(",") if piece.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def natural(text: str) -> int:
    """Read a whole number from 1."""
    if text.strip().isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")


def integer(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def real(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


class Choice:
    """Reads one of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.metavar = "{" + ",".join(filter(None, words)) + "}"

    def __call__(self, text: str) -> str:
        if text in self.words:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not {one_of(filter(None, self.words))}")


@dataclass(frozen=True)
class Option:
    """One option. A run that resumes from a checkpoint inherits the ``sticky`` ones."""

    flag: str
    kind: Callable[[str], Any]
    group: str
    description: str  # the originals' words, for the listing at the start of a run
    help: str
    default: Any = ""
    sticky: bool = True
    metavar: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in ``Options``, in checkpoints and, with dashes, in a TOML file."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def switch(self) -> bool:
        """Whether the flag alone means 1."""
        return self.kind is zero_one


GROUPS = ("data", "network", "training", "testing", "saving", "machine")  # of the help
# Flag, kind, group; the originals' words; help, default, sticky. Checkpoints keep this order.
# fmt: off
OPTIONS = (
    Option("--load-file", str, "network", "Load file",
           "go on from this checkpoint, or from the newest of a folder", "", False, metavar="PATH", aliases=("-f",)),
    Option("--layer-def", str, "network", "Layer definition file",
           "layer definition file, or the name of a shipped one", metavar="FILE"),
    Option("--layer-params", str, "network", "Layer parameter file",
           "layer parameter file [the one beside the definition]", metavar="FILE"),
    Option("--layer-path", str, "network", "Layer file path prefix",
           "folder of the layer files [the current one]", metavar="DIR"),
    Option("--dialect", Choice("auto", *GENERATIONS), "network", "Generation of the layer files",
           "generation of the layer files; auto: told by their keys", "auto"),
    Option("--strict", zero_one, "network", "Refuse what the originals accepted by mistake?",
           "refuse what is otherwise only warned of, such as misspelt keys", 0),
    Option("--mini", natural, "training", "Minibatch size",
           "cases in a minibatch", 128),
    Option("--compat", Choice("", *GENERATIONS), "network", "Repeat what this generation did wrong",
           "repeat the faults of a generation, for results that depend on them"),
    Option("--seed", integer, "training", "Random seed",
           "seed of all random numbers: initial weights, crops, dropout, noise [0]", 0),
    Option("--wupdate-freq", natural, "training", "Minibatches between weight updates",
           "update the weights after every N minibatches, by the mean of their gradients", 1),
    Option("--conv-to-local", names, "network", "Convert given conv layers to unshared local",
           "make these conv layers local: each place gets its own copy of the filters", [], False),
    Option("--unshare-weights", names, "network", "Unshare weight matrices in given layers",
           "give these layers, or one matrix such as fc2[1], their own copy of shared weights", [], False),
    Option("--conserve-mem", zero_one, "machine", "Conserve GPU memory? (always done)",
           "no effect: memory is always conserved", 1),
    Option("--data-provider", str, "data", "Data provider",
           "how batches are read: cifar, cifar-cropped, image, demo, dummy-cn-N [what fits]", metavar="NAME"),
    Option("--data-path", str, "data", "Data path",
           "folder of CIFAR or ImageNet batches [a demonstration set]", metavar="DIR"),
    Option("--train-range", batch_range, "data", "Data batch range: training",
           "batches to train on, such as 1-5 [all but the last]", None),
    Option("--test-range", batch_range, "data", "Data batch range: testing",
           "batches to test on, such as 6 [the last]", None),
    Option("--crop-border", integer, "data", "Cropped DP: crop border size",
           "crop pictures by N pixels at every border, at random places in training [0]", 0),
    Option("--inner-size", integer, "data", "Cropped DP: crop size (0 = don't crop)",
           "crop pictures to squares of side N, at random places in training; 0: do not [0]", 0),
    Option("--color-noise", real, "data", "Add PCA noise to color channels with given scale",
           "strength of random colour shifts in training, 0.1 in the paper [0]", 0.0),
    Option("--scalar-mean", real, "data", "Subtract this scalar from image (-1 = don't)",
           "subtract this number from pixels; -1: subtract the mean picture [-1]", -1.0),
    Option("--epochs", natural, "training", "Number of epochs",
           "stop after N passes over the training batches [50000]", None),
    Option("--max-batches", integer, "training", "Stop after this many batches (0 = don't)",
           "stop after N batches; 0: do not [0; 12 on the demonstration set]", None, False),
    Option("--test-freq", natural, "testing", "Testing frequency",
           "test and save after every N batches [57]", None),
    Option("--test-one", zero_one, "testing", "Test on one batch at a time?",
           "test on one batch in turn; 0: on all of them", 1),
    Option("--check-grads", zero_one, "testing", "Check gradients and quit?",
           "compare every gradient with differences of the cost, then leave", 0, False),
    Option("--test-only", zero_one, "testing", "Test and quit?",
           "test on all test batches, then leave", 0, False),
    Option("--multiview-test", zero_one, "testing", "Cropped DP: test on multiple patches?",
           "average predictions over several crops and mirror images of each picture", 0, False),
    Option("--logreg-name", str, "testing", "Logreg cost whose predictions are written",
           "cost.logreg whose predictions --test-out writes [the first]", "", False, metavar="LAYER"),
    Option("--test-out", str, "testing", "Write test case predictions to given path",
           "folder to write predictions of test cases to", "", False, metavar="DIR"),
    Option("--write-features", str, "testing", "Write test data features from given layer",
           "write what this layer makes of the test batches; needs --test-only", "", False, metavar="LAYER"),
    Option("--feature-path", str, "testing", "Write test data features to this path",
           "folder for --write-features", "", False, metavar="DIR"),
    Option("--save-file", str, "saving", "Save file override",
           "folder of checkpoints, to go on from those in it", "", False, metavar="DIR"),
    Option("--save-path", str, "saving", "Save path",
           "folder in which a run makes a dated one for its checkpoints", "checkpoints", metavar="DIR"),
    Option("--force-save", zero_one, "saving", "Force save before quitting",
           "save a checkpoint after --test-only, too", 0, False),
    Option("--keep", natural, "saving", "Checkpoints to keep",
           "checkpoints to keep; older ones are removed", 2),
    Option("--backend", Choice("auto", "reference", "cpu", "cuda"), "machine", "Backend",
           "what computes; auto: a GPU where one runs", "auto", False),
    Option("--gpu", integers, "machine", "GPU override",
           "GPUs to use, in the order that gpu=0, gpu=1, ... in layer files count them [0]", None, False),
    Option("--math", Choice("float32", "tf32"), "machine", "Products in full float32, or TF32",
           "precision of products on GPUs; tf32: faster, about three digits", "float32"),
    Option("--threads", integer, "machine", "Processor threads (0 = all)",
           "processor threads; 0: all [0]", 0, False),
    Option("--config", str, "machine", "Options from a TOML file",
           "TOML file of options; the command line wins", "", False, metavar="FILE"),
)
# fmt: on
BY_NAME = {option.name: option for option in OPTIONS}
# Options of the originals that chose among graphics cards or files; accepted, so that old command lines run.
IGNORED = ("--num-gpus", "--max-filesize", "--zip-save", "--pca-noise")


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
        except argparse.ArgumentTypeError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise OptionError(f"--config {path}: " + "; ".join(faults))
    return options


def complete(given: dict[str, Any], stored: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every option: as given, else as a checkpoint's run had it, else its default."""
    inherited = {name: value for name, value in (stored or {}).items() if name in BY_NAME and BY_NAME[name].sticky}
    return {option.name: option.default for option in OPTIONS} | inherited | given


def check_together(options: dict[str, Any]) -> None:
    """Raise ``OptionError`` for options that need or exclude each other."""
    faults = []
    if options["write_features"] and not options["feature_path"]:
        faults.append("--write-features needs --feature-path, the folder to write to")
    if options["feature_path"] and not options["write_features"]:
        faults.append("--feature-path needs --write-features, the layer whose features to write")
    if options["write_features"] and not options["test_only"]:
        faults.append("--write-features must be used in conjunction with --test-only: it writes test data features")
    if options["write_features"] and options["multiview_test"]:
        faults.append("--write-features writes features of one view; leave --multiview-test out")
    if faults:
        raise OptionError("; ".join(faults))


def _from_toml(option: Option, value: Any) -> Any:
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return option.kind(str(int(value) if isinstance(value, bool) else value))
