"""What ``convnet`` calls of ``pycuda.driver``, cuda-bindings and nvmath's cuBLAS, over ``libcuda.cpp`` by ctypes.

It is used where PyCUDA is not installed, and to have calls fail: ``refused`` holds errors to raise, by the name of the
driver's function, ``None`` for a call that passes. ``log`` has every call that was made: its name, the device whose context
was current, its arguments, with what it wrote to them.
"""

import ctypes
import struct
from functools import cache, partial
from types import SimpleNamespace

import numpy as np

from emulator import libcuda

OUT, INT = ctypes.c_size_t, ctypes.c_int  # arguments that a function writes
log: list[tuple] = []
refused: dict[str, list[Exception | None]] = {}
at_exit: list[tuple] = []
event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)
host_alloc_flags = SimpleNamespace(PORTABLE=1)
device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT=16, MAX_SHARED_MEMORY_PER_MULTIPROCESSOR=81)
function_attribute = SimpleNamespace(MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
Error = type("Error", (Exception,), {})
MemoryError = type("MemoryError", (Error,), {})


@cache
def library():
    loaded = ctypes.CDLL(str(libcuda.libraries() / "libcuda.so.1"))
    loaded.libcuda_living.restype = loaded.libcuda_refusals.restype = ctypes.c_char_p
    return loaded


def configure(gpus=2, peers=True, capability=(9, 0), cuda=13000):
    for record in (log, refused, at_exit):
        record.clear()
    library().libcuda_configure(gpus, 10 * capability[0] + capability[1], cuda, peers)


def living() -> dict[str, int]:
    """How many things of each kind were made and not destroyed."""
    counts = (entry.split() for entry in library().libcuda_living().decode().split(", "))
    return {kind: int(count) for count, kind in counts}


def current() -> int | None:
    """The device whose context is current in this thread."""
    number = INT()
    return None if library().cuCtxGetDevice(ctypes.byref(number)) else number.value


def refuse(name: str) -> None:
    """Raise the next error that a test has put in ``refused`` for ``name``."""
    error = refused[name].pop(0) if refused.get(name) else None
    try:
        if error:
            raise error
    finally:
        del error  # which refers to this frame, and so to all callers


def call(name: str, *args) -> tuple:
    """Call a function of the driver; returns what it wrote to ``OUT`` and ``INT``. Raises what it, or a test, refuses.

    Integers are passed in 64 bits, of which a function that takes 32 reads the right ones.
    """
    plain = [getattr(arg, "handle", arg) for arg in args]
    out = {i: arg() for i, arg in enumerate(plain) if arg in (OUT, INT)}
    passed = [ctypes.byref(out[i]) if i in out else OUT(arg) if isinstance(arg, int) else arg for i, arg in enumerate(plain)]
    ends_anyway = name == "cuStreamEndCapture"
    if not ends_anyway:
        refuse(name)
    device, status = current(), getattr(library(), name)(*passed)
    log.append((name, device, *(out[i].value if i in out else arg for i, arg in enumerate(plain))))
    if ends_anyway:
        refuse(name)
    if status:
        text = ctypes.c_char_p()
        library().cuGetErrorString(status, ctypes.byref(text))
        raise (MemoryError if status == 2 else Error)(f"{name} failed: {text.value.decode()}")
    return tuple(arg.value for arg in out.values())


def get(name: str, *args) -> int:
    return call(name, OUT, *args)[0]


def method(name: str, *more):
    """A method that calls a function with the object, the method's arguments and ``more``."""
    return lambda self, *args: call(name, self, *args, *more)


# A capsule destroys a thing with its last reference, as PyCUDA does. The collector does not know capsules, so it cannot
# finalise one before what refers to it, as it would an object with ``__del__``.
@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _destroy(capsule):
    handle = _handle_of(capsule, None)
    call(_destroyers.pop(handle), handle)


_destroyers: dict[int, str] = {}
_handle_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, type(_destroy))
_capsule = _new(("PyCapsule_New", ctypes.pythonapi))


class Owned:
    """A handle that is destroyed with its last reference."""

    create = destroy = ""

    def __init__(self, *args):
        self.handle = get(self.create, *args)
        _destroyers[self.handle] = self.destroy
        self.capsule = _capsule(self.handle, None, _destroy)

    def __int__(self):
        return self.handle


class Device:
    count = staticmethod(partial(get, "cuDeviceGetCount"))

    def __init__(self, index):
        self.handle = get("cuDeviceGet", index)

    def name(self):
        text = ctypes.create_string_buffer(80)
        call("cuDeviceGetName", text, 80, self)
        return text.value.decode()

    def pci_bus_id(self):
        text = ctypes.create_string_buffer(80)
        call("cuDeviceGetPCIBusId", text, 80, self)
        return text.value.decode()

    def compute_capability(self):
        return call("cuDeviceComputeCapability", INT, INT, self)

    def get_attribute(self, attribute):
        return get("cuDeviceGetAttribute", attribute, self)

    def can_access_peer(self, other):
        return bool(get("cuDeviceCanAccessPeer", self, other))

    def retain_primary_context(self):
        return Context(get("cuDevicePrimaryCtxRetain", self), self)


class Context:
    push = method("cuCtxPushCurrent_v2")
    pop = staticmethod(partial(get, "cuCtxPopCurrent_v2"))
    enable_peer_access = staticmethod(lambda peer: call("cuCtxEnablePeerAccess", peer, 0))

    def __init__(self, handle, device):
        self.handle, self.device = handle, device

    def detach(self):
        call("cuDevicePrimaryCtxRelease_v2", self.device)


class Stream(Owned):
    create, destroy = "cuStreamCreate", "cuStreamDestroy_v2"
    synchronize, wait_for_event = method("cuStreamSynchronize"), method("cuStreamWaitEvent", 0)


class Event(Owned):
    create, destroy = "cuEventCreate", "cuEventDestroy_v2"
    record, synchronize = method("cuEventRecord"), method("cuEventSynchronize")

    def query(self):
        try:
            call("cuEventQuery", self)
        except Error as error:
            if "not ready" not in str(error):
                raise
            return False
        return True


class Memory(Owned):
    create, destroy = "cuMemAlloc_v2", "cuMemFree_v2"


class Module(Owned):
    create, destroy = "cuModuleLoadDataEx", "cuModuleUnload"

    def get_function(self, name):
        return Function(get("cuModuleGetFunction", self, name.encode()))


class Function:
    set_attribute = method("cuFuncSetAttribute")

    def __init__(self, handle):
        self.handle = handle

    def prepare(self, formats):
        self.formats = formats

    def prepared_async_call(self, grid, block, stream, *values, shared_size=0):
        assert len(grid) == len(block) == 3
        packed = struct.pack(self.formats, *values)
        size = OUT(len(packed))
        extra = (ctypes.c_void_p * 5)(1, ctypes.cast(packed, ctypes.c_void_p), 2, ctypes.addressof(size), 0)
        call("cuLaunchKernel", self, *grid, *block, shared_size, stream, 0, extra)


class PageLocked:
    free = method("cuMemFreeHost")

    def __init__(self, nbytes, flags):
        self.handle = get("cuMemHostAlloc", nbytes, flags)
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (self.handle, False), "version": 3}


def pagelocked_empty(shape, dtype, mem_flags=0):
    assert dtype is np.uint8
    return np.asarray(PageLocked(shape, mem_flags))


def memcpy_htod_async(target, values, stream):
    call("cuMemcpyHtoDAsync_v2", target, values.ctypes.data, values.nbytes, stream)


def memcpy_dtoh_async(values, source, stream):
    call("cuMemcpyDtoHAsync_v2", values.ctypes.data, source, values.nbytes, stream)


init, get_driver_version = partial(call, "cuInit", 0), partial(get, "cuDriverGetVersion")
mem_alloc, mem_get_info = Memory, partial(call, "cuMemGetInfo_v2", OUT, OUT)
memcpy_dtod_async = partial(call, "cuMemcpyDtoDAsync_v2")


def module_from_buffer(code):
    return Module(code, 0, 0, 0)


def _next_nodes(stream) -> list[int]:
    """The nodes that the next one of a capture depends on."""
    *_, nodes, _, count = call("cuStreamGetCaptureInfo_v3", stream, INT, OUT, OUT, OUT, OUT, OUT)
    return list((OUT * count).from_address(nodes)) if count else []


# What ``graphs.py`` calls of ``cuda.bindings.driver``: the status first.
graphs = SimpleNamespace(
    CUresult=SimpleNamespace(CUDA_SUCCESS=0),
    CUstreamCaptureMode=SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2),
    cuStreamBeginCapture=lambda *args: (0, *call("cuStreamBeginCapture_v2", *args)),
    CUstreamUpdateCaptureDependencies_flags=SimpleNamespace(CU_STREAM_SET_CAPTURE_DEPENDENCIES=SimpleNamespace(value=1)),
    cuStreamGetCaptureInfo=lambda stream: (0, 1, 1, 0, _next_nodes(stream)),
    cuStreamUpdateCaptureDependencies=lambda stream, nodes, edges, count, flags: (
        0,
        *call("cuStreamUpdateCaptureDependencies_v2", stream, (OUT * count)(*nodes), edges or 0, count, flags),
    ),
    cuStreamEndCapture=lambda stream: (0, *call("cuStreamEndCapture", stream, OUT)),
    cuGraphInstantiate=lambda *args: (0, get("cuGraphInstantiateWithFlags", *args)),
    cuGraphDestroy=lambda graph: (0, *call("cuGraphDestroy", graph)),
    cuGraphLaunch=lambda *args: (0, *call("cuGraphLaunch", *args)),
    cuGraphExecDestroy=lambda graph: (0, *call("cuGraphExecDestroy", graph)),
)
# What ``blas.py`` calls of ``nvmath.bindings.cublas``.
cublas = SimpleNamespace(
    cuBLASError=type("cuBLASError", (Exception,), {}),
    Math=SimpleNamespace(PEDANTIC_MATH=2, TF32_TENSOR_OP_MATH=3),
    get_property=lambda which: call("cublasGetProperty", which, INT)[0],
    create=partial(get, "cublasCreate_v2"),
    destroy=partial(call, "cublasDestroy_v2"),
    set_stream=partial(call, "cublasSetStream_v2"),
    set_workspace=partial(call, "cublasSetWorkspace_v2"),
    set_math_mode=partial(call, "cublasSetMathMode"),
    sgemm=partial(call, "cublasSgemm_v2"),
)
