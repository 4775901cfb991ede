"""Communicators of threads in one process, which run a function on each of several ranks, fast and without MPI.

Messages are as late as MPI lets them be: what is sent is read when the receiver waits for it, and what is received is
written when it waits. An array that changes on its way, or is written to while it is to be filled, fails the test.
"""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from convnet.ranks.communicator import Communicator, Pending

_LIMIT = 60  # seconds that a rank waits for another: a test that hangs fails
_STUCK = 0.005  # seconds after which a rank that waits takes what else has come, as MPI does in any wait
_LOOKS = 3  # at a message that has come, before ``done`` says so
_UNFILLED = 0xA5  # every byte of an array that is to be filled


class ThreadCommunicator(Communicator):
    """One of ``size`` ranks; ``mail`` is shared by all, and has a queue for each pair and kind of message."""

    def __init__(self, rank, size, mail, path=(), family=None):
        super().__init__(rank, size)
        self._mail, self._path, self._splits, self._exchanges = mail, path, 0, 0
        self.begun = {}  # by source and kind: what waits to be received, in the order in which it began to
        self.family = [self] if family is None else family  # the communicators of this rank
        if family is not None:
            family.append(self)

    def send(self, values, to):
        self._put(_Message(values), to, "one")
        self.bytes_sent += values.nbytes

    def begin_receive(self, out, source):
        return _Arrivals(self, [_Arrival(self, source, "one", out)], [])

    def has_message(self, source):
        return bool(self._box(source, self.rank, "one"))

    def _gather(self, value, patience):
        data = pickle.dumps(value)
        for other in range(self.size):
            self._put(data, other, "value")
        return [pickle.loads(self._get(other, "value")) for other in range(self.size)]

    def exchange(self, pieces, out):
        self._exchanges += 1
        others = [other for other in range(self.size) if other != self.rank]
        sent = [_Message(pieces[other]) for other in others]
        for other, message in zip(others, sent, strict=True):
            self._put(message, other, self._exchanges)
            self.bytes_sent += pieces[other].nbytes
        return _Arrivals(self, [_Arrival(self, other, self._exchanges, out[other]) for other in others], sent)

    def progress(self):
        if self._mail.failed:
            raise RuntimeError("another rank has failed")

    def split(self, color):
        colors = self.all_gather(color)
        ranks = [rank for rank in range(self.size) if colors[rank] == color]
        self._splits += 1
        path = *self._path, self._splits, color
        return ThreadCommunicator(ranks.index(self.rank), len(ranks), self._mail, path, self.family)

    def abort(self, text, patience=0):
        self._mail.said.append(text)
        self._mail.fail()
        raise SystemExit(text)

    def _box(self, source, to, kind):
        with self._mail.news:
            return self._mail.boxes.setdefault((self._path, source, to, kind), [])

    def _put(self, value, to, kind):
        box = self._box(self.rank, to, kind)
        with self._mail.news:
            box.append(value)
            self._mail.news.notify_all()

    def _get(self, source, kind):
        box = self._box(source, self.rank, kind)
        self.until(lambda: box, f"rank {self.rank} waits for rank {source}")
        return box.pop(0)

    def until(self, ready, text):
        """Wait; nothing else goes on meanwhile unless that takes long."""
        for _ in range(int(_LIMIT / _STUCK)):
            with self._mail.news:
                if self._mail.news.wait_for(lambda: ready() or self._mail.failed, _STUCK) and ready():
                    return
                if self._mail.failed:
                    raise RuntimeError("another rank has failed")
                for communicator in self.family:
                    for arrivals in communicator.begun.values():
                        while arrivals and arrivals[0].take():
                            pass
        raise TimeoutError(text)


class _Message:
    """An array on its way; its sender must not change it until ``taken``."""

    def __init__(self, values):
        assert values.flags.c_contiguous
        self.values, self.before, self.taken = values, values.tobytes(), False

    def take(self):
        assert self.values.tobytes() == self.before, "an array was changed while it was being sent"
        self.taken = True
        return self.before


class _Arrival:
    """What fills ``out``."""

    def __init__(self, communicator, source, kind, out):
        self.communicator, self.source, self.kind, self.out, self.data = communicator, source, kind, out, None
        assert out.flags.c_contiguous
        self.bytes = out.reshape(-1).view(np.uint8)
        self.bytes[:] = _UNFILLED
        self.queue = communicator.begun.setdefault((source, kind), [])
        self.queue.append(self)

    def has_come(self):
        """Whether it, and all before it, have been sent."""
        box = self.communicator._box(self.source, self.communicator.rank, self.kind)
        with self.communicator._mail.news:
            return self.data is not None or len(box) > self.queue.index(self)

    def take(self):
        """Read it from the sender's memory, if it has been sent; ``out`` is filled later."""
        communicator = self.communicator
        box = communicator._box(self.source, communicator.rank, self.kind)
        with communicator._mail.news:
            if box:
                self.queue.pop(0)
                self.data = box.pop(0).take()
                communicator._mail.news.notify_all()
                return True
        return False

    def fill(self):
        while self.data is None:
            self.queue[0].take()  # those before it, too
        assert len(self.data) == self.bytes.size, f"{len(self.data)} bytes came for {self.bytes.size}"
        assert (self.bytes == _UNFILLED).all(), "an array was written to while it was to be filled"
        self.bytes[:] = np.frombuffer(self.data, np.uint8)


class _Arrivals(Pending):
    def __init__(self, communicator, arrivals, sent):
        self.communicator, self.arrivals, self.sent, self.looks = communicator, arrivals, sent, 0

    def done(self):
        if self.arrivals and (self.looks < _LOOKS or not all(arrival.has_come() for arrival in self.arrivals)):
            self.looks += 1
            return False
        self._fill()
        return all(message.taken for message in self.sent)

    def wait(self):
        for arrival in self.arrivals:
            self.communicator.until(arrival.has_come, f"a rank waits for rank {arrival.source}")
        self._fill()
        self.communicator.until(lambda: all(message.taken for message in self.sent), "a rank waits until others receive")

    def _fill(self):
        for arrival in self.arrivals:
            arrival.fill()
        self.arrivals = []


class _Mail:
    def __init__(self):
        self.boxes, self.news, self.failed, self.said = {}, threading.Condition(threading.RLock()), False, []

    def fail(self):
        with self.news:
            self.failed = True
            self.news.notify_all()


def on_ranks(size, work, *arguments):
    """[result of ``work(communicator, *arguments)`` of each rank]; raises what the first rank to fail raised."""
    mail, errors = _Mail(), []

    def one(rank):
        try:
            return work(ThreadCommunicator(rank, size, mail), *arguments)
        except BaseException as error:
            errors.append(error)
            mail.fail()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
    if errors:
        raise errors[0]
    for message in (message for box in mail.boxes.values() for message in box):
        if isinstance(message, _Message):  # which nobody has received
            message.take()
    return [future.result() for future in futures]
