"""Pictures read, resized and packed as JPEG in several processes, in an order that does not depend on their number."""

from __future__ import annotations

import io
import logging
import multiprocessing
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
from PIL import Image

from convnet.data.decoding import MEMORY, Look, read_square
from convnet.data.making.source import Place
from convnet.errors import DataError, first_line, reason_of
from convnet.interrupts import whole_despite_signals

QUALITY = 95  # of the JPEG files, as in 2014 (io 5.3)
_PICTURES = 16  # that a process is given at a time
_VALUES = 1 << 22  # of pixels, at most, that it gives back
_AHEAD = 4  # portions for each process that are read, or asked for, before their turn
_WORTH = 64  # pictures for which one more process pays


class Packed(NamedTuple):
    """A picture as JPEG, and if wanted as pixels (S, S) or (S, S, 3), and the sums of the products of its colours."""

    data: bytes
    pixels: np.ndarray | None = None
    products: np.ndarray | None = None


class Recipe(NamedTuple):
    """What is made of every picture: the side of the stored one, and how it is looked at."""

    size: int
    look: Look

    def pack(self, place: Place, with_pixels: bool) -> Packed | str:
        """Return a packed picture, or why it cannot be read."""
        try:
            pixels = read_square(_source_of(place), self.size, **self.look)
        except DataError as error:
            return str(error)
        data = io.BytesIO()
        try:
            Image.fromarray(pixels).save(data, "JPEG", quality=QUALITY)
        except (OSError, ValueError) as error:
            return f"cannot be packed as JPEG: {first_line(error)}"
        if not with_pixels:
            return Packed(data.getvalue())
        top, left = ((length - self.size) // 2 for length in pixels.shape[:2])
        middle = np.ascontiguousarray(pixels[top : top + self.size, left : left + self.size])
        colors = middle.reshape(self.size**2, -1).astype(np.float64)  # whose products are whole numbers, and exact
        return Packed(data.getvalue(), middle, (colors.T @ colors).astype(np.int64))


class Workers:
    """Up to ``count`` processes, fewer where ``pictures`` are few; with one, this process does it all."""

    def __init__(self, recipe: Recipe, count: int, pictures: int) -> None:
        self.recipe = recipe
        self._count = min(count, pictures // _WORTH)
        self._processes: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Self:
        if self._count > 1:
            try:
                with _without_interrupts():
                    self._start()
            except OSError as error:
                self.__exit__()
                raise DataError(f"no process can be started here: {reason_of(error)}; lower --workers") from None
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._processes:
            connection.close()  # at which a process ends
        for process in self._processes.values():
            process.terminate()
            process.join()
            process.close()
        self._processes = {}

    def map(self, places: Iterable[Place], with_pixels: bool) -> Iterator[Packed | str]:
        """Yield what ``Recipe.pack`` makes of each place, in order; raises ``DataError`` if a process is ended."""
        if not self._processes:
            yield from (self.recipe.pack(place, with_pixels) for place in places)
            return
        size = max(1, min(_PICTURES, _VALUES // (3 * self.recipe.size**2)))
        every = iter(places)
        portions = iter(lambda: [*islice(every, size)], [])
        done: dict[int, list[Packed | str]] = {}
        busy: dict[Connection, int] = {}
        idle, asked, given = list(self._processes), 0, 0
        while True:
            while given in done:
                yield from done.pop(given)
                given += 1
            while idle and asked - given < _AHEAD * len(self._processes) and (portion := next(portions, None)):
                connection = idle.pop()
                busy[connection] = asked
                asked += 1
                with suppress(BrokenPipeError, ConnectionResetError):  # of which ``_receive`` says more
                    connection.send((portion, with_pixels))
            if not busy:
                return
            for ready in cast("list[Connection]", wait([*busy])):
                done[busy.pop(ready)] = self._receive(ready)
                idle.append(ready)

    # -- inside

    def _start(self) -> None:
        """Start the processes, each on its own, not as copies of this one with its threads.

        A process that is half started when this one ends would say so in a traceback.
        """
        context = multiprocessing.get_context("spawn")
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.recipe), daemon=True)
            with whole_despite_signals():
                process.start()
            theirs.close()
            self._processes[ours] = process

    def _receive(self, connection: Connection) -> list[Packed | str]:
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[connection]
            process.join()
            advice = "if memory was short, give fewer --workers"
            raise DataError(f"a process that reads pictures was ended (status {process.exitcode}); {advice}") from None


def _serve(connection: Connection, recipe: Recipe) -> None:
    """Pack what the process at the other end sends, until it closes the connection or ends."""
    warnings.simplefilter("ignore")  # pictures that are left out are named, with reasons
    logging.disable()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            places, with_pixels = connection.recv()
            connection.send([recipe.pack(place, with_pixels) for place in places])


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Have processes that are started inside leave Ctrl-C to this one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # a process that start would add, which ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _source_of(place: Place) -> str | io.BytesIO:
    """Return a picture's file, or its bytes in an archive; raises ``DataError``."""
    if place.size < 0:
        return place.path
    if place.size > MEMORY:
        raise DataError(f"{place.size:,} bytes are too many for a picture")
    try:
        with Path(place.path).open("rb") as file:
            file.seek(place.start)
            return io.BytesIO(file.read(place.size))
    except OSError as error:
        raise DataError(reason_of(error)) from None
