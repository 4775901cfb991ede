"""``driver.py`` over a stand-in for PyCUDA: contexts are pushed and popped in pairs, and every call meets its own.

The stand-in does what PyCUDA's documentation and source (2026.1) say of the calls used, and refuses any other.
"""

import ctypes

import numpy as np
import pytest

from convnet.backends import make_backends
from convnet.backends.cuda import driver
from convnet.backends.cuda.transfers import COMPUTE
from convnet.errors import BackendError


class StandIn:
    """``pycuda.driver`` with memory of the host; copies are done at once."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class event_flags:
        DISABLE_TIMING = 2

    class host_alloc_flags:
        PORTABLE = 1

    class device_attribute:
        MULTIPROCESSOR_COUNT = 16

    class function_attribute:
        MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    def __init__(self, gpus=2, peers=True, enabled=()):
        drv, self.stack, self.log, self.peers, self.enabled = self, [], [], peers, set(enabled)
        self.memory, self.at_exit = {}, []
        self.contexts = [drv.Context_(drv, index) for index in range(gpus)]
        self.Context = drv.Peering(drv)

        class Device:
            count = staticmethod(lambda: gpus)

            def __init__(self, index):
                self.index = index

            def name(self):
                return f"card {self.index}"

            def compute_capability(self):
                return 9, 0

            def get_attribute(self, attribute):
                return 4

            def retain_primary_context(self):
                return drv.contexts[self.index]

            def can_access_peer(self, other):
                return drv.peers

        class Stream:
            def __init__(self):
                self.context, self.handle = drv.current(), id(self)

            def synchronize(self):
                drv.current(self.context)

            def wait_for_event(self, event):
                drv.current(self.context)
                assert event.recorded
                drv.log.append(("wait", self.context.index, event.context.index))

        class Event:
            def __init__(self, flags):
                assert flags == drv.event_flags.DISABLE_TIMING
                self.context, self.recorded = drv.current(), False

            def record(self, stream):
                assert stream.context is self.context is drv.current()
                self.recorded = True
                return self

            def synchronize(self):
                drv.current(self.context)
                return self

        self.Device, self.Stream, self.Event = Device, Stream, Event

    class Context_:
        def __init__(self, drv, index):
            self.drv, self.index = drv, index

        def push(self):
            self.drv.stack.append(self)

        def pop(self):
            assert self.drv.stack.pop() is self

        def detach(self):
            self.drv.log.append(("detach", self.index))

    class Peering:
        def __init__(self, drv):
            self.drv = drv

        def enable_peer_access(self, peer, flags=0):
            pair = self.drv.current().index, peer.index
            if pair in self.drv.enabled:
                raise self.drv.Error("cuCtxEnablePeerAccess failed: peer access is already enabled")
            self.drv.enabled.add(pair)

    def current(self, context=None):
        assert self.stack, "no context is current"
        assert context in (None, self.stack[-1]), "another context is current"
        return self.stack[-1]

    def mem_alloc(self, size):
        held = ctypes.create_string_buffer(size)
        pointer = ctypes.addressof(held)
        self.memory[pointer] = (held, size, self.current())
        return pointer

    def mem_get_info(self):
        self.current()
        return 1 << 30, 1 << 31

    def pagelocked_empty(self, shape, dtype, order="C", mem_flags=0):
        assert mem_flags == self.host_alloc_flags.PORTABLE and self.current()
        return np.zeros(shape, dtype)

    def owner(self, pointer, nbytes):
        found = [
            own for start, (_, size, own) in self.memory.items() if start <= pointer and pointer + nbytes <= start + size
        ]
        return found[0]

    def memcpy_htod_async(self, target, values, stream):
        assert self.owner(target, values.nbytes) is stream.context is self.current()
        ctypes.memmove(target, values.ctypes.data, values.nbytes)

    def memcpy_dtoh_async(self, values, source, stream):
        assert self.owner(source, values.nbytes) is stream.context is self.current()
        ctypes.memmove(values.ctypes.data, source, values.nbytes)

    def memcpy_dtod_async(self, target, source, nbytes, stream):
        ours, theirs = self.owner(target, nbytes), self.owner(source, nbytes)
        assert ours is stream.context is self.current()
        assert theirs is ours or (ours.index, theirs.index) in self.enabled
        self.log.append(("copy", ours.index, theirs.index))
        ctypes.memmove(target, source, nbytes)

    def module_from_buffer(self, code):
        self.current()
        return self

    def get_function(self, name):
        return Function(self, name)


class Function:
    """A kernel that only notes where it was started."""

    def __init__(self, drv, name):
        self.drv, self.name, self.context = drv, name, drv.current()

    def prepare(self, formats):
        self.formats = formats

    def prepared_async_call(self, grid, block, stream, *values, shared_size=0):
        assert stream.context is self.context is self.drv.current()
        assert len(values) == len(self.formats) and len(grid) == len(block) == 3
        assert all(
            isinstance(value, float if kind in "fd" else int) for kind, value in zip(self.formats, values, strict=True)
        )
        self.drv.log.append((self.name, self.context.index))


class Blas:
    def __init__(self, stream, math, workspace):
        self.made = stream

    def product(self, *args):
        pass


class Graphs:
    """What ``graphs.Graphs`` asks of the driver, noted."""

    def __init__(self, drv):
        self.drv = drv

    def _note(self, *entry):
        self.drv.log.append((*entry, self.drv.current().index))

    def begin(self, stream):
        self._note("begin", stream)

    def end(self, stream):
        self._note("end", stream)
        return 77

    def launch(self, handle, stream):
        self._note("launch", handle, stream)

    def destroy(self, handle):
        self._note("destroy", handle)


@pytest.fixture
def machine(monkeypatch):
    """Puts a stand-in where PyCUDA would be."""

    def put(**options):
        drv = StandIn(**options)
        monkeypatch.setattr(driver, "load_driver", lambda: drv)
        monkeypatch.setattr(driver.atexit, "register", lambda work, *args: drv.at_exit.append((work, args)))
        monkeypatch.setattr(driver, "_Blas", Blas)
        monkeypatch.setattr(driver, "find_graphs", lambda: Graphs(drv))
        monkeypatch.setattr(driver, "build", lambda source, capability: b"")
        return drv

    return put


@pytest.mark.parametrize("peers", [True, False], ids=["direct", "by the host"])
def test_two_devices_from_one_thread(machine, peers):
    drv = machine(peers=peers)
    one, other = make_backends("cuda", 0, [0, 1])
    assert not drv.stack and one.device.name == "GPU 0: card 0" and other.device.processors == 4
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    here, there = one.upload(x), other.empty((3, 4))
    other.copy_from(one, here, there)
    np.testing.assert_array_equal(other.download(there), x)
    assert (("copy", 1, 0) in drv.log) == peers == ((1, 0) in drv.enabled)
    assert [entry for entry in drv.log if entry[0] == "wait"] == (
        [("wait", 1, 0), ("wait", 0, 1)] if peers else [("wait", 1, 0)]
    )
    for be, array in ((one, here), (other, there), (one, here)):
        be.fill(array, 1.0)
    assert [entry[1] for entry in drv.log if entry[0] == "fill"] == [0, 1, 0]
    one.fc_forward(here.reshape(4, 3), here, one.empty((3, 3)))
    one.sync()
    assert not drv.stack and one.device.memory() == (1 << 30, 1 << 31)


def test_access_that_somebody_else_has_enabled(machine):
    drv = machine(enabled={(1, 0)})
    one, other = make_backends("cuda", 0, [0, 1])
    assert other.device.reaches(one.device) and one.device.reaches(other.device)
    assert drv.enabled == {(0, 1), (1, 0)}


def test_inputs_come_by_the_second_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0])[0]
    values, out = np.asfortranarray(np.arange(12.0).reshape(3, 4)), be.empty((3, 4))
    for _ in range(6):  # more than there are buffers
        be.copy_in(be.stage(values), out)
    np.testing.assert_array_equal(be.download(out), values)
    assert len(be.device.transfers.slots) == 1 and not drv.stack
    lane = be.device._streams[COMPUTE]
    assert be.device._blas.made == lane.handle


def test_captured_work_is_a_graph_of_the_first_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0, 1])[1]
    out, stream = be.empty((3, 4)), be.device._streams[COMPUTE].handle
    with be.capturing() as held:
        be.fill(out, 1.0)
    be.replay(held[0])
    del held
    expected = [("begin", stream, 1), ("fill", 1), ("end", stream, 1), ("launch", 77, stream, 1), ("destroy", 77, 1)]
    assert drv.log == expected and not drv.stack


def test_contexts_are_given_back_at_exit(machine):
    drv = machine()
    make_backends("cuda", 0, [0, 1])
    for work, args in drv.at_exit:
        work(*args)
    assert drv.log == [("detach", 0), ("detach", 1)]


def test_devices_named_twice_or_missing(machine):
    machine()
    first, second, third = make_backends("cuda", 0, [1, 0, 1])
    assert first is third is not second
    with pytest.raises(BackendError, match=r"no GPU 2; this machine has 2, from 0.*--gpu 0,0"):
        make_backends("cuda", 0, [0, 2])
    with pytest.raises(BackendError, match="no GPU -1"):
        make_backends("cuda", 0, [-1])
