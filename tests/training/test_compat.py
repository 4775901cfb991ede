"""--compat: each thing that an old generation did differently, with it and without; and the page that tells of them."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
from nets import DATA, cost_of
from support import ORACLE, ROOT, default_params, make_graph, values, write_cifar, write_net

from convnet.cli.run import main
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.generation import COMPAT, Compat
from convnet.net.net import Net
from convnet.options import OPTIONS

PAGE = ROOT / "docs" / "fidelity.md"
FC = f"""{DATA}[a]
type=fc
inputs=data
outputs=4
initW=0.5
[b]
type=fc
inputs=a
outputs=4
initW=0.5
weightSource=a
{cost_of("b")}"""


def steps(compat, text=FC, cases=(8, 3), minibatch=8):
    """Weights of layer a before and after minibatches of so many cases."""
    net = Net(make_graph(text, {0: 4, 1: 1}, 4), ORACLE, minibatch, seed=3, compat=compat)
    before = ORACLE.download(net.nodes["a"].weights[0].value).copy()
    for n, count in enumerate(cases):
        labels = (np.arange(count) % 4)[None].astype(np.float32)
        net.train([values(4, count, seed=n), labels], count)
    return before, ORACLE.download(net.nodes["a"].weights[0].value), net


def test_short_minibatches_count_as_full_ones_in_2014():
    """numerics 13.10: 3 cases of 8 are divided by 8."""
    before, mine, _ = steps(Compat(), cases=(3,))
    _, theirs, _ = steps(Compat(nominal_cases=True), cases=(3,))
    np.testing.assert_allclose((theirs - before) * 8, (mine - before) * 3, atol=1e-9)


def test_only_the_last_of_shared_gradients_counts_in_2011():
    """numerics 4.3: a runs backward last; of b nothing is left, nor of the momentum."""
    _, _, both = steps(Compat(), cases=(8,))
    _, _, last = steps(Compat(last_contribution=True), cases=(8,))
    only_a = FC.replace("weightSource=a\n", "")
    net = Net(make_graph(only_a, {0: 4, 1: 1}, 4), ORACLE, 8, seed=3)
    shared = ORACLE.download(net.nodes["a"].weights[0].value)
    ORACLE.copy_in(shared, net.nodes["b"].weights[0].value)
    net.train([values(4, 8, seed=0), (np.arange(8) % 4)[None].astype(np.float32)], 8)
    inc = [ORACLE.download(n.nodes["a"].weights[0].inc) for n in (both, last, net)]
    np.testing.assert_allclose(inc[1], inc[2], atol=1e-9)
    assert np.abs(inc[0] - inc[1]).max() > 1e-6


TWINS = """
[data]
type=data
dataIdx=0
[a]
type=fc
inputs=data
outputs=4
initW=0.5
[b]
type=fc
inputs=data
outputs=4
initW=0.5
weightSource=a
"""
SUM = "[s]\ntype=eltsum\ninputs=%s\ncoeffs=1,0.5\n"
COSTS = "[cost1]\ntype=cost.sum2\ninputs=%s\n[cost2]\ntype=cost.sum2\ninputs=%s\n"
NEURON = "[n]\ntype=neuron\ninputs=%s\nneuron=square\n"


def increments(text, borrowed, compat):
    """What one step from rest makes of the momentum of a, of which b borrows with a rate of its own."""
    params = default_params(text).replace("[b]\n", f"[b]\nepsW={borrowed}\n")
    net = Net(make_graph(text, {0: 4}, params=params), ORACLE, 8, seed=3, compat=compat)
    net.train([values(4, 8)], 8)
    return ORACLE.download(net.nodes["a"].weights[0].inc)


@pytest.mark.parametrize(
    "text, last",
    [
        (SUM % "a,b" + COSTS % ("s", "s"), "b"),
        (SUM % "b,a" + COSTS % ("s", "s"), "a"),
        (COSTS % ("a", "b"), "b"),
        (COSTS % ("b", "a"), "a"),
        (SUM % "a,b" + NEURON % "a" + COSTS % ("s", "n"), "a"),  # a waits for n, which the second cost reaches
        (SUM % "a,b" + NEURON % "a" + COSTS % ("n", "s"), "b"),
        (NEURON % "b" + SUM % "n,a" + COSTS % ("s", "s"), "a"),  # the whole branch of the first input before the second
        (NEURON % "b" + SUM % "a,n" + COSTS % ("s", "s"), "b"),
    ],
)
def test_gradient_that_counts_in_2011_is_that_of_the_last_input(text, last):
    """numerics 4.3: back from the first cost, from each layer to its inputs in turn; not in the order of the file."""
    both, of_a = (increments(TWINS + text, rate, Compat()) for rate in (0.01, 0))
    assert np.abs(both - of_a).max() > 1e-4 < np.abs(of_a).max()
    found = increments(TWINS + text, 0.01, Compat(last_contribution=True))
    np.testing.assert_allclose(found, of_a if last == "a" else both - of_a, atol=1e-12)


@pytest.mark.parametrize("compat, scaled", [(Compat(), False), (COMPAT["2011"], True)])
@pytest.mark.parametrize("type", ["fc", "conv"])
def test_rates_of_layers_that_share_weights(type, scaled, compat):
    """numerics 13.4: each layer's own in fc, whose momentum sums up gradients; that of the owner in conv but for 2011."""
    text = TWINS + SUM % "a,b" + COSTS % ("s", "s")
    if type == "conv":
        keys = "type=conv\nchannels=1\nfilters=4\nfilterSize=2\npartialSum=1\nsharedBiases=1"
        text = text.replace("type=fc", keys).replace("outputs=4\n", "")
    adds = replace(compat, last_contribution=False)
    of_a, once, thrice = (increments(text, rate, adds) for rate in (0, 0.01, 0.03))
    factor = 3 if scaled or type == "fc" else 1
    np.testing.assert_allclose(thrice - of_a, factor * (once - of_a), atol=1e-12)
    assert np.abs(once - of_a).max() > 1e-4


def test_pixels_of_2014(tmp_path):
    """io 6.4: CIFAR data are one too large, with crops and without."""
    folder = str(write_cifar(tmp_path))
    for size in (0, 24):
        plain, old = (
            open_provider("cifar", Request(folder, inner_size=size, compat=COMPAT[year])).batch(1, 1)
            for year in ("", "2014")
        )
        means = [batch.crops[0].mean for batch in (plain, old)]
        np.testing.assert_allclose(means[0] - means[1], 1)


def test_labels_of_2012(tmp_path):
    """io 6.4: every class of the batch is marked in every case."""
    provider = open_provider("cifar", Request(str(write_cifar(tmp_path)), compat=COMPAT["2012"]))
    assert (provider.batch(1, 1).labels[1] == 1).all()


@pytest.fixture
def lines(tmp_path, capsys):
    """The printed lines of a run over batches of 60, 60 and 20 cases."""

    def printed(year):
        folder = write_cifar(tmp_path / "data", cases=60)
        options = ["--layer-def", write_net(tmp_path), "--data-path", folder, "--save-path", tmp_path / (year or "now")]
        options += ["--test-range", "2-3", "--train-range", "1-2", "--test-freq", 1, "--epochs", 1, "--mini", 60]
        small = write_cifar(tmp_path / "small", batches=3, cases=20)
        (folder / "data_batch_3").write_bytes((small / "data_batch_3").read_bytes())
        assert main([str(option) for option in (*options, "--backend", "cpu", *(["--compat", year] if year else []))]) == 0
        return capsys.readouterr().out.splitlines()

    return printed


def costs(lines):
    return [float(line.split()[1].rstrip(",")) for line in lines if line.startswith("logprob:")]


def test_lines_of_each_generation(lines):
    now, early, paper = lines(""), lines("2011"), lines("2012")
    assert any(line.startswith("1.1 (0.00%)...") for line in now) and any(line.startswith("1.1... ") for line in early)
    assert sum("Averages" in line for line in now) == 2 and not any("Averages" in line for line in early)
    ratio = re.compile(r"weights\[0\]: \S+ \[\S+\] \[\S+\] $")
    assert any(ratio.search(line) for line in now) and not any(ratio.search(line) for line in paper)
    assert any(line.startswith("2.1...") for line in paper) and not any(line.startswith("2.1") for line in now)


def test_averages(lines):
    """numerics 16.3: of tests over 60 and 20 cases, the mean over cases, or in 2012 the mean of both means."""
    now, paper = costs(lines("")), costs(lines("2012"))
    assert now[3] == pytest.approx((60 * now[0] + 20 * now[2]) / 80, abs=2e-6)
    assert paper[3] == pytest.approx((paper[0] + paper[2]) / 2, abs=2e-6)


def test_every_difference_is_on_the_page():
    text = PAGE.read_text()
    for field in fields(Compat):
        assert f"`{field.name}`" in text, field.name
    known = {option.flag for option in OPTIONS}
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= known
