"""A real device: PyCUDA for context, memory, streams and launches; cuBLAS for products. Imported only when asked for.

The device's primary context is used. Every call makes it current and puts back what was: one thread can work with
several devices, and with other users of CUDA, and nothing is left behind at exit. PyCUDA gives a thing back only where its
context is current, or in the thread that made the context: so a ``Driver`` holds all of them, and ends with ``close``.
Freed memory is kept for the next array of its size: kernels are issued to one stream, so what runs later on the same
memory also runs later in time. The lanes of ``transfers.py`` are streams, its marks events; what is captured is a CUDA
graph (``graphs.py``).

Between devices PyCUDA's ``memcpy_peer`` is no use: its test of the contexts given is the wrong way round (2026.1), so it
takes the current one for both. With unified addresses, which all devices that CUDA still knows have, a plain copy does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer
from convnet.backends.cuda.blas import WORKSPACE, Blas
from convnet.backends.cuda.compile import build
from convnet.backends.cuda.contexts import Current, living, primary_context, uncollected
from convnet.backends.cuda.device import Device, Dim, convert, formats, three
from convnet.backends.cuda.events import Mark, Marks
from convnet.backends.cuda.graphs import CudaGraph, find_graphs
from convnet.backends.cuda.machine import capability_of, check_libraries, find_gpu, load_driver, told
from convnet.backends.cuda.source import Source, signatures
from convnet.backends.cuda.transfers import COMPUTE
from convnet.errors import BackendError

_NON_BLOCKING = 1  # streams that neither wait for what others in the process do on the default stream, nor hold it up


class Driver(Device):
    """GPU number ``index``; ``math`` is ``float32`` or ``tf32``. Raises ``BackendError`` saying what is missing.

    What the driver or a library refuses later, in any call, is a ``BackendError`` too.
    """

    closed = True  # until it is open

    def __init__(self, index: int = 0, math: str = "float32") -> None:
        self.drv = load_driver()
        with told(f"GPU {index} cannot be used", "nvidia-smi lists who uses it; or use --backend cpu"):
            self.device = find_gpu(self.drv, index)
            self.index, self.math, self.name = index, math, f"GPU {index}: {self.device.name()}"
            self.capability = capability_of(self.device)
            if math == "tf32" and self.capability < 80:
                raise BackendError(f"{self.name} (sm_{self.capability}) has no TF32; leave out --math tf32")
            check_libraries(self.drv, self.capability)
            ask = self.drv.device_attribute
            self.processors = self.device.get_attribute(ask.MULTIPROCESSOR_COUNT)
            self.shared_memory = self.device.get_attribute(ask.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
            self.context = self._roomy(lambda: primary_context(self.drv, index))
            self._current = Current(self.context, self.name, (self.drv.Error, RuntimeError))
            self._open()

    def _open(self) -> None:
        self._functions: dict[tuple[Source, str], tuple[Any, Any]] = {}
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._held: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._captured: dict[int, Any] = {}
        self._streams: list[Any] = []  # by lane
        self._reached: dict[Device, bool] = {}
        self._marks, self._graphs, self._blas = Marks(self.drv), find_graphs(), None
        self.closed = False
        living.add(self)
        with self._current:
            self._streams += [self._roomy(lambda: self.drv.Stream(_NON_BLOCKING)) for _ in range(2)]
            self._workspace = self.allocate(WORKSPACE)
            self._blas = self._roomy(lambda: Blas(self._streams[COMPUTE].handle, self.math, self._workspace.pointer))

    def close(self) -> None:
        """Wait for all that was issued and give everything back; what is left of arrays, graphs and marks is of no use."""
        if self.closed:
            return
        self.closed = True
        gone = [self._functions, self._free, self._held, self._marks.events, self._streams]
        with suppress(BackendError), self._current:
            for step in (self.sync, self._drop_graphs, self._drop_blas, self._unpin_all, *(held.clear for held in gone)):
                with suppress(BackendError, self.drv.Error, RuntimeError):  # a device that has failed refuses some of it
                    step()
        self._current.closed = True

    __del__ = close  # the collector comes in any thread

    def _drop_graphs(self) -> None:
        while self._captured:
            self._graphs.destroy(self._captured.popitem()[1])

    def _drop_blas(self) -> None:
        if self._blas:
            self._blas.destroy()

    def _unpin_all(self) -> None:
        self.__dict__.pop("transfers", None)
        while self._pinned:
            self._pinned.popitem()[1].free()

    # -- memory -------------------------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Buffer:
        size = -(-nbytes // 512) * 512
        try:
            memory = self._free[size].pop()
        except IndexError:
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
            free, total = self.drv.mem_get_info()
        return free + sum(device.unused for device in _on_card(self.index)), total

    @property
    def unused(self) -> int:
        """Bytes that wait for the next array of their size."""
        return sum(size * len(held) for size, held in list(self._free.items()))

    def give_back_unused(self) -> None:
        """Return them to the driver."""
        unused, self._free = self._free, defaultdict(list)
        with self._current:
            self.sync()
            unused.clear()

    def _new(self, size: int) -> Any:
        try:
            return self._roomy(lambda: self.drv.mem_alloc(size))
        except self.drv.MemoryError:
            free, total = self.drv.mem_get_info()
            raise BackendError(
                f"{self.name} has no room for {size >> 20} MiB more ({free >> 20} of {total >> 20} MiB free); lower --mini, "
                f"or see in nvidia-smi who else uses it"
            ) from None

    def _roomy(self, work: Callable[[], Any]) -> Any:
        """Do what needs memory of the card; where it fails, once more after all that lies unused there was given back.

        The driver says in several ways that there is none left, and cuBLAS in others.
        """
        try:
            return work()
        except Exception:
            others = list(_on_card(self.index))
            if self._capturing or not others:
                raise
        for device in others:
            device.give_back_unused()
        return work()

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
            function.prepared_async_call(three(grid), three(block), self._streams[COMPUTE], *values, shared_size=shared)

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
            values = self.drv.pagelocked_empty(nbytes, np.uint8, mem_flags=self.drv.host_alloc_flags.PORTABLE)
        self._pinned[values.ctypes.data] = values.base
        return values

    def unpin(self, values: np.ndarray) -> None:
        held = self._pinned.pop(values.ctypes.data, None)
        if held is not None:
            with self._current:
                held.free()

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

    def mark(self, lane: int) -> Mark:
        with self._current:
            return self._marks.record(self._streams[lane])

    def wait(self, lane: int, mark: Mark) -> None:
        if (event := mark.event) is not None:
            with self._current:
                self._streams[lane].wait_for_event(event)

    def wait_here(self, mark: Mark) -> None:
        with self._current:
            mark.event.synchronize()

    # -- capturing ----------------------------------------------------------------------------------------------

    @property
    def captures(self) -> bool:  # type: ignore[override]
        return self._graphs is not None

    @contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        with told(f"{self.name} does not capture"), uncollected(), super().capturing() as held:
            yield held

    def begin_capture(self) -> None:
        with self._current:
            self._graphs.begin(self._streams[COMPUTE].handle)

    def end_capture(self) -> Any:
        with self._current:
            graph = self._graphs.end(self._streams[COMPUTE].handle)
            try:
                handle = self._roomy(lambda: self._graphs.instantiate(graph))
            finally:
                self._graphs.forget(graph)
        self._captured[int(handle)] = handle
        return CudaGraph(self, handle)

    def replay(self, captured: CudaGraph) -> None:
        with self._current:
            self._roomy(lambda: self._graphs.launch(captured.handle, self._streams[COMPUTE].handle))

    def drop(self, handle: Any) -> None:
        """Called by a ``CudaGraph`` nobody holds; it may be running."""
        if self._captured.pop(int(handle), None) is not None:
            with self._current:
                self._graphs.destroy(handle)

    # -- kernels ------------------------------------------------------------------------------------------------

    def _function(self, source: Source, kernel: str, shared: int) -> tuple[Any, tuple[str, ...]]:
        types = signatures(source.file)[kernel].types
        held = self._functions.get((source, kernel))
        if held is None:
            module = self._loaded(build(source, self.capability), source.file)
            held = module.get_function(kernel), module  # else the collector takes a module before it calls ``close``
            held[0].prepare(formats(types))
            if shared:  # more than 48 KiB, the kernel's own arrays counted, have to be asked for
                held[0].set_attribute(self.drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
            self._functions[source, kernel] = held
        return held[0], types

    def _loaded(self, code: bytes, file: str) -> Any:
        with told(f"{self.name} does not take the machine code of {file}", "'convnet doctor' says what does not fit"):
            return self._roomy(lambda: self.drv.module_from_buffer(code))


def _on_card(index: int) -> Iterator[Driver]:
    """The open devices on a card that are not capturing just now."""
    return (device for device in list(living) if device.index == index and not device.closed and not device._capturing)
