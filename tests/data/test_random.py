"""Data made to fit a definition: sizes, kinds of matrices, and nets that nothing fits."""

import pytest
from support import BACKENDS, default_params

from convnet.data.random import synthesize
from convnet.errors import LayerFileError
from convnet.graph.infer import SMALLEST
from convnet.graph.loading import LayerFiles, parse
from convnet.net.net import Net

FITTED = """
[data]
type=data
dataIdx=0
[targets]
type=data
dataIdx={index}
[conv]
type=conv
inputs=data
channels=2
filters=4
filterSize=7
initW=0.1
[fc]
type=fc
inputs=conv
outputs=6
initW=0.1
neuron=logistic
[probs]
type=softmax
inputs=fc
[cost]
type={cost}
inputs=targets,{read}
"""


@pytest.mark.parametrize(
    "cost, index, read, rows, kind",
    [
        ("cost.logreg", 1, "probs", 1, "label"),
        ("cost.crossent", 2, "probs", 6, "target"),
        ("cost.bce", 1, "fc", 6, "target"),
        ("cost.gsum2", 2, "fc", 1, "gate"),
    ],
)
def test_data_that_fit_a_definition(cost, index, read, rows, kind):
    text = FITTED.format(cost=cost, index=index, read=read)
    if read == "fc":
        text = text.replace("[probs]\ntype=softmax\ninputs=fc\n", "")
    fitted = synthesize(parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg")), SMALLEST)
    assert fitted.side == 8 and fitted.dims[0] == 2 * 8 * 8  # the first of 4, 8, ... that holds a filter of 7
    assert fitted.dims[index] == rows and fitted.kinds == {index: kind}
    matrices = fitted.matrices(5)
    assert [m.shape for m in matrices] == [(fitted.dims.get(i, 1), 5) for i in range(index + 1)]
    if kind == "target":
        assert (matrices[index].sum(axis=0) == 1).all()
    assert Net(fitted.graph, BACKENDS["reference32"], minibatch=5).test(matrices, 5)


def test_definition_that_no_size_fits():
    text = FITTED.format(cost="cost.logreg", index=1, read="probs").replace("channels=2", "channels=2\ngroups=3")
    with pytest.raises(LayerFileError, match="2 channels cannot be shared among 3 groups"):
        synthesize(parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg")))
