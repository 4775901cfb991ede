"""--check-grads: right gradients pass, wrong ones fail, approximations say so; the originals' arithmetic on request."""

import re

import numpy as np
import pytest
from support import (
    ROOT,
    SHARED,
    SMALL_NET,
    SMALL_PARAMS,
    default_params,
    make_graph,
    needs_museum,
    values,
    write_cifar,
    write_net,
)

from convnet.backends.reference import Reference
from convnet.cli.run import main
from convnet.net.gradcheck import check_gradients, original_step
from convnet.net.net import Net

EXAMPLES = SHARED / "corpus/files"
HISTORICAL = ["2011/example-layers/layers.gc", "2012/example-layers/layers.gc", "2014/layers/layers-cifar10-11pct"]
LINE = re.compile(r"^(PASS|FAIL|APPROXIMATE) +(\S+ (?:weights\[\d\]|biases)) +relative error [\d.e+-]+  \(\d+ of \d+", re.M)


def check(capsys, *options):
    """(exit status, verdicts by weights, all that was printed)."""
    status = main([*map(str, options), "--check-grads"])
    out = capsys.readouterr().out
    return status, {name: verdict for verdict, name in LINE.findall(out)}, out


@pytest.mark.parametrize(
    "name", ["digits", *(pytest.param(f"cifar10-{n}pct", marks=pytest.mark.slow) for n in (26, 18, 13, 11))]
)
def test_shipped_nets_pass(name, capsys):
    status, verdicts, out = check(capsys, "--layer-def", ROOT / f"layers-cfg/layers-{name}.cfg")
    assert status == 0 and set(verdicts.values()) == {"PASS"}
    assert f"ALL {len(verdicts)} TESTS PASSED" in out


def test_data_that_are_large(tmp_path, capsys):
    """Weights are scaled by them: one label of probability 0 among many cases would end the check."""
    data, net = write_cifar(tmp_path / "data", batches=2), write_net(tmp_path)
    status, verdicts, out = check(capsys, "--layer-def", net, "--data-path", data, "--mini", 60)
    assert status == 0 and set(verdicts.values()) == {"PASS"}, out


@pytest.mark.slow
@needs_museum
@pytest.mark.parametrize("name", HISTORICAL)
def test_historical_nets_pass(name, capsys):
    status, verdicts, _ = check(capsys, "--layer-def", EXAMPLES / f"{name}.cfg")
    assert status == 0 and set(verdicts.values()) == {"PASS"}


@needs_museum
def test_the_arithmetic_of_2011_passes_its_own_net(capsys):
    """Numerics 28.2: one-sided differences in float32, bound 0.02."""
    net = ["--layer-def", EXAMPLES / "2011/example-layers/layers.gc.cfg", "--data-provider", "dummy-cn-192"]
    status, verdicts, out = check(capsys, *net, "--compat", 2011)
    assert status == 0 and len(verdicts) == 7 and "one-sided differences in float32 as in 2011" in out


def test_wrong_gradient_fails(capsys, monkeypatch):
    right = Reference.pool_avg_input_grad

    def wrong(self, kind, grad, *args, **window):
        right(self, kind, 1.001 * grad, *args, **window)

    monkeypatch.setattr(Reference, "pool_avg_input_grad", wrong)
    status, verdicts, out = check(capsys, "--layer-def", ROOT / "layers-cfg/layers-cifar10-26pct.cfg")
    assert status == 1
    assert verdicts["conv1 weights[0]"] == "FAIL" and verdicts["fc10 weights[0]"] == "PASS"
    assert re.search(r"^\d/10 TESTS FAILED$", out, re.M)


NET = """
[data]
type=data
dataIdx=0
[fc]
type=fc
inputs=data
outputs=36
initW=0.5
{neuron}
[odd]
inputs=fc
{layer}
[top]
type=fc
inputs=odd
outputs=3
initW=0.5
[cost]
type=cost.sum2
inputs=top
"""


@pytest.mark.parametrize("layer", ["type=cnorm\nchannels=4\nsize=3", "type=rnorm\nchannels=4\nsize=3"])
def test_local_means_are_an_approximation(layer, tmp_path, capsys):
    """Numerics 9.5: cnorm fails differences and says why; everything behind it, and rnorm, passes."""
    text = NET.format(neuron="", layer=layer)
    definition = write_net(tmp_path, text, default_params(text).replace("scale=0.9", "scale=20"))
    status, verdicts, out = check(capsys, "--layer-def", definition)
    expected = "APPROXIMATE" if "cnorm" in layer else "PASS"
    assert status == 0
    assert (verdicts["fc weights[0]"], verdicts["top weights[0]"], verdicts["top biases"]) == (expected, "PASS", "PASS")
    assert ("behind 'odd' (cnorm), where local means count as constants" in out) == (expected == "APPROXIMATE")


def test_noise_is_an_approximation(tmp_path, capsys):
    text = NET.format(neuron="neuron=nrelu", layer="type=href\nchannels=1")
    status, verdicts, out = check(capsys, "--layer-def", write_net(tmp_path, text, default_params(text)))
    assert status == 0 and verdicts["fc weights[0]"] == "APPROXIMATE" and "noise counts as a constant" in out


def test_topographic_cost_is_an_approximation(tmp_path, capsys):
    """Numerics 12.9: the printed value is not what is made small."""
    text = NET.format(neuron="", layer="type=href\nchannels=1").split("[top]")[0] + "[cost]\ntype=cost.tica\ninputs=odd\n"
    text += "channels=4\nsizeX=3\n"
    status, verdicts, out = check(capsys, "--layer-def", write_net(tmp_path, text, default_params(text)))
    assert status == 0 and set(verdicts.values()) == {"APPROXIMATE"} and "is not what is made small" in out


def test_frozen_weights_are_checked_too(tmp_path, capsys):
    """2011 to 2014 compared them with no gradient at all (numerics 17.6)."""
    params = re.sub(r"eps([WB])=.*", r"eps\1=0", SMALL_PARAMS)
    status, verdicts, _ = check(capsys, "--layer-def", write_net(tmp_path, SMALL_NET, params))
    assert status == 0 and len(verdicts) == 4 and set(verdicts.values()) == {"PASS"}


def small_net(be):
    text = NET.format(neuron="neuron=tanh[1,1]", layer="type=href\nchannels=1")
    return Net(make_graph(text, {0: 5}), be, minibatch=4, seed=2, checking=True)


def test_nothing_is_left_behind():
    """Weights, momenta and the noise of schedules are as before; training goes on as if nothing had been checked."""
    nets, x = [small_net(Reference(np.float64)) for _ in range(2)], values(5, 4)
    for net in nets:
        net.train([x], 4)
    before = [w.inc.copy() for w in nets[0].weights]
    assert any(inc.any() for inc in before)
    assert list(check_gradients(nets[0], [x], 4))
    for w, inc in zip(nets[0].weights, before, strict=True):
        np.testing.assert_array_equal(w.inc, inc)
    assert nets[0].train([x], 4) == nets[1].train([x], 4)
    for mine, theirs in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_array_equal(mine.value, theirs.value)


def test_a_shared_matrix_is_checked_once():
    text = NET.format(neuron="neuron=tanh[1,1]", layer="type=href\nchannels=1").replace(
        "inputs=odd\noutputs=3\ninitW=0.5", "inputs=odd,odd\noutputs=3\ninitW=0.5,0.5\nweightSource=,top[0]"
    )
    net = Net(make_graph(text, {0: 5}), Reference(np.float64), minibatch=4, seed=2, checking=True)
    checks = list(check_gradients(net, [values(5, 4)], 4))
    assert [check.name for check in checks] == ["fc weights[0]", "fc biases", "top weights[0]", "top biases"]
    assert all(check.passed() for check in checks)


def test_one_sided_differences_by_hand():
    """Numerics 17.2: (cost(w + h) - cost) / (N h), and minus the gradient over N."""
    net, x, h = small_net(Reference(np.float64)), values(5, 4), 0.01
    found = {c.name: c for c in check_gradients(net, [x], 4, h, one_sided=True)}["top weights[0]"]
    weights = net.nodes["top"].weights[0].value
    below = np.tanh(net.nodes["fc"].weights[0].value @ x).reshape(6, 6, 4)[:, ::-1].reshape(36, 4)

    def cost(w):
        return np.square(w @ below + net.nodes["top"].biases.value[:, None]).sum()

    moved = weights.copy()
    moved[0, 7] += h
    assert found.numeric[7] == pytest.approx((cost(moved) - cost(weights)) / (4 * h))
    assert found.analytic[7] == pytest.approx(2 * (weights @ below)[0] @ below[7] / 4)
    assert found.size == len(found.numeric) == 3 * 36


def test_steps_of_the_originals():
    """Numerics 17.5."""
    graph = make_graph(SMALL_NET, {0: 3072, 1: 1}, 10)
    steps = {
        year: [original_step(year)(graph.layers[name], biases) for name in ("conv1", "fc") for biases in (False, True)]
        for year in ("2011", "2012", "2014")
    }
    assert steps == {"2011": [0.001, 0.002, 0.1, 0.01], "2012": [0.02, 0.05, 0.01, 0.01], "2014": [0.02, 0.005, 0.01, 0.01]}


def test_checkpoints_can_be_checked(tmp_path, capsys):
    """With its weights, on data of the size it was trained on."""
    options = ["--layer-def", write_net(tmp_path), "--data-provider", "dummy-cn-3072", "--save-path", tmp_path]
    assert main([*map(str, options), "--max-batches", "1", "--test-freq", "1"]) == 0
    capsys.readouterr()
    status, verdicts, out = check(capsys, "--load-file", tmp_path)
    assert status == 0 and set(verdicts.values()) == {"PASS"} and "3072 values each" in out


def test_nothing_to_check(tmp_path, capsys):
    text = SMALL_NET.split("[probs]")[0] + "[more]\ntype=neuron\nneuron=relu\ninputs=fc\n"
    assert main(["--layer-def", str(write_net(tmp_path, text)), "--check-grads"]) != 0
    shown = capsys.readouterr().err
    assert "error: layer 'more': nothing uses this layer" in shown and "nor 'labels'; the net has no cost" in shown


def test_definition_without_parameters(tmp_path, capsys):
    """Its costs count as 1: a check of zeros against zeros would pass anything."""
    (tmp_path / "net.cfg").write_text(SMALL_NET)
    status, verdicts, out = check(capsys, "--layer-def", tmp_path / "net.cfg")
    assert status == 0 and len(verdicts) == 4 and "no gradient reaches it" not in out


def test_costs_that_do_not_count(tmp_path, capsys):
    more = "[side]\ntype=fc\ninputs=drop\noutputs=2\ninitW=0.1\n[idle]\ntype=cost.sum2\ninputs=side\n"
    definition = write_net(tmp_path, SMALL_NET + more, SMALL_PARAMS + "[side]\n[idle]\ncoeff=0\n")
    status, verdicts, out = check(capsys, "--layer-def", definition)
    assert status == 0 and len(verdicts) == 6
    assert re.search(r"^PASS +side weights.*no gradient reaches it", out, re.M)
    definition = write_net(tmp_path, SMALL_NET, SMALL_PARAMS.replace("coeff=1", "coeff=0"))
    assert main(["--layer-def", str(definition), "--check-grads"]) != 0
    assert "every cost has coeff=0" in capsys.readouterr().err


def test_functions_for_initial_weights_are_not_asked(tmp_path, capsys):
    """Weights are drawn for the check: the checkpoint that a file names need not be there."""
    functions = "initWFunc=initw.makew(gone)\ninitBFunc=initw.makeb(gone)\n"
    text = SMALL_NET.replace("[conv1]\n", f"[conv1]\n{functions}").replace("[fc]\n", f"[fc]\n{functions}")
    status, verdicts, _ = check(capsys, "--layer-def", write_net(tmp_path, text))
    assert status == 0 and set(verdicts.values()) == {"PASS"}
