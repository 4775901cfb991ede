"""Kernel sources: the text of a ``.cu`` file, with the constants of the layer at hand before it.

``shapes`` are plain numbers (sizes, strides, rates). ``tiles`` size arrays and unrolled loops. The real compiler sees
both as constants; the emulator compiles once per ``tiles`` and sets ``shapes`` before each launch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from convnet.errors import BackendError

Number = int | float
Constants = tuple[tuple[str, Number], ...]
Names = Mapping[str, Sequence[str]]  # what the values 0, 1, ... of a constant are called

_INCLUDE = re.compile(r'#include "(\w+\.cuh)"')
_KERNEL = re.compile(
    r'^#if\w* (?P<guard>.*)$|^(?P<end>#endif)|extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?'
    r"(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Source:
    """One specialisation of one file."""

    file: str
    shapes: Constants = ()
    tiles: Constants = ()
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # every launch looks its source up
        return hash((self.file, self.shapes, self.tiles, self.names))

    @classmethod
    def of(
        cls, file: str, shapes: Mapping[str, Number] | None = None, tiles: Mapping[str, Number] | None = None,
        names: Names | None = None,
    ) -> Source:  # fmt: skip
        called = tuple((constant, tuple(values)) for constant, values in (names or {}).items())
        return cls(file, tuple((shapes or {}).items()), tuple((tiles or {}).items()), called)

    def text(self) -> str:
        """Return the complete text for the compiler."""
        return "\n".join([self.definitions(), *(_constant(*item) for item in self.shapes), read(self.file)])

    def definitions(self) -> str:
        """Return ``names`` and ``tiles`` as macros, which ``#if`` may use."""
        named = ((name, value) for _, called in self.names for value, name in enumerate(called))
        return "\n".join(f"#define {name} {value}" for name, value in (*named, *self.tiles))

    def constants(self) -> str:
        """Format all constants for messages and listings: ``KIND=MAX H=55 …``."""
        names = dict(self.names)
        known = ((name, names[name][int(value)] if name in names else value) for name, value in (*self.tiles, *self.shapes))
        return " ".join(f"{name}={value}" for name, value in known)


@dataclass(frozen=True)
class Signature:
    """A kernel's name, the C types of its parameters, such as ``const float*`` and ``int``, and its ``#if`` if any."""

    name: str
    types: tuple[str, ...]
    guard: str = ""


@cache
def folder() -> Path:
    """Find the folder of the ``.cu`` files: in the package, or beside it in a checkout."""
    for candidate in (Path(str(resources.files("convnet"))) / "cuda", Path(__file__).resolve().parents[3] / "cuda"):
        if (candidate / "common.cuh").is_file():
            return candidate
    raise BackendError("the kernel sources (cuda/*.cu) are missing; run 'pip install .' in the project's folder")


@cache
def read(file: str) -> str:
    """Read a kernel file with its includes expanded; ``#line`` makes messages name files and lines."""
    lines = [f'#line 1 "{file}"']
    for number, line in enumerate((folder() / file).read_text(encoding="utf-8").splitlines(), 1):
        included = _INCLUDE.match(line)
        lines += [read(included[1]), f'#line {number + 1} "{file}"'] if included else [line]
    return "\n".join(lines)


def files() -> list[str]:
    """List every kernel file, sorted by name."""
    return sorted(path.name for path in folder().glob("*.cu"))


@cache
def signatures(file: str) -> dict[str, Signature]:
    """Parse the signatures of a file's kernels, in order."""
    kernels, guards = {}, [""]
    for match in _KERNEL.finditer(re.sub(r"//[^\n]*", "", (folder() / file).read_text(encoding="utf-8"))):
        if match["guard"]:
            guards.append(match["guard"])
        elif match["end"]:
            guards.pop()
        else:
            types = tuple(_type(parameter) for parameter in match["parameters"].split(",") if parameter.strip())
            kernels[match["name"]] = Signature(match["name"], types, guards[-1])
    return kernels


def originals_of_file(file: str) -> str:
    """Read from the header of a file which kernels of the originals it replaces."""
    header = [line[2:].strip() for line in (folder() / file).read_text(encoding="utf-8").splitlines() if line[:2] == "//"]
    first = next((i for i, line in enumerate(header) if line.startswith("2012:")), len(header))
    last = next((i for i in range(first, len(header)) if header[i].endswith(".")), first)
    return " ".join(header[first : last + 1]).removeprefix("2012: ")


def originals_of_kernel(file: str, kernel: str) -> str:
    """Read from the line before a kernel which kernels of the originals it replaces."""
    text = (folder() / file).read_text(encoding="utf-8")
    line = re.search(rf'^// 2012: ([^\n]*)\.\nextern "C" __global__ void[^;{{]*?\b{kernel}\(', text, re.MULTILINE)
    return line[1] if line else ""


def _type(parameter: str) -> str:
    """``const float* __restrict__ x`` -> ``const float*``."""
    words = parameter.replace("__restrict__", "").replace("*", "* ").split()[:-1]
    return " ".join(words).replace(" *", "*")


def _constant(name: str, value: Number) -> str:
    if isinstance(value, float):
        return f"constexpr float {name} = {value!r}f;"
    return f"constexpr int {name} = {int(value)};"
