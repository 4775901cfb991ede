"""Results of the processors' backend are the same bits on any number of threads, whatever BLAS was told."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import BACKENDS, ROOT, run_op, values

from convnet.backends.arguments import Activation
from convnet.backends.cpu import Cpu
from convnet.data.images import Crops
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.examples import CLASSES, DIMS, EXAMPLES, PRELUDE, PRELUDE_PARAMS
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net

THREADS = (1, 2, 3, 5)
KERNELS = [name.removeprefix("cpu-") for name in BACKENDS if name.startswith("cpu-")]


def assert_one_result(run, kernels=None):
    """``run`` of a backend gives the same arrays on every number of threads; returns them."""
    first, *others = ([np.array(array) for array in run(Cpu(threads, kernels))] for threads in THREADS)
    for threads, other in zip(THREADS[1:], others, strict=True):
        for one, found in zip(first, other, strict=True):
            assert one.tobytes() == found.tobytes(), f"{threads} threads: {np.abs(one - found).max()}"
    return first


SIZES = [(512, 64, 44, 1), (1, 1, 1, 1), (700, 1000, 129, 1), (2100, 37, 400, 1), (64, 450, 3000, 1), (120, 60, 33, 4)]


@pytest.mark.parametrize("K, F, N, parts", SIZES)
def test_products(K, F, N, parts):
    """Sizes below, at and above those of a block; 64 x 512 times 512 x 44 once differed by 6e-5."""
    x, w, g = values(K, N), values(F // parts, K, seed=1), values(F, N, seed=2)

    def products(be):
        yield run_op(be, "fc_forward", [x, w], g, 0.5, parts=parts)
        yield run_op(be, "fc_input_grad", [g, w], x, 1, parts=parts)
        yield run_op(be, "fc_weight_grad", [x, g], w, 0, 0.5, parts=parts)

    assert_one_result(products)


def steps(be, graph, cases, kinds):
    """Three training steps on random data; yields costs, weights and increments."""
    random = np.random.RandomState(7)
    data = [random.randn(graph.data_dims[0], cases) / 4, random.randint(0, CLASSES, (1, cases)), random.rand(10, cases)]
    net = Net(graph, be, cases, seed=3)
    inputs = [data[i].astype(np.float32) for i in kinds]
    with np.errstate(all="ignore"):
        for _ in range(3):
            yield from net.train(inputs, cases).values()
    for weights in net.weights:
        yield from (be.download(weights.value), be.download(weights.inc))


@pytest.mark.parametrize("kernels, cases", [(KERNELS[0], 5), *((kernels, 37) for kernels in KERNELS)])
@pytest.mark.parametrize("type_", sorted(EXAMPLES.keys() - {"data", "sum"}))
def test_every_type_of_layer(type_, cases, kernels):
    definition, params = EXAMPLES[type_]
    text = PRELUDE + definition + "[cost1]\ntype=cost.logreg\ninputs=labels,probs\n"
    params += "[cost1]\ncoeff=1\n"
    for name in ("ten", "logistic") if type_.startswith("cost.") else ("ten", "logistic", "x"):
        text += f"[cost-{name}]\ntype=cost.sum2\ninputs={name}\n"
        params += f"[cost-{name}]\ncoeff=0.01\n"
    tree = LabelTree.flat(CLASSES)
    files = LayerFiles(text, "net.cfg", PRELUDE_PARAMS + params, "params.cfg")
    assert_one_result(lambda be: steps(be, build_graph(files, DIMS, CLASSES, tree), cases, (0, 1, 2)), kernels)


LARGE = pytest.param("layers-cifar10-11pct", 3072, marks=pytest.mark.slow)
NETS = [("layers-cifar10-18pct", 3072), LARGE, ("layers-digits", 64)]


@pytest.mark.parametrize("name, features", NETS)
def test_shipped_nets(name, features):
    files = LayerFiles.open(name + ".cfg")
    dims = {0: features, 1: 1, 2: 10}
    assert_one_result(lambda be: steps(be, build_graph(files, dims, 10), 21, (0, 1, 2)))


def test_packed_pictures_and_whole_arrays():
    random = np.random.RandomState(2)
    pixels = random.randint(0, 256, (7, 13, 13, 3)).astype(np.uint8)
    places = random.randint(0, 3, 7)
    mean, shifts = values(3, 11, 11).astype(np.float32), values(7, 3).astype(np.float32)
    crops = Crops(places, places[::-1], (places % 2).astype(np.uint8), mean, shifts, 0.9)

    def whole(be):
        packed, large = be.empty((3, 11, 11, 7)), be.upload(values(123, 4567))
        be.pack_images(pixels, crops, packed)
        yield packed
        yield [be.mean_magnitude(large)]
        yield run_op(be, "sum_rows", [large], np.zeros(123), 0.5, 2)

    assert_one_result(whole)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("count", [22, 40001])
def test_what_is_left_over_of_vectors(count, kernels):
    """It may be rounded otherwise, and is the same wherever threads part."""

    def run(be):
        arrays = [be.upload(values(count, seed=seed)) for seed in range(4)]
        be.neuron_input_grad(*arrays, 0.9, activation=Activation("relu"))
        yield arrays[-1]

    assert_one_result(run, kernels)


@pytest.mark.parametrize("op", ["limit_norm", "limit_contrast"])
def test_limits_of_weights(op):
    weights = values(17, 363, 3)
    limits = {"limit_norm": (2.0, False), "limit_contrast": (0.01, 0.02)}[op]

    def limited(be):
        array = be.upload(weights)
        getattr(be, op)(array, *limits)
        yield array

    assert_one_result(limited)


PROGRAM = """
import hashlib
import numpy as np
from convnet.backends import make_backend
from convnet.backends.arguments import Geometry
be, r = make_backend("{}", 2), np.random.RandomState(0)
x, w, images = (r.randn(*shape).astype("f") for shape in ((700, 129), (120, 700), (64, 9, 9, 40)))
kernels = r.randn(64, 3, 3, 50).astype("f")
out = [be.empty(shape) for shape in ((120, 129), (120, 129), (50, 7, 7, 40))]
be.fc_forward(x, w, out[0])
be.fc_forward(x, w[:30].copy(), out[1], parts=4)
be.conv_forward(images, kernels, out[2], geometry=Geometry(0, 1, 1, None))
print(hashlib.sha256(b"".join(array.tobytes() for array in out)).hexdigest())
"""


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_no_other_setting_of_threads_counts(name):
    """What OpenBLAS and OpenMP were told at the start changes nothing, either."""
    found = set()
    for count in ("1", "3"):
        env = dict(os.environ, PYTHONPATH=str(ROOT), OPENBLAS_NUM_THREADS=count, OMP_NUM_THREADS=count)
        command = [sys.executable, "-c", PROGRAM.format(name)]
        found.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
