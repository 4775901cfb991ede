"""The demonstration in the cache: what is damaged is drawn again, whoever else draws at the same time."""

import os
import re
import subprocess
import sys

import pytest
from support import ROOT, dump

from convnet.data import demo
from convnet.data.provider import Request
from convnet.errors import DataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "BATCH_CASES", 16)
    return tmp_path / "cache"


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 8]) + content[at + 1 :]


DAMAGE = {
    "empty": lambda content: b"", "cut": lambda content: content[:-9], "garbage": lambda content: b"\x80\x02}garbage",
    **{f"bit {tenth}": lambda content, tenth=tenth: flipped(content, len(content) * tenth // 10) for tenth in range(10)},
}  # fmt: skip


@pytest.mark.parametrize("name", ["batches.meta", "data_batch_1"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_drawn_again(name, damage, cache):
    path = demo.prepare(10, 32) / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    demo.prepare(10, 32)
    assert path.read_bytes() == whole


def test_its_place_and_size_are_said_when_it_is_first_drawn(cache):
    data = demo.Demo(Request(classes=10, threads=1))
    for number in data.numbers:
        data.batch(1, number)
    [said] = data.problems
    size = sum(path.stat().st_size for path in data.folder.glob("data_batch_*"))
    assert str(data.folder) in said and float(re.search(r"needed, (\S+) kB in all", said)[1]) == pytest.approx(
        size / 1e3, rel=0.1
    )
    assert demo.Demo(Request(classes=10, threads=1)).problems == []


def test_a_later_batch_is_drawn_again_too(cache):
    data = demo.Demo(Request(classes=10, threads=1))
    data.batch(1, 2)
    path = data.folder / "data_batch_2"
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, len(whole) // 2))
    assert demo.Demo(Request(classes=10, threads=1)).batch(1, 2).cases == 16 and path.read_bytes() == whole


@pytest.mark.parametrize("value", [3, {}, {"data": [], "labels": []}, {"label_names": ["a"], "num_vis": 3072}])
def test_other_contents_are_damage_too(value, cache):
    folder = demo.prepare(10, 32)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        dump(path, value)
    other = demo.prepare(11, 32)
    demo.prepare(10, 32)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    for path in folder.iterdir():  # as whole as can be, but of another set
        path.write_bytes((other / path.name).read_bytes())
    demo.prepare(10, 32)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_a_cache_that_is_a_file(cache):
    cache.write_text("mine")
    with pytest.raises(DataError, match=r"no place for the demonstration set in .*cache.*; set CONVNET_CACHE_DIR"):
        demo.prepare(10, 32)
    assert cache.read_text() == "mine"


def test_a_cache_that_cannot_be_written_is_read(cache, monkeypatch):
    demo.prepare(10, 32)

    def refuse(*_):
        raise AssertionError("written again")

    monkeypatch.setattr(demo, "write_file", refuse)
    demo.prepare(10, 32)


def test_several_draw_at_once(tmp_path):
    env = dict(os.environ, PYTHONPATH=str(ROOT), CONVNET_CACHE_DIR=str(tmp_path))
    script = "from convnet.data import demo; demo.BATCH_CASES = 16; print(demo.prepare(10, 32))"
    processes = [subprocess.Popen([sys.executable, "-c", script], env=env) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    [folder] = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["batches.meta", "data_batch_1"]
