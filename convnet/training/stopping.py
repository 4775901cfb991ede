"""Ending what takes long, a test or the loading of a batch, when a run is told to stop."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
MustStop = Callable[[], bool]
_POLL = 0.1  # seconds between looks at whether to stop


class Stopped(Exception):
    """The run was told to stop in the middle of something, which does not count and is begun again when it goes on."""


class StopTraining(Stopped):
    """What a callback raises to end training: after ``BatchEnd`` with that batch counted, within a batch without it."""


def go_on() -> bool:
    """Never ask to stop: for tests outside a run."""
    return False


def wait_for(work: Future[T], must_stop: MustStop) -> T:
    """Return what ``work`` gives; raises ``Stopped`` if told to stop before it is done."""
    while True:
        try:
            return work.result(timeout=_POLL)
        except TimeoutError:
            if work.done():
                return work.result()
            if must_stop():
                raise Stopped from None


def in_thread(work: Callable[[], T], must_stop: MustStop) -> T:
    """Do ``work`` in a thread that is left behind when told to stop; raises ``Stopped`` then."""
    if must_stop is go_on:
        return work()
    thread = ThreadPoolExecutor(1, thread_name_prefix="convnet-test-data")
    try:
        return wait_for(thread.submit(work), must_stop)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
