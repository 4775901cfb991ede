"""How a device ends: with its context current, when its work is done, in whichever thread; and what outlives it."""

import gc
import threading
import weakref

import numpy as np
import pytest
from emulator import LazyStreams

from convnet.backends import make_backend
from convnet.backends.cuda import Cuda, transfers
from convnet.errors import BackendError


def every_kind(be):
    """Something of every kind that a device holds."""
    be.copy_in(be.prefetch(np.ones((3, 4), np.float32)), out := be.empty((3, 4)))
    with be.capturing() as captured:
        be.fill(out, 1.0)
    be.replay(captured[0])
    be.fetch(out)()
    return out, captured, be.prefetch(np.ones((3, 4), np.float32)), be.fetch(out), be.device.record_event(0)


def used(drv, index) -> int:
    """Bytes of a card that are allocated."""
    context = drv.Device(index).retain_primary_context()
    context.push()
    free, total = drv.mem_get_info()
    context.pop()
    return total - free


def test_closing(machine):
    drv = machine()
    be = make_backend("cuda")
    held = every_kind(be)
    be.device.close()
    assert not drv.living()["arrays"] + drv.living()["page-locked"] and drv.current() is None
    assert ("cuGraphExecDestroy", 0, held[1][0].work.handle) in drv.log
    assert [entry[1] for entry in drv.log if entry[0] == "cublasDestroy_v2"] == [0]
    entries = len(drv.log)
    be.device.close()
    device, graph, event = be.device, held[1][0], held[4]
    for work, *args in ((held[3],), (be.sync,), (be.empty, (4,)), (device.replay, graph), (device.synchronize, event)):
        with pytest.raises(BackendError, match="card 0 was closed"):
            work(*args)
    del held, be, device, graph, event, work, args
    gc.collect()
    assert len(drv.log) == entries


def test_what_has_arrived_outlives_its_device(machine):
    machine()
    be = make_backend("cuda")
    arrived = be.fetch(be.upload(np.arange(5, dtype=np.float32)))
    values = arrived().copy()
    arrived.buffer.memory[:] = 0xFF  # as others may do once it is freed
    be.device.close()
    np.testing.assert_array_equal(arrived(), values)


def test_a_device_that_failed_is_freed_all_the_same(machine):
    drv = machine()
    be = make_backend("cuda")
    held = every_kind(be)
    drv.refused["cuStreamSynchronize"] = [drv.Error("illegal address")]
    be.device.close()
    assert not drv.refused["cuStreamSynchronize"]
    assert not drv.living()["arrays"] + drv.living()["page-locked"] and held


def test_the_collector_may_run_in_any_thread(machine):
    """What it finalises is freed with its context current: ``libcuda.cpp`` refuses all else."""
    drv = machine()
    be = make_backend("cuda")
    be.keep = every_kind(be)
    other = make_backend("cuda", gpu=1)
    gc.collect()
    gc.disable()

    def collect():
        with other.device._current:
            gc.collect()

    try:
        del be
        thread = threading.Thread(target=collect)
        thread.start()
        thread.join()
    finally:
        gc.enable()
    assert [used(drv, index) > 0 for index in (0, 1)] == [False, True]


def test_no_device_ends_while_another_captures(machine):
    """Closing waits, so the collector is disabled."""
    drv = machine()
    one, other = make_backend("cuda"), make_backend("cuda")
    one.itself, device = one, weakref.ref(one.device)
    del one
    with other.capturing():
        assert not gc.isenabled()
        for _ in range(100_000):  # more than enough for the collector to run, were it enabled
            garbage: list = []
            garbage.append(garbage)
        assert device() is not None and not device().closed
    gc.collect()
    assert gc.isenabled() and device() is None and drv.current() is None


def test_events_are_used_again(machine):
    """From any thread: an ``Event`` owns nothing of PyCUDA's."""
    drv = machine()
    be = make_backend("cuda")
    out = be.empty((3, 4))

    def work():
        for _ in range(20):
            be.copy_in(be.prefetch(np.ones((3, 4), np.float32)), out)
            be.fetch(out)()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len([entry for entry in drv.log if entry[0] == "cuEventCreate"]) < 12


def test_a_pending_copy_is_not_overwritten():
    """A step that fails between fetching its costs and their arrival leaves memory that a copy is still to fill."""
    device = LazyStreams()
    be = Cuda(device)
    one, other = be.zeros((4,)), be.zeros((4,))
    be.fill(one, 1.0)
    be.fill(other, 2.0)
    fetched = be.fetch(one)
    event, memory = fetched.buffer.busy, fetched.buffer.memory
    del fetched
    assert not event.reached
    fetched = be.fetch(other)
    assert fetched.buffer.memory is memory and event.reached
    np.testing.assert_array_equal(fetched(), np.full(4, 2.0))


def test_staging_that_fails_leaves_its_slot():
    device = LazyStreams()
    be = Cuda(device)
    with pytest.raises(TypeError):
        be.prefetch(np.ones((3, 4), complex))
    assert len(device.transfers.slots) == 1


@pytest.mark.parametrize("shape", [(7,), (1, 50), (50, 1), (3, 5, 11), (1, 1, 70, 3), (0, 4)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_copied_in_chunks(monkeypatch, shape, order):
    """Page-locked memory stays small, whatever is copied."""
    monkeypatch.setattr(transfers, "_CHUNK", 64)
    one, other = (Cuda(LazyStreams(early, peers=False)) for early in ((), (0, 1)))
    values = np.asarray(np.random.default_rng(0).random(shape, np.float32), order=order)
    there = other.empty(shape)
    other.copy_from(one, one.upload(values), there)
    np.testing.assert_array_equal(other.download(there), values)
    if values.ndim > 1 and values.size:
        other.copy_in(other.prefetch(values), there)
        np.testing.assert_array_equal(other.download(there), values)
    rings = [ring for be in (one, other) for ring in vars(be.device.transfers).values() if isinstance(ring, transfers.Ring)]
    assert max(buffer.memory.nbytes for ring in rings for buffer in ring.buffers) <= 64
