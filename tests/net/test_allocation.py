"""Once a minibatch has been trained on, the next ones allocate nothing on a processor, neither by NumPy nor in kernels."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from support import make_graph

from convnet.backends.cpu import Cpu
from convnet.net.net import Net

SMALL = 1 << 16  # bytes: what Python's own objects and the sums of costs may take

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv]
type=conv
inputs=data
channels=3
filters=8
filterSize=3
padding=1
initW=0.1
neuron=relu
[across]
type=cmrnorm
inputs=conv
channels=8
size=5
[pool]
type=pool
pool=max
inputs=across
channels=8
sizeX=3
stride=2
neuron=relu
[within]
type=rnorm
inputs=pool
channels=8
size=3
[mean]
type=pool
pool=avg
inputs=within
channels=8
sizeX=3
stride=2
[fc]
type=fc
outputs=60
initW=0.1
inputs=mean
neuron=relu
[drop]
type=hs
keep=0.5
enable=1
inputs=fc
[out]
type=fc
outputs=60
initW=0.1
inputs=drop
[probs]
type=softmax
inputs=out
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_step_after_the_first_allocates(threads):
    be, rng = Cpu(threads), np.random.default_rng(0)
    net = Net(make_graph(NET, {0: 3 * 12 * 12, 1: 1}), be, minibatch=128)
    inputs = [rng.standard_normal((3 * 12 * 12, 128), np.float32), rng.integers(0, 10, (1, 128)).astype(np.float32)]
    for _ in range(6):  # in which every thread has had its first task of each kind, also on a busy machine
        net.train(inputs, 128)
    working, buffers = be.scratch_bytes, net.pools[be].allocated
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            net.train(inputs, 128)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < SMALL
    assert (be.scratch_bytes, net.pools[be].allocated) == (working, buffers)


TIGHT = """
import resource
import numpy as np
from convnet.backends.cpu import Cpu
be = Cpu(1)
def fc(K):  # packs its inputs, K x 600
    be.fc_forward(np.ones((K, 600), np.float32), np.ones((1, K), np.float32), np.empty((1, 600), np.float32))
fc(40_000)
large, arrays = be.scratch_bytes, 15_000 * 600 * 4
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + arrays + (16 << 20),) * 2)
fc(15_000)
print(be.scratch_bytes < large / 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits and statm are Linux's")
def test_memory_that_waits_is_freed_where_it_is_missing():
    done = subprocess.run([sys.executable, "-c", TIGHT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")
