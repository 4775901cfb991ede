"""``convnet log``: tables that fit, CSV and JSON with every digit, of runs with a log and without one."""

import csv
import io
import json
import math
import subprocess
import sys

import pytest
from support import ROOT, SHARED, dump, needs_museum, write_cifar, write_net

from convnet import checkpoint
from convnet.cli import main as cli
from convnet.cli.run import main as run
from convnet.training.records import records_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of six batches, killed after the fourth and gone on with from the second."""
    place = tmp_path_factory.mktemp("log")
    options = ["--layer-def", write_net(place), "--data-path", write_cifar(place / "data"), "--mini", 16]
    options += ["--epochs", 3, "--test-freq", 1, "--keep", 9, "--backend", "cpu"]
    assert run([*map(str, options), "--save-path", str(place / "runs"), "--max-batches", "4"]) == 0
    folder = next((place / "runs").iterdir())
    assert run(["--load-file", str(folder / "1.2"), "--backend", "cpu"]) == 0
    return folder


def log(capsys, *words, width=None, monkeypatch=None):
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    assert cli(["log", *map(str, words)]) == 0
    return capsys.readouterr()


def test_the_error_is_not_shown_twice(tmp_path, capsys):
    """As a net of one guess counts it; CSV has all there is."""
    line = {"line": "test", "batches": 1, "logprob.cost": 1.5, "logprob.error": 0.25, "logprob.top-1 error": 0.25}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    assert log(capsys, tmp_path).out.splitlines()[0].split() == ["batch", "cost", "error"]
    assert "top-1 error" in log(capsys, tmp_path, "--csv").out


@pytest.mark.parametrize("width, count", [(80, 5), (45, 3), (20, 1)])
def test_a_table_that_fits(saved, capsys, monkeypatch, width, count):
    said = log(capsys, saved, width=width, monkeypatch=monkeypatch)
    heads, *rows = said.out.splitlines()
    shown, left_out = (
        ["cost", "error", "top-2 error", "seconds", "images/s"][part] for part in (slice(count), slice(count, 9))
    )
    assert " ".join(heads.split()) == " ".join(["batch", *shown])
    assert (f"too narrow for {', '.join(left_out)};" in said.err) == bool(left_out)
    assert max(map(len, [row for row in rows if not row.startswith("resume")])) <= max(width, 24)
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == [
        "1.1",
        "1.2",
        "resume:",
        "2.1",
        "2.2",
        "3.1",
        "3.2",
    ]
    assert sum(" test " in row for row in rows) == 6
    first = next(r for r in records_of(saved)[0] if r["line"] == "batch")
    assert rows[0].split()[1] == f"{first['logprob.cost']:.6f}"


def test_csv_has_every_digit(saved, capsys):
    rows = list(csv.DictReader(io.StringIO(log(capsys, saved.parent, "--csv").out)))  # of the newest run
    records = [r for r in records_of(saved)[0] if r["line"] in ("batch", "test")]
    assert [(row["line"], int(row["batches"])) for row in rows] == [(r["line"], r["batches"]) for r in records]
    assert [float(row["logprob.top-2 error"]) for row in rows] == [r["logprob.top-2 error"] for r in records]
    assert {row["tested"] for row in rows} == {"", "3"}
    tests = list(csv.DictReader(io.StringIO(log(capsys, saved, "--csv", "--tests").out)))
    assert tests == [row for row in rows if row["line"] == "test"]


def test_json_is_the_log_without_what_does_not_count(saved, capsys):
    records = [json.loads(line) for line in log(capsys, saved / "log.jsonl", "--json").out.splitlines()]
    assert records == records_of(saved)[0]
    assert [r["batches"] for r in records if r["line"] == "batch"] == [1, 2, 3, 4, 5, 6]
    assert len((saved / "log.jsonl").read_text().splitlines()) > len(records)


def test_a_log_that_is_being_written(saved, capsys, tmp_path):
    text = (saved / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(text[: text.rindex(b'"') - 30])
    assert "3.2 " in log(capsys, tmp_path).out
    done = subprocess.run(
        f"{sys.executable} -m convnet log {saved} | head -1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("batch ") and done.stderr == ""


def test_runs_without_a_log(saved, capsys, tmp_path):
    """Their costs are in their checkpoints."""
    found = [r for r in records_of(saved)[0] if r["line"] in ("batch", "test")]
    (tmp_path / "3.2").write_bytes((saved / "3.2").read_bytes())
    records, remarks = records_of(tmp_path)
    keys = ("line", "batches", "epoch", "batch", "tested", "cases", "logprob.cost", "logprob.error", "logprob.top-2 error")
    assert [r["line"] for r in (records[0], records[-1])] == ["begin", "final"]
    assert [[r.get(key) for key in keys] for r in records[1:-1]] == [[r.get(key) for key in keys] for r in found]
    said = log(capsys, tmp_path)
    assert said.err == f"convnet: {remarks[0]}\n" and "which knows costs but no seconds" in said.err
    assert "seconds" not in said.out and "3.2 " in said.out and "too narrow" not in said.err


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_runs_of_the_originals(generation, capsys):
    path = SHARED / "fixtures" / f"ckpt-{generation}.pickle"
    position = checkpoint.load(path).position()
    said = log(capsys, path)
    assert said.out.count(" test ") == len(position.test_outputs)
    assert len(said.out.splitlines()) == 1 + len(position.train_outputs) + len(position.test_outputs)


def test_numbers_and_names_of_any_kind(capsys, tmp_path):
    lines = [
        {"line": "batch", "batches": 1, "epoch": 1, "batch": 5, "a.cost": "inf", "b\x1b[1m.cost": None},
        {"line": "test", "batches": 1, "a.cost": "nan", "a.error": "many", "a.large": 10**400},
        {"line": "warning", "batches": 1, "text": "x\ny"},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = log(capsys, tmp_path).out
    assert "\x1b" not in out and r"warning: x\ny" in out and "many" in out and "0" * 400 in out
    assert out.splitlines()[1].split()[:2] == ["1.5", "inf"] and math.isnan(float(out.splitlines()[2].split()[1]))


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "no run nowhere; give the folder of a run, its log.jsonl, or a checkpoint"),
        (["{place}"], "no checkpoint in "),
        (["{place}/net.cfg"], "net.cfg: "),
        (["{place}/layer.json"], "layer.json: line 1 is not of a log: it['batches'] is missing"),
        (["{place}", "--csv", "--json"], "--csv and --json are two ways"),
        ([], "RUN is missing; see --help"),
    ],
)
def test_anything_else_is_one_line(words, message, capsys, tmp_path):
    (tmp_path / "net.cfg").write_text("[data]\ntype=data\n")
    (tmp_path / "layer.json").write_text('{"line": "x"}\n')
    assert cli(["log", *(word.format(place=tmp_path) for word in words)]) in (1, 2)
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out


def test_a_checkpoint_alone(capsys, tmp_path, saved):
    value = checkpoint.load(saved / "3.2")
    value["model_state"]["train_outputs"] = []
    value["model_state"]["test_outputs"] = []
    value["model_state"]["convnet"] |= {"position": {}, "version": 1}
    dump(tmp_path / "1.1", dict(value))
    assert "nothing was trained or tested yet" in log(capsys, tmp_path / "1.1").err


def test_what_stands_out_is_said_at_the_end(tmp_path, capsys, monkeypatch):
    """With the remedy, in lines that fit; in nothing that another program reads."""
    stuck = [{"line": "batch", "batches": i, "logprob.cost": 2.3026, "logprob.error": 0.9} for i in range(1, 13)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stuck))
    said = log(capsys, tmp_path, width=60, monkeypatch=monkeypatch).out
    head, advice = said.split("\n\nWhat stands out:\n")
    assert head.count("\n") == 12 and advice.startswith("  logprob: the cost stays at 2.303, which is ln(10)")
    assert "initB=1" in advice and max(map(len, advice.splitlines())) <= 60
    for flag in ("--csv", "--json", "--tests"):
        assert "stands out" not in log(capsys, tmp_path, flag).out


def test_nothing_stands_out_in_a_run_that_learns(saved, capsys):
    assert "stands out" not in log(capsys, saved).out
