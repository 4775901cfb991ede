"""``--compat`` prints what the programs of that year print: held against their logs, and against themselves where they are."""

import re

import pytest
from every_layer import every_layer
from original_programs import YEARS, checkpoint_of, needs_originals, run_original
from printed_lines import assert_same_lines
from support import SHARED, write_cifar, write_net

from convnet import checkpoint
from convnet.checkpoint import find_latest
from convnet.cli.run import main
from convnet.generation import Generation

FIXTURES = SHARED / "fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the logs of the originals beside the project are not here")
# The stand-ins for the native modules had none of their lines, and values of costs of their own, of another number.
_NATIVE = re.compile(r"(?m)^(STUB|Fwd terminal|found bwd terminal) .*\n")
_COSTS = re.compile(r"(\w+):  (\d+\.\d{6}(, )?)+ ")


def without_native(text):
    return _COSTS.sub(r"\1:  COSTS ", _NATIVE.sub("", text))


def run(*options):
    assert main([str(option) for option in options]) == 0


def ours(capsys, *options):
    """What a run prints on standard output."""
    capsys.readouterr()
    run(*options)
    return without_native(capsys.readouterr().out)


@needs_fixtures
@pytest.mark.parametrize("year", YEARS)
def test_whole_log(year, tmp_path, capsys):
    data = write_cifar(tmp_path / "data", batches=6, cases=8)
    files = ("--layer-def", FIXTURES / "tiny-def.cfg", "--layer-params", FIXTURES / "tiny-params.cfg", "--dialect", year)
    size = ["--inner-size=32"] * (year == "2014")
    more = ("--data-path", data, "--data-provider=cifar", "--train-range=1-2", "--test-range=6", "--gpu=0", "--epochs=1")
    printed = ours(capsys, *files, *size, *more, "--test-freq=2", "--save-path", tmp_path / "run", "--compat", year)
    assert_same_lines(printed, without_native((FIXTURES / f"stdout-{year}.txt").read_text()))
