import subprocess
import sys

import pytest

from convnet.backends import MATH, make_backend, reads_math
from convnet.backends.cpu import Cpu
from convnet.backends.cuda.machine import math_for
from convnet.backends.switches import is_off
from convnet.errors import BackendError, OptionError
from convnet.options import BY_NAME


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_by_name(name):
    assert make_backend(name).name == name


def test_nearest_name_is_offered():
    with pytest.raises(OptionError, match="cuda"):
        make_backend("cudda")


@pytest.mark.parametrize("math", MATH)
def test_how_products_are_computed(math):
    """TF32 is NVIDIA's, the reference knows direct sums alone, and cards have no fast products but those of TF32."""
    assert make_backend("cpu", math=math).math == ("float32" if math == "tf32" else math)
    assert [reads_math(name, math) for name in ("reference", "cpu", "cuda")] == [
        math in ("float32", "exact"), math != "tf32", True
    ]  # fmt: skip
    on_cards = {"float32": ("float32",) * 2, "exact": ("float32",) * 2, "fast": ("float32", "tf32"), "tf32": ("tf32",) * 2}
    assert (math_for(75, math), math_for(80, math)) == on_cards[math]
    assert BY_NAME["math"].kind.words == MATH


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
