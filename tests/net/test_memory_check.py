"""Memory is compared with what there is before any of it is taken, and the message says what would fit."""

import re

import numpy as np
import pytest
from emulator import EmulatedDevice
from support import make_graph, write_cifar, write_net

import convnet
from convnet.backends import base
from convnet.backends.cuda import Cuda
from convnet.backends.host import forget_peak, host_memory, resident_memory
from convnet.cli import main
from convnet.errors import BackendError
from convnet.graph.analysis import memories
from convnet.net.memory_check import check_memory

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[small]
type=fc
inputs=data
outputs=20
initW=0.1
[large]
type=fc
inputs=small
outputs=1000
initW=0.1
[probs]
type=softmax
inputs=large
[cost]
type=cost.logreg
inputs=labels,probs
"""


class SmallDevice(EmulatedDevice):
    """A card with so many bytes free, none of which may be taken."""

    def __init__(self, free):
        super().__init__()
        self.bytes_free = free

    def memory(self):
        return self.bytes_free, 2 * self.bytes_free

    def allocate(self, nbytes):
        raise AssertionError("allocated before the check")


def graph(text=NET):
    return make_graph(text, {0: 50, 1: 1}, 1000)


def check(free, mini, training=True):
    check_memory(graph(), [Cuda(SmallDevice(free))], mini, training)


def test_a_net_that_fits_passes():
    check(sum(memory.total for memory in memories(graph(), 64).values()), 64)


def test_memory_that_only_the_collector_can_free_counts():
    """A net that nobody holds any more."""

    class Held:
        pass

    device = SmallDevice(0)
    held = Held()
    held.itself, held.__class__.__del__ = held, lambda self: setattr(device, "bytes_free", 1 << 40)
    del held
    check_memory(graph(), [Cuda(device)], 64)


def test_the_message_names_layers_and_a_minibatch_that_fits():
    with pytest.raises(BackendError) as caught:
        check(2_000_000, 500)
    text = str(caught.value)
    assert "500 cases" in text and "emulated device has 2.0 MB free" in text
    assert re.search(r"largest layers: large \(\d+\.\d MB, most of it outputs\), probs ", text)
    fitting = int(re.search(r"--mini (\d+) would fit", text)[1])
    assert fitting % 16 == 0
    check(2_000_000, fitting)
    assert sum(memory.total for memory in memories(graph(), fitting + 16).values()) > 2_000_000


def test_weights_alone_may_be_too_much():
    with pytest.raises(BackendError, match="no minibatch fits: weights and momenta alone take"):
        check(100_000, 1)


def test_testing_needs_less_than_training():
    needed = sum(memory.total for memory in memories(graph(), 200).values())
    check(needed * 2 // 3, 200, training=False)
    with pytest.raises(BackendError, match="to train on"):
        check(needed * 2 // 3, 200)
    with pytest.raises(BackendError, match="to test 200 cases"):
        check(needed // 20, 200, training=False)


def test_a_run_stops_before_it_takes_memory(tmp_path, monkeypatch, capsys):
    write_net(tmp_path)
    write_cifar(tmp_path / "data")
    monkeypatch.setattr(base, "host_memory", lambda: (100_000, 10**9))
    files = ["--layer-def", str(tmp_path / "layers-small.cfg"), "--data-path", str(tmp_path / "data")]
    assert main(["run", *files, "--backend", "cpu", "--save-path", str(tmp_path / "saved")]) == 1
    err = capsys.readouterr().err
    assert "convnet: " in err and "has 100 kB free" in err and "Traceback" not in err
    with pytest.raises(BackendError, match="largest layers"):
        convnet.build("layers-cifar10-13pct.cfg", backend="cpu", minibatch=10_000)


MEMINFO = "MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\nSwapTotal: 50 kB\nSwapFree: 30 kB\n"


@pytest.mark.parametrize(
    "group, expected",
    [
        ({}, (1030 << 10, 2050 << 10)),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": "inactive_file 1"}, (1030 << 10, 2050 << 10)),
        ({"memory.max": "4096", "memory.current": "3000", "memory.stat": "anon 5\ninactive_file 100"}, (1196, 4096)),
        ({"memory.max": "4096", "memory.current": "5000", "memory.stat": ""}, (0, 4096)),
    ],
)
def test_memory_of_the_machine(tmp_path, group, expected):
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, text in group.items():
        (tmp_path / name).write_text(text)
    assert host_memory(tmp_path / "meminfo", tmp_path) == expected


@pytest.mark.parametrize("text", [None, "", "MemTotal: much\n"])
def test_memory_that_is_not_told(tmp_path, text):
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert host_memory(tmp_path / "meminfo", tmp_path) is None


def test_memory_of_this_process(tmp_path):
    now, most = resident_memory()
    block = np.ones(1 << 26, np.uint8)  # so large that no free memory of the process is used for it
    assert resident_memory()[1] >= now + block.nbytes // 2
    del block
    forget_peak(tmp_path / "nowhere")
    (tmp_path / "status").write_text("VmHWM:\t7 kB\nVmRSS:\t5 kB\n")
    assert resident_memory(tmp_path) == (5 << 10, 7 << 10) and resident_memory(tmp_path / "nowhere") is None
    forget_peak(tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5" and most >= now


def test_each_device_needs_room_for_its_own_layers():
    """What does not fit as a whole may fit in parts, and the message names only the layers that are there."""
    towers = graph(NET.replace("[large]\n", "[large]\ngpu=1\n"))
    memory = memories(towers, 8)
    first, second = (
        sum(memory[name].total for name in names) for names in (["data", "small"], ["labels", "large", "probs"])
    )
    check_memory(towers, [Cuda(SmallDevice(free)) for free in (first, second, 0)], 8)
    with pytest.raises(BackendError, match="largest layers: large") as error:
        check_memory(towers, [Cuda(SmallDevice(first)), Cuda(SmallDevice(second // 2))], 8)
    assert "small" not in str(error.value)
