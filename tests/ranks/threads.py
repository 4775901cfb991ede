"""Communicators of threads in one process, which run a function on each of several ranks, fast and without MPI."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from convnet.ranks.communicator import Communicator, Pending

_LIMIT = 60  # seconds that a rank waits for another: a test that hangs fails


class ThreadCommunicator(Communicator):
    """One of ``size`` ranks; ``mail`` is shared by all, and has a queue for each pair and kind of message."""

    def __init__(self, rank, size, mail, path=()):
        super().__init__(rank, size)
        self._mail, self._path, self._splits, self._exchanges = mail, path, 0, 0
        self._begun = {}  # by source: the arrays that wait for what it sends, in the order in which they began to

    def send(self, values, to):
        self._put(values.copy(), to, "one")
        self.bytes_sent += values.nbytes

    def begin_receive(self, out, source):
        self._begun.setdefault(source, []).append(out)
        return _Arriving(self, out, source)

    def has_message(self, source):
        return not self._box(source, self.rank, "one").empty()

    def _gather(self, value, patience):
        for other in range(self.size):
            self._put(value, other, "value")
        return [self._get(other, "value") for other in range(self.size)]

    def exchange(self, pieces, out):
        self._exchanges += 1
        others = [other for other in range(self.size) if other != self.rank]
        for other in others:
            self._put(pieces[other].copy(), other, self._exchanges)
            self.bytes_sent += pieces[other].nbytes
        return _Later(self, others, out, self._exchanges)

    def progress(self):
        pass

    def split(self, color):
        colors = self.all_gather(color)
        ranks = [rank for rank in range(self.size) if colors[rank] == color]
        self._splits += 1
        return ThreadCommunicator(ranks.index(self.rank), len(ranks), self._mail, (*self._path, self._splits, color))

    def abort(self, text, patience=0):
        self._mail.said.append(text)
        self._mail.failed = True
        raise SystemExit(text)

    def _box(self, source, to, kind):
        with self._mail.lock:
            return self._mail.boxes.setdefault((self._path, source, to, kind), queue.SimpleQueue())

    def _put(self, value, to, kind):
        self._box(self.rank, to, kind).put(value)

    def _get(self, source, kind):
        box = self._box(source, self.rank, kind)
        for _ in range(_LIMIT * 20):
            try:
                return box.get(timeout=0.05)
            except queue.Empty:
                if self._mail.failed:
                    raise RuntimeError("another rank has failed") from None
        raise TimeoutError(f"rank {self.rank} waits for rank {source}")


class _Arriving(Pending):
    def __init__(self, communicator, out, source):
        self.communicator, self.out, self.source = communicator, out, source

    def wait(self):
        begun = self.communicator._begun[self.source]
        while any(out is self.out for out in begun):  # those before it come first
            begun.pop(0)[...] = self.communicator._get(self.source, "one")


class _Later(Pending):
    def __init__(self, communicator, others, out, number):
        self.communicator, self.others, self.out, self.number = communicator, others, out, number

    def done(self):
        boxes = [self.communicator._box(other, self.communicator.rank, self.number) for other in self.others]
        if any(box.empty() for box in boxes):
            return False
        self.wait()
        return True

    def wait(self):
        for other in self.others:
            value = self.communicator._get(other, self.number)
            assert value.nbytes == self.out[other].nbytes
            self.out[other].reshape(-1).view(np.uint8)[:] = value.reshape(-1).view(np.uint8)
        self.others = []


class _Mail:
    def __init__(self):
        self.boxes, self.lock, self.failed, self.said = {}, threading.Lock(), False, []


def on_ranks(size, work, *arguments):
    """[result of ``work(communicator, *arguments)`` of each rank]; raises what the first rank to fail raised."""
    mail, errors = _Mail(), []

    def one(rank):
        try:
            return work(ThreadCommunicator(rank, size, mail), *arguments)
        except BaseException as error:
            errors.append(error)
            mail.failed = True
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
