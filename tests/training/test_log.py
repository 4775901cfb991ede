"""``log.jsonl``: what was printed is in it, lines are whole, those that do not count are left out, and disks may be full."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT

from convnet import checkpoint
from convnet.checkpoint import CheckpointFolder
from convnet.cli.run import main
from convnet.errors import CheckpointError, ConvnetError
from convnet.storage import GrowingFile
from convnet.training.log import KEYS
from convnet.training.records import read_log, records_of
from convnet.training.run import Run


def command(place, save, *more):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--mini", 16, "--backend", "cpu"]
    return [*map(str, [*options, "--test-range", "3-4", "--epochs", 3, "--save-file", save, *more])]


def train(place, save, *more):
    return main(command(place, save, "--test-freq", 2, *more))


def lines(folder):
    text = (folder / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def timeless(records):
    """Lines of batches and tests, without what differs from run to run."""
    left_out = {"time", "seconds", "images_per_second", "rates"}
    return [
        {key: value for key, value in record.items() if key not in left_out}
        for record in records
        if record["line"] in ("batch", "test", "weights")
    ]


def test_everything_that_was_printed(place, tmp_path, capsys):
    assert train(place, tmp_path / "s", "--seed", 7) == 0
    out, records = capsys.readouterr().out, lines(tmp_path / "s")
    kinds = [record["line"] for record in records]
    batch, test = ["batch"], ["batch", "test", "weights", "saved"]
    assert kinds == ["begin", *3 * (batch + test), "saved", "final", *["message"] * 4, "end"]
    keys = {key for record in records for key in record}
    assert {key for key in keys if "." not in key} <= set(KEYS)
    assert {key for key in keys if "." in key} == {"logprob.cost", "logprob.error", "logprob.top-2 error"}
    begin = records[0]
    assert begin["seed"] == 7 and begin["options"]["epochs"] == 3 and "compat" not in begin["options"]
    assert begin["data"] == {"path": str(place / "data"), "values": 3072, "classes": 10}
    assert begin["device"] in out and begin["versions"].keys() == {"convnet", "python", "numpy", "system"}
    printed = re.findall(r"(\d+\.\d+) \(.*logprob:  ([\d.]+), ([\d.]+), ([\d.]+) ", out)
    logged = [
        (f"{r['epoch']}.{r['batch']}", *(f"{r[f'logprob.{name}']:.6f}" for name in ("cost", "error", "top-2 error")))
        for r in records
        if r["line"] == "batch"
    ]
    assert logged == printed and len(printed) == 6
    averages = re.findall(r"-Averages-+\nlogprob:  ([\d.]+)", out)
    assert [f"{r['averages']['logprob.cost']:.6f}" for r in records if "averages" in r] == averages[1:]
    for record in records:
        if record["line"] == "weights":
            size, change = record["weights"]["conv1"]["weights[0]"]
            assert f"Layer 'conv1' weights[0]: {size:e} [{change:e}]" in out
    assert all(r["seconds"] > 0 and r["images_per_second"] > 0 for r in records if r["line"] in ("batch", "test"))
    assert [r["tested"] for r in records if r["line"] == "test"] == [[3], [4], [3]]
    assert records[-1]["checkpoint"] == "3.2" and records[-1]["batches"] == 6
    rates = [r["rates"]["conv1"]["weights[0]"] for r in records if "rates" in r]
    assert rates[0] == 0.0004 and rates == sorted(rates, reverse=True) and len(rates) == len(set(rates)) == 3


@pytest.mark.parametrize("stops", [[4, 9], [6], [1, 2, 3, 17]])
def test_lines_that_count_are_those_of_a_run_that_never_stopped(place, tmp_path, monkeypatch, stops):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(place, whole) == 0
    for number, stop in enumerate([*stops, 1000]):
        monkeypatch.setattr(Run, "must_stop", lambda run, stop=stop: run.net.step >= stop)
        again = ["--load-file", str(parts), "--backend", "cpu"]
        assert (main(again) if number and (parts / "log.jsonl").exists() else train(place, parts)) == 0
    assert timeless(records_of(parts)[0]) == timeless(lines(whole)) == timeless(records_of(whole)[0])


def test_an_older_checkpoint_and_a_new_beginning(place, tmp_path):
    save = tmp_path / "s"
    assert train(place, save, "--keep", 9, "--test-freq", 1) == 0
    assert main(["--load-file", str(save / "1.2"), "--backend", "cpu", "--max-batches", "1"]) == 0
    kept = [record for record in records_of(save)[0] if record["line"] in ("batch", "test", "resume")]
    assert [(r["line"], r["batches"]) for r in kept] == [
        *(("batch", 1), ("test", 1), ("batch", 2), ("test", 2), ("resume", 2), ("batch", 3), ("test", 3))
    ]
    assert kept[4]["checkpoint"] == str(save / "1.2")
    assert len([record for record in lines(save) if record["line"] == "batch"]) == 7
    for path in save.glob("[0-9]*"):
        path.unlink()
    assert train(place, save, "--max-batches", 1) == 0
    assert [r["line"] for r in records_of(save)[0]][:2] == ["begin", "batch"]


def test_only_runs_that_train_keep_one(place, tmp_path):
    assert train(place, tmp_path / "s", "--max-batches", 2) == 0
    before = lines(tmp_path / "s")
    assert main(["--load-file", str(tmp_path / "s"), "--test-only", "--force-save", "--backend", "cpu"]) == 0
    assert lines(tmp_path / "s") == before
    assert main(["--load-file", str(tmp_path / "s"), "--epochs", "1", "--backend", "cpu"]) == 0  # nothing to do
    assert lines(tmp_path / "s") == before


def test_numbers_that_json_lacks_and_errors(place, tmp_path, capsys):
    wild = tmp_path / "wild.cfg"
    wild.write_text("[DEFAULT]\nepsW=1e30\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n")
    assert train(place, tmp_path / "s", "--max-batches", 1) == 0
    assert main(["--load-file", str(tmp_path / "s"), "--layer-params", str(wild), "--backend", "cpu"]) == 1
    assert "finite" in capsys.readouterr().err
    records = lines(tmp_path / "s")  # no batch was done, so that nothing is said of it
    assert records[-1]["line"] == "end"


@pytest.mark.parametrize("fault", ["append", "open", '{"event": 1}\n{"event": 2}'])
def test_a_full_disk_is_a_warning(place, tmp_path, monkeypatch, capsys, fault):
    def refuse(*_, **__):
        raise OSError(28, os.strerror(28))

    if fault == "append":
        monkeypatch.setattr(GrowingFile, "append", refuse)
    elif fault == "open":
        (tmp_path / "s" / "log.jsonl").mkdir(parents=True)
    else:  # of another program
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "log.jsonl").write_text(fault)
    assert train(place, tmp_path / "s") == 0
    assert "event" not in fault or (tmp_path / "s" / "log.jsonl").read_text() == fault
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "log.jsonl cannot be written, and lacks lines: " in errors
    assert len(checkpoint.find_latest(tmp_path / "s", checkpoint.load)[1]["model_state"]["train_outputs"]) == 6


def test_signals_and_warnings_are_in_it(place, tmp_path):
    save = tmp_path / "s"
    words = command(place, save, "--test-freq", 1, "--epochs", 100000, "--keep-best", "logprob")
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen([sys.executable, "-m", "convnet.run", *words], stdout=subprocess.DEVNULL, env=environment)
    while not (save / "log.jsonl").exists() or len(records_of(save)[0]) < 9:  # a log that is being written can be read
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    stopped = next(record for record in lines(save) if record["line"] == "stopped")
    name = checkpoint.find_latest(save, checkpoint.load)[0].name
    assert stopped["by"] == "SIGTERM" and f"{stopped['epoch']}.{stopped['batch']}" == name


def test_warnings_and_errors_are_in_it(place, tmp_path, monkeypatch):
    saved = CheckpointFolder.save

    def save(folder, value, epoch, batch):
        logging.getLogger("convnet").warning("%s is nearly full", "the disk")
        if epoch == 2:
            raise CheckpointError("a checkpoint cannot be saved")
        return saved(folder, value, epoch, batch)

    monkeypatch.setattr(CheckpointFolder, "save", save)
    assert train(place, tmp_path / "s") == 1
    said = [(r["line"], r["text"]) for r in lines(tmp_path / "s") if r["line"] in ("warning", "error")]
    full = ("warning", "the disk is nearly full")
    assert said == [full, full, ("error", "a checkpoint cannot be saved")]


def test_a_half_line_of_a_power_cut(place, tmp_path):
    save = tmp_path / "s"
    assert train(place, save, "--max-batches", 2) == 0
    text = (save / "log.jsonl").read_bytes()
    (save / "log.jsonl").write_bytes(text[:-40])
    kept = text[: text[:-40].rfind(b"\n") + 1].count(b"\n")
    assert len(records_of(save)[0]) == kept == text.count(b"\n") - 1
    assert main(["--load-file", str(save), "--backend", "cpu"]) == 0
    assert [r["batches"] for r in lines(save) if r["line"] == "batch"] == [1, 2, 3, 4, 5, 6]


@settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20).filter(lambda line: b"\n" not in line),
            st.fixed_dictionaries(
                {"line": st.sampled_from(["begin", "resume", "batch", "test", "x"]), "batches": st.integers(-1, 9)},
                optional={
                    "epoch": st.one_of(st.integers(), st.text()),
                    "tested": st.one_of(st.integers(), st.lists(st.none())),
                },
            ).map(lambda record: json.dumps(record).encode()),
        )
    ),
    st.booleans(),
)
def test_any_file_is_read_or_refused_in_a_line(tmp_path, pieces, ended):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(pieces) + b"\n" * ended)
    try:
        records = read_log(path)
    except ConvnetError as error:
        assert re.match(rf"{re.escape(str(path))}: line \d+ is not ", str(error))
    else:
        assert all(record["batches"] >= 0 for record in records)


def test_the_page_lists_every_key():
    assert re.findall(r"^\| `(\w+)` \| .*\w", (ROOT / "docs" / "log.md").read_text(), re.MULTILINE) == list(KEYS)
