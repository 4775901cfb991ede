"""eltsum, eltmax, concat, pass: values, ties, the same layer twice, gradients by differences."""

import numpy as np
import pytest
from support import assert_gradients, compare, each_backend, make_graph, values

from convnet.layers.modes import Mode
from convnet.net.net import Net

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[a]
type=fc
inputs=data
outputs=6
initW=0.5
[b]
type=fc
inputs=data
outputs=6
initW=0.7
[mix]
{mix}
[fc]
type=fc
inputs=mix,a
outputs=3
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""
KINDS = {
    "sum": "type=eltsum\ninputs=a,b\ncoeffs=0.5,-2",
    "sum of one layer twice": "type=eltsum\ninputs=a,b,a",
    "max": "type=eltmax\ninputs=a,b",
    "concat": "type=concat\ninputs=a,b",
    "pass": "type=pass\ninputs=b,a,b",
}


@pytest.mark.parametrize("mix", KINDS.values(), ids=KINDS.keys())
def test_gradients(mix):
    assert_gradients(NET.format(mix=mix), [values(5, 4), np.array([[0.0, 1, 2, 1]])], classes=3)


def outputs_of(mix, be, x):
    text = (
        "[x]\ntype=data\ndataIdx=0\n[y]\ntype=data\ndataIdx=1\n" + f"[mix]\n{mix}\n" + "[cost]\ntype=cost.sum2\ninputs=mix\n"
    )
    net = Net(make_graph(text, {0: 3, 1: 3}), be, minibatch=2)
    net.forward(x, 2, Mode.TEST, keep=["mix"])
    return net.output("mix")


@each_backend
def test_values(be):
    x, y = np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([[2, 1], [3, 5], [0, 7]])
    np.testing.assert_array_equal(outputs_of("type=eltsum\ninputs=x,y\ncoeffs=2,-1", be, [x, y]), 2 * x - y)
    np.testing.assert_array_equal(outputs_of("type=eltmax\ninputs=x,y,x", be, [x, y]), np.maximum(x, y))
    np.testing.assert_array_equal(outputs_of("type=concat\ninputs=y,x", be, [x, y]), np.concatenate([y, x]))


@each_backend
@pytest.mark.parametrize("rows, columns", [(1, 40000), (3, 16385), (70, 16384)])
def test_sums_of_long_rows(be, rows, columns):
    compare(be, "sum_rows", [values(rows, columns, low=-0.25)], (rows,), scale_output=0.25)
