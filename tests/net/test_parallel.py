"""A net in parts, on one rank or several, learns what it learns in one piece."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks.threads import on_ranks

from convnet.backends import make_backend
from convnet.checkpoint.saving import _streams, restore_streams
from convnet.errors import BackendError, NumericalError, OptionError
from convnet.generation import COMPAT
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.layout import Layout
from convnet.net.net import Net
from convnet.net.parallel import ParallelNet
from convnet.net.parts import Ranks
from convnet.net.state import collect_state
from convnet.ranks.carriers import carrier_for

CASES, STEPS, FEATURES, CLASSES = 12, 4, 3 * 64, 5
SECTION = "\n[{}]\nepsW={}\nepsB=0.1\nmomW={}\nmomB=0.9\nwc={}\n"
DATA = "\n[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
CONV = """
[conv1{name}]
type=conv
inputs=data
channels=3
filters={filters}
padding=1
stride=1
filterSize=3
initW=0.2
neuron=relu
{gpu}
[pool1{name}]
type=pool
pool=max
inputs=conv1{name}
channels={filters}
sizeX=3
stride=2
"""
TOP = "[probs]\ntype=softmax\ninputs=fc2\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n{}\n"


def learning(**inputs):
    """Parameters of weight layers, by how many inputs they have."""
    rates = ("0.05", "0.9", "0.001")
    return "".join(SECTION.format(name, *(",".join([rate] * count) for rate in rates)) for name, count in inputs.items())


def plain(more=""):
    """A net with dropout, of one piece."""
    text = DATA + CONV.format(name="", filters=8, gpu="") + "[norm1]\ntype=cmrnorm\ninputs=pool1\nchannels=8\nsize=3\n"
    text += "[fc1]\ntype=fc\ninputs=norm1\noutputs=10\ninitW=0.2\nneuron=relu\n[drop]\ntype=dropout2\ninputs=fc1\n"
    text += "[fc2]\ntype=fc\ninputs=drop\noutputs=5\ninitW=0.2\n" + TOP.format("")
    params = learning(conv1=1, fc1=1, fc2=1).replace("[fc1]\n", f"[fc1]\n{more}\n")
    return text, params + "[norm1]\nscale=0.01\npow=0.75\n[drop]\nkeep=0.5\n[logprob]\ncoeff=1\n"


def towers():
    """Two towers that meet twice, as 2012 had them."""
    text = DATA + "".join(CONV.format(name=own, filters=4, gpu=f"gpu={gpu}") for gpu, own in enumerate("ab"))
    conv2 = "[conv2{0}]\ntype=conv\ninputs=pool1{0},pool1{1}\nchannels=4,4\nfilters=6,6\nfilterSize=3,3\npadding=1,1\n"
    for section in (
        conv2 + "initW=0.2,0.2\nneuron=relu\n",
        "[fc1{0}]\ntype=fc\ninputs=conv2{0},conv2{1}\noutputs=7\ninitW=0.1,0.1\nneuron=tanh[1,1]\n",
        "[drop{0}]\ntype=dropout2\ninputs=fc1{0}\n",
    ):
        text += section.format("a", "b") + section.format("b", "a")
    text += "[fc2]\ntype=fc\ninputs=dropa,dropb\noutputs=5\ninitW=0.2,0.2\ngpu=0\n" + TOP.format("gpu=0")
    params = learning(conv1a=1, conv1b=1, conv2a=2, conv2b=2, fc1a=2, fc1b=2, fc2=2)
    return text, params + "[dropa]\nkeep=0.5\n[dropb]\nkeep=0.8\n[logprob]\ncoeff=1\n"


def hybrid(replicas, period=0, pieces=0):
    """2014's scheme: convolutions of several replicas, and fc split in as many pieces, of one replica each."""
    pieces, gpus = pieces or replicas, ",".join(map(str, range(replicas)))
    text = DATA + CONV.format(name="", filters=8, gpu=f"gpu={gpus}")
    names = [f"fc1{i}" for i in range(pieces)]
    for i, name in enumerate(names):
        text += f"[{name}]\ntype=fc\ninputs=pool1\noutputs=4\ninitW=0.2\nneuron=relu\ngpu={i}\n"
        text += f"[drop{i}]\ntype=dropout2\ninputs={name}\n"
    text += f"[join]\ntype=pass\ninputs={','.join(f'drop{i}' for i in range(pieces))}\ngpu=0\n"
    text += "[fc2]\ntype=fc\ninputs=join\noutputs=5\ninitW=0.2\n" + TOP.format("gpu=0")
    params = learning(conv1=1) + "".join(
        learning(**{name: 1}) + (f"updatePeriod={period}\n" if period else "") for name in [*names, "fc2"]
    )
    params += "".join(f"[drop{i}]\nkeep=0.5\n" for i in range(pieces))
    return text, params + "[logprob]\ncoeff=1\n"


def graph_of(files):
    definition, params = files
    return build_graph(LayerFiles(definition, "d.cfg", params, "p.cfg"), {0: FEATURES, 1: 1}, CLASSES)


def data(cases=CASES, seed=1):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, (1, cases)).astype(np.float32)
    return [random.standard_normal((FEATURES, cases), np.float32), labels]


def cut(net, matrices):
    cases = matrices[0].shape[1]
    return net.cut(lambda start, stop: [np.ascontiguousarray(matrix[:, start:stop]) for matrix in matrices], 0, cases)


def train(net, steps=STEPS, cases=CASES):
    """(costs of each step, costs of a test, outputs of a layer in it, all that was learned)."""
    costs = [net.train(cut(net, data(cases, step)), cases, 0.0) for step in range(steps)]
    test = net.test(cut(net, data(cases, 99)), cases, ["fc2"])
    return costs, test, net.output("fc2"), flat(collect_state(net))


def flat(state):
    keys = ("weights", "biases", "weightsInc", "biasesInc")
    return np.concatenate([np.ravel(array) for layer in state.values() for key in keys for array in layer[key]])


def whole(files, cases=CASES, steps=STEPS, **more):
    return train(Net(graph_of(files), make_backend("cpu", 1), cases, 3, **more), steps, cases)


def parallel(communicator, files, shards=0, cases=CASES, **more):
    layout = Layout.of(graph_of(files), communicator.rank, communicator.size, shards)
    ranks = Ranks(communicator, layout, carrier_for)
    return ParallelNet(graph_of(files), make_backend("cpu", 1), ranks, cases, 3, **more)


def on(size, files, shards=0, cases=CASES, steps=STEPS, **more):
    return on_ranks(size, lambda communicator: train(parallel(communicator, files, shards, cases, **more), steps, cases))


def assert_alike(results, expected, tolerance=2e-6):
    """All ranks have the costs and outputs, and the first one the weights and momenta."""
    np.testing.assert_allclose(results[0][3], expected[3], atol=tolerance)
    for costs, test, output, _ in results:
        np.testing.assert_allclose(output, expected[2], atol=1e-5)
        for mine, theirs in zip([*costs, test], [*expected[0], expected[1]], strict=True):
            np.testing.assert_allclose(mine["logprob"], theirs["logprob"], rtol=1e-5)


# -- data parallel


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("cases", [CASES, 7, 2])
def test_ranks_learn_what_one_does(size, cases):
    assert_alike(on(size, plain(), cases=cases), whole(plain(), cases))


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("cases", [16, 13, 5])
def test_shards_give_the_same_bits_on_any_number_of_ranks(size, cases):
    (one,) = on(1, plain(), 8, cases)
    for costs, test, output, weights in on(size, plain(), 8, cases):
        assert weights.tobytes() == one[3].tobytes()
        assert (costs, test) == one[:2]
        assert output.tobytes() == one[2].tobytes()


@pytest.mark.parametrize("more", ["wball=0.3", "superEps=0.5", "superEps=0.5\nwball=0.2"])
def test_other_rules_of_learning_work_in_slices(more):
    assert_alike(on(3, plain(more)), whole(plain(more)))
    (one,) = on(1, plain(more), 4)
    assert all(weights.tobytes() == one[3].tobytes() for *_, weights in on(4, plain(more), 4))


@pytest.mark.parametrize("period", [2, 3])
def test_several_minibatches_between_updates(period):
    steps = 2 * period
    assert_alike(on(2, plain(), steps=steps, update_period=period), whole(plain(), steps=steps, update_period=period))
    (one,) = on(1, plain(), 4, update_period=period)
    assert all(weights.tobytes() == one[3].tobytes() for *_, weights in on(2, plain(), 4, update_period=period))


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_saved_between_two_updates_changes_nothing(size):
    def work(communicator, saves):
        net = parallel(communicator, plain(), 4, update_period=4)
        for step in range(8):
            net.train(cut(net, data(CASES, step)), CASES, 0.0)
            if saves:
                collect_state(net)
                _streams(net)
        return flat(collect_state(net)).tobytes()

    assert on_ranks(size, work, True)[0] == on_ranks(size, work, False)[0]


def test_frozen_weights_stay():
    text, params = plain()
    files = text, params.replace("[conv1]\nepsW=0.05\nepsB=0.1", "[conv1]\nepsW=0\nepsB=0")
    assert_alike(on(2, files), whole(files))


def of_one_device(files):
    return re.sub("gpu=.*", "", files[0]), files[1]


def wide_but_costs():
    """A net whose layers have two replicas, but for the cost."""
    text, params = plain()
    text = re.sub(r"\]\ntype=(?!data|cost)", "]\ngpu=0,1\ntype=", text)
    return text.replace("type=cost.logreg", "gpu=0\ntype=cost.logreg"), params


@pytest.mark.parametrize("files", [plain(), towers(), hybrid(2), hybrid(4), wide_but_costs()])
@pytest.mark.parametrize("keep", [["fc2"], ["pool1", "fc2"], ["probs"]])
def test_views_are_averaged_over_parts(files, keep):
    keep = [name for name in keep if f"[{name}]" in files[0]]

    def tested(net):
        views = [cut(net, data(CASES, seed)) for seed in (1, 2)]
        labelled = [{at: [view[at][0], views[0][at][1]] for at in view} if isinstance(view, dict) else [view[0], views[0][1]]
                    for view in views]  # fmt: skip
        return net.test_views(labelled, 2, CASES, keep), [net.output(name) for name in keep]

    costs, outputs = tested(Net(graph_of(of_one_device(files)), make_backend("cpu", 1), CASES, 3))
    for size in (1, 2, 4):
        for found, kept in on_ranks(size, lambda communicator: tested(parallel(communicator, files))):
            np.testing.assert_allclose(found["logprob"], costs["logprob"], rtol=1e-5)
            for mine, theirs in zip(kept, outputs, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("files", [plain(), towers(), hybrid(2)])
def test_a_cost_that_is_not_finite_is_said_by_all_and_changes_nothing(files):
    def work(communicator):
        net = parallel(communicator, files)
        before, bad = flat(collect_state(net)), data()
        bad[0][5, 7] = np.nan
        with pytest.raises(NumericalError) as error:
            net.train(cut(net, bad), CASES)
        return str(error.value), before, flat(collect_state(net))

    results = on_ranks(2, work)
    assert {text for text, *_ in results} == {results[0][0]}
    assert "value 5 of case 7" in results[0][0]
    if files != hybrid(2):  # of which the first pass has been learned from
        np.testing.assert_array_equal(results[0][1], results[0][2])


def test_a_net_that_one_rank_cannot_make_anew_stays_as_it_is_on_all(monkeypatch):
    wire = ParallelNet._wire

    def short(net):
        if hasattr(net, "nodes") and net.communicator.rank == 1:
            raise BackendError("the card has no memory left")
        return wire(net)

    def work(communicator):
        net = parallel(communicator, plain(), 4)
        train(net, 2)
        with pytest.raises(BackendError, match=r"^rank 1 on .*: the card has no memory left"):
            net.retune(graph_of(plain()))
        return train(net)[3].tobytes()

    with monkeypatch.context() as patch:
        patch.setattr(ParallelNet, "_wire", short)
        found = on_ranks(2, work)

    def untouched(communicator):
        net = parallel(communicator, plain(), 4)
        train(net, 2)
        return train(net)[3].tobytes()

    assert found == on_ranks(2, untouched)


@pytest.mark.parametrize("files", [plain(), towers(), hybrid(4)])
@pytest.mark.parametrize("size", [2, 4])
def test_a_cause_is_that_of_the_step_that_failed(files, size):
    """Of two steps that fail, the second is so small that most ranks have no cases."""

    def failing(net, cases, place):
        bad = data(cases)
        bad[0][place] = np.nan
        with pytest.raises(NumericalError) as error:
            net.train(cut(net, bad), cases)
        return str(error.value)

    def work(communicator):
        net = parallel(communicator, files, cases=16)
        said = failing(net, 16, (3, 15)), failing(net, 2, (5, 1))
        return *said, net.train(cut(net, data(16)), 16)

    for first, second, costs in on_ranks(size, work):
        assert "value 3 of case 15" in first and "value 5 of case 1," in second
        assert np.isfinite(costs["logprob"]).all()


@pytest.mark.parametrize("goes_on_with", [1, 2])
@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("done", [3, 4, 5])
def test_a_run_goes_on_with_another_number_of_ranks_between_two_updates(before, goes_on_with, done):
    """The gradients since the last update are in momentum, or apart, or in slices of ranks."""
    expected = whole(plain(), steps=8, update_period=4)

    def make(communicator, state):
        more = {"update_period": 4} | ({"state": state} if state else {})
        if communicator.size == 1:
            return Net(graph_of(plain()), make_backend("cpu", 1), CASES, 3, **more)
        return parallel(communicator, plain(), **more)

    def steps(net, first, last):
        for step in range(first, last):
            net.train(cut(net, data(CASES, step)), CASES, 0.0)
        return net

    def first_half(communicator):
        net = steps(make(communicator, None), 0, done)
        return collect_state(net), _streams(net)

    state, streams = on_ranks(before, first_half)[0]

    def second_half(communicator):
        net = make(communicator, state)
        own = {"step": streams["step"], "pending": streams["pending"], "periods": streams["periods"]}
        restore_streams(net, SimpleNamespace(own=own, is_original=False))
        return flat(collect_state(steps(net, done, 8)))

    np.testing.assert_allclose(on_ranks(goes_on_with, second_half)[0], expected[3], atol=2e-6)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_send_what_the_paper_count_says(size):
    """Each matrix is reduced in slices and shared again: all ranks together send 2 (R - 1) of its bytes."""

    def work(communicator):
        net = parallel(communicator, plain())
        before = communicator.bytes_sent
        net.train(cut(net, data()), CASES, 0.0)
        return communicator.bytes_sent - before

    assert sum(on_ranks(size, work)) == 2 * (size - 1) * 4 * graph_of(plain()).parameters()


def test_sums_begin_while_backward_goes_on():
    def work(communicator):
        net, events = parallel(communicator, plain()), []

        def around(node, kind, work):
            events.append((kind, node.layer.name))
            work()

        exchange = communicator.exchange
        communicator.exchange = lambda *arrays: (events.append(("exchange", "")), exchange(*arrays))[1]
        net.around = around
        net.train(cut(net, data()), CASES, 0.0)
        return [event for event in events if event[0] != "forward"]

    for events in on_ranks(2, work):
        assert events.index(("exchange", "")) < events.index(("backward", "conv1"))
        assert events[: events.index(("update", "conv1"))].count(("exchange", "")) == 6  # of weights and biases, all


# -- model parallel


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("cases", [CASES, 7])
def test_towers_lie_on_ranks(size, cases):
    assert_alike(on(size, towers(), cases=cases), whole(towers(), cases))


def test_towers_in_shards_give_the_same_bits():
    two = on(2, towers(), 4)
    for results in (on(4, towers(), 4), on(8, towers(), 4)):
        assert results[0][3].tobytes() == two[0][3].tobytes() and results[0][:2] == two[0][:2]


# -- hybrid


@pytest.mark.parametrize("period", [0, 2, 4, 8])
@pytest.mark.parametrize(("size", "cases"), [(2, 16), (2, 13), (4, 16), (4, 13), (4, 7), (8, 16), (3, 16)])
def test_replicas_feed_one_after_the_other(size, cases, period):
    files = hybrid(4, period)
    assert_alike(on(size, files, cases=cases), on(1, files, cases=cases)[0])


@pytest.mark.parametrize(("replicas", "pieces", "size"), [(2, 4, 4), (4, 2, 2), (4, 2, 4), (2, 4, 2)])
def test_more_pieces_than_replicas_and_fewer(replicas, pieces, size):
    files = hybrid(replicas, 1, pieces)
    assert_alike(on(size, files, cases=16), on(1, files, cases=16)[0])


@pytest.mark.parametrize(("replicas", "sizes"), [(3, (1, 3)), (4, (1, 4)), (5, (1, 5)), (7, (1,))])
def test_one_update_a_minibatch_is_that_of_the_whole(replicas, sizes):
    text, params = of_one_device(hybrid(replicas, replicas))
    for cases in (4 * replicas, 13):
        expected = whole((text, params.replace(f"updatePeriod={replicas}", "")), cases)
        for size in sizes:
            assert_alike(on(size, hybrid(replicas, replicas), cases=cases), expected)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_passes_are_steps_of_smaller_minibatches(size):
    """What 2014's scheme comes to: narrow layers learn from each part, wide ones from the mean of two parts' gradients."""
    text, params = (part.replace("keep=0.5", "keep=1") for part in hybrid(2, 1))
    plain_files = (
        re.sub("gpu=.*", "", text),
        re.sub(r"(\[conv1\])", r"\1\nupdatePeriod=2", params.replace("updatePeriod=1", "")),
    )
    net = Net(graph_of(plain_files), make_backend("cpu", 1), 8, 3)
    for step in range(STEPS):
        for start in (0, 8):
            net.train([np.ascontiguousarray(matrix[:, start : start + 8]) for matrix in data(16, step)], 8)
    results = on(size, (text, params), cases=16)
    np.testing.assert_allclose(results[0][3], flat(collect_state(net)), atol=2e-6)


def test_replicas_of_all_layers_are_shards():
    text, params = plain()
    files = (
        text.replace("[conv1]\n", "[conv1]\ngpu=0,1,2,3\n").replace(
            "inputs=labels,probs", "inputs=labels,probs\ngpu=0,1,2,3"
        ),
        params,
    )
    for size in (1, 2, 4):
        assert_alike(on(size, files), whole(plain()))


# -- layouts


@given(st.integers(1, 8), st.integers(1, 40), st.sampled_from([(plain(), 1), (towers(), 2), (hybrid(2), 2), (hybrid(4), 4)]))
def test_parts_cover_a_minibatch_once(size, cases, kind):
    graph = graph_of(kind[0])
    try:
        layouts = [Layout.of(graph, rank, size) for rank in range(size)]
    except OptionError as error:
        assert "ranks do not fit" in str(error)
        return
    first = layouts[0]
    every = [first.part(shard, chunk, cases) for shard in range(first.shards) for chunk in range(first.passes)]
    covered = np.concatenate([np.arange(cases)[part] for part in every])
    assert sorted(covered) == list(range(cases)) and max(part.stop - part.start for part in every) <= first.part_size(cases)
    read = sum(layout.wanted(graph, 16, cases).astype(int) for layout in layouts)
    assert (read == (1 if first.passes > 1 else first.width)).all()
    assert {shard for layout in layouts for shard in layout.own_shards} == set(range(first.shards))


def test_what_does_not_fit_is_told():
    of_net = partial(Layout.of, graph_of(plain()))
    with pytest.raises(OptionError, match="--shards 6 does not fit one rank; expected 1, 2, 4, 8 and so on"):
        of_net(0, 1, 6)
    with pytest.raises(OptionError, match="--shards 2 does not fit 3 ranks; expected 3, 6, 12, 24"):
        of_net(0, 3, 2)
    with pytest.raises(OptionError, match="--shards 3: the replicas of the layer file say already"):
        Layout.of(graph_of(hybrid(2)), 0, 2, 3)
    with pytest.raises(OptionError, match="the program of 2011 ran on one GPU"):
        on(2, plain(), compat=COMPAT["2011"])
