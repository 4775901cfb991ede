"""What one output sees of the data: exactly the pixels whose change moves it, wherever it stands."""

import numpy as np
import pytest
from nets import DATA, cost_of
from support import make_graph

from convnet.backends.reference import Reference
from convnet.graph.analysis import receptive_fields
from convnet.net.net import Net

SIDE = 11
FC = f"[fc]\ntype=fc\ninputs=seen\noutputs=2\ninitW=1\n{cost_of('fc')}"


def conv(name, inputs, sizes, padding, strides, channels=1):
    keys = {"channels": channels, "filters": 2, "filterSize": sizes, "padding": padding, "stride": strides, "initW": 1}
    count = len(inputs.split(","))
    each = {key: value if isinstance(value, list) else [value] * count for key, value in keys.items()}
    return f"[{name}]\ntype=conv\ninputs={inputs}\n" + "".join(f"{k}={','.join(map(str, v))}\n" for k, v in each.items())


def pool(inputs, size, stride, start=0):
    return f"[seen]\ntype=pool\npool=avg\ninputs={inputs}\nchannels=2\nsizeX={size}\nstride={stride}\nstart={start}\n"


NETS = {
    "stride": conv("seen", "data", 3, 0, 2),
    "padding": conv("seen", "data", 5, 2, 2),
    "deep": conv("a", "data", 3, 1, 2) + conv("seen", "a", 3, 1, 1, 2),
    "pooled": conv("a", "data", 3, 1, 1) + pool("a", 3, 2),
    "pooled from outside": conv("a", "data", 2, 0, 1) + pool("a", 3, 2, -1),
    "cropped": "[cut]\ntype=crop\ninputs=data\nchannels=1\nstartX=3\nstartY=1\nsizeX=6\n" + conv("seen", "cut", 3, 1, 1),
    "bed of nails": "[nails]\ntype=nailbed\ninputs=data\nchannels=1\nstride=2\n" + conv("seen", "nails", 2, 0, 1),
    "blurred": "[soft]\ntype=blur\ninputs=data\nchannels=1\nfilterSize=3\nstdev=2\n" + conv("seen", "soft", 3, 1, 2),
    "towers": conv("a", "data", 3, 1, 1) + conv("b", "data", 5, 2, 1) + conv("seen", "a,b", [1, 3], [0, 1], 1, 2),
    "local": conv("seen", "data", 3, 1, 2).replace("type=conv", "type=local"),
}
SPARSE = {"bed of nails"}  # whose squares have pixels that nothing reads


def moved(text):
    """Whether a change of pixel p moves output o of ``seen``'s first map, [o, p], and the graph."""
    graph = make_graph(DATA + text + FC, {0: SIDE**2, 1: 1}, 2)
    net = Net(graph, Reference(np.float64), minibatch=SIDE**2 + 1, seed=4)
    pictures = np.concatenate([np.zeros((SIDE**2, 1)), np.eye(SIDE**2)], axis=1)
    net.test([pictures, np.zeros((1, SIDE**2 + 1))], SIDE**2 + 1, keep=["seen"])
    values = net.output("seen")
    values = values.reshape(2, -1, SIDE**2 + 1)[0]
    return values[:, 1:] != values[:, :1], graph


@pytest.mark.parametrize("name", NETS)
def test_an_output_sees_these_pixels_and_no_others(name):
    seen, graph = moved(NETS[name])
    field, outputs = receptive_fields(graph)["seen"], int(np.sqrt(len(seen)))
    limits = (1, 7, 3, 9) if name == "cropped" else (0, SIDE, 0, SIDE)
    for o, pixels in enumerate(seen.reshape(-1, SIDE, SIDE)):
        top, left = field.place(*divmod(o, outputs))
        expected = np.zeros((SIDE, SIDE), bool)
        low, high, first, last = limits
        expected[max(top, low) : min(top + field.size, high), max(left, first) : min(left + field.size, last)] = True
        if name in SPARSE:
            ys, xs = np.nonzero(pixels)
            assert not (pixels & ~expected).any()
            assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (field.size, field.size)
        else:
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "layer", ["type=href\nchannels=1\n", "type=resize\nchannels=1\nscale=1.5\n", "type=rscale\nchannels=1\nmaxScale=1.5\n"]
)
def test_what_mirrors_or_scales_has_no_place(layer):
    text = DATA + f"[turned]\n{layer}inputs=data\n" + conv("seen", "turned", 3, 1, 1)
    graph = make_graph(text + FC, {0: SIDE**2, 1: 1}, 2)
    fields = receptive_fields(graph)
    assert fields["seen"].start is None and fields["seen"].size == 3 and fields["fc"] is None
