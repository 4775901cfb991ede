r"""The emulated device: memory between guard pages, kernels compiled by g++, products by NumPy.

With ``CONVNET_EMULATOR=asan`` kernels are built with AddressSanitizer, which also sees a step outside a shared or local
array, or a few bytes before an array; with ``tsan`` with ThreadSanitizer, which sees two threads at one place with no
barrier between them. Both stop the process and name the line. Their libraries must be there from the start:

    CONVNET_EMULATOR=asan ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(g++ -print-file-name=libasan.so) pytest -k cuda
    CONVNET_EMULATOR=tsan TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1" \
        LD_PRELOAD=$(g++ -print-file-name=libtsan.so) pytest -k cuda
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import mmap
import os
import re
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer, DeviceArray
from convnet.backends.cuda.device import Device, Product, three
from convnet.backends.cuda.parameters import convert, formats
from convnet.backends.cuda.source import Signature, Source, read, signatures
from convnet.backends.cuda.transfers import COMPUTE, STREAMS
from convnet.storage import cache_folder

HEADER = Path(__file__).with_name("emulator.h")
_HEADERS = (HEADER, HEADER.with_name("races.h"))
_PAGE = mmap.PAGESIZE
# Bytes that a block may ask for beside its own arrays: sm_75 has 64 KiB, sm_80 and later, with tensor cores, at least 99.
_SHARED = {"float32": 56 << 10, "tf32": 90 << 10}
_ONE_AT_A_TIME = threading.Lock()  # kernels of all threads: constants and shared memory are variables of a library
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SANITIZER = os.environ.get("CONVNET_EMULATOR", "")
_SANITIZERS = {
    "": [],
    "asan": [
        "-O1",
        "-fsanitize=address,alignment",
        "-fno-sanitize-recover=all",
        "-fsanitize-sections=emulated_shared",
        "-fno-omit-frame-pointer",
    ],
    "tsan": ["-O1", "-fsanitize=thread", "-DRACES"],
}
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


if SANITIZER == "tsan":
    _LIBC.__tsan_java_init(ctypes.c_void_p(8), ctypes.c_void_p(8))  # from now on any memory may be said to be new


class EmulationError(AssertionError):
    """A kernel or a call did what a device does not allow."""


class Recording:
    """Captured work: pieces, each with the numbers of those before it that it depends on."""

    def __init__(self) -> None:
        self.works: list[Callable[[], Any]] = []
        self.before: list[list[int]] = []
        self.next: list[int] = []  # what the next piece depends on

    def append(self, work: Callable[[], Any]) -> None:
        self.before.append(self.next)
        self.next = [len(self.works)]
        self.works.append(work)

    def latest_first(self, delayed: int) -> Iterator[Callable[[], Any]]:
        """Give all work as the dependencies allow: the last that can run comes first, ``delayed`` after all that can."""
        done: set[int] = set()
        while len(done) < len(self.works):
            ready = [i for i, before in enumerate(self.before) if i not in done and done.issuperset(before)]
            chosen = max(ready, key=lambda i: (i != delayed, i))
            done.add(chosen)
            yield self.works[chosen]


class EmulatedDevice(Device):
    """Runs kernels on the processor; ``seed`` shuffles the order of a block's threads.

    Memory of one device is refused on another, but for copies from ``peers``.
    """

    name = "emulated device"
    multiprocessors = 4
    captures = runs_branches = True
    launched: set[tuple[str, str]] = set()  # file and kernel, by all of them

    def __init__(self, seed: int = 1, math: str = "float32", peers: bool = True) -> None:
        self.seed, self.math, self.peers = seed, math, peers
        self._captured: Recording | None = None
        self.random, self.delayed = np.random.RandomState(seed), None  # which piece of each replay is delayed: any
        self._extents: dict[int, int] = {}  # pages of each array: start to end
        self._enabled: weakref.WeakSet[Device] = weakref.WeakSet()  # peers with access

    def allocate(self, nbytes: int) -> Buffer:
        """An array that ends (to 16 bytes) at a page nobody may touch, filled with NaN."""
        inside = -(-nbytes // 16) * 16
        pages = -(-inside // _PAGE) * _PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = _LIBC.mmap(None, pages + 2 * _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        if start in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(nbytes)
        _LIBC.mprotect(start, _PAGE, 0)
        _LIBC.mprotect(start + _PAGE + pages, _PAGE, 0)
        pointer = start + _PAGE + pages - inside
        ctypes.memset(pointer, 0xFF, inside)
        _poison("", pointer + nbytes, inside - nbytes)
        _poison("", start + _PAGE, pages - inside)
        self._extents[start] = start + pages + 2 * _PAGE
        return Buffer(self, pointer, nbytes)

    def free(self, pointer: int, nbytes: int) -> None:
        inside = -(-nbytes // 16) * 16
        pages = -(-inside // _PAGE) * _PAGE
        _poison("un", pointer + inside - pages, pages)
        start = pointer + inside - pages - _PAGE
        del self._extents[start]
        _LIBC.munmap(start, pages + 2 * _PAGE)

    def check(self, *pointers: int, peers: bool = False) -> None:
        """Raise ``EmulationError`` unless every pointer is into this device's memory, or that of ``peers``."""
        devices = [self, *(self._enabled if peers else ())]
        for pointer in pointers:
            if not any(device._holds(pointer) for device in devices):
                raise EmulationError(f"{pointer:#x} is not memory of {self.name}")

    def _holds(self, pointer: int) -> bool:
        """Whether ``pointer`` is into an array; arrays may come and go meanwhile, in other threads or as garbage."""
        extents = self._extents
        return any(start <= pointer < extents.get(start, 0) for start in list(extents))

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        self.check(pointer)
        self.refuse_in_capture("waiting")
        self.drain(COMPUTE)
        ctypes.memmove(values.ctypes.data, pointer, values.nbytes)

    def copy(self, source: int, target: int, nbytes: int) -> None:
        self.refuse_in_capture("copying")
        self.check(target)
        self.check(source, peers=True)
        self.issue(COMPUTE, partial(ctypes.memmove, target, source, nbytes))

    def start(self, source: Source, kernel: str, grid, block, args: tuple[Any, ...], shared: int) -> None:
        pointers = [arg.pointer for arg in args if isinstance(arg, DeviceArray)]
        self.check(*pointers)
        check_extents(three(grid), three(block), shared, self.math)
        types = signatures(source.file)[kernel].types
        numbers = zip(formats(types), convert(types, args, kernel), strict=True)
        values = [np.dtype(kind).type(number) for kind, number in numbers]
        self.launched.add((source.file, kernel))
        self.issue(COMPUTE, partial(self._run, source, kernel, grid, block, values, shared, pointers))

    def _run(self, source: Source, kernel: str, grid, block, values: list[Any], shared: int, pointers: list[int]) -> None:
        self.check(*pointers)  # again: arrays of captured or delayed work must still exist
        library = _library(library_of(source))
        arrays = [np.asarray(scalar) for scalar in values]
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        run = getattr(library, f"launch_{kernel}")
        run.restype = ctypes.c_char_p
        extents = (ctypes.c_uint * 6)(*three(grid), *three(block))
        with _ONE_AT_A_TIME:
            for name, value in source.shapes:
                kind = ctypes.c_float if isinstance(value, float) else ctypes.c_int
                kind.in_dll(library, f"constant_{name}").value = value
            error = run(extents, ctypes.c_size_t(shared), ctypes.c_uint(self.seed), pointers)
        if error:
            raise EmulationError(f"{source.file} {kernel} ({source.constants()}): {error.decode()}")

    def multiply(self, product: Product, workspace: int) -> None:
        pointers = [array.pointer for array in (product.a, product.b, product.c)]
        self.check(*pointers)
        self.issue(COMPUTE, partial(self._product, product._replace(a=None, b=None, c=None), *pointers))

    def _product(self, p: Product, a: int, b: int, c: int) -> None:
        self.check(a, b, c)
        left = _matrix(a, p.K, p.M, p.lda).T if p.transpose_a else _matrix(a, p.M, p.K, p.lda)
        right = _matrix(b, p.N, p.K, p.ldb).T if p.transpose_b else _matrix(b, p.K, p.N, p.ldb)
        if self.math == "tf32":
            left, right = as_tf32(left), as_tf32(right)
        out = _matrix(c, p.M, p.N, p.ldc)
        result = np.float32(p.alpha) * (left @ right)
        out[...] = result if p.beta == 0 else result + np.float32(p.beta) * out

    def sync(self) -> None:
        self.refuse_in_capture("waiting")
        for stream in STREAMS:
            self.drain(stream)

    # -- capturing: work of COMPUTE is kept, and nothing else may be asked for

    def begin_capture(self) -> None:
        self._captured = Recording()

    def captured_last(self) -> list[int]:
        return self._captured.next

    def depend_on(self, nodes: list[int]) -> None:
        self._captured.next = nodes

    def end_capture(self) -> Recording:
        captured, self._captured = self._captured, None
        return captured

    def issue_captured(self, work: Recording) -> None:
        delayed = self.random.randint(len(work.works) or 1)
        for piece in work.latest_first(delayed if self.delayed is None else self.delayed):
            self.issue(COMPUTE, piece)

    def refuse_in_capture(self, what: str) -> None:
        if self._captured is not None:
            raise EmulationError(f"{what} while work is captured")

    # -- streams: here all work is done when it is issued; ``LazyStreams`` delays it

    def issue(self, stream: int, work: Callable[[], Any]) -> None:
        """Do ``work`` in its turn, or keep it."""
        if self._captured is None:
            self.do(stream, work)
        else:
            self._captured.append(work)

    def do(self, stream: int, work: Callable[[], Any]) -> None:
        work()

    def drain(self, stream: int) -> None:
        """Do all work of a stream."""

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.full(nbytes, 0xFF, np.uint8)

    def send(self, values: np.ndarray, pointer: int, stream: int) -> None:
        self.refuse_in_capture("sending")
        self.check(pointer)
        self.issue(stream, lambda: ctypes.memmove(pointer, values.ctypes.data, values.nbytes))

    def fetch(self, pointer: int, values: np.ndarray, stream: int) -> None:
        self.refuse_in_capture("fetching")
        self.check(pointer)
        self.issue(stream, lambda: ctypes.memmove(values.ctypes.data, pointer, values.nbytes))

    def can_access_peer(self, other: Device) -> bool:
        if self.peers:
            self._enabled.add(other)
        return self.peers

    def record_event(self, stream: int) -> Any:
        self.refuse_in_capture("recording an event")

    def wait_event(self, stream: int, event: Any) -> None:
        self.refuse_in_capture("waiting")

    def synchronize(self, event: Any) -> None:
        pass

    def is_done(self, event: Any) -> bool:
        return True

    @contextlib.contextmanager
    def lend(self, stream: int) -> Iterator[tuple[Device, int]]:
        self.refuse_in_capture("lending a stream")
        yield self, stream


def check_extents(grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, rounding: str = "float32") -> None:
    """Raise ``EmulationError`` for what no device would start (CUDA programming guide, technical specifications)."""
    fits = grid[0] < 1 << 31 and max(grid[1:]) < 1 << 16 and min(*grid, *block) > 0
    if not fits or math.prod(block) > 1024 or block[2] > 64 or shared > _SHARED[rounding]:
        raise EmulationError(f"no device starts {grid} blocks of {block} threads with {shared} bytes of shared memory")


def check_shared(text: str) -> None:
    """Raise ``EmulationError`` for a shared array in a template: g++ puts it where the emulator does not find it."""
    for function in text.split("\n}\n"):
        if re.search("^template", function, re.M) and re.search(r"^\s+__shared__", function, re.M):
            raise EmulationError(f"a shared array in a template:\n{function.strip()}")


def _poison(un: str, start: int, count: int) -> None:
    """Tell the sanitizer that nobody may (``un``: may again) touch ``count`` bytes."""
    if SANITIZER == "asan":
        getattr(_LIBC, f"__asan_{un}poison_memory_region")(ctypes.c_void_p(start), ctypes.c_size_t(count))


def _matrix(pointer: int, rows: int, columns: int, stride: int) -> np.ndarray:
    count = (rows - 1) * stride + columns
    flat = np.ctypeslib.as_array((ctypes.c_float * count).from_address(pointer))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (4 * stride, 4))


def as_tf32(array: np.ndarray) -> np.ndarray:
    """Rounded to the 10 bits behind the point that tensor cores see, ties away from zero; float32."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def library_of(source: Source) -> Path:
    """The kernels of a file, compiled for the tiles of ``source``; its shapes are variables ``constant_NAME``."""
    floats = frozenset(name for name, value in source.shapes if isinstance(value, float))
    return _compiled(source.file, source.tiles, source.names, tuple(name for name, _ in source.shapes), floats)


@cache
def _library(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


@cache
def _compiled(file: str, tiles: tuple, names: tuple, shapes: tuple[str, ...], floats: frozenset[str]) -> Path:
    lines = [Source(file, (), tiles, names).definitions()]
    for name in shapes:
        lines.append(
            f'extern "C" {{ {"float" if name in floats else "int"} constant_{name}; }}\n#define {name} constant_{name}'
        )
    check_shared(read(file))
    text = "\n".join([*lines, read(file), *(_trampoline(signature) for signature in signatures(file).values())])
    flags = ["-O1", "-g1", "-fno-strict-aliasing", "-ffp-contract=off", "-w", *_SANITIZERS[SANITIZER]]
    key = hashlib.sha256("\0".join([text, *(header.read_text() for header in _HEADERS), *flags]).encode()).hexdigest()[:24]
    path = cache_folder() / "emulated" / f"{Path(file).stem}-{key}.so"
    if not path.is_file():
        compile_library(text, [*flags, "-include", str(_header(tuple(flags)))], path)
    return path


@cache
def _header(flags: tuple[str, ...]) -> Path:
    """The emulator's header, beside a ``.gch`` that g++ takes in its place: a third of each compilation's time."""
    texts = [header.read_text() for header in _HEADERS]
    folder = cache_folder() / "emulated" / f"header-{hashlib.sha256(repr((texts, flags)).encode()).hexdigest()[:24]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            for header, text in zip(_HEADERS, texts, strict=True):
                (made / header.name).write_text(text)
            _gpp(*flags, "-x", "c++-header", str(made / HEADER.name), "-o", str(made / f"{HEADER.name}.gch"))
            with contextlib.suppress(OSError):  # another process was first
                made.rename(folder)
    return folder / HEADER.name


def compile_library(text: str, flags: list[str], path: Path) -> None:
    """A shared library from C++ text; it appears whole or not at all. Raises ``EmulationError`` with what g++ says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, out = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        source.write_text(text)
        _gpp("-shared", *flags, "-o", str(out), str(source), "-ldl")
        out.replace(path)


def _gpp(*arguments: str) -> None:
    done = subprocess.run([os.environ.get("CXX", "g++"), "-std=c++17", "-fPIC", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise EmulationError(done.stderr[:4000])


def _trampoline(signature: Signature) -> str:
    """A C function that takes an array of pointers to the arguments and runs the kernel over a grid."""
    guard = signature.guard or "1"
    arguments = ", ".join(f"*({kind}*)args[{i}]" for i, kind in enumerate(signature.types))
    call = f"emu::run({{e[0], e[1], e[2]}}, {{e[3], e[4], e[5]}}, shared, seed, [=] {{ {signature.name}({arguments}); }})"
    head = f'extern "C" const char* launch_{signature.name}(const unsigned* e, size_t shared, unsigned seed, void** args)'
    return f"#if {guard}\n{head} {{\n    return {call};\n}}\n#endif"
