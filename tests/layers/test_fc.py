"""fc, sfc and treefc: products against the oracle, blocks, trees, gradients by differences."""

import numpy as np
import pytest
from emulator import as_tf32
from support import (
    ORACLE,
    assert_close,
    assert_gradients,
    compare,
    each_backend,
    each_tf32_backend,
    make_graph,
    run_op,
    values,
)

from convnet.backends.arguments import Activation, Rates, Slope
from convnet.errors import DataError
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net

# Below, at and above the sizes of tiles, panels and blocks: of rows, cases, sums and tasks.
SIZES = [
    (12, 8, 5, 4), (1, 1, 1, 1), (7, 5, 3, 1), (300, 17, 33, 1), (40, 1030, 129, 1), (700, 70, 300, 1), (4, 2, 1000, 2),
    (515, 33, 16, 1), (64, 8, 32, 1), (65, 9, 17, 1), (1300, 40, 1, 1), (1029, 131, 4, 1), (330, 35, 15, 5), (33, 600, 7, 1),
]  # fmt: skip


@each_backend
@pytest.mark.parametrize("K, F, N, parts", SIZES)
def test_ops(be, K, F, N, parts):
    x, w, g = values(K, N), values(F // parts, K, seed=1), values(F, N, seed=2)
    compare(be, "fc_forward", [x, w], g.shape, parts=parts)
    compare(be, "fc_input_grad", [g, w], x.shape, parts=parts)
    compare(be, "fc_weight_grad", [x, g], w.shape, parts=parts)


@each_backend
@pytest.mark.parametrize("activation", [Activation("relu"), Activation("tanh", 1.7, 0.6)])
@pytest.mark.parametrize("K, F, N, parts", [(7, 5, 3, 1), (540, 12, 37, 2), (70, 130, 1, 1)])
def test_biases_and_neurons_beside_them(be, K, F, N, parts, activation):
    """Biases are added to the blended result, before the neuron; a slope is of the op's own result alone."""
    x, w, g, b = values(K, N), values(F // parts, K, seed=1), values(F, N, seed=2), values(F, seed=3)
    y = run_op(ORACLE, "neuron_forward", [x], x, activation=activation).astype(np.float32)
    before = values(F, N, seed=4)
    plain = run_op(ORACLE, "fc_forward", [x, w], before, 0.5, parts=parts) + b[:, None]
    given = {"parts": parts, "biases": be.upload(b)}
    assert_close(run_op(be, "fc_forward", [x, w], before, 0.5, **given), plain)
    expected = run_op(ORACLE, "neuron_forward", [plain], plain, activation=activation)
    assert_close(run_op(be, "fc_forward", [x, w], before, 0.5, activation=activation, **given), expected)
    compare(be, "fc_forward", [x, w], g.shape, parts=parts, activation=activation)
    compare(be, "fc_input_grad", [g, w], x.shape, parts=parts, slope=Slope(activation, y))


@each_tf32_backend
def test_ops_in_tf32(be):
    """The library's products round as the tensor cores of conv do."""
    x, w, g = values(300, 33), values(17, 300, seed=1), values(17, 33, seed=2)
    for op, given, target in (
        ("fc_forward", [x, w], g.shape),
        ("fc_input_grad", [g, w], x.shape),
        ("fc_weight_grad", [x, g], w.shape),
    ):
        compare(be, op, [as_tf32(array).astype(np.float64) for array in given], target)
        exact, found = (run_op(backend, op, given, np.zeros(target)) for backend in (ORACLE, be))
        error = np.abs(found - exact).max() / np.abs(exact).max()
        assert error < 1e-3 and (error > 1e-5 or be.device.capability)  # a library need not round products as small as these


def test_blocks_do_not_mix():
    """sfc is a block-diagonal product (numerics 4.4)."""
    x, w = values(6, 4), values(2, 6)
    out = run_op(ORACLE, "fc_forward", [x, w], np.empty((4, 4)), parts=2)
    np.testing.assert_allclose(out, np.concatenate([w[:, :3] @ x[:3], w[:, 3:] @ x[3:]]))


@each_backend
@pytest.mark.parametrize("rows, columns", [(5, 3), (1, 1), (96, 700), (3, 5000)])
def test_biases(be, rows, columns):
    x, b = values(rows, columns), values(rows)
    out = be.upload(x)
    be.add_bias(out, be.upload(b))
    np.testing.assert_allclose(be.download(out), x + b[:, None], rtol=1e-6)
    compare(be, "sum_rows", [x], (rows,), scale_output=0.25)


# Root 5 over inner nodes 3 and 4; classes 0 and 1 below 3, class 2 below 4.
TREE = LabelTree.from_children({5: [3, 4], 3: [0, 1], 4: [2]}, root=5, classes=3)


def test_tree_sums():
    offsets = np.arange(6.0)[:, None]
    effective, grad = np.empty((6, 1)), np.array([[1.0], [2], [4], [np.nan], [np.nan], [np.nan]])
    ORACLE.tree_forward(offsets, effective, TREE.parents, TREE.top_down)
    np.testing.assert_array_equal(effective[:, 0], [0 + 3 + 5, 1 + 3 + 5, 2 + 4 + 5, 8, 9, 5])
    ORACLE.tree_backward(grad, TREE.parents, TREE.top_down, 3)
    np.testing.assert_array_equal(grad[:, 0], [1, 2, 4, 3, 4, 7])
    assert TREE.leaves_below == [1, 1, 1, 2, 1, 3]


@each_backend
def test_tree_update(be):
    w, v, g = values(6, 4), values(6, 4, seed=1), values(6, 4, seed=2)
    arrays = [be.upload(array) for array in (w, v, g)]
    be.tree_update(*arrays, leaves_below=TREE.leaves_below, rates=Rates(0.9, 0.1, 0.05))
    size = np.array(TREE.leaves_below)[:, None]
    expected = 0.9 * v + 0.1 / size * (g - 0.05 / size * w)
    np.testing.assert_allclose(be.download(arrays[1]), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(be.download(arrays[0]), w + expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "children, root, classes",
    [({2: [0, 1, 1]}, 2, 2), ({3: [0, 1]}, 3, 2), ({2: [0, 1]}, 2, 3)],
    ids=["a child twice", "numbers missing", "too few classes"],
)
def test_no_tree(children, root, classes):
    with pytest.raises(DataError, match="label tree"):
        LabelTree.from_children(children, root, classes)


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[below]
type=fc
inputs=data,data
outputs=6
initW=0.5,0.25
initB=0.1
[top]
{top}
inputs=below
initW=0.5
[probs]
type=softmax
inputs=top
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("top", ["type=fc\noutputs=3", "type=sfc\noutputs=1\nparts=3", "type=treefc"])
def test_gradients(top):
    assert_gradients(NET.format(top=top), [values(5, 4), np.array([[0.0, 1, 2, 1]])], classes=3, tree=TREE)


@each_backend
@pytest.mark.parametrize("columns", [1, 7, 300])
def test_sums_along_a_tree(be, columns):
    """Down from the root, and back from the leaves to inner nodes, whose own rows do not count."""
    parents, top_down = [4, 4, 3, 5, 5, 5], [5, 4, 3, 2, 1, 0]
    x = values(6, columns)
    offsets, effective = be.upload(x), be.upload(np.full(x.shape, np.nan))
    be.tree_forward(offsets, effective, parents, top_down)
    paths = [[0, 4, 5], [1, 4, 5], [2, 3, 5], [3, 5], [4, 5], [5]]
    assert_close(be.download(effective), np.stack([x[path].sum(axis=0) for path in paths]))
    grad = be.upload(x)
    be.tree_backward(grad, parents, top_down, 3)
    below = [[0], [1], [2], [2], [0, 1], [0, 1, 2]]
    assert_close(be.download(grad), np.stack([x[leaves].sum(axis=0) for leaves in below]))


@each_backend
def test_tree_training(be):
    """Numerics 4.5: inner columns begin at zero; a node moves by rate / sz of the sum of its leaves' gradients."""
    text = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[top]\ntype=treefc\ninputs=data\ninitW=0.5\n"
    text += "[probs]\ntype=softmax\ninputs=top\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
    params = "[top]\nepsW=0.1\nepsB=0.2\nmomW=0.9\nmomB=0\nwc=0.3\nwball=0.01\n[logprob]\ncoeff=1\n"
    net = Net(make_graph(text, {0: 5, 1: 1}, 3, params, tree=TREE), be, minibatch=4, seed=1)
    before = be.download(net.nodes["top"].weights[0].value)
    assert before[:3].all() and not before[3:].any()
    x, labels = values(5, 4).astype(np.float32), np.float32([[0, 1, 2, 1]])
    scores = before[:3] @ x  # offsets of inner nodes are zero, biases too
    probs = np.exp(scores) / np.exp(scores).sum(axis=0)
    leaf = ((np.arange(3)[:, None] == labels) - probs) @ x.T / 4
    gradient = np.concatenate([leaf, leaf[:2].sum(axis=0)[None], leaf[2:], leaf.sum(axis=0)[None]])
    size = np.array(TREE.leaves_below)[:, None]
    net.train([x, labels], 4)
    moved = before + 0.1 / size * (gradient - 0.3 / size * before)
    np.testing.assert_allclose(be.download(net.nodes["top"].weights[0].value), moved, rtol=1e-4, atol=1e-6)
