"""Every verb that writes, on disks that fail: one line, status 1, and each file is the old one or the new one, whole.

Faults are injected where Python asks the system: the n-th call that makes, writes, syncs or renames something fails.
"""

import builtins
import contextlib
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import ROOT, write_cifar, write_net

from convnet.cli import main

ERRORS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE, errno.EDQUOT)


class Faults:
    """Counts the calls that change something below ``place``, and lets call number ``at`` and those after it fail."""

    def __init__(self, place):
        self.place, self.calls, self.at, self.number = str(place), 0, None, 0

    def meet(self, path):
        if isinstance(path, str | os.PathLike) and not os.fspath(path).startswith(self.place):
            return
        self.calls += 1
        if self.at is not None and self.calls >= self.at:
            raise OSError(self.number, os.strerror(self.number), path if isinstance(path, str | os.PathLike) else None)

    @contextlib.contextmanager
    def injected(self, monkeypatch, at=None, number=0):
        self.calls, self.at, self.number = 0, at, number
        opened = io.open

        def faulty_open(path, mode="r", *args, **kwargs):
            if not set(mode) & set("wxa+"):
                return opened(path, mode, *args, **kwargs)
            self.meet(path)
            file = opened(path, mode, *args, **kwargs)
            if "b" in mode and os.fspath(path).startswith(self.place):
                writes = file.write
                return _Faulty(file, lambda data: (self.meet(None), writes(data))[1])
            return file

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", faulty_open)
            for name in ("mkdir", "replace", "rename", "link", "unlink", "fsync", "ftruncate", "open"):
                patch.setattr(os, name, self._faulty(getattr(os, name), name))
            yield

    def _faulty(self, call, name):
        def faulty(first, *args, **kwargs):
            if name != "open" or (args[:1] and args[0] & (os.O_CREAT | os.O_RDWR)):
                self.meet(None if isinstance(first, int) else first)
            return call(first, *args, **kwargs)

        return faulty


class _Faulty:
    """A file whose ``write`` may fail, or whatever reads it."""

    def __init__(self, file, write, meet=None):
        self.file, self.write, self.meet = file, write, meet

    def __getattr__(self, name):
        if self.meet and name.startswith("read"):
            self.meet(None)
        return getattr(self.file, name)

    def __iter__(self):
        return iter(self.file)

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A net, data, pictures, and a checkpoint of a short run."""
    folder = tmp_path_factory.mktemp("faults")
    write_net(folder)
    write_cifar(folder / "data", cases=20)
    for n in range(8):
        path = folder / "pictures" / f"class {n % 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(n).randint(0, 256, (20, 30, 3)).astype(np.uint8)).save(path)
    options = ["--layer-def", folder / "layers-small.cfg", "--data-path", folder / "data", "--mini", "16"]
    assert main(["run", *map(str, options), "--save-file", str(folder / "saved"), "--max-batches", "1"]) == 0
    return folder


LOAD = ["--load-file", "{place}/saved"]
RUN = ["run", "--layer-def", "{place}/layers-small.cfg", "--data-path", "{place}/data", "--mini", "16", "--max-batches"]
WRITERS = {
    "run": [*RUN, "3", "--test-freq", "1", "--keep", "1", "--save-file", "{out}/run"],
    "best": [*RUN, "3", "--test-freq", "1", "--keep-best", "logprob", "--save-file", "{out}/best"],
    "dated": [*RUN, "1", "--save-path", "{out}/dated"],
    "pictures": ["makebatches", "{place}/pictures", "--out", "{out}/batches", "--size", "16", "--batch-size", "3"],
    "digits": ["makebatches", "digits", "--out", "{out}/digits"],
    "predictions": ["run", *LOAD, "--test-only", "--test-out", "{out}/predictions"],
    "features": ["run", *LOAD, "--test-only", "--write-features", "fc", "--feature-path", "{out}/features"],
    "filters": ["shownet", *LOAD, "--show-filters", "conv1", "--out", "{out}/filters.png"],
    "cost": ["shownet", *LOAD, "--show-cost", "logprob", "--out", "{out}/cost.png"],
    "maps": ["shownet", *LOAD, "--show-maps", "conv1", "--out", "{out}/maps.png"],
    "draw": ["draw", "{place}/layers-small.cfg", "--out", "{out}/net.svg"],
    "convert": ["convert", "{place}/layers-small.cfg", "--to", "toml", "--out", "{out}/net.toml"],
}


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fail_at(faults, monkeypatch, capsys, command, out, at, number):
    """Run a verb on a disk that fails; its files are the old ones or new ones, and what it says is lines of its own."""
    with faults.injected(monkeypatch, at, number):
        status = main(command)
    said = capsys.readouterr().err
    assert "Traceback" not in said and all(line.startswith("convnet: ") for line in said.splitlines()), said
    errors = [line for line in said.splitlines() if not line.startswith("convnet: warning: ")]
    assert len(errors) == status <= 1 and all(os.strerror(number) in line for line in said.splitlines()), (status, said)


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, pytest.param(None, marks=pytest.mark.slow)])
def test_a_disk_that_fails(verb, share, place, tmp_path, monkeypatch, capsys):
    """From its first call on, its middle one, its last; in the slow tier from two dozen others."""
    command = [word.format(place=place, out=tmp_path) for word in WRITERS[verb]]
    faults = Faults(tmp_path)
    with faults.injected(monkeypatch):
        assert main(command) == 0
    calls, whole = faults.calls, files_in(tmp_path)
    assert calls and whole
    for at in range(1, calls + 1, 1 + calls // 25) if share is None else [1 + round(share * (calls - 1))]:
        old = files_in(tmp_path)
        fail_at(faults, monkeypatch, capsys, command, tmp_path, at, ERRORS[at % len(ERRORS)])
        for path, content in files_in(tmp_path).items():
            if any(part.startswith(".") for part in path.parts) or verb in ("run", "best", "dated"):
                continue  # what could not be removed; checkpoints are looked at below
            assert content in (old.get(path), whole.get(path)), path
    if verb == "run":
        load = ["--load-file", str(tmp_path / "run")]
        assert main(["shownet", *load, "--show-filters", "conv1", "--out", str(tmp_path / "f.png")]) == 0


class ReadingFaults(Faults):
    """The same for calls that look at something or read it."""

    @contextlib.contextmanager
    def injected(self, monkeypatch, at=None, number=0):
        self.calls, self.at, self.number = 0, at, number
        opened = io.open

        def faulty_open(path, mode="r", *args, **kwargs):
            if set(mode) & set("wxa+") or isinstance(path, int) or not os.fspath(path).startswith(self.place):
                return opened(path, mode, *args, **kwargs)
            self.meet(path)
            return _Faulty(opened(path, mode, *args, **kwargs), None, self.meet)

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", faulty_open)
            patch.setattr(builtins, "open", faulty_open)
            for name in ("stat", "listdir", "scandir"):
                patch.setattr(os, name, self._faulty(getattr(os, name), name))
            yield

    def _faulty(self, call, name):
        def faulty(path=".", *args, **kwargs):
            if isinstance(path, str | os.PathLike):
                self.meet(path)
            return call(path, *args, **kwargs)

        return faulty


READERS = {
    **{
        verb: WRITERS[verb]
        for verb in ("dated", "pictures", "predictions", "features", "filters", "cost", "maps", "convert")
    },
    "resume": ["run", *LOAD, "--max-batches", "1", "--save-path", "{out}/resumed", "--config", "{place}/run.toml"],
    "gradients": [*RUN[:5], "--check-grads"],
    "explain": ["explain", "{place}/layers-small.cfg"],
    "diff": ["diff", "{place}/layers-small.cfg", "{place}/layers-small.cfg"],
    "kernels": ["kernels", "{place}/layers-small.cfg", "conv1"],
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Pillow leaves such files to be closed later
@pytest.mark.parametrize("verb", READERS)
def test_files_that_cannot_be_read(verb, place, tmp_path, monkeypatch, capsys):
    """Wherever it is: one line with the path; or it was not needed, or there was an older one."""
    (place / "run.toml").write_text("epochs = 9\n")
    command = [word.format(place=place, out=tmp_path) for word in READERS[verb]]
    faults = ReadingFaults(place)
    with faults.injected(monkeypatch):
        assert main(command) == 0
    calls = faults.calls
    for n, at in enumerate(range(1, calls + 1, 1 + calls // 8)):
        number = (errno.EIO, errno.EACCES, errno.ESTALE)[n % 3]
        capsys.readouterr()
        with faults.injected(monkeypatch, at, number):
            status = main(command)
        said = capsys.readouterr().err
        lines = [line for line in said.splitlines() if line.startswith("convnet: ") or ": error: " in line]
        assert "Traceback" not in said and (not status or len(lines) == 1), (at, said)
        assert not status or str(place) in lines[0], (at, said)


PRINTERS = {
    "explain": ["explain", "layers-digits.cfg"], "json": ["explain", "layers-imagenet.cfg", "--json"],
    "convert": ["convert", "layers-digits.cfg", "--to", "toml"], "diff": ["diff", "layers-digits.cfg", "layers-digits.cfg"],
    "doctor": ["doctor"], "help": ["--help"], "help of a verb": ["run", "--help"], "version": ["--version"],
    "kernels": ["kernels", "layers-digits.cfg", "conv1"],
}  # fmt: skip


@pytest.mark.parametrize("verb", PRINTERS)
def test_an_output_that_is_full(verb):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        done = subprocess.run(
            [sys.executable, "-m", "convnet", *PRINTERS[verb]], stdout=full, stderr=subprocess.PIPE, text=True, env=env
        )
    assert done.returncode == (2 if verb == "diff" else 1)
    assert done.stderr == "convnet: standard output: No space left on device\n"


@pytest.mark.parametrize(
    "words, status",
    [
        ("run --bad", 2),
        ("rum", 2),
        ("run --load-file nowhere", 1),
        ("explain nosuch.cfg", 1),
        ("diff a b", 2),
        ("--help", 0),
    ],
)
def test_errors_that_nobody_can_read(words, status):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        command = [sys.executable, "-m", "convnet", *words.split()]
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full, env=env).returncode == status


@pytest.mark.parametrize("verb", ["explain", "help", "version"])
@pytest.mark.parametrize("closed", ["0", "1", "2", "1>&- 2"])
def test_closed_streams(verb, closed, tmp_path):
    words = " ".join(PRINTERS[verb])
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m convnet {words} {closed}>&-"], capture_output=True, text=True, env=env
    )
    assert done.returncode == ("1" in closed)
    assert done.stderr == ("convnet: standard output: Bad file descriptor\n" if closed == "1" else "")


def test_a_folder_that_is_gone(tmp_path):
    """Nothing can be found from it, and what is said of that is one line."""
    script = "import os, sys; os.rmdir(os.getcwd()); from convnet.cli import main; sys.exit(main())"
    for words in (["run", "--layer-def", "layers-digits.cfg", "--test-only"], ["makebatches", "digits", "--out", "x"]):
        (tmp_path / "gone").mkdir()
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(command, cwd=tmp_path / "gone", capture_output=True, text=True, env=env)
        assert "Traceback" not in done.stderr and done.returncode in (0, 1)


@pytest.mark.parametrize("flag", ["--layer-def", "--data-path", "--save-path", "--save-file", "--load-file", "--config"])
def test_a_path_that_is_too_long(flag, place, capsys):
    options = dict(zip(RUN[1:5:2], RUN[2:6:2], strict=True)) | {flag: "x" * 5000}
    words = [word.format(place=place) for pair in options.items() for word in pair]
    assert main(["run", *words, "--max-batches", "1"]) in (1, 2)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "File name too long" in said


def test_paths_of_any_bytes(place, tmp_path):
    """Stored, found again from another folder, and printed on an output that has only ASCII."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/lat\xfc")
    (Path(folder) / "data").mkdir(parents=True)
    for path in [*(place / "data").iterdir(), place / "layers-small.cfg", place / "layer-params-small.cfg"]:
        (Path(folder) / path.relative_to(place)).write_bytes(path.read_bytes())
    first = ["run", "--layer-def", "layers-small.cfg", "--data-path", "data", "--max-batches", "1"]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-m", "convnet", *first], capture_output=True, env=env, cwd=folder)
    assert done.returncode == 0 and b"--load-file checkpoints/ConvNet__" in done.stdout, done.stderr
    again = ["run", "--load-file", folder + "/checkpoints", "--max-batches", "1"]
    env |= {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "convnet", *again], capture_output=True, env=env, cwd="/")
    assert done.returncode == 0 and rb"/lat\xfc/checkpoints" in done.stdout, done.stderr  # as $'...' of a shell
