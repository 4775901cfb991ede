"""``driver.py`` over a stand-in for PyCUDA: contexts are pushed and popped in pairs, and every call meets its own."""

import numpy as np
import pytest

from convnet.backends import make_backends
from convnet.backends.cuda.transfers import COMPUTE
from convnet.errors import BackendError


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
    assert not drv.stack and one.device.memory() == ((1 << 30) + 512, 1 << 31)  # an array is not used any more


def test_access_that_somebody_else_has_enabled(machine):
    drv = machine(enabled={(1, 0)})
    one, other = make_backends("cuda", 0, [0, 1])
    assert other.device.can_access_peer(one.device) and one.device.can_access_peer(other.device)
    assert drv.enabled == {(0, 1), (1, 0)}


def test_inputs_come_by_the_second_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0])[0]
    values, out = np.asfortranarray(np.arange(12.0).reshape(3, 4)), be.empty((3, 4))
    for _ in range(6):  # more than there are buffers
        be.copy_in(be.prefetch(values), out)
    np.testing.assert_array_equal(be.download(out), values)
    assert len(be.device.transfers.slots) == 1 and not drv.stack
    stream = be.device._streams[COMPUTE]
    assert be.device._blas.made == stream.handle


def test_captured_work_is_a_graph_of_the_first_stream(machine):
    drv = machine()
    be = make_backends("cuda", 0, [0, 1])[1]
    out, stream = be.empty((3, 4)), be.device._streams[COMPUTE].handle
    with be.capturing() as held:
        be.fill(out, 1.0)
    be.replay(held[0])
    del held
    expected = ["begin", "fill", "end", "forget", "launch", "destroy"]
    assert [entry[0] for entry in drv.log if entry[0] != "event"] == expected and not drv.stack
    assert ("launch", 77, stream, 1) in drv.log


def test_contexts_are_given_back_at_exit(machine):
    drv = machine()
    held, again = make_backends("cuda", 0, [0, 1]), make_backends("cuda", 0, [0])
    for work, args in reversed(drv.at_exit):
        work(*args)
    assert [entry for entry in drv.log if entry[0] == "detach"] == [("detach", 1), ("detach", 0)]
    assert len([entry for entry in drv.log if entry[0] == "blas destroyed"]) == 3 and not drv.memory
    del held, again


def test_devices_named_twice_or_missing(machine):
    machine()
    first, second, third = make_backends("cuda", 0, [1, 0, 1])
    assert first is third is not second
    with pytest.raises(BackendError, match=r"no GPU 2; this machine has 2, from 0.*--gpu 0,0"):
        make_backends("cuda", 0, [0, 2])
    with pytest.raises(BackendError, match="no GPU -1"):
        make_backends("cuda", 0, [-1])
