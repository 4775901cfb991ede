"""What is in a picture: the likeliest classes of each, as a checkpoint's net says.

convnet predict checkpoints cat.jpg dog.jpg             names, shares and bars
convnet predict checkpoints photos/ --top 3 --json      a line of JSON for each picture
convnet predict runA cat.jpg --average runB,runC        the mean of what three nets say

Pictures may have any size: they are scaled and cut as those were that the net was tested on. Of folders all is read that
is called as pictures are, below them too. What cannot be read is named at the end.
"""

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnet.api.network import Network, load
from convnet.backends import reads_math
from convnet.backends.host import cores
from convnet.cli.common import Parser, run_verb, say
from convnet.data.making.picture_folder import SUFFIXES, pictures_below
from convnet.data.provider import batch_bounds, first_synonyms
from convnet.errors import DataError, OptionError
from convnet.options import BY_NAME, NATURAL, choice, text
from convnet.texts import columns_of, counted, fitted, listed, printable
from convnet.training.averaging import check_same_classes

_NAMED = 20  # files that cannot be read
_EIGHTHS, _FULL = " ▏▎▍▌▋▊▉", "█"


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Say what is in pictures.", "checkpoints cat.jpg photos/ --top 3")
    parser.add_argument("run", type=text("RUN"), metavar="RUN", help="checkpoint, or folder of checkpoints")
    what = "picture, or folder of them with its sub-folders"
    parser.add_argument("pictures", type=text("PICTURE"), metavar="PICTURE", nargs="+", help=what)
    parser.add_value("--top", NATURAL, "how many classes to name", 5)
    parser.add_value("--average", BY_NAME["average"].kind, "other checkpoints: take the mean of what all of them say", [])
    parser.add_value("--average-weights", BY_NAME["average_weights"].kind, BY_NAME["average_weights"].help, [])
    parser.add_value("--views", choice("1", "10"), "10: mean over corners, middle and mirrors, as in the paper", "1")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each picture")
    parser.add_value("--data-path", text("DIR"), "batches whose mean and names count, for checkpoints that hold none")
    parser.add_run_options("mini", "backend", "threads", "math")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet predict") -> int:
    """Say what is in pictures; return the exit status, 1 if none can be read."""
    return run_verb(_predict, parser(prog), arguments)


class Found(NamedTuple):
    """A picture file; ``within`` are the names of its folders from the one that was given on."""

    path: Path
    within: tuple[str, ...] = ()


class Answer(NamedTuple):
    """The likeliest classes of a picture as (number, name, share), and the class that its folder is called after, if any.

    Of a regression ``values`` are its outputs. ``fault`` says why a file cannot be read, where there is nothing else.
    """

    path: Path
    classes: Sequence[tuple[int, str, float]] = ()
    folder_class: str | None = None
    fault: str = ""
    values: Sequence[float] = ()

    def json(self) -> str:
        """Return the line of ``--json``."""
        if self.fault:
            return json.dumps({"file": str(self.path), "error": self.fault})
        if self.values:
            return json.dumps({"file": str(self.path), "values": self.values})
        classes = [{"name": name, "number": number, "probability": share} for number, name, share in self.classes]
        return json.dumps({"file": str(self.path), "classes": classes, "folder_class": self.folder_class})


def _predict(args: argparse.Namespace) -> int:
    if Path(args.run).suffix.lower() in SUFFIXES and not Path(args.run).is_dir():
        raise DataError(f"{args.run} is no checkpoint; RUN comes first, then the pictures")
    files = [file for picture in args.pictures for file in _find(picture)]
    mini = min(args.mini, len(files))
    runs = [args.run, *args.average]
    if args.average_weights and (len(args.average_weights) != len(runs) or not args.average):
        raise OptionError(f"--average-weights: give one for RUN and each of --average, {len(runs)} here")
    machine = {"backend": args.backend, "threads": args.threads, "math": args.math}
    nets = [load(run, mean=args.data_path, minibatch=mini, **machine) for run in runs]
    if not reads_math(name := nets[0].net.be.name, args.math):
        say(f"convnet: no effect on the {name} backend: --math")
    for run, net in zip(runs, nets, strict=True):
        try:
            _check_classes(net)
        except DataError as error:
            raise DataError(f"--average {run}: {error}" if net is not nets[0] else str(error)) from None
        if net.is_regression != nets[0].is_regression:
            raise OptionError(f"--average: of {args.run} and {run} one tells values, the other classes")
        check_same_classes(nets[0].classes, net.classes, args.run, run)
    bars = Bars(sys.stdout.encoding, shutil.get_terminal_size().columns)
    faults, right, known = [], 0, 0
    for answer in _answers(nets, files, args):
        if answer.fault:
            faults.append(answer.fault)
        else:
            known += answer.folder_class is not None
            right += bool(answer.classes) and answer.folder_class == answer.classes[0][1]
        if args.json or not answer.fault:
            print(answer.json() if args.json else bars.text(answer), flush=True)
    if len(faults) == len(files):
        raise DataError(faults[0] + (f"; nor can {len(files) - 1} more be read" if len(files) > 1 else ""))
    if known and not args.json:
        print(f"{right} of {known} right by the names of their folders")
    if faults:
        more = [f"and {len(faults) - _NAMED:,} more"] if len(faults) > _NAMED else []
        say("\n    ".join([f"convnet: {counted(len(faults), 'file')} left out:", *faults[:_NAMED], *more]))
    return 0


def _find(word: str) -> list[Found]:
    """Return the picture at a path, or those below a folder; raises ``DataError`` if there are none."""
    path = Path(word)
    if not path.is_dir():
        if not os.path.lexists(path):
            raise DataError(f"no picture or folder {word}" + "; download it first" * ("://" in word))
        return [Found(path)]
    inside = path.resolve().name
    below = [(file, map(printable, (inside, *file.relative_to(path).parts[:-1]))) for file in pictures_below(path)]
    found = [Found(file, tuple(names)) for file, names in below]
    if not found:
        raise DataError(f"no pictures in the folder {path}")
    return found


def _check_classes(net: Network) -> None:
    """Raise ``DataError`` for a net that does not take pictures, or gives no probabilities of the classes that it tells."""
    name, graph, inputs = net.prediction_layer, net.graph, net.preprocessor
    layer = graph.layers[name]
    if not inputs.size:
        raise DataError(f"the net was trained on {counted(inputs.features, 'number')} per case, not on pictures")
    if layer.type != "softmax" and not net.is_regression:
        what = f"'{name}', of type {layer.type}, which cost '{graph.costs[0].name}' reads" if graph.costs else f"'{name}'"
        raise DataError(f"the net has no softmax that a cost reads, so no shares of classes; it ends in {what}")
    if inputs.needs_mean and inputs.mean is None:
        raise DataError("the checkpoint holds no mean picture, and its data are not here; name them with --data-path")
    others = {cost.sources[-1].name for cost in graph.costs if cost.sources[-1].type == "softmax"} - {name}
    if others:
        say(f"convnet: shown is '{name}'; the net also has {listed(sorted(others))}")


def _answers(nets: Sequence[Network], files: Sequence[Found], args: argparse.Namespace) -> Iterator[Answer]:
    """Yield what the nets say of every file, in the mean, minibatch by minibatch."""
    names, is_regression = nets[0].classes, nets[0].is_regression

    def decode(file: Found) -> list[np.ndarray] | str:
        try:
            return [net.preprocessor.picture(file.path) for net in nets]
        except DataError as error:
            return str(error)

    def answer(file: Found, shares: np.ndarray) -> Answer:
        if not np.isfinite(shares).all():
            return Answer(file.path, fault=f"{file.path}: the net gives no finite numbers for it")
        if is_regression:
            return Answer(file.path, values=shares.tolist())
        likeliest = np.argsort(-shares, kind="stable")[: args.top]
        classes = [(int(number), names[number], float(shares[number])) for number in likeliest]
        return Answer(file.path, classes, next((name for name in reversed(file.within) if name in names), None))

    with ThreadPoolExecutor(args.threads or cores()) as workers:
        for start, stop in batch_bounds(len(files), nets[0].net.minibatch):
            decoded = list(workers.map(decode, files[start:stop]))
            pixels = [item for item in decoded if not isinstance(item, str)]
            rows = iter(_mean(nets, pixels, args) if pixels else ())
            for file, item in zip(files[start:stop], decoded, strict=True):
                yield Answer(file.path, fault=item) if isinstance(item, str) else answer(file, next(rows))


def _mean(nets: Sequence[Network], pixels: Sequence[Sequence[np.ndarray]], args: argparse.Namespace) -> np.ndarray:
    """Return the mean (N, K) of what the nets say of pictures, each of which was read for every net."""
    views = args.views == "10"
    said = [net.predict(np.stack(own), ten_views=views) for net, own in zip(nets, zip(*pixels, strict=True), strict=True)]
    return said[0] if len(said) == 1 else np.average(said, axis=0, weights=args.average_weights or None)


class Bars:
    """Answers as lines of at most ``width`` columns: a name, its share, and a bar as long as ``encoding`` can draw it."""

    def __init__(self, encoding: str | None, width: int) -> None:
        self.width = max(width - 1, 20)  # some terminals wrap after the last column
        try:
            (_EIGHTHS + _FULL).encode(encoding or "ascii")
            self.has_blocks = True
        except (UnicodeEncodeError, LookupError):
            self.has_blocks = False

    def text(self, answer: Answer) -> str:
        """Return the lines of a picture that could be read."""
        if answer.values:
            numbers = textwrap.wrap(", ".join(f"{value:.4g}" for value in answer.values), self.width - 2)
            return "\n  ".join([printable(str(answer.path)), *numbers])
        names = list(map(printable, first_synonyms([name for _, name, _ in answer.classes])))
        room = min(max(map(columns_of, names)), max(self.width // 2 - 8, 6))
        lines = [printable(str(answer.path))]
        for name, (_, _, share) in zip(names, answer.classes, strict=True):
            cell = fitted(name, room)
            cell += " " * (room - columns_of(cell))
            lines.append(f"  {cell} {share:>6.1%}  {self._bar(share, self.width - room - 11)}".rstrip())
        return "\n".join(lines)

    def _bar(self, share: float, length: int) -> str:
        eighths = round(share * length * 8)
        return _FULL * (eighths // 8) + _EIGHTHS[eighths % 8] if self.has_blocks else "#" * round(share * length)
