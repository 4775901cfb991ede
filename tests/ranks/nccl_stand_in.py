"""What ``nccl.py`` calls of nccl4py's bindings, between emulated devices of threads.

Groups move bytes in the order of their streams. A call may still go on when it returns, as NCCL's non-blocking
communicators allow: its work reaches the stream after some looks at the state, and whoever calls in between is refused.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections import defaultdict, deque
from enum import IntEnum
from types import SimpleNamespace

Result = IntEnum("Result", {"Success": 0, "RemoteError": 6, "InProgress": 7})
DataType = IntEnum("DataType", {"Uint8": 1, "Float32": 7})
LOOKS = 3  # at the state until a call is settled
_numbers = itertools.count(1)


class NCCLError(Exception):
    pass


class UniqueId:
    def __init__(self, data=None):
        self.data = data or next(_numbers).to_bytes(128, "little")

    def __bytes__(self):
        return self.data

    from_buffer = classmethod(lambda cls, data: cls(bytes(data)))


class World:
    """The bindings as a module has them; ``log`` has (rank, name of a call, its own arguments) of all threads."""

    Result, DataType, NCCLError, UniqueId = Result, DataType, NCCLError, UniqueId
    version = 23203

    def __init__(self):
        self.log, self.lock = [], threading.Condition()
        self.boxes = defaultdict(deque)  # (id, from, to): messages
        self.here = threading.local()  # calls of the group that this thread has begun
        self.failing = {}  # rank: state that it finds

    def get_version(self):
        return self.version

    def get_unique_id(self):
        return UniqueId()

    Config = staticmethod(lambda: SimpleNamespace(blocking=1))

    def comm_init_rank_config(self, size, unique, rank, config):
        assert config.blocking == 0
        comm = SimpleNamespace(id=bytes(unique), rank=rank, size=size, looks=LOOKS, works=[], aborted=False)
        self.log.append((rank, "init", size))
        return comm

    def comm_get_async_error(self, comm):
        assert not comm.aborted
        if comm.rank in self.failing:
            return self.failing[comm.rank]
        comm.looks -= 1
        if comm.looks >= 0:
            return Result.InProgress
        for (device, stream), work in comm.works:
            device.issue(stream, work)
        comm.works.clear()
        return Result.Success

    get_error_string = staticmethod(lambda state: f"error {int(state)}")

    def comm_abort(self, comm):
        comm.aborted = True
        self.log.append((comm.rank, "abort"))

    def group_start(self):
        self.here.calls = []

    def send(self, pointer, count, kind, peer, comm, stream):
        self._call("send", pointer, count, kind, peer, comm, stream)

    def recv(self, pointer, count, kind, peer, comm, stream):
        self._call("recv", pointer, count, kind, peer, comm, stream)

    def _call(self, name, pointer, count, kind, peer, comm, stream):
        assert kind == DataType.Uint8 and count > 0 and 0 <= peer < comm.size and comm.looks < 0
        stream[0].check(pointer)
        self.log.append((comm.rank, name, peer, count))
        self.here.calls.append((name, pointer, count, peer, comm, stream))

    def group_end(self):
        calls, self.here.calls = self.here.calls, None
        if calls:
            *_, comm, stream = calls[0]
            comm.looks = LOOKS
            comm.works.append((stream, lambda: self._move(calls)))

    def _move(self, calls):
        """All sends of a group at once, then what is received, whenever that comes."""
        with self.lock:
            for name, pointer, count, peer, comm, _ in calls:
                if name == "send":
                    self.boxes[comm.id, comm.rank, peer].append(ctypes.string_at(pointer, count))
            self.lock.notify_all()
            for name, pointer, count, peer, comm, _ in calls:
                if name == "recv":
                    box = self.boxes[comm.id, peer, comm.rank]
                    assert self.lock.wait_for(lambda box=box: box, 20), f"rank {comm.rank} hears nothing of {peer}"
                    data = box.popleft()
                    assert len(data) == count
                    ctypes.memmove(pointer, data, count)
