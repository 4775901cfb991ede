import subprocess
import sys

import pytest

from convnet.backends import make_backend
from convnet.backends.cpu import Cpu
from convnet.backends.switches import is_off
from convnet.errors import BackendError, OptionError


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_by_name(name):
    assert make_backend(name).name == name


def test_nearest_name_is_offered():
    with pytest.raises(OptionError, match="cuda"):
        make_backend("cudda")


def test_kernels_can_be_forced(monkeypatch):
    monkeypatch.setenv("CONVNET_CPU", "baseline")
    assert Cpu(threads=1).instruction_set == "baseline"
    with pytest.raises(ValueError, match="sse9"):
        Cpu(threads=1, kernels="sse9")


@pytest.mark.parametrize(
    "module", ["convnet", "convnet.cli", "convnet.graph.builder", "convnet.graph.loading", "convnet.language.files"]
)
def test_light_modules_stay_light(module):
    """Reading a file needs no arrays, and nothing touches a graphics card before it is asked to."""
    heavy = "{'numpy', 'PIL', 'pycuda', 'cuda', 'matplotlib'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("value, off", [("", False), ("1", False), ("0", True), ("no", None), ("false", None)])
def test_switches_of_the_environment_are_0_or_1(value, off, monkeypatch):
    monkeypatch.setenv("CONVNET_GRAPHS", value)
    if off is None:
        with pytest.raises(BackendError, match=f"CONVNET_GRAPHS={value} is not 0 or 1"):
            is_off("CONVNET_GRAPHS")
    else:
        assert is_off("CONVNET_GRAPHS") == off
