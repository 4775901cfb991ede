"""The first hour of a newcomer: every command of the README, as it is typed, on a terminal, and what is then to be seen.

python tests/first_hour.py                 all of it; about ten minutes on two cores
python tests/first_hour.py --stop WORD     commands that hold WORD, such as layers-imagenet, get Ctrl-C in their progress
python tests/first_hour.py --folder DIR    in this empty folder, which stays

``convnet`` is that of the Python which runs this. Of the sources only this file, the two that it imports, the README and
``layers-cfg/`` are needed, so that an installed wheel can be tried. Photographs are those that packages carry.
"""

import argparse
import json
import os
import pickle
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from photographs import make_photographs
from PIL import Image
from terminal import Terminal, rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRESS = "images/s"  # what a run shows once it trains
COLUMNS = 80


class Newcomer:
    """Somebody in an empty ``folder``, with photographs, who has no patience for commands that hold one of ``stops``."""

    def __init__(self, folder: Path, stops: Sequence[str]) -> None:
        self.folder, self.stops = folder, stops
        self.seen = ""  # of the last command
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {"PATH": path}

    def type(self, line: str, stop_at: str = "", status: int = 0) -> None:
        """Type a command; Ctrl-C follows when ``stop_at`` is to be seen. Fail unless it ends with ``status``."""
        print(f"$ {line}" + f"    ^C at '{stop_at}'" * bool(stop_at), flush=True)

        def watch(written: str, terminal: Terminal) -> None:
            nonlocal stop_at
            if stop_at and stop_at in written:
                terminal.interrupt()
                stop_at = ""

        found, text = Terminal(shlex.split(line, comments=True), self.folder, COLUMNS, self.environment).finish(watch)
        self.seen = "\n".join(rows(text, COLUMNS))
        if found != status:
            raise SystemExit(f"{self.seen}\n\nfirst_hour: exit status {found}, not {status}: {line}")

    def type_to_the_end(self, line: str) -> bool:
        """Type a command that takes long; return whether it was let come to its end."""
        stops = any(word in line for word in self.stops)
        self.type(line, PROGRESS if stops else "")
        return not stops

    def see(self, *patterns: str) -> None:
        """Fail unless each pattern is on the terminal, whose rows may end within a word."""
        for pattern in patterns:
            if not re.search(pattern, f"{self.seen}\n" + self.seen.replace("\n", ""), re.MULTILINE):
                raise SystemExit(f"{self.seen}\n\nfirst_hour: '{pattern}' is not to be seen there")

    def picture(self, name: str, width: int) -> None:
        """Fail unless there is a picture, at least so wide, that is not of one colour."""
        path = next(iter(sorted(self.folder.glob(name))), self.folder / name)
        with Image.open(path) as image:
            if image.width < width or np.ptp(np.asarray(image.convert("L"))) < 50:
                raise SystemExit(f"first_hour: {path} shows nothing: {image.size}")

    def newest_run(self) -> Path:
        return max((self.folder / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)

    def logged(self, kind: str) -> list[dict]:
        """Return the lines of a kind in the log of the newest run."""
        lines = (self.newest_run() / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["line"] == kind]

    def final_error(self) -> float:
        (final,) = self.logged("final")
        return final["logprob.error"]


def commands() -> list[str]:
    """Return the lines of the README that are typed."""
    return re.findall(r"^ {4}((?:convnet|pip|cp) .*)$", README, re.MULTILINE)


def prepare(folder: Path) -> None:
    """Make what a newcomer has: photographs in folders, CIFAR-10 and ImageNet, of few and small pictures."""
    make_photographs(folder / "photos")
    shutil.copy(next((folder / "photos" / "cat").iterdir()), folder / "cat.jpg")
    shutil.copytree(ROOT / "layers-cfg", folder / "layers-cfg")
    random, cifar = np.random.default_rng(0), folder / "cifar-10-batches-py"
    cifar.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        part = {b"data": random.integers(0, 256, (256, 3072), np.uint8), b"labels": [case % 10 for case in range(256)]}
        (cifar / name).write_bytes(pickle.dumps(part, 2))
    (cifar / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"%d" % i for i in range(10)], b"num_vis": 3072}, 2))
    for number in range(1000):
        place = folder / "ilsvrc2012-train" / f"n{number:08}"
        place.mkdir(parents=True)
        for case in range(2):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{case}.jpg")


# -- what is to be seen after each command; whatever the README names has to be here


def demonstration(person: Newcomer, line: str) -> None:
    if not person.type_to_the_end(line):
        return
    person.see("60,965,224", "This will take about .* on this machine", "predictions.png", "filters", "Final test")
    person.picture("checkpoints/*/predictions.png", 600)
    batches = person.logged("batch")
    assert batches[-1]["logprob.cost"] < batches[0]["logprob.cost"] < 7.0, batches


def goes_on(person: Newcomer, line: str) -> None:
    person.type(line, PROGRESS)
    person.see("Stopped by SIGINT", "checkpoint")


def table_of_numbers(person: Newcomer, line: str) -> None:
    person.type(line)
    person.see("batch", "top-")


def filters(person: Newcomer, line: str) -> None:
    person.type(line)
    person.picture("filters.png", 600)


def report(person: Newcomer, line: str) -> None:
    person.type(line)
    assert (person.folder / "run.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def own_pictures(person: Newcomer, line: str) -> None:
    person.type(line)
    person.see("12 classes", "layers-photos-64.cfg")


def photographs(person: Newcomer, line: str) -> None:
    if person.type_to_the_end(line):
        assert person.final_error() < 0.10, person.seen


def prediction(person: Newcomer, line: str) -> None:
    person.type(line)
    assert len(re.findall(r"\d%", person.seen)) >= 5, person.seen
    if not any("photos" in word for word in person.stops):
        assert re.search(r"\w+", person.seen.partition("cat.jpg")[2]).group() == "cat", person.seen


def digits(person: Newcomer, line: str) -> None:
    person.type(line)
    assert person.final_error() <= 0.02, person.seen


def begins(person: Newcomer, line: str) -> None:
    person.type(line, PROGRESS)
    person.see("Stopped by SIGINT")


def works(person: Newcomer, line: str) -> None:
    person.type(line)


def edited(person: Newcomer, line: str) -> None:
    """The first run of an edited file finds the slip that the README shows; mended, it trains."""
    path = person.folder / "layers-mine.cfg"
    text = path.read_text(encoding="utf-8")
    head, name, rest = text.partition("[conv1]")
    path.write_text(head + name + rest.replace("filters=32", "filters=64", 1), encoding="utf-8")
    person.type(line, status=1)
    shown = re.search(r"(?:^ {4}.*\n)+", README[README.index("    layers-mine.cfg:") :], re.MULTILINE).group()
    assert "".join(shown.split()) in "".join(person.seen.split()), (shown, person.seen)
    path.write_text(path.read_text(encoding="utf-8").replace("channels=32", "channels=64", 2), encoding="utf-8")
    person.type(line, PROGRESS)


def difference(person: Newcomer, line: str) -> None:
    person.type(line, status=1)
    person.see(r"filters: 32 -> 64", r"parameters: 2,432 -> 4,864")


def explained(person: Newcomer, line: str) -> None:
    person.type(line)
    person.see(*(("weight decay", "stride") if "--glossary" in line else ("conv1 .*64x32x32", "total")))
    assert max(map(len, person.seen.splitlines())) <= COLUMNS, person.seen


def gradients(person: Newcomer, line: str) -> None:
    person.type(line)
    person.see(r"ALL \d+ TESTS PASSED")


CHECKS: dict[str, Callable[[Newcomer, str], None] | None] = {
    r"pip install": None,  # of which this environment is the result
    r"convnet run --layer-def layers-imagenet.cfg$": demonstration,
    r"convnet run --load-file checkpoints --epochs": goes_on,
    r"convnet log": table_of_numbers,
    r"convnet shownet .*--show-filters": filters,
    r"convnet report": report,
    r"convnet makebatches photos/": own_pictures,
    r"convnet run --layer-def layers-photos-64.cfg": photographs,
    r"convnet predict": prediction,
    r"convnet makebatches (digits|ilsvrc)": works,
    r"convnet run --layer-def layers-digits.cfg": digits,
    r"convnet run --layer-def (layers-cifar10-26pct|layers-imagenet).cfg --data-path": begins,
    r"cp ": works,
    r"convnet run --layer-def layers-mine.cfg$": edited,
    r"convnet diff": difference,
    r"convnet explain": explained,
    r"convnet run .*--check-grads": gradients,
}


def checks_of(line: str) -> list[str]:
    """Return which checks a command has; the tests of the pages want one for each."""
    return [pattern for pattern in CHECKS if re.match(pattern, line.partition("#")[0].strip())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stop", action="append", default=[], metavar="WORD")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        person = Newcomer(folder, args.stop)
        for line in commands():
            (pattern,) = checks_of(line)
            check = CHECKS[pattern]
            if check:
                check(person, line)
    print("first_hour: all that the README says can be done")


if __name__ == "__main__":
    main()
