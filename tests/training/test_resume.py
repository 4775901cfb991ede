"""A run that was stopped goes on to the same bits, whatever is random in it and however many threads compute it.

With another size of minibatch it trains on exactly the cases that are left.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import DATA, cost_of
from PIL import Image
from support import dump, write_net

import convnet
from convnet import checkpoint
from convnet.backends.cpu import Cpu
from convnet.cli.run import main
from convnet.data.making.make import pack_folder
from convnet.net.net import Net
from convnet.net.weights import Weights
from convnet.training.run import Run

NET = f"""{DATA}[conv1]
type=conv
inputs=data
channels=3
filters=7
filterSize=3
initW=0.05
neuron=relu
[drop]
type=dropout
inputs=conv1
[fc1]
type=fc
inputs=drop
outputs=33
initW=0.05
neuron=nrelu
[fc]
type=fc
inputs=fc1
outputs=2
initW=0.1
{cost_of("fc")}"""
PARAMS = """
[DEFAULT]
epsW=0.0005
epsB=0.001
momW=0.9
momB=0.9
wc=0.01
[conv1]
schedW=dexp[tgtFactor=10,noiseStdev=0.0001,numSteps=3]
[drop]
keep=0.6
[fc1]
superEps=0.1
epsW=0.00001
[fc]
updatePeriod=2
[logprob]
coeff=1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A net with all that is random, and JPEG pictures of two classes with their colour axes."""
    folder = tmp_path_factory.mktemp("resume")
    random = np.random.RandomState(0)
    for name in ("cats", "dogs"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(40):
            pixels = random.randint(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    pack_folder(folder / "photos", folder / "data", 16, 27, 0.15, 0, say=lambda _: None)
    write_net(folder, NET, PARAMS)
    return folder


def train(place, save, *more):
    options = [
        "--layer-def",
        place / "layers-small.cfg",
        "--data-path",
        place / "data",
        "--picture-size",
        15,
        "--inner-size",
        14,
        "--mini",
        5,
    ]
    options += ["--color-noise", 0.1, "--epochs", 2, "--test-freq", 2, "--seed", 5, "--save-path", save, "--backend", "cpu"]
    return main([*map(str, options), *map(str, more)])


def stop_after(patch, steps):
    """Make runs stop after so many minibatches, as a signal does."""
    patch.setattr(Run, "must_stop", lambda run: run.net.step >= steps)


def held(save):
    """Everything that a checkpoint holds of weights, streams, moments and costs."""
    _, value, _ = checkpoint.find_latest(save, checkpoint.load)
    own, learned = value.own, ("weights", "weightsInc", "biases", "biasesInc")
    parts = [layer[key] for layer in value.layers.values() for key in learned if key in layer]
    parts += [own[key] for key in ("step", "noise_state", "moments", "pending", "position")]
    return repr([*map(flat, parts), value["model_state"]["train_outputs"]])


def flat(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes().hex()
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return {key: flat(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.fixture(scope="module", params=[1, 3])
def whole(request, place):
    """The period of updates, and what an uninterrupted run of 24 minibatches holds at its end."""
    save = place / f"whole-{request.param}"
    assert train(place, save, "--threads", 2, "--wupdate-freq", request.param) == 0
    return request.param, held(save)


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(
    stops=st.lists(st.integers(1, 23), min_size=1, max_size=3, unique=True).map(sorted),
    threads=st.permutations([1, 2, 3, 5]),
)
def test_stopped_anywhere_on_any_number_of_threads(place, whole, tmp_path_factory, stops, threads):
    save = tmp_path_factory.mktemp("parts")
    period, expected = whole
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, stops[0])
        assert train(place, save, "--threads", threads[0], "--wupdate-freq", period) == 0
        for stop, count in zip([*stops[1:], 1000], threads[1:], strict=False):
            stop_after(patch, stop)
            assert main(["--load-file", str(save), "--threads", str(count), "--backend", "cpu"]) == 0
    assert held(save) == expected


@pytest.fixture
def seen(monkeypatch):
    """The labels of every case that is trained on, in order."""
    cases, original = [], Net.train

    def recorded(net, inputs, count, *rest):
        cases.extend(np.asarray(inputs[1])[0].astype(int).tolist())
        return original(net, inputs, count, *rest)

    monkeypatch.setattr(Net, "train", recorded)
    return cases


@pytest.fixture
def numbered(tmp_path):
    """Three batches in which every case has a label of its own, and a run over the first two."""
    folder = tmp_path / "data"
    random = np.random.RandomState(0)
    folder.mkdir()
    write_net(tmp_path, NET.replace("outputs=2", "outputs=240"), PARAMS)
    for number in (1, 2, 3):
        labels = list(range(80 * number - 80, 80 * number))
        dump(folder / f"data_batch_{number}", {"data": random.randint(0, 256, (48, 80)).astype(np.uint8), "labels": labels})
    mean = np.zeros((48, 1), np.float32)
    dump(folder / "batches.meta", {"label_names": [f"n{i}" for i in range(240)], "num_vis": 48, "data_mean": mean})

    def begin(*more):
        options = ["--layer-def", tmp_path / "layers-small.cfg", "--data-path", folder, "--mini", 4, "--epochs", 1]
        return main([*map(str, options), "--save-path", str(tmp_path / "saved"), "--backend", "reference", *map(str, more)])

    begin.folder, begin.saved = folder, tmp_path / "saved"
    return begin


@pytest.mark.parametrize("first, then, stop", [(4, 64, 6), (4, 7, 26), (64, 4, 3), (16, 80, 1)])
def test_another_size_of_minibatch_drops_and_repeats_nothing(numbered, seen, monkeypatch, capsys, first, then, stop):
    stop_after(monkeypatch, stop)
    assert numbered("--mini", first) == 0
    monkeypatch.setattr(Run, "must_stop", lambda run: False)
    assert main(["--load-file", str(numbered.saved), "--mini", str(then)]) == 0
    assert seen == list(range(160))
    _, value, _ = checkpoint.find_latest(numbered.saved, checkpoint.load)
    assert [cases for _, cases in value["model_state"]["train_outputs"]] == [80, 80]


def test_another_range_goes_on_inside_the_batch_under_way_or_says_that_it_does_not(numbered, seen, monkeypatch, capsys):
    stop_after(monkeypatch, 25)
    assert numbered() == 0
    assert seen == list(range(100))
    monkeypatch.setattr(Run, "must_stop", lambda run: run.net.step >= 27)
    assert main(["--load-file", str(numbered.saved), "--train-range", "2", "--test-range", "3"]) == 0
    assert seen == list(range(108))
    assert "lies inside" not in capsys.readouterr().out
    monkeypatch.setattr(Run, "must_stop", lambda run: False)
    assert main(["--load-file", str(numbered.saved), "--train-range", "1,3", "--test-range", "2"]) == 0
    assert seen == [*range(108), *range(160, 240)]
    out = capsys.readouterr().out
    assert "The checkpoint lies inside batch 2, after 28 cases; that batch is not in the training range any more" in out


def test_an_epoch_goes_on_inside_its_first_batch(numbered, seen, monkeypatch):
    stop_after(monkeypatch, 41)
    assert numbered("--epochs", 2) == 0
    monkeypatch.setattr(Run, "must_stop", lambda run: False)
    assert main(["--load-file", str(numbered.saved)]) == 0
    assert seen == 2 * list(range(160))


def test_a_batch_that_lost_cases_is_one_line(numbered, seen, monkeypatch, capsys):
    stop_after(monkeypatch, 6)
    assert numbered() == 0
    dump(numbered.folder / "data_batch_1", {"data": np.zeros((48, 9), np.uint8), "labels": list(range(9))})
    monkeypatch.setattr(Run, "must_stop", lambda run: False)
    assert main(["--load-file", str(numbered.saved)]) == 0
    text = "has 9 cases now, and the run had trained on 24 of it; it goes on with the next batch"
    assert [line for line in capsys.readouterr().err.splitlines() if text in line]
    assert seen == [*range(24), *range(80, 160)]


def test_another_arithmetic_is_said(numbered, monkeypatch, capsys):
    assert numbered("--max-batches", 1) == 0
    assert main(["--load-file", str(numbered.saved), "--backend", "reference", "--max-batches", "1"]) == 0
    assert "last bits" not in capsys.readouterr().out
    assert main(["--load-file", str(numbered.saved), "--backend", "cpu", "--epochs", "2", "--max-batches", "1"]) == 0
    out = capsys.readouterr().out
    assert "The checkpoint was computed by the reference backend (float32, " in out and "the last bits differ" in out
    path, value, _ = checkpoint.find_latest(numbered.saved, checkpoint.load)
    del value["model_state"]["convnet"]["arithmetic"]
    value["model_state"]["convnet"]["version"] = 1  # which has no checksum
    dump(path, dict(value))
    assert main(["--load-file", str(numbered.saved), "--backend", "cpu", "--epochs", "3", "--max-batches", "1"]) == 0
    assert "The checkpoint was computed by an earlier version, this run is by the cpu backend (" in capsys.readouterr().out
    monkeypatch.setattr(Cpu, "arithmetic", lambda be: "the cpu backend (sse kernels)")
    assert main(["--load-file", str(numbered.saved), "--backend", "cpu", "--test-only"]) == 0
    assert "last bits" not in capsys.readouterr().out


def test_checkpoints_that_count_minibatches_alone(numbered, seen, monkeypatch):
    """As the first ones of this project did."""
    stop_after(monkeypatch, 26)
    assert numbered() == 0
    path, value, _ = checkpoint.find_latest(numbered.saved, checkpoint.load)
    for key in ("cases", "at_epoch", "at_batch"):
        del value["model_state"]["convnet"]["position"][key]
    value["model_state"]["convnet"]["version"] = 1
    dump(path, dict(value))
    monkeypatch.setattr(Run, "must_stop", lambda run: False)
    assert main(["--load-file", str(numbered.saved)]) == 0
    assert seen == list(range(160))


@pytest.mark.parametrize("before, after, stop", [(4, 1, 11), (4, 1, 12), (1, 4, 5), (3, 2, 4)])
def test_another_period_of_updates_begins_with_the_next_update(numbered, monkeypatch, before, after, stop):
    """What has been added up belongs to a mean over the old number of minibatches: the update ends as it was begun."""
    updates, original = [], Weights.update

    def recorded(weights, noise=None):
        waited = weights.waited + 1
        original(weights, noise)
        if weights is recorded.watched:
            updates.append((waited, round(1 / (weights.case_scale * 4))) if not weights.waited else None)

    def train(net, *arguments):
        recorded.watched = net.weights[0]
        return trained(net, *arguments)

    trained = Net.train
    monkeypatch.setattr(Weights, "update", recorded)
    monkeypatch.setattr(Net, "train", train)
    stop_after(monkeypatch, stop)
    assert numbered("--wupdate-freq", before) == 0
    stop_after(monkeypatch, stop + 10)
    assert main(["--load-file", str(numbered.saved), "--wupdate-freq", str(after)]) == 0
    at = [(step, update) for step, update in enumerate(updates, 1) if update]
    boundary = -(-stop // before) * before
    expected = [(step, (before, before)) for step in range(before, boundary + 1, before)]
    expected += [(step, (after, after)) for step in range(boundary + after, stop + 11, after)]
    assert at == expected


def test_random_data_are_of_the_size_that_the_net_was_trained_on(tmp_path):
    """Its layer files alone would fit smaller pictures, and ten classes."""
    text = f"{DATA}[fc]\ntype=fc\ninputs=data\noutputs=num_classes\n{cost_of('fc')}"
    saved = convnet.build(text, "[fc]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\n[logprob]\ncoeff=1\n", side=12, classes=7)
    path = saved.save(tmp_path / "1.1")
    options = ["--load-file", path, "--data-provider", "dummy", "--max-batches", 1, "--save-file", tmp_path / "on"]
    assert main([str(option) for option in options]) == 0
    assert checkpoint.load(checkpoint.find_latest(tmp_path / "on", checkpoint.load)[0]).data_dims[0] == 12 * 12 * 3
