"""Runs and programs on nets with real targets and with several heads: trained, tested, reported, predicted, resumed."""

import numpy as np
import pytest
from nets import DATA
from support import default_params, dump

import convnet
from convnet import pickles
from convnet.checkpoint import find_latest, load, write_checkpoint
from convnet.cli.run import main
from convnet.errors import DataError

CASES = 60
NAMES = {"label_names": [*"abcd"], "label_names2": [*"xyz"]}
PICTURES = DATA.split("[labels]")[0]
REGRESSION = f"""{PICTURES}[targets]\ntype=data\ndataIdx=1
[hidden]\ntype=fc\ninputs=data\noutputs=24\ninitW=0.2\nneuron=tanh[1,1]
[fc]\ntype=fc\ninputs=hidden\noutputs=6\ninitW=0.1
[diff]\ntype=eltsum\ninputs=fc,targets\ncoeffs=1,-1
[cost]\ntype=cost.sum2\ninputs=diff
"""
HEADS = f"""{PICTURES}[labels]\ntype=data\ndataIdx=1\n[colours]\ntype=data\ndataIdx=2
[a]\ntype=fc\ninputs=data\noutputs=num_classes\ninitW=0.1\n[b]\ntype=fc\ninputs=data\noutputs=num_classes\ninitW=0.1
[pa]\ntype=softmax\ninputs=a\n[pb]\ntype=softmax\ninputs=b
[ca]\ntype=cost.logreg\ninputs=labels,pa\n[cb]\ntype=cost.logreg\ninputs=colours,pb
"""
PARAMS = "epsW=0.01\nepsB=0.01\nmomW=0.9\nmomB=0.9\nwc=0\ncoeff=1\n"
WEIGHTS = np.random.RandomState(5).randn(6, 12)


def cases(seed):
    """Data, values that follow from them, and two classes that do."""
    x = np.random.RandomState(seed).randn(12, CASES).astype(np.float32)
    return x, np.tanh(WEIGHTS @ x * 0.2), (x[0] > 0) + 2 * (x[1] > 0), (x[2] > 0.5).astype(int) + (x[2] > -0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    for name, meta in (("values", {}), ("heads", NAMES)):
        (folder / name).mkdir()
        for number in (1, 2, 3):
            x, t, a, b = cases(number)
            keys = {"labels": t} if name == "values" else {"labels": a, "labels2": b}
            dump(folder / name / f"data_batch_{number}", {"data": x, **keys})
        dump(folder / name / "batches.meta", {"num_vis": 12, "data_mean": np.zeros(12), **meta})
    for name, text in (("values", REGRESSION), ("heads", HEADS)):
        (folder / f"layers-{name}.cfg").write_text(text)
        (folder / f"layer-params-{name}.cfg").write_text(f"[DEFAULT]\n{PARAMS}" + default_params(text).split("coeff=1\n")[1])
        options = ["--layer-def", folder / f"layers-{name}.cfg", "--data-path", folder / name, "--mini", 20]
        assert run(*options, "--epochs", 3, "--save-file", folder / f"run-{name}") == 0
    return folder


def run(*options):
    return main([str(option) for option in (*options, "--backend", "cpu")])


def test_predictions_of_a_regression_are_its_values(place, tmp_path, capsys):
    assert run("--load-file", place / "run-values", "--test-only", "--test-out", tmp_path) == 0
    cost = float(capsys.readouterr().out.split("cost:")[-1].split()[0])
    written = pickles.load(tmp_path / "test_preds_3")["data"]
    x, t, *_ = cases(3)
    net = convnet.load(place / "run-values", backend="cpu")
    np.testing.assert_allclose(written, net.predict(x), atol=1e-6)
    assert ((written - t.T) ** 2).sum(axis=1).mean() == pytest.approx(cost, rel=1e-4)
    assert net.test(x, t)["cost"][0] == net.test(x, t.T)["cost"][0] == pytest.approx(cost, rel=1e-4)
    assert net.test(place / "values")["cost"][0] == pytest.approx(cost, rel=1e-4)
    assert "6 outputs" in repr(net)


@pytest.mark.parametrize("name, key, names", [("ca", "labels", "abcd"), ("cb", "labels2", "xyz")])
def test_reports_and_predictions_of_each_head(place, tmp_path, capsys, name, key, names):
    report = tmp_path / "report.csv"
    options = ["--test-only", "--logreg-name", name, "--report", report, "--test-out", tmp_path]
    assert run("--load-file", place / "run-heads", *options) == 0
    rows = [line.split(",") for line in report.read_text().splitlines()[1:]]
    labels = pickles.load(place / "heads" / "data_batch_3")[key]
    assert [row[0] for row in rows] == [*names]
    assert [int(row[1]) for row in rows] == np.bincount(labels, minlength=len(names)).tolist()
    assert pickles.load(tmp_path / "test_preds_3")["data"].shape == (CASES, len(names))


def test_an_original_that_trains_on_leaves_the_classes_of_each_head(place, tmp_path):
    checkpoint = find_latest(place / "run-heads", load)[1]
    write_checkpoint(tmp_path / "9.9", {**checkpoint, "model_state": {**checkpoint["model_state"], "batchnum": 9}})
    later = load(tmp_path / "9.9")
    assert later.is_original and (later.classes, later.heads) == (4, {2: 3})
    x, _, a, b = cases(3)
    labels = {"labels": a, "colours": b}
    before, after = (convnet.load(path, backend="cpu") for path in (place / "run-heads", tmp_path / "9.9"))
    assert before.test(x, labels) == after.test(x, labels)


def test_a_checkpoint_knows_the_classes_of_each_head(place, tmp_path, capsys):
    checkpoint = find_latest(place / "run-heads", load)[1]
    assert (checkpoint.classes, checkpoint.heads) == (4, {2: 3})
    net = convnet.load(place / "run-heads", backend="cpu")
    x, _, a, b = cases(3)
    assert net.test(x, {"labels": a, "colours": b}) == net.test(x, {1: a, 2: b})
    net.save(tmp_path / "1.1")
    assert run("--load-file", tmp_path / "1.1", "--data-path", place / "heads", "--test-only") == 0
    dump(tmp_path / "data_batch_3", {"data": x, "labels": a, "labels2": b})
    dump(tmp_path / "batches.meta", {"num_vis": 12, **NAMES, "label_names2": [*"zyx"]})
    capsys.readouterr()
    assert run("--load-file", tmp_path / "1.1", "--data-path", tmp_path, "--test-only") == 1
    assert "label_names2 are z, y, x; the net was trained on x, y, z" in capsys.readouterr().err


def test_names_of_a_net_that_reads_the_second_labels_alone(place, tmp_path):
    text = HEADS.replace("[labels]\ntype=data\ndataIdx=1\n", "").replace("[ca]\ntype=cost.logreg\ninputs=labels,pa\n", "")
    text = text.replace("[a]\ntype=fc\ninputs=data\noutputs=num_classes\ninitW=0.1\n", "").replace(
        "[pa]\ntype=softmax\ninputs=a\n", ""
    )
    (tmp_path / "layers-second.cfg").write_text(text)
    (tmp_path / "layer-params-second.cfg").write_text(f"[DEFAULT]\n{PARAMS}[b]\n[cb]\n")
    options = [
        "--layer-def",
        tmp_path / "layers-second.cfg",
        "--data-path",
        place / "heads",
        "--save-file",
        tmp_path / "run",
    ]
    assert run(*options, "--epochs", 1) == 0
    assert convnet.load(tmp_path / "run").classes == NAMES["label_names2"]


def test_values_are_of_no_classes(place, tmp_path, capsys):
    """Names in the description, in whatever order, are nothing to a net that reads values."""
    for number in (1, 2, 3):
        dump(tmp_path / f"data_batch_{number}", {"data": cases(number)[0], "labels": cases(number)[1]})
    costs = []
    for names in ("ab", "ba", "xyz"):
        dump(tmp_path / "batches.meta", {"num_vis": 12, "data_mean": np.zeros(12), "label_names": [*names]})
        more = [] if costs else ["--load-file", place / "run-values", "--save-file", tmp_path / "run", "--epochs", 4]
        assert not more or run(*more, "--data-path", tmp_path) == 0
        capsys.readouterr()
        assert run("--load-file", tmp_path / "run", "--data-path", tmp_path, "--test-only") == 0
        said = capsys.readouterr()
        assert "by their names" not in said.out + said.err
        costs.append(next(line for line in said.out.splitlines() if line.startswith("cost: ")))
    assert len(set(costs)) == 1


@pytest.mark.parametrize(
    "labels, words",
    [
        (cases(3)[2], "layer 'colours' .* needs labels of 3 classes"),
        ({"labels": cases(3)[2]}, "layer 'colours' .* needs labels of 3 classes"),
        ({"labels": cases(3)[2], "colors": cases(3)[3]}, "did you mean 'colours'"),
        ({"labels": cases(3)[2], "colours": cases(3)[3] + 1}, "labels of 'colours' from 1 to 3; the net has 3 classes"),
        ({"labels": cases(3)[2], "colours": cases(3)[3][1:]}, "60 for 'labels', 59 for 'colours'"),
        ({"labels": cases(3)[2], 1: cases(3)[2], 2: cases(3)[3]}, "given twice"),
    ],
)
def test_no_head_is_trained_on_zeros(place, labels, words):
    net = convnet.load(place / "run-heads", backend="cpu")
    before = net.weights["b"][0].copy()
    with pytest.raises(DataError, match=words):
        net.train(cases(3)[0], labels)
    np.testing.assert_array_equal(net.weights["b"][0], before)


def test_nor_in_a_run(place, tmp_path, capsys):
    x, _, a, _ = cases(1)
    for number in (1, 2):
        dump(tmp_path / f"data_batch_{number}", {"data": x, "labels": a})
    dump(tmp_path / "batches.meta", {"num_vis": 12, "label_names": NAMES["label_names"]})
    assert run("--layer-def", place / "layers-heads.cfg", "--data-path", tmp_path) == 1
    err = capsys.readouterr().err
    assert "layers-heads.cfg:10:9: error: layer 'colours': the data have no matrix number 2" in err and "'labels2'" in err


@pytest.mark.parametrize("name", ["values", "heads"])
def test_gradients_and_random_data(place, capsys, name):
    net = ["--layer-def", place / f"layers-{name}.cfg", "--check-grads"]
    assert run(*net) == run(*net, "--data-path", place / name) == 0
    assert capsys.readouterr().out.count("TESTS PASSED") == 2


def test_features_keep_what_belongs_to_them(place, tmp_path):
    options = ["--test-only", "--write-features", "a", "--feature-path", tmp_path]
    assert run("--load-file", place / "run-heads", *options) == 0
    part, meta = (pickles.load(tmp_path / name) for name in ("data_batch_3", "batches.meta"))
    _, _, a, b = cases(3)
    assert part["labels"].tolist() == [a.tolist()] and part["labels2"].tolist() == [b.tolist()]
    assert meta["label_names2"] == NAMES["label_names2"]


def test_views_of_a_regression_are_averaged(tmp_path, capsys):
    pixels = np.random.RandomState(0).randint(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    values = pixels.mean(axis=(1, 2)).T
    for number in (1, 2):
        dump(tmp_path / f"data_batch_{number}", {"data": pixels.transpose(3, 1, 2, 0).reshape(-1, 20), "labels": values})
    dump(tmp_path / "batches.meta", {"num_vis": 192, "data_mean": np.zeros(192)})
    text = f"{PICTURES}[t]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=3\ninitW=0.01\n"
    text += "[d]\ntype=eltsum\ninputs=fc,t\ncoeffs=1,-1\n[cost]\ntype=cost.sum2\ninputs=d\n"
    net = convnet.build(text, default_params(text), side=6, backend="cpu")
    net.mean = np.zeros((3, 6, 6))
    net.save(tmp_path / "1.1")
    options = ["--data-path", tmp_path, "--inner-size", 6, "--multiview-test", "--data-provider", "cifar-cropped"]
    assert run("--load-file", tmp_path / "1.1", "--test-only", *options, "--test-out", tmp_path / "out") == 0
    cost = float(capsys.readouterr().out.split("cost:")[-1].split()[0])
    written = pickles.load(tmp_path / "out" / "test_preds_2")["data"]
    np.testing.assert_allclose(written, net.predict(pixels, ten_views=True), rtol=1e-4, atol=1e-3)
    assert ((written - values.T) ** 2).sum(axis=1).mean() == pytest.approx(cost, rel=1e-4)


@pytest.mark.slow
def test_a_regression_learns():
    """Its error goes to nearly nothing of what it was."""
    text = PARAMS.replace("epsW=0.01\nepsB=0.01", "epsW=0.02\nepsB=0.02")
    params = f"[DEFAULT]\n{text}" + default_params(REGRESSION).split("coeff=1\n")[1]
    net = convnet.build(REGRESSION, params, features=12, minibatch=20, seed=1, backend="cpu")
    x, t = (np.concatenate(parts, axis=1) for parts in zip(*(cases(seed)[:2] for seed in range(5)), strict=True))
    costs = [epoch["cost"][0] for epoch in net.train(x, t, epochs=80)]
    assert costs[-1] < 0.01 * costs[0]
    new, values = cases(9)[:2]
    assert net.test(new, values)["cost"][0] < 0.05 * (values**2).sum(axis=0).mean()
