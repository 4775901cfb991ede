"""What the cuda backend asks of a device: memory, copies, kernels, products, synchronisation. Nothing above knows PyCUDA.

Two implementations: ``driver.CudaDevice`` (PyCUDA, a real GPU) and the emulator of the tests, which runs the same kernel
texts on the processor. Work is issued to streams, each in order: ``COMPUTE`` unless said otherwise (``transfers.py``).
``download`` and ``sync`` wait. What is captured keeps only the order that its memory demands (``branches.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from convnet.backends.cuda.array import Arena, Buffer, Captured, DeviceArray
from convnet.backends.cuda.branches import Branches, accesses
from convnet.backends.cuda.source import Source, signatures
from convnet.backends.cuda.transfers import Transfers
from convnet.errors import BackendError

Dim = tuple[int, ...]  # up to three extents, x first


class Product(NamedTuple):
    """c[M, N] = alpha * op(a)[M, K] @ op(b)[K, N] + beta * c, in rows ``ld`` floats apart. beta 0 does not read c."""

    M: int
    N: int
    K: int
    a: DeviceArray  # from their first values on, of any shape
    b: DeviceArray
    c: DeviceArray
    lda: int
    ldb: int
    ldc: int
    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    beta: float = 0.0


class Device(ABC):
    """One device. Pointers are integers."""

    name = ""
    card = ""  # its address on the bus: devices of one card have one
    multiprocessors = 1  # for choosing grids
    shared_memory = 100 << 10  # bytes of a multiprocessor, for choosing tiles
    capability = 0  # 90 for 9.0; 0: nothing to compile for
    tiled_for = 0  # the capability for which tiles were measured (``tile_table.py``)
    math = "float32"  # or "tf32": how products may round
    captures = False  # whether ``capturing`` works
    why_no_capture = ""  # why not, where something is wrong
    runs_branches = False  # whether captured ops that share no memory may run at the same time
    unsettled: Any = None  # the carrier of ``convnet.ranks`` that has begun calls on EXCHANGE, which may not be issued yet
    _capturing = False
    _branches: Branches | None = None  # of the capture under way

    @abstractmethod
    def allocate(self, nbytes: int) -> Buffer:
        """Allocate memory with arbitrary contents; raises ``BackendError`` when none is left."""

    @abstractmethod
    def free(self, pointer: int, nbytes: int) -> None:
        """Free the memory of a dead ``Buffer``; work already issued may still use it."""

    @abstractmethod
    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        """Copy from the device to the host; waits for COMPUTE."""

    @abstractmethod
    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Copy within the device, or from a peer; not in a capture."""

    @abstractmethod
    def start(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int) -> None:
        """Run a kernel as ``launch`` says, in the order of COMPUTE."""

    @abstractmethod
    def multiply(self, product: Product, workspace: int) -> None:
        """Compute a product of matrices in the order of COMPUTE, with workspace number ``workspace``."""

    @abstractmethod
    def sync(self) -> None:
        """Wait for everything issued."""

    # -- streams and events -----------------------------------------------------------------------------------

    @abstractmethod
    def pinned(self, nbytes: int) -> np.ndarray:
        """Allocate page-locked host memory, for ``send`` and ``fetch`` of any device."""

    def unpin(self, values: np.ndarray) -> None:
        """Free an array of ``pinned``, which no copy uses any more."""

    @abstractmethod
    def send(self, values: np.ndarray, pointer: int, stream: int) -> None:
        """Copy page-locked memory to the device without waiting; it must not change until the copy is done."""

    @abstractmethod
    def fetch(self, pointer: int, values: np.ndarray, stream: int) -> None:
        """Copy from the device to page-locked memory without waiting."""

    @abstractmethod
    def can_access_peer(self, other: Device) -> bool:
        """Tell whether this device can read the other's memory, with access enabled from then on."""

    @abstractmethod
    def record_event(self, stream: int) -> Any:
        """Record an event after everything issued to ``stream`` so far."""

    @abstractmethod
    def wait_event(self, stream: int, event: Any) -> None:
        """Make later work of ``stream`` wait for an event of any stream of any device."""

    @abstractmethod
    def synchronize(self, event: Any) -> None:
        """Make the host wait for an event."""

    @abstractmethod
    def is_done(self, event: Any) -> bool:
        """Tell whether an event was reached, without waiting."""

    def lend(self, stream: int) -> AbstractContextManager[Any]:
        """Make the device current inside ``with``, for another library that issues work to the stream of this handle."""
        raise NotImplementedError

    def memory(self) -> tuple[int, int] | None:
        """Return (free, total) bytes; ``None`` where that is not known."""
        return None

    def trim_pool(self) -> None:
        """Return memory that is kept for later arrays."""

    # -- capture, where ``captures`` is true ------------------------------------------------------------------

    def begin_capture(self) -> None:
        """From here on, record what is issued to COMPUTE instead of running it."""
        raise NotImplementedError

    def captured_last(self) -> list[Any]:
        """Return the nodes of the capture that end the last op: those that the next one would depend on."""
        raise NotImplementedError

    def depend_on(self, nodes: list[Any]) -> None:
        """Make the next op of the capture depend on ``nodes`` alone."""
        raise NotImplementedError

    def end_capture(self) -> Any:
        """Return the recorded work for ``issue_captured``; raises ``BackendError`` if the capture failed."""
        raise NotImplementedError

    def issue_captured(self, work: Any) -> None:
        """Issue what ``end_capture`` returned to COMPUTE."""
        raise NotImplementedError

    def replay(self, captured: Captured) -> None:
        """Issue captured work to COMPUTE."""
        self.issue_captured(captured.work)

    @contextmanager
    def capturing(self) -> Iterator[list[Captured]]:
        """Capture what is issued to COMPUTE inside; afterwards the list holds one item for ``replay``. Nothing may wait.

        New arrays come from a separate arena, whose memory no other array is given while the work can be replayed.
        """
        captured: list[Captured] = []
        self.begin_capture()
        memory = self.arena.begin(once=self.runs_branches)
        self._capturing, self._branches = True, Branches(self) if self.runs_branches else None
        try:
            yield captured
        except BaseException:
            with suppress(BackendError):  # the first error explains more
                self._end_capture()
            raise
        captured.append(Captured(self._end_capture(), memory))

    def _end_capture(self) -> Any:
        self._capturing, self._branches = False, None
        self.arena.end()
        return self.end_capture()

    # -- built on the above -----------------------------------------------------------------------------------

    def launch(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int = 0) -> None:
        """Run ``kernel`` of ``source``, compiled at its first launch, with ``shared`` bytes of dynamic shared memory.

        ``args`` are ``DeviceArray``, ``None`` (a null pointer) or numbers; they are converted to the kernel's C types.
        """
        if self._branches is None:
            self.start(source, kernel, grid, block, args, shared)
            return
        with self._branches.after(*accesses(signatures(source.file)[kernel].types, args)):
            self.start(source, kernel, grid, block, args, shared)

    def gemm(self, product: Product) -> None:
        """Compute a product of matrices."""
        if self._branches is None:
            self.multiply(product, 0)
            return
        reads, writes = [array.buffer.pointer for array in (product.a, product.b)], [product.c.buffer.pointer]
        workspace = self._branches.workspace(reads, writes)
        with self._branches.after(reads, [*writes, -1 - workspace]):
            self.multiply(product, workspace)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """Make a new array with arbitrary contents."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        owner = self.arena if self._capturing else self
        return DeviceArray(owner.allocate(max(nbytes, 1)), shape, dtype)

    @cached_property
    def arena(self) -> Arena:
        """Memory of the arrays that are made during a capture."""
        return Arena(self)

    @cached_property
    def transfers(self) -> Transfers:
        """Copies to and from this device that do not wait."""
        return Transfers(self)

    def upload(self, values: np.ndarray) -> DeviceArray:
        """Make a new array with the contents of a host array, which may change at once."""
        array = self.empty(values.shape, values.dtype)
        self.copy_in(values, array)
        return array

    def copy_in(self, values: np.ndarray, out: DeviceArray) -> None:
        """Copy from the host to the device; ``values`` may change at once."""
        if out.size:
            self.transfers.copy_in(values, out.dtype, out.pointer)

    def download(self, array: DeviceArray) -> np.ndarray:
        """Copy an array to the host and wait for it."""
        values = np.empty(array.shape, array.dtype)
        if array.size:
            self.copy_out(array.pointer, values)
        return values


def three(extents: Dim) -> tuple[int, int, int]:
    """Pad a grid or block to three extents."""
    return (*extents, 1, 1)[:3]  # type: ignore[return-value]
