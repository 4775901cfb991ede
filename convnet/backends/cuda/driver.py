"""A real device: PyCUDA for context, memory, streams and launches; cuBLAS for products. Imported only when asked for.

The device's primary context is used. Every call makes it current and puts back what was: one thread can work with
several devices, and with other users of CUDA, and nothing is left behind at exit. Freed memory is kept for the next
array of its size: kernels are issued to one stream, so what runs later on the same memory also runs later in time.
The lanes of ``transfers.py`` are streams, its marks events; what is captured is a CUDA graph (``graphs.py``).

Between devices PyCUDA's ``memcpy_peer`` is no use: its test of the contexts given is the wrong way round (2026.1), so it
takes the current one for both. With unified addresses, which all devices that CUDA still knows have, a plain copy does.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer
from convnet.backends.cuda.compile import build
from convnet.backends.cuda.device import Device, Dim, convert
from convnet.backends.cuda.graphs import Graph, find_graphs
from convnet.backends.cuda.source import Source, signatures
from convnet.backends.cuda.transfers import COMPUTE
from convnet.errors import BackendError

_WORKSPACE = 32 << 20  # bytes for cuBLAS: what it takes on Hopper
_FORMATS = {"int": "i", "unsigned": "I", "long long": "q", "float": "f", "double": "d"}


class Driver(Device):
    """GPU number ``index``; ``math`` is ``float32`` or ``tf32``. Raises ``BackendError`` saying what is missing."""

    def __init__(self, index: int = 0, math: str = "float32") -> None:
        self.drv = load_driver()
        count = self.drv.Device.count()
        if not 0 <= index < count:
            raise BackendError(
                f"there is no GPU {index}; this machine has {count}, from 0. To put several logical devices on one, name it "
                f"several times: --gpu 0,0"
            )
        self.index, self.math = index, math
        self.device = self.drv.Device(index)
        self.context = self.device.retain_primary_context()
        atexit.register(_leave, self.context, weakref.ref(self))
        self._current = _Current(self.context)
        with self._current:
            self._open(self.device, math)

    def _open(self, device: Any, math: str) -> None:
        major, minor = device.compute_capability()
        self.capability = 10 * major + minor
        if math == "tf32" and self.capability < 80:
            raise BackendError(f"{device.name()} (sm_{self.capability}) has no TF32; leave out --math tf32")
        self.name = f"GPU {self.index}: {device.name()}"
        self.processors = device.get_attribute(self.drv.device_attribute.MULTIPROCESSOR_COUNT)
        self._streams = [self.drv.Stream(), self.drv.Stream()]  # by lane
        self._workspace = self.drv.mem_alloc(_WORKSPACE)
        self._blas = _Blas(self._streams[COMPUTE].handle, math, int(self._workspace))
        self._graphs = find_graphs()
        self._functions: dict[tuple[Source, str], Any] = {}
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._held: dict[int, Any] = {}
        self._reached: dict[Device, bool] = {}

    # -- memory -------------------------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Buffer:
        size = -(-nbytes // 512) * 512
        if self._free[size]:
            memory = self._free[size].pop()
        else:
            with self._current:
                memory = self._new(size)
        self._held[int(memory)] = memory
        return Buffer(self, int(memory), size)

    def free(self, pointer: int, nbytes: int) -> None:
        memory = self._held.pop(pointer, None)
        if memory is not None:
            self._free[nbytes].append(memory)

    def memory(self) -> tuple[int, int]:
        with self._current:
            return self.drv.mem_get_info()

    def _new(self, size: int) -> Any:
        try:
            return self.drv.mem_alloc(size)
        except self.drv.MemoryError:
            if self._capturing:
                raise BackendError(f"{self.name} has no room for {size >> 20} MiB more") from None
            self.sync()
            self._free.clear()  # gives everything unused back to the driver
        try:
            return self.drv.mem_alloc(size)
        except self.drv.MemoryError:
            free, total = self.drv.mem_get_info()
            raise BackendError(
                f"{self.name} has no room for {size >> 20} MiB more ({free >> 20} of {total >> 20} MiB free); lower --mini"
            ) from None

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        with self._current:
            self.drv.memcpy_dtoh_async(values, pointer, self._streams[COMPUTE])
            self._streams[COMPUTE].synchronize()

    def copy(self, source: int, target: int, nbytes: int) -> None:
        with self._current:
            self.drv.memcpy_dtod_async(target, source, nbytes, self._streams[COMPUTE])

    # -- work ---------------------------------------------------------------------------------------------------

    def launch(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int = 0) -> None:
        with self._current:
            function, types = self._function(source, kernel, shared)
            values = [scalar.item() for scalar in convert(types, args, kernel)]
            function.prepared_async_call(_three(grid), _three(block), self._streams[COMPUTE], *values, shared_size=shared)

    def gemm(self, a, b, c, M, N, K, lda, ldb, ldc, transpose_a, transpose_b, alpha, beta) -> None:
        # Row-major c = a b is column-major c' = b' a'.
        with self._current:
            self._blas.product(transpose_b, transpose_a, N, M, K, alpha, b, ldb, a, lda, beta, c, ldc)

    def sync(self) -> None:
        with self._current:
            for stream in self._streams:
                stream.synchronize()

    # -- lanes --------------------------------------------------------------------------------------------------

    def pinned(self, nbytes: int) -> np.ndarray:
        with self._current:
            return self.drv.pagelocked_empty(nbytes, np.uint8, mem_flags=self.drv.host_alloc_flags.PORTABLE)

    def send(self, values: np.ndarray, pointer: int, lane: int) -> None:
        with self._current:
            self.drv.memcpy_htod_async(pointer, values, self._streams[lane])

    def fetch(self, pointer: int, values: np.ndarray, lane: int) -> None:
        with self._current:
            self.drv.memcpy_dtoh_async(values, pointer, self._streams[lane])

    def copy_peer(self, other: Device, source: int, target: int, nbytes: int) -> None:
        self.copy(source, target, nbytes)

    def reaches(self, other: Device) -> bool:
        if other not in self._reached:
            self._reached[other] = isinstance(other, Driver) and self._reach(other)
        return self._reached[other]

    def _reach(self, other: Driver) -> bool:
        if not self.device.can_access_peer(other.device):
            return False
        with self._current:
            try:
                self.drv.Context.enable_peer_access(other.context)
            except self.drv.Error as error:  # refused, or somebody else in this process has done it
                return "already enabled" in str(error)
        return True

    def mark(self, lane: int) -> Any:
        with self._current:
            return self.drv.Event(self.drv.event_flags.DISABLE_TIMING).record(self._streams[lane])

    def wait(self, lane: int, mark: Any) -> None:
        with self._current:
            self._streams[lane].wait_for_event(mark)

    def wait_here(self, mark: Any) -> None:
        with self._current:
            mark.synchronize()

    # -- capturing ----------------------------------------------------------------------------------------------

    @property
    def captures(self) -> bool:  # type: ignore[override]
        return self._graphs is not None

    @contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        try:
            with super().capturing() as held:
                yield held
        except self.drv.Error as error:
            raise BackendError(f"{self.name}: {error}") from None

    def begin_capture(self) -> None:
        with self._current:
            self._graphs.begin(self._streams[COMPUTE].handle)

    def end_capture(self) -> Any:
        with self._current:
            return Graph(self, self._graphs.end(self._streams[COMPUTE].handle))

    def replay(self, captured: Graph) -> None:
        with self._current:
            self._graphs.launch(captured.handle, self._streams[COMPUTE].handle)

    def drop(self, captured: Graph) -> None:
        """Called by a ``Graph`` nobody holds; it may be running."""
        if self._graphs:
            with self._current:
                self._graphs.destroy(captured.handle)

    # -- kernels ------------------------------------------------------------------------------------------------

    def _function(self, source: Source, kernel: str, shared: int) -> tuple[Any, tuple[str, ...]]:
        types = signatures(source.file)[kernel].types
        function = self._functions.get((source, kernel))
        if function is None:
            module = self.drv.module_from_buffer(build(source, self.capability))
            function = module.get_function(kernel)
            function.prepare(formats(types))
            if shared:  # more than 48 KiB, the kernel's own arrays counted, have to be asked for
                function.set_attribute(self.drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
            self._functions[source, kernel] = function
        return function, types


class _Current:
    """``with`` makes a context the current one of this thread, whichever was before."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def __enter__(self) -> None:
        self.context.push()

    def __exit__(self, *_: object) -> None:
        self.context.pop()


class _Blas:
    """cuBLAS in single precision, with the math mode said and not left to the environment."""

    def __init__(self, stream: int, math: str, workspace: int) -> None:
        self.api = cublas = load_blas()
        self.handle = cublas.create()
        cublas.set_stream(self.handle, stream)
        cublas.set_workspace(self.handle, workspace, _WORKSPACE)  # its own would be allocated anew in a capture
        cublas.set_math_mode(self.handle, cublas.Math.TF32_TENSOR_OP_MATH if math == "tf32" else cublas.Math.PEDANTIC_MATH)

    def product(self, first: bool, second: bool, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
        one, other = ctypes.c_float(alpha), ctypes.c_float(beta)
        scales = ctypes.addressof(one), ctypes.addressof(other)
        self.api.sgemm(self.handle, int(first), int(second), m, n, k, scales[0], a, lda, b, ldb, scales[1], c, ldc)


def _leave(context: Any, driver: weakref.ref[Driver]) -> None:
    """At exit: give the context back. One that is only dropped PyCUDA takes for one that it has made (2026.1)."""
    held = driver()
    if held is not None:
        held._graphs = None  # goes with the context
    context.detach()


def load_driver() -> Any:
    """``pycuda.driver``, initialised; raises ``BackendError`` with what is missing and how to get it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise BackendError("no NVIDIA driver on this machine (libcuda is missing); use --backend cpu") from None
    try:
        import pycuda.driver as drv
    except ImportError as error:
        raise BackendError(f"PyCUDA is missing ({error}); pip install '.[cuda]', or use --backend cpu") from None
    try:
        drv.init()
    except drv.Error as error:
        raise BackendError(f"the NVIDIA driver finds no GPU ({error}); use --backend cpu") from None
    return drv


def load_blas() -> Any:
    """nvmath's ``cublas``, with the library behind it; raises ``BackendError`` with what is missing and how to get it."""
    try:
        from nvmath.bindings import cublas

        cublas.get_property(0)  # bindings look for their library when they are first used
    except Exception as error:  # a missing library shows in several kinds of errors
        raise BackendError(f"cuBLAS is missing ({str(error).splitlines()[0]}); pip install '.[cuda]'") from None
    return cublas


def formats(types: tuple[str, ...]) -> str:
    """C types of arguments as the letters of ``struct``."""
    return "".join("P" if kind.endswith("*") else _FORMATS[kind] for kind in types)


def _three(extents: Dim) -> tuple[int, int, int]:
    return (*extents, 1, 1)[:3]  # type: ignore[return-value]
