"""A real device: PyCUDA for context, memory, streams and launches; cuBLAS for products. Imported only when asked for.

The device's primary context is used. Every call makes it current and restores the previous one, so that one thread can
work with several devices, and beside other CUDA code of the process. PyCUDA frees its objects only where their context is
current, or in the thread that made the context: so a ``CudaDevice`` owns all of them, and ``close`` releases them. Freed
memory is cached, and can be handed out at once to the next array of its size: what that is used for is queued on the same
stream, after the last use. What is captured is a CUDA graph (``graphs.py``).

PyCUDA's ``memcpy_peer`` cannot be used: its test of the contexts it is passed is inverted (2026.1), so that it takes the
current one for both. With unified addresses, which all devices that CUDA still supports have, a plain copy serves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer, Captured
from convnet.backends.cuda.blas import WORKSPACE, Blas
from convnet.backends.cuda.compile import build
from convnet.backends.cuda.contexts import Current, gc_disabled, open_devices, primary_context
from convnet.backends.cuda.device import Device, Dim, Product, three
from convnet.backends.cuda.events import Event, EventPool
from convnet.backends.cuda.graphs import CudaGraph, Graphs, load_graphs
from convnet.backends.cuda.machine import (
    TF32_SINCE,
    as_backend_error,
    capability_of,
    check_libraries,
    find_gpu,
    load_driver,
    math_for,
)
from convnet.backends.cuda.parameters import convert, formats
from convnet.backends.cuda.source import Source, signatures
from convnet.backends.cuda.transfers import COMPUTE, STREAMS
from convnet.backends.switches import is_off
from convnet.errors import BackendError

_NON_BLOCKING = 1  # no implicit synchronisation with work of others in this process on the default stream


class CudaDevice(Device):
    """GPU number ``index``, with products as ``math`` says (``math_for``). Raises ``BackendError`` saying what is missing.

    What the driver or a library refuses later, in any call, is a ``BackendError`` too.
    """

    closed = True  # until ``_open`` has run
    _blas: Blas

    def __init__(self, index: int = 0, math: str = "float32") -> None:
        self.drv = load_driver()
        with as_backend_error(f"GPU {index} cannot be used", "nvidia-smi lists who uses it; or use --backend cpu"):
            self.device = find_gpu(self.drv, index)
            self.index, self.name = index, f"GPU {index}: {self.device.name()}"
            self.capability = self.tiled_for = capability_of(self.device)
            self.math = math_for(self.capability, math)
            if self.math == "tf32" and self.capability < TF32_SINCE:
                raise BackendError(f"{self.name} (sm_{self.capability}) has no TF32; leave out --math tf32")
            check_libraries(self.drv, self.capability)
            ask = self.drv.device_attribute
            self.multiprocessors = self.device.get_attribute(ask.MULTIPROCESSOR_COUNT)
            self.shared_memory = self.device.get_attribute(ask.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
            self.context = self._with_oom_retry(lambda: primary_context(self.drv, index))
            self._current = Current(self.context, self.name, (self.drv.Error, RuntimeError))
            self._open()

    def _open(self) -> None:
        self._functions: dict[tuple[Source, str], tuple[Any, tuple[str, ...], Any]] = {}
        self._cached: dict[int, list[Any]] = defaultdict(list)  # freed memory by size
        self._memory: dict[int, Any] = {}  # by pointer, as the two that follow
        self._pinned: dict[int, Any] = {}
        self._captured: dict[int, Any] = {}
        self._streams: list[Any] = []
        self._peers: dict[Device, bool] = {}
        self._events = EventPool(self.drv)
        api, self.why_no_capture = load_graphs()
        self._graphs, self.captures = Graphs(api), api is not None
        self.runs_branches = self.captures and not is_off("CONVNET_BRANCHES")
        self.closed = False
        open_devices.add(self)
        with self._current:
            self._streams += [self._with_oom_retry(lambda: self.drv.Stream(_NON_BLOCKING)) for _ in STREAMS]
            self._workspaces = [self.allocate(WORKSPACE)]  # more where a capture has several products at the same time
            stream = self._streams[COMPUTE].handle
            self._blas = self._with_oom_retry(lambda: Blas(stream, self.math, self._workspaces[0].pointer))

    def close(self) -> None:
        """Wait for all that was issued and free everything; arrays, graphs and events that are left cannot be used."""
        if self.closed:
            return
        self.closed = True
        self.__dict__.pop("transfers", None)

        def drain(table: dict[int, Any], free: Callable[[Any], None]) -> None:
            while table:
                free(table.popitem()[1])

        tables: tuple[Any, ...] = self._functions, self._cached, self._memory, self._events.events, self._streams
        with suppress(BackendError), self._current:
            for step in (
                self.sync,
                partial(drain, self._captured, self._graphs.destroy),
                *([self._blas.destroy] if "_blas" in vars(self) else []),
                partial(drain, self._pinned, lambda memory: memory.free()),
                *(table.clear for table in tables),
            ):
                with suppress(BackendError, self.drv.Error, RuntimeError):  # a device that has failed refuses some of it
                    step()
        self._current.closed = True

    __del__ = close  # the garbage collector may run in any thread

    # -- memory -------------------------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Buffer:
        size = -(-nbytes // 512) * 512
        try:
            memory = self._cached[size].pop()
        except IndexError:
            with self._current:
                memory = self._allocate(size)
        self._memory[int(memory)] = memory
        return Buffer(self, int(memory), size)

    def _allocate(self, size: int) -> Any:
        try:
            return self._with_oom_retry(lambda: self.drv.mem_alloc(size))
        except self.drv.MemoryError:
            free, total = self.drv.mem_get_info()
            raise BackendError(
                f"{self.name} has no room for {size >> 20} MiB more ({free >> 20} of {total >> 20} MiB free); lower --mini, "
                f"or see in nvidia-smi who else uses it"
            ) from None

    def free(self, pointer: int, nbytes: int) -> None:
        memory = self._memory.pop(pointer, None)
        if memory is not None:
            self._cached[nbytes].append(memory)

    def memory(self) -> tuple[int, int]:
        with self._current:
            free, total = self.drv.mem_get_info()
        return free + sum(device.cached_bytes for device in _on_card(self.index)), total

    @property
    def cached_bytes(self) -> int:
        """Bytes of freed memory, cached for the next array of their size."""
        return sum(size * len(blocks) for size, blocks in list(self._cached.items()))

    def trim_pool(self) -> None:
        """Return cached memory to the driver."""
        unused, self._cached = self._cached, defaultdict(list)
        with self._current:
            self.sync()
            unused.clear()

    def _with_oom_retry(self, work: Callable[[], Any]) -> Any:
        """Run ``work``; after a failure, once more with the pools of all devices of this card trimmed.

        Any failure counts: the driver reports a lack of memory by several errors, and cuBLAS by others.
        """
        try:
            return work()
        except Exception:
            devices = list(_on_card(self.index))
            if self._capturing or not devices:
                raise
        for device in devices:
            device.trim_pool()
        return work()

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        self._refuse_in_capture()
        with self._current:
            self.drv.memcpy_dtoh_async(values, pointer, self._streams[COMPUTE])
            self._streams[COMPUTE].synchronize()

    def copy(self, source: int, target: int, nbytes: int) -> None:
        self._refuse_in_capture()
        with self._current:
            self.drv.memcpy_dtod_async(target, source, nbytes, self._streams[COMPUTE])

    def _refuse_in_capture(self) -> None:
        """Raise ``BackendError`` in a capture: copies are of the moment, and nobody knows which arrays they touch."""
        if self._capturing:
            raise BackendError(f"{self.name}: copies cannot be captured")

    # -- kernels and products -----------------------------------------------------------------------------------

    def start(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int) -> None:
        loaded = self._functions.get((source, kernel))
        if loaded is None:
            with self._current:
                loaded = self._functions[source, kernel] = self._load(source, kernel, shared)
        function, types, _ = loaded
        values = convert(types, args, kernel)
        with self._current:
            function.prepared_async_call(three(grid), three(block), self._streams[COMPUTE], *values, shared_size=shared)

    def _load(self, source: Source, kernel: str, shared: int) -> tuple[Any, tuple[str, ...], Any]:
        """Load a kernel. Its module is kept beside it: else the collector could finalise the module before ``close``."""
        code, types = build(source, self.capability), signatures(source.file)[kernel].types
        failure = f"{self.name} does not take the machine code of {source.file}"
        with as_backend_error(failure, "'convnet doctor' says what does not fit"):
            module = self._with_oom_retry(lambda: self.drv.module_from_buffer(code))
        function = module.get_function(kernel)
        function.prepare(formats(types))
        if shared:  # more than 48 KiB, the kernel's own arrays included, must be requested
            function.set_attribute(self.drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
        return function, types, module

    def multiply(self, product: Product, workspace: int) -> None:
        while workspace >= len(self._workspaces):
            self._workspaces.append(self.allocate(WORKSPACE))
        with self._current:
            self._blas.product(product, self._workspaces[workspace].pointer)

    def sync(self) -> None:
        with self._current:
            for stream in self._streams:
                stream.synchronize()

    # -- streams and events -------------------------------------------------------------------------------------

    def pinned(self, nbytes: int) -> np.ndarray:
        with self._current:
            values = self.drv.pagelocked_empty(nbytes, np.uint8, mem_flags=self.drv.host_alloc_flags.PORTABLE)
        self._pinned[values.ctypes.data] = values.base
        return values

    def unpin(self, values: np.ndarray) -> None:
        memory = self._pinned.pop(values.ctypes.data, None)
        if memory is not None:
            with self._current:
                memory.free()

    def send(self, values: np.ndarray, pointer: int, stream: int) -> None:
        self._refuse_in_capture()
        with self._current:
            self.drv.memcpy_htod_async(pointer, values, self._streams[stream])

    def fetch(self, pointer: int, values: np.ndarray, stream: int) -> None:
        self._refuse_in_capture()
        with self._current:
            self.drv.memcpy_dtoh_async(values, pointer, self._streams[stream])

    def can_access_peer(self, other: Device) -> bool:
        if other not in self._peers:
            self._peers[other] = isinstance(other, CudaDevice) and self.device.can_access_peer(other.device)
            if isinstance(other, CudaDevice) and self._peers[other]:
                with self._current:
                    try:
                        self.drv.Context.enable_peer_access(other.context)
                    except self.drv.Error as error:  # refused, or enabled by other code of this process
                        self._peers[other] = "already enabled" in str(error)
        return self._peers[other]

    def record_event(self, stream: int) -> Event:
        with self._current:
            return self._events.record(self._streams[stream])

    def wait_event(self, stream: int, event: Event) -> None:
        if (handle := event.handle) is not None:
            with self._current:
                self._streams[stream].wait_for_event(handle)

    def synchronize(self, event: Event) -> None:
        with self._current:
            event.handle.synchronize()

    def is_done(self, event: Event) -> bool:
        with self._current:
            return event.handle.query()

    @contextmanager
    def lend(self, stream: int) -> Iterator[int]:
        self._refuse_in_capture()
        with self._current:
            yield self._streams[stream].handle

    @property
    def card(self) -> str:  # type: ignore[override]
        return self.device.pci_bus_id()

    # -- capture ------------------------------------------------------------------------------------------------

    @contextmanager
    def capturing(self) -> Iterator[list[Captured]]:
        with as_backend_error(f"{self.name} does not capture"), gc_disabled(), super().capturing() as captured:
            yield captured

    def begin_capture(self) -> None:
        with self._current:
            self._graphs.begin(self._streams[COMPUTE].handle)

    def captured_last(self) -> list[Any]:
        with self._current:
            return self._graphs.last(self._streams[COMPUTE].handle)

    def depend_on(self, nodes: list[Any]) -> None:
        with self._current:
            self._graphs.depend_on(self._streams[COMPUTE].handle, nodes)

    def end_capture(self) -> CudaGraph:
        with self._current:
            handle = self._graphs.end(self._streams[COMPUTE].handle, self._with_oom_retry)
        self._captured[int(handle)] = handle
        return CudaGraph(self, handle)

    def issue_captured(self, work: CudaGraph) -> None:
        with self._current:
            self._with_oom_retry(lambda: self._graphs.launch(work.handle, self._streams[COMPUTE].handle))

    def drop(self, handle: Any) -> None:
        """Destroy the graph of a dead ``CudaGraph``; it may still be executing."""
        if self._captured.pop(int(handle), None) is not None:
            with self._current:
                self._graphs.destroy(handle)


def _on_card(index: int) -> Iterator[CudaDevice]:
    """List the open devices on a card that are not capturing at the moment."""
    return (device for device in list(open_devices) if device.index == index and not device.closed and not device._capturing)
