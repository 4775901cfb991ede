"""What a view of ``convnet shownet`` is: its flag, the flags that go with it, and what draws it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint
from convnet.cli.common import print_problems, say
from convnet.drawing.samples import TestSet
from convnet.options import SEED as SEEDS
from convnet.options import ZERO_ONE, Kind, flag_of, whole
from convnet.options.kinds import whole_numbers

FIRST = True  # stands for a name that is not given
DATA_OPTIONS = ("data_path", "data_provider", "test_range", "crop_border", "inner_size", "backend", "threads")


@dataclass(frozen=True)
class Flag:
    """An option of views: ``default`` is what holds without it."""

    name: str
    kind: Kind
    help: str
    default: Any = 0


@dataclass(frozen=True)
class View:
    """A picture of a checkpoint, asked for by ``name``, with or without the name of what is shown.

    ``draw`` writes it, from the checkpoint, what was given, and the path. ``flags`` go with it; where it shows test data,
    so do the options that say where these are.
    """

    name: str
    shows: Kind
    help: str
    draw: Callable[[Checkpoint, argparse.Namespace, Path], None]
    flags: Sequence[Flag] = ()
    takes_data: bool = False

    @property
    def flag(self) -> str:
        """What is typed, such as ``--show-filters``."""
        return flag_of(self.name)

    @property
    def file(self) -> str:
        """The picture's name where none is given, such as ``filters.png``."""
        return self.name.removeprefix("show_").replace("_", "-") + ".png"


# Flags of several views.
ONLY_ERRORS = Flag("only_errors", ZERO_ONE, "of test cases, show only those that the net gets wrong")
MAPS = Flag("maps", whole_numbers(0, "0,5,9"), "which maps, up to sixteen [such as --seed draws]", None)
SEED = Flag("seed", SEEDS, "draws the cases and maps shown [0]")
ZOOM = Flag("zoom", whole(1, 1000), "picture pixels per weight or value [what makes it 1000 to 1600 pixels wide]", None)


def chosen(args: argparse.Namespace, name: str) -> str:
    """Return what view ``name`` is to show; ``""``: the first there is."""
    value = getattr(args, name)
    return "" if value is FIRST else value


def data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the given options that say where test data are."""
    return {name: getattr(args, name) for name in DATA_OPTIONS if name in args}


def test_set(checkpoint: Checkpoint, args: argparse.Namespace) -> TestSet:
    """Return the net of a checkpoint beside its test data, or those of the options; say what is to be known of them."""
    found = TestSet.open(checkpoint, data_options(args))
    print_problems(found.net.graph.warnings)
    for remark in found.remarks:
        say(remark)
    return found
