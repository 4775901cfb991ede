"""Some cases of every fuzzer; ``python -m tests.fuzz --count 100000`` runs more."""

import random
import sys
from contextlib import suppress

import pytest

from convnet.errors import ConvnetError
from fuzz.runner import failures, main
from fuzz.target import Target
from fuzz.targets import TARGETS

COUNTS = {"runs": 120, "crafted-pictures": 25}  # of cases, where not 250


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "crafted-pictures"])  # in tests/data/test_decoding.py
def test_some_cases(name, tmp_path):
    target = TARGETS[name](tmp_path)
    target.case(random.Random(0), clean=True)
    for number in range(25):
        with suppress(ConvnetError):
            target.case(random.Random(f"7/{name}/{number}"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
@pytest.mark.parametrize("name", TARGETS)
def test_many_cases(name):
    """With limits of memory and time, in a process that may end."""
    assert list(failures(name, 11, range(COUNTS.get(name, 250)))) == []


class Broken(Target):
    """Fails in every way that a case can."""

    name = "broken"
    at = -1

    def case(self, rng, clean=False):
        self.at += 1
        match self.at:
            case 2:
                raise ValueError("found")
            case 3:
                bytearray(700 << 20)
            case 4:
                import os

                os.abort()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_what_fails_is_found(monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "broken", Broken)
    monkeypatch.setattr("fuzz.runner.IMPORT", "from fuzz.test_fuzzers import Broken; TARGETS['broken'] = Broken")
    found = dict(failures("broken", 1, range(6)))
    assert "ValueError: found" in found[1] and "MemoryError" in found[2] and "ended with status" in found[3]
    assert main(["--target", "broken", "--only", "0"]) == 0 and "1 cases, 0 failed" in capsys.readouterr().out
