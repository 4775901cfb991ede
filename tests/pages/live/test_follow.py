"""A log that is read while it is written: in pieces, from its beginning where it is another one, and without a fault."""

import json
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet.pages.live import follow
from convnet.pages.live.follow import Followed
from convnet.training.history import History
from convnet.training.log import NAME
from convnet.training.records import log_lines


def line(kind, batches, **values):
    return json.dumps({"line": kind, "batches": batches, **values}).encode() + b"\n"


def batch(number, cost=1.0, **values):
    return line("batch", number, epoch=1, batch=number, **{"logprob.cost": cost}, **values)


def costs(log):
    (curve,) = log.history.curves
    return list(zip(curve.train.at, curve.train.values, strict=True))


def test_what_was_written_since(tmp_path):
    path = tmp_path / NAME
    log = Followed(path)
    assert log.read() is False and log.history.done == 0 and log.fault == ""  # no file yet
    path.write_bytes(line("begin", 0, device="CPU") + batch(1, 3.0))
    log.read()
    before = log.version
    assert (costs(log), log.history.begin["device"], log.history.title) == ([(1, 3.0)], "CPU", tmp_path.name)
    log.read()
    assert log.version == before
    with path.open("ab") as file:
        file.write(batch(2, 2.5)[:-5])
        file.flush()
        log.read()
        assert log.version == before and log.history.done == 1
        file.write(batch(2, 2.5)[-5:] + batch(3, 2.0))
    log.read()
    assert costs(log) == [(1, 3.0), (2, 2.5), (3, 2.0)] and log.version > before


def test_a_run_that_goes_on_from_before(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(batch(1) + batch(2) + batch(3))
    log = Followed(path)
    log.read()
    path.write_bytes(path.read_bytes() + line("resume", 1, checkpoint="x/1.1") + batch(2, 9.0))
    log.read()
    assert costs(log) == [(1, 1.0), (2, 9.0)]
    assert [(mark.at, mark.kind) for mark in log.history.marks] == [(1, "resume")]
    path.write_bytes(path.read_bytes() + line("begin", 0) + batch(1, 5.0))
    log.read()
    assert costs(log) == [(1, 5.0)] and log.history.marks == []


@pytest.mark.parametrize("now", [b"", batch(1, 7.0), batch(1, 7.0) * 3, batch(4, 1.0) * 50])
def test_a_file_that_was_cut_or_replaced_is_read_anew(tmp_path, now):
    path = tmp_path / NAME
    path.write_bytes(batch(1) + batch(2) + batch(3))
    log = Followed(path)
    log.read()
    path.write_bytes(now)
    log.read()
    assert len(log.history.curves) == bool(now)
    assert not now or costs(log) == [(r["batches"], r["logprob.cost"]) for r in map(json.loads, now.splitlines())]
    path.unlink()
    log.read()
    assert log.history.curves == [] and log.fault == ""


def test_a_line_that_is_none_is_said_until_it_is_gone(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(batch(1) + b"{broken}\n" + batch(2))
    log = Followed(path)
    for _ in range(3):
        assert log.read() is False
    assert log.fault == f"{path}: line 2 is not JSON; expected the log of a run" and costs(log) == [(1, 1.0)]
    path.write_bytes(batch(1) + batch(2))
    log.read()
    assert log.fault == "" and costs(log) == [(1, 1.0), (2, 1.0)]


def test_the_time_left_by_odd_numbers(tmp_path):
    """By the last batches, whatever else stands where numbers are expected."""
    path = tmp_path / NAME
    lines = [batch(i, time=100.0 + 10 * i, progress=i / 10) for i in range(1, 5)]
    path.write_bytes(b"".join([*lines, batch(5, progress=10**400, seconds=10**400), batch(6, time=1.0, progress="x")]))
    log = Followed(path)
    log.read()
    assert log.seconds_left() == pytest.approx(50) and log.fault == ""


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / NAME).mkdir()
    log = Followed(tmp_path / NAME)
    assert log.read() is False and "cannot be read" in log.fault


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_PIECE", 1000)
    (tmp_path / NAME).write_bytes(batch(1) + b"x" * 2000)
    log = Followed(tmp_path / NAME)
    while log.read():
        pass
    assert log.fault.endswith("line 2 is too long for one of a log") and costs(log) == [(1, 1.0)]


def comparable(value):
    """A history as plain values, of which series are lists."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if hasattr(value, "__dict__"):
        return comparable(vars(value))
    return [comparable(item) for item in value] if isinstance(value, list | tuple | array) else value


KINDS = st.sampled_from(["batch", "batch", "test", "resume", "begin", "stopped", "weights"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(KINDS, st.integers(0, 9)), max_size=30),
    st.lists(st.integers(1, 400), max_size=20),
    st.integers(90, 500),
)
def test_pieces_add_up(tmp_path_factory, events, cuts, piece):
    """However the file grows, and however much is read at a time, it is the history of the whole."""
    path = tmp_path_factory.mktemp("run") / NAME
    values = {"batch": {"a.cost": 1.5}, "test": {"a.cost": 2.5}, "weights": {"weights": {"c": {"biases": [1.0, 0.1]}}}}
    whole = b"".join(line(kind, at, **values.get(kind, {})) for kind, at in events)
    log, done = Followed(path), 0
    before, follow._PIECE = follow._PIECE, max(piece, 90)
    try:
        for cut in [*cuts, len(whole)]:
            done = min(len(whole), done + cut)
            path.write_bytes(whole[:done])
            log.read()
        while log.read():
            pass
    finally:
        follow._PIECE = before
    path.write_bytes(whole)
    log.read()
    found = log_lines(path) if whole else []
    expected = History.of(found, log.history.title)
    assert comparable(log.history) == comparable(expected)


def test_the_time_left(tmp_path):
    """Four batches a second, of forty; ten are done."""
    path = tmp_path / NAME
    path.write_bytes(b"".join(batch(i + 1, time=100 + i / 4, progress=i / 40) for i in range(10)))
    log = Followed(path)
    log.read()
    assert log.seconds_left() == pytest.approx(30 / 4)
    for more in (batch(11, time=200, progress="nan"), batch(11), line("resume", 3), b""):
        path.write_bytes(path.read_bytes() + more)
        log.read()
    assert log.seconds_left() == 0.0
    path.write_bytes(b"".join(batch(i + 1, time=100 + i, progress=0.0) for i in range(10)))  # no end
    log.read()
    assert log.seconds_left() == 0.0
