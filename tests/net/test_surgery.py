"""--conv-to-local and --unshare-weights: the same net at first, freer afterwards, and checkpoints that stand alone."""

import numpy as np
import pytest
from nets import DATA, cost_of
from support import BACKENDS, SMALL_NET, SMALL_PARAMS, default_params, values, write_cifar, write_net

import convnet
from convnet.cli.run import main
from convnet.errors import OptionError
from convnet.graph.graph import Changes
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.modes import Mode
from convnet.net.initial import initial_state
from convnet.net.net import Net
from convnet.net.surgery import Edits

TWINS = f"""{DATA}[conv1]
type=conv
inputs=data
channels=2
filters=4
filterSize=3
padding=1
initW=0.5
initB=0.3
neuron=relu
[conv2]
type=conv
inputs=conv1,conv1
channels=4,4
filters=2,2
groups=2,2
filterSize=3,3
padding=1,1
initW=0.5,0.5
weightSource=,conv2[0]
sharedBiases=SHARED
[conv3]
type=conv
inputs=conv1
channels=4
filters=2
groups=2
filterSize=3
padding=1
initW=0.5
weightSource=conv2[1]
[fc]
type=fc
inputs=conv2,conv3
outputs=3
initW=0.1,0.1
{cost_of("fc")}"""
DIMS = {0: 2 * 5 * 5, 1: 1}
PARAMS = default_params(TWINS)


def graph_of(text, changes=None):
    files = LayerFiles(text, "def", PARAMS, "params", **({"changes": changes} if changes else {}))
    return build_graph(files, DIMS, 3)


def probabilities(graph, state, be="reference32"):
    net = Net(graph, BACKENDS[be], 7, state=state)
    net.forward([values(50, 7), np.zeros((1, 7), np.float32)], 7, Mode.TEST, keep=["probs"])
    return net.output("probs")


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("be", ["reference32", "cpu-baseline"])
@pytest.mark.parametrize(
    "local, unshare", [(["conv1"], []), (["conv3"], []), ([], ["conv2"]), (["conv2"], ["conv3", "conv2[1]"])]
)
def test_nothing_changes_at_first(be, shared, local, unshare):
    text = TWINS.replace("SHARED", str(shared))
    graph = graph_of(text)
    state = initial_state(graph, 1)
    surgery = Edits(graph, state, local, unshare)
    changed = graph_of(text, surgery.changes)
    np.testing.assert_allclose(
        probabilities(changed, surgery.state, be), probabilities(graph, state, be), rtol=1e-5, atol=1e-6
    )
    assert changed.parameters() > graph.parameters()
    assert not state["conv2"]["weightsInc"][0].any() and state["conv1"]["weights"][0].shape == (18, 4)


def test_layers_that_share_become_local_together():
    """Converting one converts all that share its matrix, which they go on sharing."""
    graph = graph_of(TWINS.replace("SHARED", "1"))
    surgery = Edits(graph, initial_state(graph, 1), ["conv3"], [])
    assert surgery.changes.local == ("conv2", "conv3")
    assert surgery.lines[0] == "Converted layer 'conv2' from convolutional to unshared, locally-connected"
    changed = graph_of(TWINS.replace("SHARED", "1"), surgery.changes)
    assert changed.layers["conv3"].owners[0][0] is changed.layers["conv2"]
    assert surgery.state["conv3"]["weights"][0] is surgery.state["conv2"]["weights"][0]
    assert surgery.state["conv2"]["weights"][0].shape == (25 * 18, 4)


def test_positions_and_biases_lie_as_in_checkpoints():
    """w[(m, c, ky, kx), f] and b[(f, m)] (io 4.6)."""
    graph = graph_of(TWINS.replace("SHARED", "1"))
    state = initial_state(graph, 1)
    state["conv1"]["biases"][:] = np.arange(4)[:, None]
    found = Edits(graph, state, ["conv1"], []).state["conv1"]
    np.testing.assert_array_equal(found["weights"][0][18 * 7 + 5], state["conv1"]["weights"][0][5])
    np.testing.assert_array_equal(found["biases"][25 * 2 : 25 * 3, 0], 2)
    assert found["biases"].shape == found["biasesInc"].shape == (100, 1)


@pytest.mark.parametrize("shared", [0, 1])
def test_momentum_of_biases_starts_again_only_where_they_were_shared(shared):
    graph = graph_of(TWINS.replace("SHARED", str(shared)))
    state = initial_state(graph, 1)
    state["conv2"]["biasesInc"][:] = 0.25
    found = Edits(graph, state, ["conv2"], []).state["conv2"]["biasesInc"]
    np.testing.assert_array_equal(found, np.full((100, 1), 0 if shared else 0.25))


@pytest.mark.parametrize(
    "local, unshare, words",
    [
        (["conv9"], [], "no layer 'conv9' in the net; did you mean 'conv"),
        (["fc"], [], "layer 'fc' of type fc is not a conv layer"),
        ([], ["probs"], "without weights"),
        ([], ["conv2[7]"], "2 weight matrices"),
        ([], ["conv2["], "Invalid layer name 'conv2['; unable to unshare"),
    ],
)
def test_mistakes(local, unshare, words):
    graph = graph_of(TWINS.replace("SHARED", "1"))
    with pytest.raises(OptionError) as caught:
        Edits(graph, initial_state(graph, 1), local, unshare)
    assert words in str(caught.value)


def test_words_of_the_originals():
    graph = graph_of(TWINS.replace("SHARED", "1"))
    lines = Edits(graph, initial_state(graph, 1), [], ["conv2", "conv2[1]"]).lines
    assert lines == [
        "Weight matrix conv2[0] already unshared.",
        "Unshared weight matrix conv2[1] from conv2[0].",
        "Weight matrix conv2[1] already unshared.",
    ]


def run(*options):
    return main([str(option) for option in (*options, "--backend", "cpu")])


def test_a_changed_net_trains_on_and_is_saved(tmp_path, capsys):
    """The changes are in the checkpoint, and are asked for once only."""
    data = write_cifar(tmp_path / "data")
    first = ["--layer-def", write_net(tmp_path, SMALL_NET, SMALL_PARAMS), "--data-path", data, "--save-path", tmp_path / "c"]
    assert run(*first, "--epochs", 1) == 0
    before = convnet.load(tmp_path / "c", backend="reference")
    capsys.readouterr()
    assert (
        run(
            "--load-file",
            tmp_path / "c",
            "--conv-to-local",
            "conv1",
            "--test-only",
            "--save-path",
            tmp_path / "d",
            "--force-save",
        )
        == 0
    )
    assert "Converted layer 'conv1' from convolutional" in capsys.readouterr().out
    after = convnet.load(tmp_path / "d", backend="reference")
    assert after.graph.layers["conv1"].type == "local"
    images = values(3072, 5)
    np.testing.assert_allclose(after.predict(images), before.predict(images), rtol=1e-4, atol=1e-6)
    assert run("--load-file", tmp_path / "d", "--epochs", 2, "--max-batches", 1) == 0
    assert "Converted" not in capsys.readouterr().out
    trained = convnet.load(tmp_path / "d", backend="reference")
    shape = trained.weights["conv1"][0].reshape(-1, 75, 8)
    assert np.ptp(shape, axis=0).max() > 0  # positions have gone different ways
    assert trained.files.changes == Changes(local=("conv1",))


def test_a_fresh_net_can_be_local(tmp_path):
    data = write_cifar(tmp_path / "data")
    options = ["--layer-def", write_net(tmp_path), "--data-path", data, "--save-path", tmp_path / "c", "--max-batches", 1]
    assert run(*options, "--conv-to-local", "conv1") == 0
    assert convnet.load(tmp_path / "c").graph.layers["conv1"].type == "local"
