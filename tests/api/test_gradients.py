"""net.input_gradient: of costs and outputs, as differences say; in whatever way pictures and outputs are named."""

import numpy as np
import pytest

import convnet
from convnet.errors import ConvnetError, DataError, OptionError

SIDE = 8


@pytest.fixture(scope="module")
def net():
    return convnet.build("layers-digits.cfg", side=SIDE, minibatch=4, seed=1, backend="reference")


PICTURES = np.random.RandomState(0).randint(0, 256, (6, SIDE, SIDE, 1), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9])


def test_the_cost_falls_against_it(net):
    """By what the gradient says, for a small step; the mean over cases is what ``test`` prints."""
    found = net.input_gradient(PICTURES, LABELS)
    data = PICTURES.transpose(3, 1, 2, 0).reshape(SIDE * SIDE, -1).astype(np.float32)
    step = 1e-2 * found / np.sqrt(np.square(found).sum(axis=(1, 2, 3), keepdims=True))
    moved = step.transpose(3, 1, 2, 0).reshape(SIDE * SIDE, -1)
    costs = [net.test(np.asarray(data + sign * moved, np.float32), LABELS)["logprob"][0] for sign in (1, -1)]
    assert found.shape == PICTURES.shape
    assert costs[0] - costs[1] == pytest.approx(2 * (found * step).sum() / 6, rel=0.05)


@pytest.mark.parametrize("of, output", [("", 3), ("probs", 3), ("fc10", 3), ("", "3"), ("conv1", 200)])
def test_outputs_by_number_or_name(net, of, output):
    found = net.input_gradient(PICTURES, of=of, output=output)
    several = net.input_gradient(PICTURES, of=of, output=[output] * 6)
    assert found.shape == PICTURES.shape and np.abs(found).max() > 0
    np.testing.assert_array_equal(found, several)
    np.testing.assert_allclose(net.input_gradient(PICTURES[4], of=of, output=output)[0], found[4], rtol=1e-4, atol=1e-9)


def test_an_output_for_each_picture(net):
    found = net.input_gradient(PICTURES, of="fc10", output=LABELS)
    for i, label in enumerate(LABELS):
        np.testing.assert_array_equal(found[i], net.input_gradient(PICTURES, of="fc10", output=int(label))[i])


def test_larger_pictures_and_matrices(net):
    larger = np.pad(PICTURES, [(0, 0), (1, 1), (1, 1), (0, 0)])
    found = net.input_gradient(PICTURES, LABELS)
    np.testing.assert_array_equal(net.input_gradient(larger, LABELS), found)
    matrix = PICTURES.transpose(3, 1, 2, 0).reshape(SIDE * SIDE, -1).astype(np.float32)
    np.testing.assert_array_equal(net.input_gradient(matrix, LABELS), found)


def test_data_that_are_no_pictures():
    text = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.1\n"
    text += "[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
    params = "[fc]\nepsW=0.1\nepsB=0\nmomW=0\nmomB=0\nwc=0\n[logprob]\ncoeff=1\n"
    net = convnet.build(text, params, features=5, classes=2, backend="reference")
    net.weights["fc"][0] = np.array([[0, 0], [0, 0], [2, -1], [0, 0], [0, 0]])
    found = net.input_gradient(np.ones((5, 3), np.float32), of="fc", output=[0, 1, 0])
    np.testing.assert_array_equal(found, [[0, 0, 2, 0, 0], [0, 0, -1, 0, 0], [0, 0, 2, 0, 0]])


@pytest.mark.parametrize(
    "given, error, told",
    [
        ({"labels": LABELS, "output": 3}, OptionError, "give labels, for the gradient of a cost, or output"),
        ({}, DataError, "pictures alone do not make the outputs of 'logprob'"),
        ({"labels": LABELS[:3]}, DataError, "6 pictures but 3 labels"),
        ({"labels": LABELS, "of": "logprb"}, OptionError, "no cost 'logprb' in the net; there are logprob"),
        ({"output": 10}, OptionError, "output=10 is not a whole number from 0 to 9"),
        ({"output": "ten"}, OptionError, "output: no class 'ten'"),
        ({"output": [1, 2]}, OptionError, "output: 2 outputs for 6 pictures"),
        ({"output": 1, "of": "fc11"}, ConvnetError, "no layer 'fc11' in the net; did you mean 'fc10'"),
        ({"output": 1, "of": "labels"}, DataError, "they depend on data 'labels'"),
    ],
)
def test_mistakes_in_clear_words(net, given, error, told):
    with pytest.raises(error) as caught:
        net.input_gradient(PICTURES, **given)
    assert told in str(caught.value)
