"""What options a run has, their values, and which need or exclude each other.

Names and descriptions are the originals' (io section 1), with their faults mended: every problem is reported, the exit
status is not 0, switches take a value or none, and a resumed run does not inherit modes such as --test-only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from convnet.errors import OptionError
from convnet.generation import GENERATIONS
from convnet.options.kinds import (
    BATCHES,
    COST,
    FROM_ZERO,
    LAYERS,
    MEAN,
    NATURAL,
    PATHS,
    PORT,
    SEED,
    WEIGHTS,
    ZERO_ONE,
    Kind,
    choice,
    real,
    text,
    whole,
    whole_numbers,
)

AUTO, NPZ = "auto", "npz"  # formats of checkpoints beside those of generations
# What a run does: it trains, or does what one of these options says.
MODES = TRAIN, TEST, FEATURES, CHECK = ("train", "test_only", "write_features", "check_grads")


def flag_of(name: str) -> str:
    """Return ``--test-only`` for ``test_only``."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Option:
    """What is declared of an option. A run that resumes from a checkpoint inherits the ``sticky`` ones.

    ``modes`` are those of ``MODES`` in which it has an effect; ``convnet.training.unused`` says where it has none.
    ``in_section``: the section ``[run]`` of a parameter file may give it, which says nothing of paths, devices, or modes.
    """

    name: str
    kind: Kind
    group: str
    description: str  # the originals' words, for the listing at the start of a run
    help: str
    default: Any
    sticky: bool = True
    aliases: tuple[str, ...] = ()
    modes: tuple[str, ...] = MODES
    in_section: bool = False

    @property
    def flag(self) -> str:
        """The name on the command line; without the first dashes, in a TOML file."""
        return flag_of(self.name)


def _option(kind: Kind, group: str, description: str, help: str, default: Any = "", **more: Any) -> Any:
    """Declare a field of ``Options``; see ``Option``."""
    declared = partial(Option, kind=kind, group=group, description=description, help=help, default=default, **more)
    return field(default_factory=lambda: default, metadata={"option": declared})


_CROPS = {"crop_border", "inner_size"}
USUAL = ("layer_def", "data_path", "load_file", "epochs", "mini", "test_freq", "test_only")  # in the help before all others
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
        "layer parameter file; edits of it hold while a net trains [the one beside the definition]")
    layer_path: str = _option(text("DIR"), "network", "Layer file path prefix",
        "folder of the layer files [the current one]")
    dialect: str = _option(choice("auto", *GENERATIONS), "network", "Generation of the layer files",
        "generation of the layer files; auto: told by their keys", "auto")
    strict: int = _option(ZERO_ONE, "network", "Refuse what the originals accepted by mistake?",
        "refuse what is otherwise only warned of, such as misspelt keys", 0)
    mini: int = _option(whole(1, 1_000_000), "training", "Minibatch size",
        "cases in a minibatch", 128, in_section=True)
    compat: str = _option(choice("", *GENERATIONS), "network", "Repeat what this generation did wrong",
        "repeat the faults of a generation, for results that depend on them")
    seed: int = _option(SEED, "training", "Random seed",
        "seed of all random numbers: initial weights, crops, dropout, noise [0]", 0)
    wupdate_freq: int = _option(NATURAL, "training", "Minibatches between weight updates",
        "update the weights after every N minibatches, by the mean of their gradients", 1,
        modes=(TRAIN,), in_section=True)
    shards: int = _option(whole(0, 4096), "training", "Shards of a minibatch (0 = one a rank)",
        "compute minibatches in N parts whose sums are added in one order: the same bits on 1, 2, 4 ... N ranks; "
        "0: as many as there are ranks [0]", 0, modes=(TRAIN, TEST, FEATURES))
    conv_to_local: list[str] = _option(LAYERS, "network", "Convert given conv layers to unshared local",
        "make these conv layers local: each place gets its own copy of the filters", [],
        sticky=False, modes=(TRAIN, TEST, FEATURES))
    unshare_weights: list[str] = _option(LAYERS, "network", "Unshare weight matrices in given layers",
        "give these layers, or one matrix such as fc2[1], their own copy of shared weights", [],
        sticky=False, modes=(TRAIN, TEST, FEATURES))
    allow_init_code: int = _option(ZERO_ONE, "network", "Run code that lies beside the layer file?",
        "run functions beside the layer file that its initWFunc and the like name: only if you trust them", 0, sticky=False)
    init_funcs: str = _option(choice("call", "draw"), "network", "Functions for initial weights",
        "call the functions that initWFunc and the like name, or draw weights in their place, as initW says", "call",
        sticky=False)
    conserve_mem: int = _option(ZERO_ONE, "machine", "Conserve GPU memory? (always done)",
        "no effect: memory is always conserved", 1)
    data_provider: str = _option(text("NAME"), "data", "Data provider",
        "how batches are read: cifar, cifar-cropped, image, flatmem, flickr-ce-cropped, demo, dummy, dummy-cn-N, "
        "or as a package does [what fits]")
    data_path: str = _option(text("DIR"), "data", "Data path",
        "folder of CIFAR or ImageNet batches [a demonstration set]")
    train_range: list[int] | None = _option(BATCHES, "data", "Data batch range: training",
        "batches to train on, such as 1-5 [those not for testing]", None, modes=(TRAIN,))
    test_range: list[int] | None = _option(BATCHES, "data", "Data batch range: testing",
        "batches to test on, such as 6 [those made for it, else the last]", None, modes=(TRAIN, TEST, FEATURES))
    crop_border: int = _option(FROM_ZERO, "data", "Cropped DP: crop border size",
        "crop pictures by N pixels at every border, at random places in training [0]", 0, in_section=True)
    inner_size: int = _option(FROM_ZERO, "data", "Cropped DP: crop size (0 = don't crop)",
        "crop pictures to squares of side N, at random places in training; 0: do not [0]", 0, in_section=True)
    picture_size: int = _option(whole(0, 4096), "data", "Scale pictures to this side first (0 = don't)",
        "scale stored pictures to squares of side N before they are cropped; 0: as they are [0]", 0, in_section=True)
    color_noise: float = _option(real(0, 100), "data", "Add PCA noise to color channels with given scale",
        "strength of random colour shifts in training, 0.1 in the paper [0]", 0.0, modes=(TRAIN,), in_section=True)
    scalar_mean: float = _option(MEAN, "data", "Subtract this scalar from image (-1 = don't)",
        "subtract this number from pixels; -1: subtract the mean picture [-1]", -1.0, in_section=True)
    epochs: int | None = _option(NATURAL, "training", "Number of epochs",
        "stop after N passes over the training batches [what the layer files say, else never]", None,
        modes=(TRAIN,), in_section=True)
    max_batches: int | None = _option(FROM_ZERO, "training", "Stop after this many batches (0 = don't)",
        "stop after N batches; 0: do not [0; 12 on the demonstration set]", None, sticky=False, modes=(TRAIN,))
    test_freq: int | None = _option(NATURAL, "testing", "Testing frequency",
        "test and save after every N batches [57]", None, modes=(TRAIN,), in_section=True)
    test_one: int = _option(ZERO_ONE, "testing", "Test on one batch at a time?",
        "test on one batch in turn; 0: on all of them", 1, modes=(TRAIN,), in_section=True)
    patience: int = _option(FROM_ZERO, "testing", "Tests without improvement to stop after",
        "stop after N tests without a better value of what --keep-best names; 0: do not [0]", 0,
        modes=(TRAIN,), in_section=True)
    check_grads: int = _option(ZERO_ONE, "testing", "Check gradients and quit?",
        "compare every gradient with differences of the cost, then leave", 0, sticky=False)
    test_only: int = _option(ZERO_ONE, "testing", "Test and quit?",
        "test on all test batches, then leave", 0, sticky=False, modes=(TEST, FEATURES))
    multiview_test: int = _option(ZERO_ONE, "testing", "Cropped DP: test on multiple patches?",
        "average predictions over several crops and mirror images of each picture", 0, sticky=False, modes=(TRAIN, TEST))
    logreg_name: str = _option(text("LAYER"), "testing", "Logreg cost whose predictions are written",
        "cost.logreg whose predictions --test-out writes, --report counts [the first]; --test-out: any cost or layer",
        sticky=False, modes=(TRAIN, TEST))
    test_out: str = _option(text("DIR"), "testing", "Write test case predictions to given path",
        "folder to write predictions of test cases to", sticky=False, modes=(TRAIN, TEST))
    report: str = _option(text("FILE", alone="-"), "testing", "Report errors of each class",
        "with --test-only: print errors of each class and what was mistaken for what; write the counts to FILE, as CSV",
        sticky=False, modes=(TEST,))
    average: list[str] = _option(PATHS, "testing", "Checkpoints whose predictions are averaged",
        "with --test-only: test the mean of what these nets, and that of --load-file, predict", [],
        sticky=False, modes=(TEST,))
    average_weights: list[float] = _option(WEIGHTS, "testing", "Weights in the average",
        "weights of the nets in the mean, that of --load-file first [all the same]", [], sticky=False, modes=(TEST,))
    write_features: str = _option(text("LAYER"), "testing", "Write test data features from given layer",
        "write what this layer makes of the test batches; needs --test-only", sticky=False, modes=(FEATURES,))
    feature_path: str = _option(text("DIR"), "testing", "Write test data features to this path",
        "folder for --write-features", sticky=False, modes=(FEATURES,))
    save_file: str = _option(text("DIR"), "saving", "Save file override",
        "folder of checkpoints, to go on from those in it", sticky=False, modes=(TRAIN, TEST))
    save_path: str = _option(text("DIR"), "saving", "Save path",
        "folder in which a run makes a dated one for its checkpoints", "checkpoints", modes=(TRAIN, TEST))
    force_save: int = _option(ZERO_ONE, "saving", "Force save before quitting",
        "save a checkpoint after --test-only, too", 0, sticky=False, modes=(TEST,))
    keep_best: str = _option(COST, "saving", "Cost whose best checkpoint is kept",
        "keep the checkpoint with the lowest test error (or cost) of COST as 'best', or of a value such as 'logprob.cost'",
        modes=(TRAIN,), in_section=True)
    keep: int = _option(NATURAL, "saving", "Checkpoints to keep",
        "checkpoints to keep; older ones are removed", 2, modes=(TRAIN, TEST))
    checkpoint_format: str = _option(choice(AUTO, *reversed(GENERATIONS), NPZ), "saving", "Format of checkpoints",
        "whose programs open checkpoints: those of 2014, 2012 or 2011; npz: NumPy; auto: 2014, or what holds the net", AUTO,
        modes=(TRAIN, TEST))
    zip_save: int = _option(ZERO_ONE, "saving", "Compress checkpoints?",
        "zip checkpoints of 2011 and 2012, which take longer and less space", 0, modes=(TRAIN, TEST))
    backend: str = _option(choice("auto", "reference", "cpu", "cuda"), "machine", "Backend",
        "what computes; auto: a GPU where one runs", "auto", sticky=False)
    gpu: list[int] | None = _option(whole_numbers(0, "0,1"), "machine", "GPU override",
        "GPUs to use, in the order that gpu=0, gpu=1, ... in layer files count them; ranks take one each, in turn [0; "
        "ranks: all]", None,
        sticky=False, modes=(TRAIN, TEST, FEATURES))
    math: str = _option(choice("float32", "exact", "fast", "tf32"), "machine", "How products are computed",
        "float32: sums as exact as direct ones; exact: direct sums; fast: within 1e-4, on GPUs tf32, about three digits",
        "float32", modes=(TRAIN, TEST, FEATURES))
    threads: int = _option(whole(0, 1024), "machine", "Processor threads (0 = all)",
        "processor threads; 0: all, of several ranks each its part [0]", 0, sticky=False)
    verbose: int = _option(ZERO_ONE, "machine", "Print all lines on terminals, too?",
        "print on a terminal, too, what files and pipes get: the lines of 2012 and 2014", 0, sticky=False)
    live: int | None = _option(PORT, "machine", "Port of the page to watch (0 = any)",
        "show the run on a page, for this machine alone; its address is printed [port 8012, or the next that is free]", None,
        sticky=False, modes=(TRAIN,))
    config: str = _option(text("FILE"), "machine", "Options from a TOML file",
        "TOML file of options; the command line wins", sticky=False)
    # fmt: on
    given: frozenset[str] = frozenset()  # names of those on the command line and in --config
    chosen: frozenset[str] = frozenset()  # those, and what [run] or a checkpoint says

    @classmethod
    def of(
        cls, given: Mapping[str, Any], stored: Mapping[str, Any] | None = None, section: Mapping[str, Any] | None = None
    ) -> Options:
        """Return every option: as given, else as ``[run]`` says, else as a checkpoint's run had it, else its default."""
        values = {name: value for name, value in (stored or {}).items() if name in BY_NAME and BY_NAME[name].sticky}
        for later in (section or {}, given):
            if _CROPS & later.keys():  # whichever is given replaces the other
                values |= dict.fromkeys(_CROPS, 0)
            values |= later
        others = {name for name, value in values.items() if name in (section or {}) or value != BY_NAME[name].default}
        return cls(**values, given=frozenset(given), chosen=frozenset(given) | others)

    def with_section(self, section: Mapping[str, Any]) -> Options:
        """Return the options with those that ``[run]`` gives otherwise now."""
        crops = dict.fromkeys(_CROPS, 0) if _CROPS & section.keys() else {}
        return replace(self, **(crops | dict(section)))

    def as_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of them."""
        return {option.name: getattr(self, option.name) for option in OPTIONS}

    @property
    def mode(self) -> str:
        """What the run does, one of ``MODES``."""
        return next((mode for mode in (CHECK, FEATURES, TEST) if getattr(self, mode)), TRAIN)

    @property
    def trains(self) -> bool:
        """Whether the run trains, which is what it does unless an option says otherwise."""
        return self.mode == TRAIN

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
        if self.average_weights and not self.average:
            faults.append("--average-weights needs --average, the checkpoints that they are for")
        elif self.average_weights and len(self.average_weights) != 1 + len(self.average):
            faults.append(f"--average-weights: give {1 + len(self.average)} numbers, that of --load-file first")
        if self.average and not self.load_file:
            faults.append("--average needs --load-file, the first of the checkpoints")
        if self.given >= _CROPS and self.crop_border and self.inner_size:
            faults.append("--crop-border and --inner-size are two ways to say how pictures are cropped; give one of them")
        for name in ("train_range", "test_range"):
            counts = Counter(getattr(self, name) or [])
            if twice := [str(number) for number, count in counts.items() if count > 1]:
                faults.append(f"{BY_NAME[name].flag} names {', '.join(twice[:5])} more than once; name each batch once")
        if faults:
            raise OptionError("; ".join(faults))


OPTIONS: tuple[Option, ...] = tuple(f.metadata["option"](f.name) for f in fields(Options) if f.metadata)
BY_NAME = {option.name: option for option in OPTIONS}
# Options of the originals that chose among graphics cards or files; accepted, so that old command lines run.
IGNORED = ("--num-gpus", "--max-filesize", "--pca-noise")
