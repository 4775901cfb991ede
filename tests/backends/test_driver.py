"""``driver.py`` over ``emulator/libcuda.cpp``: contexts are pushed and popped in pairs, each call has its own current."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from ranks.threads import ThreadCommunicator, _Mail

from convnet.backends import make_backends
from convnet.backends.cuda.array import Buffer, DeviceArray
from convnet.backends.cuda.parameters import convert, formats
from convnet.backends.cuda.transfers import COMPUTE, EXCHANGE
from convnet.errors import BackendError
from convnet.ranks.staged import Staged


def enabled(drv) -> list[tuple[int, int]]:
    """(who can access, whom) by the driver's calls that succeeded."""
    return [(here, 1 - here) for name, here, *_ in drv.log if name == "cuCtxEnablePeerAccess"]


@pytest.mark.parametrize("peers", [True, False], ids=["direct", "by the host"])
def test_two_devices_from_one_thread(machine, peers):
    drv = machine(peers=peers)
    one, other = make_backends("cuda", 0, [0, 1])
    assert drv.current() is None and one.device.name == "GPU 0: card 0" and other.device.multiprocessors == 4
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    here, there = one.upload(x), other.empty((3, 4))
    other.copy_from(one, here, there)
    np.testing.assert_array_equal(other.download(there), x)
    copies = [entry[1:4] for entry in drv.log if entry[0] == "cuMemcpyDtoDAsync_v2"]
    assert copies == [(1, there.pointer, here.pointer)] * peers and enabled(drv) == [(1, 0)] * peers
    made_on = {entry[2]: entry[1] for entry in drv.log if entry[0] == "cuEventCreate"}
    waits = [(entry[1], made_on[entry[3]]) for entry in drv.log if entry[0] == "cuStreamWaitEvent"]
    assert waits == [(1, 0), (0, 1)][: 1 + peers]
    del drv.log[:]
    for be, array in ((one, here), (other, there), (one, here)):
        be.fill(array, 1.0)
    assert [entry[1] for entry in drv.log if entry[0] == "cuLaunchKernel"] == [0, 1, 0]
    one.fc_forward(here.reshape(4, 3), here, one.empty((3, 3)))
    one.sync()
    assert drv.current() is None
    with one.device._current:
        free, total = drv.mem_get_info()
    assert one.device.memory() == (free + 512, total)  # an array is not used any more


def test_access_enabled_by_other_code(machine):
    drv = machine()
    one, other = make_backends("cuda", 0, [0, 1])
    with other.device._current:
        drv.Context.enable_peer_access(one.device.context)
    assert other.device.can_access_peer(one.device) and one.device.can_access_peer(other.device)
    assert set(enabled(drv)) == {(0, 1), (1, 0)}


def test_inputs_are_copied_by_the_second_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0])[0]
    values, out = np.asfortranarray(np.arange(12.0).reshape(3, 4)), be.empty((3, 4))
    for _ in range(6):  # more than there are buffers
        be.copy_in(be.prefetch(values), out)
    np.testing.assert_array_equal(be.download(out), values)
    assert len(be.device.transfers.slots) == 1 and drv.current() is None
    stream = be.device._streams[COMPUTE]
    assert [entry[3] for entry in drv.log if entry[0] == "cublasSetStream_v2"] == [stream.handle]


def test_a_stream_for_what_goes_to_other_ranks(machine):
    """Copies of one carrier beside those of another, each on the third stream of its device; looks do not wait."""
    drv = machine()
    backends, mail = make_backends("cuda", 0, [0, 1]), _Mail()
    ranks = [ThreadCommunicator(rank, 2, mail) for rank in range(2)]
    for rank in ranks:
        rank.split = lambda color, own=rank: own  # which waits for the other rank
    assert [be.device.card for be in backends] == ["0000:01:00.0", "0000:02:00.0"]
    carriers = [Staged(be.device, rank) for be, rank in zip(backends, ranks, strict=True)]
    arrays = [be.upload(np.full(5, rank + 1, np.float32)) for rank, be in enumerate(backends)]
    del drv.log[:]
    pending = [carrier.share([array[:3], array[3:]]) for carrier, array in zip(carriers, arrays, strict=True)]
    assert not any(entry[0] == "cuEventSynchronize" for entry in drv.log)
    while not all([one.done() for one in pending]):  # noqa: C419, as each has to go on
        assert drv.current() is None
    for be, carrier, array, one in zip(backends, carriers, arrays, pending, strict=True):
        one.wait()
        assert be.download(array).tolist() == [1, 1, 1, 2, 2]
        carrier.close()
        with be.device.lend(EXCHANGE) as handle:
            assert handle == be.device._streams[EXCHANGE].handle and drv.current() == be.device.index
    streams = [be.device._streams[EXCHANGE].handle for be in backends]
    copies = [entry for entry in drv.log if "cuMemcpy" in entry[0] and entry[-1] == streams[entry[1]]]
    assert sorted((name[:12], device) for name, device, *_ in copies) == [
        ("cuMemcpyDtoH", 0),
        ("cuMemcpyDtoH", 1),
        ("cuMemcpyHtoD", 0),
        ("cuMemcpyHtoD", 1),
    ]


def test_captured_work_is_a_graph_of_the_first_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0, 1])[1]
    out, stream = be.empty((3, 4)), be.device._streams[COMPUTE].handle
    be.count_step(0)
    be.sync()
    del drv.log[:]
    with be.capturing() as captured:
        be.fill(out, 1.0)
    be.replay(captured[0])
    graph = captured[0].work.handle
    np.testing.assert_array_equal(be.download(out), np.ones((3, 4)))
    del captured
    placed = ["cuStreamUpdateCaptureDependencies_v2", "cuLaunchKernel", "cuStreamGetCaptureInfo_v3"]
    recorded = ["cuStreamBeginCapture_v2", *placed, "cuStreamEndCapture"]
    names = [*recorded, "cuGraphInstantiateWithFlags", "cuGraphDestroy", "cuGraphLaunch", "cuGraphExecDestroy"]
    calls = [entry for entry in drv.log if "Graph" in entry[0] or "Capture" in entry[0] or "Launch" in entry[0]]
    assert [entry[0] for entry in calls] == names and drv.current() is None
    assert ("cuGraphLaunch", 1, graph, stream) in calls


def test_arguments_become_plain_numbers():
    """Whatever kinds of numbers ops pass; NumPy's would take several times as long to pack."""
    array = DeviceArray(Buffer(SimpleNamespace(free=lambda *_: None), 1 << 40, 48), (4, 3))[1:]
    types = "const float*", "float*", "int", "long long", "unsigned", "float", "double"
    values = convert(types, (array, None, np.int64(-3), True, -1, np.float32(0.5), 2), "kernel")
    assert values == [(1 << 40) + 12, 0, -3, 1, 0xFFFFFFFF, 0.5, 2.0]
    assert [type(value) for value in values] == [int, int, int, int, int, float, float]
    assert len(struct.pack(formats(types), *values)) == 48
    with pytest.raises(TypeError, match=r"kernel takes 7 arguments \(const float\*, .*\), not 2"):
        convert(types, (array, None), "kernel")


def test_contexts_are_released_at_exit(machine):
    drv = machine()
    held, again = make_backends("cuda", 0, [0, 1]), make_backends("cuda", 0, [0])
    for work, args in reversed(drv.at_exit):
        work(*args)
    assert [entry[2] for entry in drv.log if entry[0] == "cuDevicePrimaryCtxRelease_v2"] == [1, 0]
    assert len([entry for entry in drv.log if entry[0] == "cublasDestroy_v2"]) == 3
    assert not drv.living()["arrays"]
    del held, again


def test_devices_named_twice_or_missing(machine):
    machine()
    first, second, third = make_backends("cuda", 0, [1, 0, 1])
    assert first is third is not second
    with pytest.raises(BackendError, match=r"no GPU 2; this machine has 2, from 0.*--gpu 0,0"):
        make_backends("cuda", 0, [0, 2])
    with pytest.raises(BackendError, match="no GPU -1"):
        make_backends("cuda", 0, [-1])
