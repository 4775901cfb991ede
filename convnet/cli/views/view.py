"""What a view of ``convnet shownet`` is: its flag, the flags that go with it, and what draws it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from convnet.checkpoint import Checkpoint
from convnet.cli.common import Parser, add_option, print_problems, say
from convnet.drawing.samples import TestSet, session_of
from convnet.drawing.shapes import Scene
from convnet.options import BY_NAME, Kind, flag_of, whole
from convnet.options import SEED as SEEDS
from convnet.training.session import Session

FIRST = ()  # stands for a name that is not given
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

    ``draw`` returns it, from the checkpoint, what is shown (nothing: the first there is), and what else was given. ``flags``
    go with it; where it shows test data, so do the options that say where these are. An image has ``dots`` for each pixel of
    a drawing.
    """

    name: str
    shows: Kind
    help: str
    draw: Callable[[Checkpoint, Any, argparse.Namespace], Scene | Image.Image]
    flags: Sequence[Flag] = ()
    takes_data: bool = False
    dots: int = 1

    @property
    def flag(self) -> str:
        """What is typed, such as ``--show-filters``."""
        return flag_of(self.name)

    @property
    def file(self) -> str:
        """The picture's name where none is given, such as ``filters.png``."""
        return self.name.removeprefix("show_").replace("_", "-") + ".png"


# Flags of several views.
SEED = Flag("seed", SEEDS, "draws the cases and maps shown [0]")
ZOOM = Flag("zoom", whole(1, 1000), "picture pixels per weight or value [what makes it 1000 to 1600 pixels wide]", None)


def add_data_options(parser: Parser) -> None:
    """Add the options that say where test data are, where not those of the checkpoint."""
    data = parser.add_argument_group("test data, where not those of the checkpoint")
    for option in map(BY_NAME.__getitem__, DATA_OPTIONS):
        add_option(data, option, help=option.help.split(" [")[0])  # the default is the checkpoint's


def data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the given options that say where test data are."""
    return {name: getattr(args, name) for name in DATA_OPTIONS if name in args}


def opened(checkpoint: Checkpoint, args: argparse.Namespace, **more: Any) -> Session:
    """Open a checkpoint beside its test data, or those of the options; say what is to be known of them."""
    session = session_of(checkpoint, data_options(args) | more)
    print_problems(session.graph.warnings)
    for remark in session.remarks:
        say(remark)
    return session


def test_set(checkpoint: Checkpoint, args: argparse.Namespace) -> TestSet:
    """Return the net of a checkpoint beside its test data."""
    return TestSet.of(opened(checkpoint, args))
