"""What a captured op waits for: those whose memory it shares, and no others; on which a driver may rely."""

import numpy as np
import pytest
from emulator import EmulatedDevice, LazyStreams

from convnet.backends import make_backend
from convnet.backends.cuda import Cuda, graphs
from convnet.backends.cuda.branches import WORKSPACES, Order, accesses
from convnet.errors import BackendError

ONE, TWO, THREE = 512, 1024, 1536  # blocks


def test_what_waits_for_what():
    order = Order()
    assert order.add([], [ONE]) == []
    assert order.add([], [TWO]) == []
    assert order.add([ONE], [THREE]) == [0]  # reads what was written
    assert order.add([ONE], [TWO]) == [0, 1]  # and writes what was written
    assert order.add([], [ONE]) == [2, 3]  # writes what others read; that includes what they wait for
    assert order.add([ONE, TWO], [ONE, THREE]) == [4]  # reads and writes
    assert order.add([TWO], []) == [3]  # not for those that read what it reads
    assert order.add([7], [8]) == []  # what was there before


def test_blocks_of_an_op():
    """By the kernel's signature; views of one array are one block."""
    be = Cuda(EmulatedDevice())
    x, y = be.empty((4, 6)), be.empty((4,))
    types = "const float*", "float*", "int", "const float*", "float*", "const int*"
    reads, writes = accesses(types, (x, y, 24, x[2:], x.reshape(-1)[3:], None))
    assert (reads, writes) == ([x.pointer, x.pointer], [y.pointer, x.pointer])


@pytest.mark.parametrize("make", [EmulatedDevice, LazyStreams, lambda: LazyStreams((0, 1))], ids=["", "late", "early"])
@pytest.mark.parametrize("forgotten", [None, *range(9)])
def test_every_wait_is_needed(make, forgotten):
    """Ops that share memory in each of the ways they can, in parts and wholes; without any wait the numbers are others."""
    device = make()
    be = Cuda(device)
    x, y, z, w = (be.zeros((3, 3)) for _ in range(4))
    with be.capturing() as captured:
        be.add(w, x, 1.0, 1.0)
        be.add(w, y, 1.0, 2.0)
        be.add(x[:1], z[1:2])
        be.add(y[1:], z[1:], 1.0, 3.0)
        be.fc_forward(y, x, z, 1.0)
        be.fill(x[1:2], 5.0)
        be.fill(w, 1.0)
        be.sum_rows(x, w.reshape(-1)[:3], 1.0)
    edges = [(before, node) for before in captured[0].work.before for node in before]
    assert len(edges) == 9
    if forgotten is not None:
        before, device.delayed = edges[forgotten]
        before.remove(device.delayed)
    found = []
    for turn in range(3):
        be.fill(w, float(turn))
        be.replay(captured[0])
        found += [be.download(array) for array in (x, y, z, w)]
    expected = []
    x, y, z, w = (np.zeros((3, 3), np.float32) for _ in range(4))
    for turn in range(3):
        w[:] = turn
        x += w
        y += 2 * w
        z[1] = x[0]
        z[1:] += 3 * y[1:]
        z += x @ y
        x[1] = 5
        w[:] = 1
        w[0] += x.sum(axis=1)
        expected += [array.copy() for array in (x, y, z, w)]
    assert np.array_equal(found, expected) == (forgotten is None)


def test_products_at_the_same_time_have_their_own_workspaces(machine):
    """Those that wait for each other share one, and so do more than there are workspaces."""
    drv = machine()
    be = make_backend("cuda")
    many = WORKSPACES + 2
    x, outs = be.upload(np.eye(5, dtype=np.float32)), [be.zeros((5, 5)) for _ in range(many)]
    be.count_step(0)
    del drv.log[:]
    with be.capturing() as captured:
        for i, out in enumerate(outs):
            be.fc_forward(x, x, out)
            if i == 0:
                be.fc_forward(out, x, out, 1.0)
    used = [entry[3] for entry in drv.log if entry[0] == "cublasSetWorkspace_v2"]
    assert len(set(used)) == WORKSPACES and len(used) == many - 1
    for _ in range(9):
        be.fill(outs[0], 0.0)
        be.replay(captured[0])
        for i, out in enumerate(outs):
            np.testing.assert_array_equal(be.download(out), np.eye(5) * (1 + (i == 0)))
    be.fc_forward(x, x, outs[0])  # issued in turn, in the first workspace
    assert [entry[3] for entry in drv.log if entry[0] == "cublasSetWorkspace_v2"][-1] == be.device._workspaces[0].pointer


@pytest.mark.parametrize("told", [True, False])
def test_the_driver_is_told(machine, monkeypatch, told):
    """It runs the ops of a graph in any order that it has not been told to keep."""
    machine()
    if not told:
        depend_on = graphs.Graphs.depend_on
        monkeypatch.setattr(graphs.Graphs, "depend_on", lambda self, stream, nodes: depend_on(self, stream, []))
    be = make_backend("cuda")
    x, y = be.zeros((4,)), be.zeros((4,))
    be.count_step(0)
    with be.capturing() as captured:
        be.fill(x, 1.0)
        be.add(x, y, 1.0, 1.0)
        be.fill(x, 2.0)
        be.add(x, y, 1.0, 1.0)
    for _ in range(5):
        be.replay(captured[0])
    assert (be.download(y) == 15).all() == told


def test_branches_can_be_disabled(machine, monkeypatch):
    machine()
    assert make_backend("cuda").runs_branches
    monkeypatch.setenv("CONVNET_BRANCHES", "0")
    be = make_backend("cuda")
    assert be.captures and not be.runs_branches


@pytest.mark.parametrize(
    "copy",
    [
        lambda be, x, y: be.device.copy(x.pointer, y.pointer, 16),
        lambda be, x, y: be.upload(np.ones(4, np.float32)),
        lambda be, x, y: be.copy_in(np.ones(4, np.float32), x),
        lambda be, x, y: be.fetch(x),
        lambda be, x, y: be.download(x),
    ],
    ids=["within", "upload", "in", "fetch", "download"],
)
def test_copies_are_not_captured(machine, copy):
    """Nobody knows which arrays they touch, and a replay would repeat what was of the moment."""
    machine()
    be = make_backend("cuda")
    x, y = be.zeros((4,)), be.zeros((4,))
    be.count_step(0)
    with pytest.raises(BackendError, match="copies cannot be captured"), be.capturing():
        copy(be, x, y)
