"""What the verbs that read a definition share: their options, opening the files, and telling of mistakes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from convnet.cli.messages import tell, tell_problems
from convnet.errors import ConvnetError, OptionError
from convnet.generation import GENERATIONS
from convnet.graph.infer import InferredData, infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.options import integers, natural, zero_one


class Parser(argparse.ArgumentParser):
    """Raises ``OptionError`` instead of leaving, so that all mistakes are told in one way."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        add = self.add_argument
        add("--data-dims", type=dims, metavar="N,...", help="values per case of each data matrix, such as 150528,1")
        add("--num-classes", type=natural, metavar="N", help="classes of the data")
        add("--mini", type=natural, default=128, metavar="N", help="minibatch size [128]")
        add("--dialect", choices=("auto", *GENERATIONS), default="auto", help="generation of the files [auto]")
        add(
            "--strict", type=zero_one, nargs="?", const=1, default=0, metavar="0/1", help="refuse what is only warned of [0]"
        )

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def dims(text: str) -> list[int]:
    """Numbers of features separated by commas, each from 1."""
    numbers = integers(text)
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers from 1, such as 150528,1")
    return numbers


def open_definition(args: argparse.Namespace, definition: str, params: str | None) -> InferredData:
    """The checked graph of the files, for the data of the options or those it seems to want; warnings are printed."""
    assumed = infer_data(
        parse(LayerFiles.open(definition, params), args.dialect, bool(args.strict)), args.data_dims, args.num_classes
    )
    tell_problems(assumed.graph.warnings)
    return assumed


def write(path: str, text: str) -> None:
    """Write a file that a person asked for."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConvnetError(f"{path} cannot be written: {error.strerror}") from None


def told(
    act: Callable[[Sequence[str] | None, str], int], arguments: Sequence[str] | None, prog: str, failure: int = 0
) -> int:
    """The exit status of ``act``, every mistake told on standard error. ``failure`` replaces the errors' own status."""
    try:
        return act(arguments, prog)
    except ConvnetError as error:
        status = tell(error)
        return failure or status
    except BrokenPipeError:
        return failure or 1
