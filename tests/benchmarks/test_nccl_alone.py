"""``nccl_alone.py`` over an emulated device and the stand-in of nccl4py."""

import nccl_alone
import pytest
from emulator import LazyStreams
from ranks.nccl_stand_in import World

from convnet.backends.cuda import Cuda
from convnet.errors import BackendError
from convnet.ranks import nccl


@pytest.fixture
def world(monkeypatch):
    stand_in = World()
    for module in (nccl, nccl_alone):
        monkeypatch.setattr(module, "load_nccl", lambda: stand_in)
    monkeypatch.setattr(nccl_alone, "make_backend", lambda name: Cuda(LazyStreams()))
    monkeypatch.setattr(nccl_alone, "LENGTHS", (1, 9))
    return stand_in


def test_one_rank_sends_to_itself(world, capsys):
    assert nccl_alone.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("NCCL 2.32.3 begins in ") and lines[-1].startswith("all as sent; ends in ")
    assert [line[: line.index(",")] for line in lines[1:-1]] == [
        f"{length} floats at {start} bytes: ok" for length in (1, 9) for start in (16, 4)
    ]


def test_what_does_not_arrive_is_told(world, monkeypatch, capsys):
    monkeypatch.setattr(World, "_move", lambda self, calls: None)
    assert nccl_alone.main() == 1
    assert "1 floats at 16 bytes: WRONG" in capsys.readouterr().out


def test_without_nccl(monkeypatch, capsys):
    def missing():
        raise BackendError("NCCL is missing")

    monkeypatch.setattr(nccl_alone, "load_nccl", missing)
    assert nccl_alone.main() == 0 and capsys.readouterr().out == "not here: NCCL is missing\n"
