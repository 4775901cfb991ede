"""``convnet run --live`` and ``convnet watch`` on the command line: where the page is, and what is refused."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from support import ROOT, write_cifar, write_net

import convnet
from convnet import checkpoint
from convnet.cli import main as cli
from convnet.cli import page, watch
from convnet.cli.run import main as run
from convnet.pages.live.board import Board
from convnet.pages.live.sources import WatchedRun


@pytest.fixture
def options(tmp_path):
    options = [
        "--layer-def",
        write_net(tmp_path),
        "--data-path",
        write_cifar(tmp_path / "data"),
        "--mini",
        16,
        "--epochs",
        1,
    ]
    return [*map(str, [*options, "--test-freq", 1, "--backend", "cpu", "--save-path", tmp_path / "runs"])]


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_address_is_said_once_and_stands_nowhere_else(options, tmp_path, capfd):
    assert run([*options, "--live"]) == 0
    said = capfd.readouterr()
    (token,) = re.findall(r"^convnet: live page: http://127\.0\.0\.1:\d+/([\w-]{43})/$", said.err, re.MULTILINE)
    assert "http" not in said.out
    (folder,) = (tmp_path / "runs").iterdir()
    assert not any(token.encode() in file.read_bytes() for file in folder.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("convnet-page")]


def test_the_lines_of_2012_stay_as_they_are(options, capfd):
    lines = []
    for more in ([], ["--live"]):
        assert run([*options, "--compat", "2012", *more]) == 0
        said = capfd.readouterr()
        lines.append(re.sub(r"\d+\.\d+ sec|ConvNet__\S+|[^\n]* (?:20\d\d|\d\d:\d\d)[^\n]*", "", said.out))
    assert lines[0] == lines[1] and "live page" in said.err


def test_a_port_in_use_is_said_before_anything_is_done(options, tmp_path, capsys, taken):
    assert run([*options, "--live", str(taken)]) == 2
    said = capsys.readouterr()
    assert said.err == (
        f"convnet: port {taken} of 127.0.0.1 cannot be had: Address already in use; "
        "name another, or none: one that is free is taken\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "word, message", [("70000", "'70000' is not a port, a whole number from 0 to 65535"), ("x", "'x' is not a port")]
)
def test_what_is_no_port(options, capsys, word, message):
    assert run([*options, f"--live={word}"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--test-only"], ["--check-grads"]])
def test_where_it_has_no_effect(options, capsys, more):
    assert run([*options, "--live", *more]) == 0
    said = capsys.readouterr()
    assert re.search(rf"No effect with {more[0]}: .*--live", said.out + said.err) and "live page" not in said.err


@pytest.mark.parametrize("value", ["true", "0", "{port}"])
def test_in_a_file_of_options(options, tmp_path, capsys, value, taken):
    """A run that goes on does not inherit it."""
    (tmp_path / "run.toml").write_text(f"live = {value.format(port=taken)}\n")
    is_taken = "port" in value
    assert run([*options, "--config", str(tmp_path / "run.toml")]) == 2 * is_taken
    said = capsys.readouterr().err
    assert (f"port {taken}" if is_taken else "live page: http://127.0.0.1:") in said
    if not is_taken:
        (folder,) = (tmp_path / "runs").iterdir()
        assert run(["--load-file", str(folder), "--epochs", "2", "--backend", "cpu"]) == 0
        assert "live page" not in capsys.readouterr().err


class Visitor(threading.Thread):
    """Somebody who opens the page as soon as it is said where it is, and asks until the run is over."""

    def __init__(self, monkeypatch, stops=False):
        super().__init__()
        self.states, self.stops, self.fault = [], stops, ""
        monkeypatch.setattr(page, "say", self.hear)
        monkeypatch.setattr(page, "_LINGER", 0.3)  # it asks without a pause

    def hear(self, text):
        self.address = text.split()[-1]
        self.start()

    def run(self):
        origin = self.address.rpartition("/")[0].rpartition("/")[0]
        try:
            if self.stops:
                asked = urllib.request.Request(
                    self.address + "stop", b"", {"Origin": origin, "Content-Length": "0"}, method="POST"
                )
                urllib.request.urlopen(asked, timeout=10).close()
            while not self.states or not self.states[-1]["over"]:
                with urllib.request.urlopen(self.address + "state", timeout=10) as answer:
                    self.states.append(json.load(answer))
        except OSError as error:
            self.fault = str(error)


def test_whoever_watches_hears_how_it_ended(options, tmp_path, monkeypatch):
    visitor = Visitor(monkeypatch)
    assert run([*options, "--live"]) == 0
    visitor.join()
    last = visitor.states[-1]
    assert (visitor.fault, last["over"], last["acts"]) == ("", True, [])
    assert last["news"].startswith("The run has ended; all test batches: cost")
    assert set(last["parts"]) == {"status", "advice", "curves", "filters", "layers"}
    assert "conv1: 8 filters of 3x5x5" in last["parts"]["filters"][1]


def test_the_page_stops_a_run_that_can_go_on(options, tmp_path, monkeypatch, capsys):
    visitor = Visitor(monkeypatch, stops=True)
    assert run([*options, "--epochs", "1000", "--live"]) == 0
    visitor.join()
    assert "The run was stopped by the page, and is saved" in visitor.states[-1]["news"]
    assert "Stopped by the page" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    (newest, *_) = sorted(folder.glob("*.*"), key=os.path.getmtime, reverse=True)
    assert checkpoint.find_latest(folder, checkpoint.load)[1].position().trained < 1000 and newest.exists()


def test_an_error_ends_the_page_too(options, tmp_path, monkeypatch, capsys):
    def broken(self):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("convnet.training.run.Run._save", broken)
    visitor = Visitor(monkeypatch)
    assert run([*options, "--live"]) == 1
    visitor.join()
    assert "The run has ended with an error" in visitor.states[-1]["news"]
    assert "No space left" in visitor.states[-1]["news"]


def test_the_numbers_are_those_without_a_page(options, tmp_path, monkeypatch):
    found = []
    for more in ([], ["--live"]):
        visitor = Visitor(monkeypatch)
        assert run([*options, *more]) == 0
        if more:
            visitor.join()
        folder = max((tmp_path / "runs").iterdir())
        loaded = checkpoint.load(folder / "1.2")
        found.append([layer["weights"][0].tobytes() for layer in loaded.layers.values() if "weights" in layer])
        folder.rename(tmp_path / f"done{len(found)}")
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "no run nowhere; give the folder of a run, its log.jsonl, or a checkpoint"),
        (["{run}/.."], "has no log.jsonl"),
        (["{place}/1.1"], "1.1 has no log.jsonl, which is what can be watched"),
        (["{place}/log.jsonl"], "log.jsonl: line 1 is not JSON; expected the log of a run"),
        (["{run}", "--port", "{taken}"], "port {taken} of 127.0.0.1 cannot be had"),
        (["{run}", "--port", "x"], "'x' is not a port"),
        ([], "RUN is missing; see --help"),
    ],
)
def test_what_cannot_be_watched(words, message, tmp_path, capsys, taken):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"line": "batch", "batches": 1, "epoch": 1, "batch": 1, "a.cost": 1.5}\n')
    (tmp_path / "log.jsonl").write_text("none\n") if "log" in message and "line" in message else None
    convnet.build("layers-digits.cfg", side=8).save(tmp_path / "1.1")
    known = {"place": tmp_path, "run": tmp_path / "run", "taken": taken}
    assert cli(["watch", *(word.format(**known) for word in words)]) in (1, 2)
    said = capsys.readouterr()
    assert message.format(**known) in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize("name", ["", "ConvNet__2026-01-02_03.04.05"])
def test_a_run_that_has_just_been_started(tmp_path, name):
    """Its folder is there and its log is not: the page waits, and does not take an older run for it."""
    (tmp_path / name).mkdir(exist_ok=True)
    if name:
        older = tmp_path / "ConvNet__2025-01-02_03.04.05"
        older.mkdir()
        (older / "log.jsonl").write_text('{"line": "batch", "batches": 1, "epoch": 1, "batch": 1, "a.cost": 1.5}\n')
    log = watch._log_of(str(tmp_path))
    state = json.loads(Board(log, WatchedRun(log.path.parent)).gets["state"]({}).body)
    assert log.path == tmp_path / name / "log.jsonl" and state["news"] == "No batch is done yet"
    assert "No log yet" in state["parts"]["status"][1]
    log.path.write_text('{"line": "batch", "batches": 2, "epoch": 1, "batch": 2, "a.cost": 1.5}\n')
    again = watch._log_of(str(tmp_path))
    assert again.path == log.path and again.history.done == 2


@pytest.mark.slow
def test_watching_ends_with_a_signal(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"line": "batch", "batches": 1, "epoch": 1, "batch": 1, "a.cost": 1.5}\n')
    command = [sys.executable, "-m", "convnet", "watch", str(tmp_path), "--open"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment["BROWSER"] = f"{sys.executable} -c 'print(1)' %s"
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        address = watching.stdout.readline().split()[-1]
        with urllib.request.urlopen(address + "state") as answer:
            assert "1.5" in json.load(answer)["parts"]["status"][1]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
