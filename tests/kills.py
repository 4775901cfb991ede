"""Kills programs at random moments: what is on the disk is always whole, and the end is that of one that was never killed.

python tests/kills.py --count 100 --seed 1
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from support import ROOT, SMALL_PARAMS, write_cifar, write_net

from convnet import checkpoint, pickles
from convnet.data.making.manifest import SUMS, read_sums, sum_of
from convnet.training.records import read_log

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BATCHES = 40  # of a run
SECOND = 0.2  # share of kills by two signals
EDITED = """
import os, runpy
from pathlib import Path
from convnet.training.run import Run

def edited(run, original=Run.before_batch):
    "Edit the parameters after 10, 20 and 30 batches, long ago by the file's time, so that nothing is waited for."
    path, momentum = Path("layer-params-small.cfg"), 0.9 - min(run.position.batches_done, 30) // 10 / 10
    if f"momW={momentum:g}" not in path.read_text():
        beside = path.with_name("edited.cfg")
        beside.write_text(PARAMS.replace("momW=0.9", f"momW={momentum:g}"))
        os.utime(beside, (1, 1))
        beside.replace(path)
    return original(run)

Run.before_batch = edited
runpy.run_module("convnet.run", run_name="__main__")
"""


class Victim:
    """A program that is killed again and again until it is through; ``check`` says what must hold of its files then."""

    def __init__(self, place: Path, moments: random.Random) -> None:
        self.place, self.moments = place, moments
        self.kills: Counter[str] = Counter()
        self.finished = 0
        self.starts = itertools.count()
        self.longest = 0.0  # seconds until a kill: some more than one takes that is left alone

    def command(self, folder: Path) -> list[str]:
        raise NotImplementedError

    def check(self, folder: Path) -> None:
        """Raise ``AssertionError`` unless every file in ``folder`` is whole."""
        raise NotImplementedError

    def result(self, folder: Path) -> object:
        """What a finished program leaves, for comparison."""
        raise NotImplementedError

    def run(self, count: int) -> None:
        """Kill it ``count`` times, at random moments; compare whenever it gets through, and at the end."""
        expected = self.place / "expected"
        begun = time.monotonic()
        assert self._start(expected).wait(60) == 0
        self.longest = 1.1 * (time.monotonic() - begun)
        folder = self.place / "killed-0"
        while self.kills.total() < count:
            process = self._start(folder)
            if self._kill(process):
                self.check(folder)
            else:
                self._compare(folder, expected)
                folder = self.place / f"killed-{self.finished}"
        assert self._start(folder).wait(60) == 0
        self._compare(folder, expected)

    def _start(self, folder: Path) -> subprocess.Popen:
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        # A file for each start: what a process of one that was killed by SIGKILL still says is not the next one's.
        self.output = self.place / f"output-{next(self.starts)}"
        with self.output.open("wb") as output:
            return subprocess.Popen(
                self.command(folder), stdout=output, stderr=output, env=environment, cwd=self.place, preexec_fn=_take_signals
            )

    def _kill(self, process: subprocess.Popen) -> bool:
        """Kill a process; ``False`` if it has ended by itself before."""
        number = self.moments.choice(SIGNALS)
        try:
            process.wait(self.moments.uniform(0, self.longest))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            if self.moments.random() < SECOND:
                time.sleep(self.moments.uniform(0, 0.05))
                process.send_signal(number)
        status, output = process.wait(30), self.output.read_text()
        # Until the command has begun, Python answers by itself.
        is_starting = number == signal.SIGINT and "Traceback" in output and "_run_verb" not in output
        assert is_starting or (status in (0, 128 + number, -number) and "Traceback" not in output), (status, output)
        if status == 0 and "Stopped by" not in output:
            return False
        self.kills[number.name] += 1
        return True

    def _compare(self, folder: Path, expected: Path) -> None:
        self.check(folder)
        found, wanted = self.result(folder), self.result(expected)
        assert found == wanted, f"{folder} differs from {expected}"
        self.finished += 1


def _take_signals() -> None:
    """Take signals even where a shell has a background process ignore some."""
    for number in set(SIGNALS) - {signal.SIGKILL}:
        signal.signal(number, signal.SIG_DFL)


class Training(Victim):
    """A run that saves after every batch, on one to three threads, as it happens, and whose parameters are edited."""

    def command(self, folder: Path) -> list[str]:
        if not folder.exists():
            write_net(self.place)
        threads = str(self.moments.randint(1, 3))
        options = ["--layer-def", "layers-small.cfg", "--data-path", "data", "--mini", "16", "--threads", threads]
        options += ["--epochs", str(BATCHES // 2), "--test-freq", "1", "--save-file", str(folder), "--backend", "cpu"]
        options += ["--keep-best", "logprob"]
        return [sys.executable, "-c", EDITED.replace("PARAMS", repr(SMALL_PARAMS)), *options]

    def check(self, folder: Path) -> None:
        names = {p.name for p in folder.glob("[!.]*")}
        for name in names - {"log.jsonl"}:
            checkpoint.load(folder / name)
        assert (
            len(names - {"best", "log.jsonl"}) <= 3
        )  # two are kept; a third where it was killed before it removed the oldest
        if "log.jsonl" in names:
            assert (folder / "log.jsonl").read_bytes().endswith(b"\n") and read_log(folder / "log.jsonl")

    def result(self, folder: Path) -> object:
        path, loaded, remarks = checkpoint.find_latest(folder, checkpoint.load)
        assert not remarks
        state = loaded["model_state"]
        arrays = [
            (name, key, [np.asarray(array).tobytes() for array in (value if isinstance(value, list) else [value])])
            for name, layer in loaded.layers.items()
            for key, value in layer.items()
            if key in ("weights", "weightsInc", "biases", "biasesInc")
        ]
        best = checkpoint.load(folder / "best").position()
        logged = [
            [record.get(key) for key in ("line", "batches", "logprob.cost", "logprob.error", "text")]
            for record in read_log(folder / "log.jsonl")
            if record["line"] in ("batch", "test", "change")
        ]
        edits = [line[1] for line in logged if line[0] == "change"]
        assert edits == [change["batches"] for change in loaded.position().changes] == [10, 20, 30]
        return path.name, state["train_outputs"], state["test_outputs"], arrays, vars(best), logged


class Packing(Victim):
    """``makebatches`` of a folder of pictures."""

    def __init__(self, place: Path, moments: random.Random) -> None:
        super().__init__(place, moments)
        shades = np.random.RandomState(0)
        for n in range(130):
            path = place / "pictures" / f"class {n % 3}" / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shades.randint(0, 256, (90, 120, 3)).astype(np.uint8)).save(path)

    def command(self, folder: Path) -> list[str]:
        workers = str(self.moments.randint(1, 2))
        options = ["--size", "64", "--batch-size", "4", "--workers", workers, "--out", str(folder)]
        return [sys.executable, "-m", "convnet", "makebatches", "pictures", *options]

    def check(self, folder: Path) -> None:
        for path in folder.glob("[!.]*"):
            if path.suffix in ("", ".meta") and path.name != SUMS:
                pickles.load(path)
        if (folder / "batches.meta").exists():
            assert all(sum_of(folder / name) == digest for name, digest in read_sums(folder).items())

    def result(self, folder: Path) -> object:
        return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


VICTIMS = {"training": Training, "packing": Packing}


def kill(count: int, seed: int, names: list[str]) -> str:
    """Kill each program ``count`` times; return what was done, in a line for each. Raises ``AssertionError``."""
    lines = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            write_net(place)
            write_cifar(place / "data")
            victim = VICTIMS[name](place, random.Random(seed))
            victim.run(count)
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(victim.kills.items()))
            lines.append(f"{name}: {victim.kills.total()} kills ({kinds}), {victim.finished} times through to the same bits")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="kills of each program")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("programs", nargs="*", default=list(VICTIMS), help="training, packing")
    args = parser.parse_args()
    print(kill(args.count, args.seed, args.programs))
