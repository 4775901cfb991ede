"""What the cuda backend asks of a device: memory, copies, kernels, products, waiting. Nothing above knows PyCUDA.

Two implementations: ``driver.Driver`` (PyCUDA, a real GPU) and the emulator of the tests, which runs the same kernel
texts on the processor. Work is issued to lanes, each in order: ``COMPUTE`` unless said otherwise, ``COPY`` for what is
brought ahead of its use (``transfers.py``). ``download`` and ``sync`` wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import numpy as np

from convnet.backends.cuda.array import Arena, Buffer, DeviceArray
from convnet.backends.cuda.source import Source
from convnet.backends.cuda.transfers import Transfers
from convnet.errors import BackendError

Dim = tuple[int, ...]  # up to three extents, x first


class Device(ABC):
    """One device. Pointers are integers."""

    name = ""
    processors = 1  # multiprocessors, for choosing grids
    shared_memory = 100 << 10  # bytes of a multiprocessor, for choosing tiles
    capability = 0  # 90 for 9.0; 0: nothing to compile for
    math = "float32"  # or "tf32": how products may round
    captures = False  # whether ``capturing`` works
    _capturing = False

    @abstractmethod
    def allocate(self, nbytes: int) -> Buffer:
        """New memory with arbitrary contents; raises ``BackendError`` when there is none left."""

    @abstractmethod
    def free(self, pointer: int, nbytes: int) -> None:
        """Called by a ``Buffer`` nobody holds; work already issued may still use the memory."""

    @abstractmethod
    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        """Device to host; waits for COMPUTE."""

    @abstractmethod
    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Device to device."""

    @abstractmethod
    def launch(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int = 0) -> None:
        """Run ``kernel`` of ``source``, compiled when first asked for, with ``shared`` bytes of dynamic shared memory.

        ``args`` are ``DeviceArray``, ``None`` (a null pointer) or numbers; they are converted to the kernel's C types.
        """

    @abstractmethod
    def gemm(
        self, a: int, b: int, c: int, M: int, N: int, K: int, lda: int, ldb: int, ldc: int,
        transpose_a: bool, transpose_b: bool, alpha: float, beta: float,
    ) -> None:  # fmt: skip
        """c[M, N] = alpha * op(a)[M, K] @ op(b)[K, N] + beta * c; rows ``ld`` floats apart. beta 0 does not read c."""

    @abstractmethod
    def sync(self) -> None:
        """Wait for everything issued."""

    # -- lanes ------------------------------------------------------------------------------------------------

    @abstractmethod
    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of page-locked host memory, for ``send`` and ``fetch`` of any device."""

    def unpin(self, values: np.ndarray) -> None:
        """Give back what ``pinned`` gave; nobody may read it any more."""

    @abstractmethod
    def send(self, values: np.ndarray, pointer: int, lane: int) -> None:
        """Page-locked bytes to the device; does not wait, so they must stay as they are until it is done."""

    @abstractmethod
    def fetch(self, pointer: int, values: np.ndarray, lane: int) -> None:
        """Device to page-locked bytes; does not wait."""

    @abstractmethod
    def copy_peer(self, other: Device, source: int, target: int, nbytes: int) -> None:
        """From memory of ``other``, which this device ``reaches``."""

    @abstractmethod
    def reaches(self, other: Device) -> bool:
        """Whether this device can read the other's memory."""

    @abstractmethod
    def mark(self, lane: int) -> Any:
        """A mark behind everything issued to ``lane`` so far."""

    @abstractmethod
    def wait(self, lane: int, mark: Any) -> None:
        """What is issued to ``lane`` from now on waits for a mark, of any lane of any device."""

    @abstractmethod
    def wait_here(self, mark: Any) -> None:
        """The host waits for a mark."""

    def memory(self) -> tuple[int, int] | None:
        """(free, total) bytes, where that is known."""
        return None

    # -- capturing: where ``captures`` is true -------------------------------------------------------------------

    def begin_capture(self) -> None:
        """From here on what is issued to COMPUTE is kept instead of done."""
        raise NotImplementedError

    def end_capture(self) -> Any:
        """What was kept, for ``replay``; raises ``BackendError`` if it cannot be issued again."""
        raise NotImplementedError

    def replay(self, captured: Any) -> None:
        """Issue what was captured to COMPUTE."""
        raise NotImplementedError

    @contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        """Keeps what is issued to COMPUTE inside; afterwards the list holds one thing for ``replay``. Nothing may wait.

        New arrays lie in an arena of their own, so that nobody else is given their memory.
        """
        held: list[Any] = []
        self.begin_capture()
        self._capturing = True
        try:
            yield held
        except BaseException:
            self._capturing = False
            with suppress(BackendError):  # what went wrong inside has more to say
                self.end_capture()
            raise
        self._capturing = False
        held.append(self.end_capture())

    # -- built on the above -----------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """A new array with arbitrary contents."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        owner = self.arena if self._capturing else self
        return DeviceArray(owner.allocate(max(nbytes, 1)), shape, dtype)

    @cached_property
    def arena(self) -> Arena:
        """Where arrays lie that are made while capturing."""
        return Arena(self)

    @cached_property
    def transfers(self) -> Transfers:
        """What copies to this device."""
        return Transfers(self)

    def upload(self, values: np.ndarray) -> DeviceArray:
        """A new array with the contents of a host array, which may change at once."""
        array = self.empty(values.shape, values.dtype)
        self.copy_in(values, array)
        return array

    def copy_in(self, values: np.ndarray, out: DeviceArray) -> None:
        """Host to device; ``values`` may change at once."""
        if out.size:
            self.transfers.copy_in(values, out.dtype, out.pointer)

    def download(self, array: DeviceArray) -> np.ndarray:
        """A host copy; waits."""
        values = np.empty(array.shape, array.dtype)
        if array.size:
            self.copy_out(array.pointer, values)
        return values


def convert(types: tuple[str, ...], args: tuple[Any, ...], kernel: str) -> list[Any]:
    """``args`` as NumPy scalars of a kernel's C types; raises ``TypeError`` where their number differs."""
    if len(types) != len(args):
        raise TypeError(f"{kernel} takes {len(types)} arguments ({', '.join(types)}), not {len(args)}")
    return [_scalar(kind, value) for kind, value in zip(types, args, strict=True)]


_SCALARS = {"int": np.int32, "unsigned": np.uint32, "long long": np.int64, "float": np.float32, "double": np.float64}


def _scalar(kind: str, value: Any) -> Any:
    if kind.endswith("*"):
        return np.uint64(0 if value is None else value.pointer)
    if kind == "unsigned":
        return np.uint32(int(value) & 0xFFFFFFFF)
    return _SCALARS[kind](value)


_FORMATS = {"int": "i", "unsigned": "I", "long long": "q", "float": "f", "double": "d"}


def formats(types: tuple[str, ...]) -> str:
    """C types of arguments as the letters of ``struct``."""
    return "".join("P" if kind.endswith("*") else _FORMATS[kind] for kind in types)


def three(extents: Dim) -> tuple[int, int, int]:
    """A grid or block with the extents that were left out."""
    return (*extents, 1, 1)[:3]  # type: ignore[return-value]
