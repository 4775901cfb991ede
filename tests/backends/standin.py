"""A stand-in for PyCUDA, cuBLAS and CUDA graphs: it refuses what is done in the wrong context, and what a test puts down.

It does what PyCUDA's documentation and source (2026.1) say of the calls used, and refuses any other.
"""

import ctypes
import itertools

import numpy as np

from convnet.backends.cuda import compile


class StandIn:
    """``pycuda.driver`` with memory of the host; copies are done at once."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class event_flags:
        DISABLE_TIMING, BLOCKING_SYNC = 2, 1

    class host_alloc_flags:
        PORTABLE = 1

    class device_attribute:
        MULTIPROCESSOR_COUNT = 16
        MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81

    class function_attribute:
        MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    def __init__(self, gpus=2, peers=True, enabled=(), capability=(9, 0), cuda=13000):
        drv, self.stack, self.log, self.peers, self.enabled = self, [], [], peers, set(enabled)
        self.memory, self.locked, self.at_exit, self.refused = {}, {}, [], {}
        self.get_driver_version = lambda: cuda
        self.contexts = [drv.Context_(drv, index) for index in range(gpus)]
        self.Context = drv.Peering(drv)

        class Device:
            count = staticmethod(lambda: gpus)

            def __init__(self, index):
                self.index = index

            def name(self):
                return f"card {self.index}"

            def compute_capability(self):
                return capability

            def get_attribute(self, attribute):
                return {16: 4, 81: 100 << 10}[attribute]

            def retain_primary_context(self):
                drv.refuse("retain")
                return drv.contexts[self.index]

            def can_access_peer(self, other):
                return drv.peers

        class Stream:
            def __init__(self, flags):
                assert flags == 1  # others' work on the default stream is none of its
                drv.refuse("stream")
                self.context, self.handle, self.token = drv.current(), id(self), token(drv)

            def synchronize(self):
                drv.current(self.context)

            def wait_for_event(self, event):
                drv.current(self.context)
                assert event.recorded
                drv.log.append(("wait", self.context.index, event.context.index))

        class Event:
            def __init__(self, flags):
                assert flags == drv.event_flags.DISABLE_TIMING | drv.event_flags.BLOCKING_SYNC
                self.context, self.recorded, self.token = drv.current(), False, token(drv)
                drv.log.append(("event", self.context.index))

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

    def refuse(self, what):
        """Raise the next error that a test has put down for ``what``."""
        error = self.refused[what].pop(0) if self.refused.get(what) else None
        try:
            if error:
                raise error
        finally:
            del error  # which holds on to this frame, and so to all that called

    def mem_alloc(self, size):
        self.refuse("memory")
        return Allocation(self, size)

    def mem_get_info(self):
        self.current()
        return 1 << 30, 1 << 31

    def pagelocked_empty(self, shape, dtype, order="C", mem_flags=0):
        assert mem_flags == self.host_alloc_flags.PORTABLE and self.current()
        self.refuse("pinned")
        return np.asarray(PageLocked(self, shape))

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
        self.refuse("module")
        return self

    def get_function(self, name):
        return Function(self, name)


HELD = {}  # number: what of PyCUDA's it stands for, which must go where its context is current
NUMBERS = itertools.count(1)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def gone(capsule):
    drv, context, memory = HELD.pop(POINTER(capsule, None))
    drv.current(context)
    drv.memory.pop(memory, None)


POINTER = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
CAPSULE = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, type(gone))(
    ("PyCapsule_New", ctypes.pythonapi)
)


def token(drv, memory=None):
    """Goes when nobody holds it, as a thing of PyCUDA's does, which the collector does not know; ``__del__`` of a class
    is called when the collector likes."""
    number = next(NUMBERS)
    HELD[number] = drv, drv.current(), memory
    return CAPSULE(number, None, gone)


class Allocation:
    """Memory of a device."""

    def __init__(self, drv, size):
        self.held = ctypes.create_string_buffer(size)
        drv.memory[int(self)] = (self.held, size, drv.current())
        self.token = token(drv, int(self))

    def __int__(self):
        return ctypes.addressof(self.held)


class PageLocked:
    """Page-locked memory, freed where its context is current."""

    def __init__(self, drv, size):
        self.values = np.zeros(size, np.uint8)
        self.__array_interface__ = self.values.__array_interface__
        self.drv, self.context = drv, drv.current()
        drv.locked[id(self)] = size

    def free(self):
        self.drv.current(self.context)
        del self.drv.locked[id(self)]


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
    drv = None

    def __init__(self, stream, math, workspace):
        self.made, self.context = stream, self.drv.current()
        self.drv.refuse("blas")

    def product(self, *args):
        self.drv.refuse("product")

    def destroy(self):
        self.drv.current(self.context)
        self.drv.log.append(("blas destroyed", self.context.index))


class Graphs:
    """What ``graphs.Graphs`` asks of the driver, noted."""

    def __init__(self, drv):
        self.drv = drv

    def _note(self, *entry):
        self.drv.log.append((*entry, self.drv.current().index))

    def begin(self, stream):
        self.drv.refuse("begin")
        self._note("begin", stream)

    def end(self, stream):
        self._note("end", stream)
        self.drv.refuse("end")
        return 76

    def instantiate(self, graph):
        assert graph == 76
        self.drv.refuse("instantiate")
        return 77

    def destroy_graph(self, graph):
        assert graph == 76
        self._note("forget")

    def launch(self, handle, stream):
        self._note("launch", handle, stream)

    def destroy(self, handle):
        self._note("destroy", handle)


class Compiler(compile.Compiler):
    """Of CUDA 13, as is cuBLAS beside it."""

    version, generation, architectures = "NVRTC 13.5", 13, (75, 90)
    get_property = staticmethod(lambda which: 13)

    def compile(self, text, name, target):
        return b""
