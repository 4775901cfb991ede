"""The options of a run, declared once: for the command line, for ``--config run.toml``, for checkpoints, for the listing.

Names and descriptions are the originals' (io section 1), with their faults mended: every problem is reported, the exit
status is not 0, switches take a value or none, and a resumed run does not inherit modes such as --test-only.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from convnet.errors import OptionError, did_you_mean, one_of
from convnet.generation import GENERATIONS


@dataclass(frozen=True)
class Kind:
    """A kind of values: how one is read, what it is called in "'x' is not ..." and in a help, and which are allowed."""

    read: Callable[[str], Any]
    name: str
    metavar: str
    allows: Callable[[Any], bool] = lambda _: True

    def __call__(self, text: str) -> Any:
        """Read a value; raises ``ArgumentTypeError``."""
        with suppress(ValueError):
            if self.allows(value := self.read(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {self.name}")


def _words(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _batches(text: str) -> list[int]:
    """Read batch numbers; raises ``ValueError``."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        batches = range(int(first), int(last if dash else first) + 1)
        if not batches:
            raise ValueError
        numbers += batches
    return numbers


def text(metavar: str) -> Kind:
    """Return the kind of any text."""
    return Kind(str, "text", metavar)


def choice(*words: str) -> Kind:
    """Return the kind of one of some words; an empty one is not named."""
    named = [word for word in words if word]
    return Kind(str, one_of(named), "{" + ",".join(named) + "}", words.__contains__)


ZERO_ONE = Kind(int, "0 or 1", "0/1", (0, 1).__contains__)
INTEGER = Kind(int, "a whole number", "N")
NATURAL = Kind(int, "a whole number from 1", "N", lambda number: number > 0)
REAL = Kind(float, "a number", "X")
INTEGERS = Kind(lambda text: [int(word) for word in _words(text)], "a list of whole numbers", "N,...")
LAYERS = Kind(_words, "a list of layers", "LAYER,...")
BATCHES = Kind(_batches, "a range of batches; expected 1-5, 6, or 1-3,7", "A-B")


@dataclass(frozen=True)
class Option:
    """What is declared of an option. A run that resumes from a checkpoint inherits the ``sticky`` ones."""

    name: str
    kind: Kind
    group: str
    description: str  # the originals' words, for the listing at the start of a run
    help: str
    default: Any
    sticky: bool = True
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The name on the command line; without the first dashes, in a TOML file."""
        return "--" + self.name.replace("_", "-")


def _option(kind: Kind, group: str, description: str, help: str, default: Any = "", **more: Any) -> Any:
    """Declare a field of ``Options``; see ``Option``."""
    declared = partial(Option, kind=kind, group=group, description=description, help=help, default=default, **more)
    return field(default_factory=lambda: default, metadata={"option": declared})


GROUPS = ("data", "network", "training", "testing", "saving", "machine")  # of the help


# fmt: off
@dataclass(frozen=True)
class Options:
    """The options of a run, with their values. Checkpoints keep them in this order."""

    # kind, group, the originals' words,
    #   help, default
    load_file: str = _option(text("PATH"), "network", "Load file",
        "go on from this checkpoint, or from the newest of a folder", sticky=False, aliases=("-f",))
    layer_def: str = _option(text("FILE"), "network", "Layer definition file",
        "layer definition file, or the name of a shipped one")
    layer_params: str = _option(text("FILE"), "network", "Layer parameter file",
        "layer parameter file [the one beside the definition]")
    layer_path: str = _option(text("DIR"), "network", "Layer file path prefix",
        "folder of the layer files [the current one]")
    dialect: str = _option(choice("auto", *GENERATIONS), "network", "Generation of the layer files",
        "generation of the layer files; auto: told by their keys", "auto")
    strict: int = _option(ZERO_ONE, "network", "Refuse what the originals accepted by mistake?",
        "refuse what is otherwise only warned of, such as misspelt keys", 0)
    mini: int = _option(NATURAL, "training", "Minibatch size",
        "cases in a minibatch", 128)
    compat: str = _option(choice("", *GENERATIONS), "network", "Repeat what this generation did wrong",
        "repeat the faults of a generation, for results that depend on them")
    seed: int = _option(INTEGER, "training", "Random seed",
        "seed of all random numbers: initial weights, crops, dropout, noise [0]", 0)
    wupdate_freq: int = _option(NATURAL, "training", "Minibatches between weight updates",
        "update the weights after every N minibatches, by the mean of their gradients", 1)
    conv_to_local: list[str] = _option(LAYERS, "network", "Convert given conv layers to unshared local",
        "make these conv layers local: each place gets its own copy of the filters", [], sticky=False)
    unshare_weights: list[str] = _option(LAYERS, "network", "Unshare weight matrices in given layers",
        "give these layers, or one matrix such as fc2[1], their own copy of shared weights", [], sticky=False)
    allow_init_code: int = _option(ZERO_ONE, "network", "Run code that lies beside the layer file?",
        "run functions beside the layer file that its initWFunc and the like name: only if you trust them", 0, sticky=False)
    conserve_mem: int = _option(ZERO_ONE, "machine", "Conserve GPU memory? (always done)",
        "no effect: memory is always conserved", 1)
    data_provider: str = _option(text("NAME"), "data", "Data provider",
        "how batches are read: cifar, cifar-cropped, image, demo, dummy-cn-N [what fits]")
    data_path: str = _option(text("DIR"), "data", "Data path",
        "folder of CIFAR or ImageNet batches [a demonstration set]")
    train_range: list[int] | None = _option(BATCHES, "data", "Data batch range: training",
        "batches to train on, such as 1-5 [all but the last]", None)
    test_range: list[int] | None = _option(BATCHES, "data", "Data batch range: testing",
        "batches to test on, such as 6 [the last]", None)
    crop_border: int = _option(INTEGER, "data", "Cropped DP: crop border size",
        "crop pictures by N pixels at every border, at random places in training [0]", 0)
    inner_size: int = _option(INTEGER, "data", "Cropped DP: crop size (0 = don't crop)",
        "crop pictures to squares of side N, at random places in training; 0: do not [0]", 0)
    color_noise: float = _option(REAL, "data", "Add PCA noise to color channels with given scale",
        "strength of random colour shifts in training, 0.1 in the paper [0]", 0.0)
    scalar_mean: float = _option(REAL, "data", "Subtract this scalar from image (-1 = don't)",
        "subtract this number from pixels; -1: subtract the mean picture [-1]", -1.0)
    epochs: int | None = _option(NATURAL, "training", "Number of epochs",
        "stop after N passes over the training batches [50000]", None)
    max_batches: int | None = _option(INTEGER, "training", "Stop after this many batches (0 = don't)",
        "stop after N batches; 0: do not [0; 12 on the demonstration set]", None, sticky=False)
    test_freq: int | None = _option(NATURAL, "testing", "Testing frequency",
        "test and save after every N batches [57]", None)
    test_one: int = _option(ZERO_ONE, "testing", "Test on one batch at a time?",
        "test on one batch in turn; 0: on all of them", 1)
    check_grads: int = _option(ZERO_ONE, "testing", "Check gradients and quit?",
        "compare every gradient with differences of the cost, then leave", 0, sticky=False)
    test_only: int = _option(ZERO_ONE, "testing", "Test and quit?",
        "test on all test batches, then leave", 0, sticky=False)
    multiview_test: int = _option(ZERO_ONE, "testing", "Cropped DP: test on multiple patches?",
        "average predictions over several crops and mirror images of each picture", 0, sticky=False)
    logreg_name: str = _option(text("LAYER"), "testing", "Logreg cost whose predictions are written",
        "cost.logreg whose predictions --test-out writes [the first]", sticky=False)
    test_out: str = _option(text("DIR"), "testing", "Write test case predictions to given path",
        "folder to write predictions of test cases to", sticky=False)
    write_features: str = _option(text("LAYER"), "testing", "Write test data features from given layer",
        "write what this layer makes of the test batches; needs --test-only", sticky=False)
    feature_path: str = _option(text("DIR"), "testing", "Write test data features to this path",
        "folder for --write-features", sticky=False)
    save_file: str = _option(text("DIR"), "saving", "Save file override",
        "folder of checkpoints, to go on from those in it", sticky=False)
    save_path: str = _option(text("DIR"), "saving", "Save path",
        "folder in which a run makes a dated one for its checkpoints", "checkpoints")
    force_save: int = _option(ZERO_ONE, "saving", "Force save before quitting",
        "save a checkpoint after --test-only, too", 0, sticky=False)
    keep: int = _option(NATURAL, "saving", "Checkpoints to keep",
        "checkpoints to keep; older ones are removed", 2)
    backend: str = _option(choice("auto", "reference", "cpu", "cuda"), "machine", "Backend",
        "what computes; auto: a GPU where one runs", "auto", sticky=False)
    gpu: list[int] | None = _option(INTEGERS, "machine", "GPU override",
        "GPUs to use, in the order that gpu=0, gpu=1, ... in layer files count them [0]", None, sticky=False)
    math: str = _option(choice("float32", "tf32"), "machine", "Products in full float32, or TF32",
        "precision of products on GPUs; tf32: faster, about three digits", "float32")
    threads: int = _option(INTEGER, "machine", "Processor threads (0 = all)",
        "processor threads; 0: all [0]", 0, sticky=False)
    config: str = _option(text("FILE"), "machine", "Options from a TOML file",
        "TOML file of options; the command line wins", sticky=False)
    # fmt: on
    given: frozenset[str] = frozenset()  # names of those on the command line and in --config

    @classmethod
    def of(cls, given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Options:
        """Return every option: as given, else as a checkpoint's run had it, else its default."""
        inherited = {name: value for name, value in (stored or {}).items() if name in BY_NAME and BY_NAME[name].sticky}
        return cls(**inherited | dict(given), given=frozenset(given))

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


OPTIONS: tuple[Option, ...] = tuple(f.metadata["option"](f.name) for f in fields(Options) if f.metadata)
BY_NAME = {option.name: option for option in OPTIONS}
# Options of the originals that chose among graphics cards or files; accepted, so that old command lines run.
IGNORED = ("--num-gpus", "--max-filesize", "--zip-save", "--pca-noise")


def read_config(path: Path) -> dict[str, Any]:
    """Read options from a TOML file: ``layer-def = "net.cfg"``, ``epochs = 10``, ``test-only = true``."""
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
        if option.name == "allow_init_code":  # or a folder of layer files could bring its own permission
            faults.append(f"{key} is read from the command line only")
            continue
        words = ",".join(map(str, value)) if isinstance(value, list) else int(value) if isinstance(value, bool) else value
        try:
            options[option.name] = option.kind(str(words))
        except argparse.ArgumentTypeError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise OptionError(f"--config {path}: " + "; ".join(faults))
    return options
