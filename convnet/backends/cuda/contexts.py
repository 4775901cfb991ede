"""The primary contexts of devices: held from their first use to the end of the process, current while a call is made."""

import atexit
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from convnet.errors import BackendError, first_line

living: weakref.WeakSet[Any] = weakref.WeakSet()  # what has to be closed before its ``context`` goes


class Current:
    """``with`` makes a context the current one of this thread, whichever was before.

    What PyCUDA and the bindings raise inside comes out as a ``BackendError`` that begins with the device's name.
    """

    closed = False  # whether the device was

    def __init__(self, context: Any, name: str, failures: tuple[type[Exception], ...]) -> None:
        self.context, self.name, self.failures = context, name, failures

    def __enter__(self) -> None:
        if self.closed:
            raise BackendError(f"{self.name} was closed")
        try:
            self.context.push()
        except self.failures as error:
            raise self._told(error) from None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self.context.pop()
        if isinstance(error, self.failures):
            raise self._told(error) from None

    def _told(self, error: BaseException) -> BackendError:
        return BackendError(f"{self.name}: {first_line(error)}")


@contextmanager
def uncollected() -> Iterator[None]:
    """The collector does not come: it may find a device, which waits when it is closed, and nothing may in a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def primary_context(drv: Any, index: int) -> Any:
    """The context of GPU number ``index``; given back at exit."""
    context = drv.Device(index).retain_primary_context()
    atexit.register(_leave, context)
    return context


def _leave(context: Any) -> None:
    """At exit: give the context back. One that is only dropped PyCUDA takes for one that it has made (2026.1)."""
    for device in list(living):
        if device.context is context:
            device.close()
    with suppress(Exception):  # a card that has failed refuses even that, and nobody is left to hear of it
        context.detach()
