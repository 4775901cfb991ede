"""Primary contexts of devices: retained from first use to the end of the process, current only during a call."""

import atexit
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from convnet.errors import BackendError, first_line

open_devices: weakref.WeakSet[Any] = weakref.WeakSet()  # have to be closed before their ``context`` is released


class Current:
    """Make a context current in this thread inside ``with``, and restore the previous one.

    What PyCUDA and the bindings raise inside comes out as a ``BackendError`` that begins with the device's name.
    """

    closed = False  # the device was closed

    def __init__(self, context: Any, name: str, failures: tuple[type[Exception], ...]) -> None:
        self.context, self.name, self.failures = context, name, failures

    def __enter__(self) -> None:
        if self.closed:
            raise BackendError(f"{self.name} was closed")
        try:
            self.context.push()
        except self.failures as error:
            raise self._named(error) from None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self.context.pop()
        if isinstance(error, self.failures):
            raise self._named(error) from None

    def _named(self, error: BaseException) -> BackendError:
        return BackendError(f"{self.name}: {first_line(error)}")


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable the garbage collector: finalising a ``CudaDevice`` synchronises, which is illegal during a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def primary_context(drv: Any, index: int) -> Any:
    """Retain the primary context of GPU number ``index``; it is released at exit."""
    context = drv.Device(index).retain_primary_context()
    atexit.register(_release_context, context)
    return context


def _release_context(context: Any) -> None:
    """Release a context at exit. PyCUDA takes one that is only dropped for one that it has created (2026.1)."""
    for device in list(open_devices):
        if device.context is context:
            device.close()
    with suppress(Exception):  # a device that has failed refuses even this, and at exit nobody can act on it
        context.detach()
