"""Events for TensorBoard: read back, every number is there once, at its step and its time."""

import json
import math
import struct
import sys

import pytest

from convnet.cli import main as cli
from convnet.training.history import History
from convnet.training.tensorboard import write_events

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")


def read(path):
    """The events of a file as (step, time, tag, number or text); the first only says of which version the file is."""
    from tensorboardX.proto.event_pb2 import Event

    found, data = [], path.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
        for value in event.summary.value:
            is_text = value.metadata.plugin_data.plugin_name == "text"
            said = value.tensor.string_val[0].decode() if is_text else value.simple_value
            found.append((event.step, event.wall_time, value.tag, said))
    return found


def of_tag(events, tag):
    return [(step, time, value) for step, time, name, value in events if name == tag]


def line(kind, at, time, **values):
    return {"line": kind, "batches": at, "time": time, **values}


def log():
    """Two batches, of which the second was trained again after a stop."""
    values = {"logprob.cost": 2.5, "logprob.top-5 error": 0.5}
    return [
        line("begin", 0, 100.0),
        line("batch", 1, 110.0, images_per_second=64.0, rates={"conv1": {"weights[0]": 0.5}}, **values),
        line("test", 1, 112.0, tested=[6], **{"logprob.cost": 3.5}),
        line("weights", 1, 113.0, weights={"conv1": {"weights[0]": [0.25, 0.5]}}),
        line("batch", 2, 120.0, **{"logprob.cost": 9.0}),
        line("resume", 1, 200.0, checkpoint="runs/1.1"),
        line("batch", 2, 210.0, **{"logprob.cost": "nan"}),
        line("change", 2, 211.0, text=["conv1 epsW[0]: 0.5 -> 0.25", "fc momB: 0 -> 1"]),
        line("batch", 3, 220.0, rates={"conv1": {"weights[0]": 0.25}}, **{"logprob.cost": 1.5}),
        line("batch", 4, 230.0, **{"logprob.cost": 1.0}),
        line("final", 4, 240.0, **{"logprob.cost": 1.25}),
    ]


def test_every_number_is_at_its_step_and_its_time(tmp_path, caplog):
    train, test = map(read, write_events(History.of(log(), "x"), tmp_path / "tb"))
    costs = of_tag(train, "logprob/cost")
    assert costs[0] == (1, 110, 2.5) and costs[2:] == [(3, 220, 1.5), (4, 230, 1.0)]
    assert costs[1][:2] == (2, 210) and math.isnan(costs[1][2])
    assert of_tag(train, "logprob/top-5_error") == [(1, 110, 0.5)]
    assert of_tag(train, "images_per_second") == [(1, 110, 64)]
    assert of_tag(train, "rates/conv1/weights.0") == [(1, 110, 0.5), (2, 210, 0.5), (3, 220, 0.25), (4, 230, 0.25)]
    known = {"size": 0.25, "change": 0.5, "ratio": 2.0}
    for name, value in known.items():
        assert of_tag(train, f"weights/conv1/weights.0/{name}") == [(1, 112, value)]
    marks = [(step, text) for step, _, text in of_tag(train, "marks/text_summary")]
    assert marks == [(1, "    went on from 1.1"), (2, "    conv1 epsW[0]: 0.5 -> 0.25\n    fc momB: 0 -> 1")]
    assert of_tag(test, "logprob/cost") == [(1, 112, 3.5)]
    assert of_tag(test, "final/logprob/cost") == [(4, 240, 1.25)] and len(test) == 2
    steps = [event[0] for event in train]
    assert steps == sorted(steps) and not caplog.records


def test_twice_into_one_folder_doubles_nothing(tmp_path):
    history = History.of(log(), "x")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "events.out.tfevents.1.other").write_text("of another program")
    once = [path.read_bytes() for path in write_events(history, tmp_path)]
    twice = [path.read_bytes() for path in write_events(history, tmp_path)]
    assert once == twice
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("events*"))
    assert len(names) == 3 and names[0].startswith("test/") and "train/events.out.tfevents.1.other" in names


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log()))
    words = ["log", str(tmp_path), "--tensorboard", str(tmp_path / "tb")]
    assert cli(words) == 0
    assert capsys.readouterr().out.count("Wrote ") == 2 and read(next((tmp_path / "tb" / "test").iterdir()))
    assert cli([*words, "--csv"]) != 0
    assert "--csv goes with what is printed" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli(["log", str(tmp_path), "--tensorboard", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(tmp_path / "file") in said
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    for name in [name for name in sys.modules if name.startswith("tensorboardX.")]:
        monkeypatch.delitem(sys.modules, name)
    assert cli(words) == 1
    assert "pip install tensorboardX" in capsys.readouterr().err


def test_a_run_without_times(tmp_path):
    lines = [{key: value for key, value in record.items() if key != "time"} for record in log()]
    train, _ = map(read, write_events(History.of(lines, "x"), tmp_path))
    assert len({time for _, time, *_ in train}) == 1 and train[0][1] > 1.7e9
