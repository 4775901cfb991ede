"""A file is read again when it has come to rest with another text, whatever editors do on the way."""

import os

import pytest

from convnet.errors import LayerFileError
from convnet.language import watched
from convnet.language.watched import WatchedFile


class Clock:
    """A clock that stands, but for those who sleep; ``steps`` happen while they do."""

    def __init__(self, *steps):
        self.now, self.steps, self.slept = 1e9, list(steps), 0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += 1
        if self.steps:
            self.steps.pop(0)()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "params.cfg"
    path.write_text("epsW=1\n")
    os.utime(path, (1e9 - 60, 1e9 - 60))
    return path


def watch(file, monkeypatch, *steps):
    clock = Clock(*steps)
    monkeypatch.setattr(watched, "time", clock)
    return WatchedFile(file, file.read_text(), clock.sleep), clock


def write(file, text, at):
    file.write_text(text)
    os.utime(file, (at, at))


def test_what_was_written_long_ago_is_read_at_once_and_once(file, monkeypatch):
    one, clock = watch(file, monkeypatch)
    assert one.new_text() is None
    write(file, "epsW=2\n", 1e9 - 5)
    assert [one.new_text(), one.new_text()] == ["epsW=2\n", None] and clock.slept == 0


def test_a_file_that_was_written_this_moment_is_given_time(file, monkeypatch):
    one, clock = watch(file, monkeypatch, lambda: write(file, "epsW=2\nmomW=0\n", 1e9 + 0.2))
    assert one.new_text() is None
    write(file, "epsW=2\n", 1e9)  # which is but the first half
    assert one.new_text() == "epsW=2\nmomW=0\n" and clock.slept == 2


def test_a_file_of_a_clock_ahead_is_waited_for_once(file, monkeypatch):
    one, clock = watch(file, monkeypatch)
    write(file, "epsW=2\n", 2e9)
    assert one.new_text() == "epsW=2\n" and clock.slept == 1
    assert one.new_text() is None and clock.slept == 1


def test_a_file_that_never_rests_is_looked_at_later(file, monkeypatch):
    one, clock = watch(file, monkeypatch, *[lambda n=n: write(file, f"epsW={n}\n", 1e9 + n) for n in range(1, 10)])
    write(file, "epsW=2\n", 1e9)
    assert one.new_text() is None and clock.slept < 10
    clock.steps.clear()
    assert one.new_text().startswith("epsW=")


def test_the_same_text_again_is_nothing(file, monkeypatch):
    one, _ = watch(file, monkeypatch)
    for change in (lambda: os.utime(file, (5, 5)), lambda: (file.unlink(), file.write_text("epsW=1\n"))):
        change()
        assert one.new_text() is None


@pytest.mark.parametrize("step", ["unlink", "empty", "blank", "folder"])
def test_what_is_not_there_is_waited_for(file, monkeypatch, step):
    one, _ = watch(file, monkeypatch)
    if step in ("unlink", "folder"):
        file.unlink()
    if step == "folder":
        file.mkdir()
    elif step != "unlink":
        write(file, "\n \n" if step == "blank" else "", 1e9 - 5)
    assert one.new_text() is None
    if step == "folder":
        file.rmdir()
    write(file, "epsW=3\n", 1e9 - 4)
    assert one.new_text() == "epsW=3\n"


def test_what_is_no_text_is_said_once(file, monkeypatch):
    one, _ = watch(file, monkeypatch)
    file.write_bytes(b"\x89PNG\r\n")
    os.utime(file, (1e9 - 5, 1e9 - 5))
    with pytest.raises(LayerFileError, match="a picture"):
        one.new_text()
    assert one.new_text() is None
    write(file, "epsW=1\n", 1e9 - 4)  # back to what it was
    assert one.new_text() == "epsW=1\n"


def test_a_pipe_is_not_touched(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert WatchedFile(path, "epsW=1\n").new_text() is None
