"""convnet predict: the numbers of ``Network.predict`` with the names of classes, on one line each, in any terminal."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import hostile_pictures
from PIL import Image
from support import SHARED, default_params, dump, needs_museum, write_cifar, write_net

import convnet
from convnet.cli import main
from convnet.cli.predict import Answer, Bars
from convnet.texts import columns_of

NET = """[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=3
[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"""
COLORS = ("red", "green", "blue")


def save(path, names=COLORS, text=NET, side=6, stored=8):
    """A net that says which colour a picture has: the sum of a channel speaks for it."""
    net = convnet.build(text, default_params(text), side=side, classes=3, backend="reference")
    if "fc" in net.weights:
        net.weights["fc"][0] = np.kron(np.eye(3), np.full((side * side, 1), 0.0002))
    net.preprocessor.load_metadata({"mean": np.full((3, side, side), 100, np.float32), "side": stored, "label_names": names})
    return net.save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("run/1.1")
    for name, color in (("red", "red"), ("blue", "blue"), ("blue/deep", "navy"), ("other", "lime")):
        Path(f"photos/{name}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), color).save(f"photos/{name}/a.png")
    Image.new("RGB", (3, 9), "red").save("photos/blue/b.gif")
    return tmp_path


def predict(capsys, *words):
    status = main(["predict", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_names_shares_and_bars(place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    status, out, err = predict(capsys, "run", "photos/red/a.png", "--top", "2")
    net = convnet.load("run")
    shares = sorted(net.predict("photos/red/a.png")[0], reverse=True)
    assert net.classes == list(COLORS) and shares[0] == pytest.approx(1 / (1 + 2 * np.exp(-255 * 36 * 0.0002)))
    [name, first, second] = out.splitlines()
    assert (status, err, name) == (0, "", "photos/red/a.png") and first.split()[:2] == ["red", f"{shares[0]:.1%}"]
    assert second.split()[0] in ("green", "blue")  # as near as rounding
    assert len(first.split()[2]) / len(second.split()[2]) == pytest.approx(5.1, abs=1)


def test_folders_are_read_whole_and_in_order(place, capsys):
    status, out, _ = predict(capsys, "run", "photos", "photos/red/a.png")
    found = [line for line in out.splitlines() if line.startswith("photos")]
    expected = ["blue/a.png", "blue/b.gif", "blue/deep/a.png", "other/a.png", "red/a.png", "red/a.png"]
    assert status == 0 and found == [f"photos/{name}" for name in expected]
    assert out.splitlines()[-1] == "3 of 4 right by the names of their folders"
    assert "2 of 3 right" in predict(capsys, "run", "photos/blue")[1]
    assert "right" not in predict(capsys, "run", "photos/other")[1]


@pytest.mark.parametrize("words", [(), ("--mini", "2"), ("--views", "10"), ("--threads", "1", "--top", "9")])
def test_json_holds_what_python_gives(place, capsys, words):
    status, out, err = predict(capsys, "run", "photos", "--json", *words)
    lines, net = [json.loads(line) for line in out.splitlines()], convnet.load("run")
    rows = net.predict([line["file"] for line in lines], ten_views="10" in words)
    assert (status, err, len(lines)) == (0, "", 5)
    for line, row in zip(lines, rows, strict=True):
        assert [item["probability"] for item in line["classes"]] == pytest.approx(sorted(row, reverse=True), rel=1e-6)
        assert all(COLORS[item["number"]] == item["name"] for item in line["classes"])
    assert [line["folder_class"] for line in lines] == ["blue", "blue", "blue", None, "red"]


def test_what_cannot_be_read_is_named_at_the_end(place, capsys):
    damaged = [data for name, data in hostile_pictures().items() if name != "TIFF that reads itself"]  # a picture yet
    for number, data in enumerate(damaged):
        (place / f"photos/red/b{number}.jpg").write_bytes(data)
    (place / "photos/red/notes.txt").write_text("x")
    status, out, err = predict(capsys, "run", "photos/red")
    count = len(damaged)
    assert status == 0 and out.endswith("1 of 1 right by the names of their folders\n")
    assert err.startswith(f"convnet: {count} files left out:\n    photos/red/b0.jpg is not a picture that can be read: ")
    assert len(err.splitlines()) == 1 + count and "notes" not in err
    lines = [json.loads(line) for line in predict(capsys, "run", "photos/red", "--json")[1].splitlines()]
    assert [("error" in line) for line in lines] == [False] + [True] * count
    status, out, err = predict(capsys, "run", "photos/red/b0.jpg", "photos/red/b1.jpg")
    assert (status, out) == (1, "") and err.endswith("; nor can 1 more be read\n") and err.count("\n") == 1


def test_of_synonyms_the_first_is_shown_where_it_tells_classes_apart(place, capsys):
    save("two/1.1", names=["Paris, France", "Paris, Texas", "crane, a bird"])
    lines = predict(capsys, "two", "photos/blue/a.png")[1].splitlines()
    assert lines[1].split()[0] == "crane" and {line[2:15].rstrip() for line in lines[2:4]} == {
        "Paris, France",
        "Paris, Texas",
    }


def test_a_net_that_overflows_says_nothing(place, capsys):
    net = convnet.load("run")
    net.weights["fc"][0] = np.full((108, 3), 3e38)
    net.save("large/1.1")
    for more in ([], ["--json", "--views", "10"]):
        status, out, err = predict(capsys, "large", "photos/red/a.png", *more)
        assert status == 1 and "no finite numbers" in err and "NaN" not in out and err.count("\n") == 1


def test_classes_without_names_are_numbers(place, capsys):
    for names in ([], ["red", "", ""]):
        save("plain/1.1", names=names)
        assert predict(capsys, "plain", "photos/blue/a.png")[1].splitlines()[1].split()[0] == "2"


def test_grey_nets_see_colour_pictures_in_grey(place, capsys):
    convnet.build("layers-digits.cfg", side=8, backend="reference").save("digits/1.1")
    status, out, _ = predict(capsys, "digits", "photos/red/a.png", "--json")
    grey = Image.open("photos/red/a.png").convert("L").resize((8, 8))
    expected = convnet.load("digits").predict(np.asarray(grey)[None, ..., None])[0]
    assert status == 0 and json.loads(out)["classes"][0]["probability"] == pytest.approx(expected.max(), rel=1e-5)


VALUES = (
    NET[: NET.index("[probs]")] + "[diff]\ntype=eltsum\ninputs=fc,labels\ncoeffs=1,-1\n[c]\ntype=cost.sum2\ninputs=diff\n"
)
SUM = NET[: NET.index("[labels]")] + NET[NET.index("[fc]") : NET.index("[probs]")] + "[c]\ntype=cost.sum2\ninputs=fc\n"
TWO = "[more]\ntype=data\ndataIdx=2\n" + NET.replace("inputs=data\n", "inputs=data,more\n")


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["run", "nowhere.jpg"], 1, "no picture or folder nowhere.jpg"),
        (["run", "http://a.b/c.jpg"], 1, "no picture or folder http://a.b/c.jpg; download it first"),
        (["run", "empty"], 1, "no pictures in the folder empty"),
        (["nowhere", "photos"], 1, "no checkpoint nowhere; give a checkpoint file or its folder"),
        (["photos/red/a.png", "run"], 1, "photos/red/a.png is no checkpoint; RUN comes first, then the pictures"),
        (["sum", "photos"], 1, "the net has no softmax that a cost reads, so no shares of classes; it ends in 'fc', of"),
        (["values", "photos"], 1, "the net was trained on 7 numbers per case, not on pictures"),
        (["two", "photos"], 1, "pictures alone do not make the outputs of 'probs': they depend on data 'more'"),
        (
            ["a.cfg", "photos"],
            1,
            "a.cfg: not a readable pickle: byte 0 is no opcode; no checkpoint begins as this file does",
        ),
        (["run"], 2, ""),
        (["run", "photos", "--views", "9"], 2, "--views: '9' is not 1 or 10"),
        (["run", "photos", "--top", "0"], 2, "--top: '0' is not a whole number from 1"),
        (["run", "photos", "--data-path", "nowhere"], 1, "no folder nowhere; --data-path names the folder"),
    ],
)
def test_mistakes(place, capsys, words, status, said):
    (place / "empty").mkdir()
    (place / "a.cfg").write_text("# a layer file")
    if "sum" in words:
        save("sum/1.1", text=SUM)
    if "values" in words:
        dump(place / "data_batch_1", {"data": np.ones((7, 4), np.float32), "labels": [0, 1, 2, 0]})
        dump(place / "batches.meta", {"num_vis": 7, "label_names": list(COLORS)})
        write_net(place, NET, default_params(NET))
        options = ["--layer-def", "layers-small.cfg", "--data-path", ".", "--epochs", "1", "--save-path", "values"]
        assert main(["run", *options]) == 0
        capsys.readouterr()
    if "two" in words:
        save("two/1.1", text=TWO)
    got, out, err = predict(capsys, *words)
    assert (got, out) == (status, "") and err.startswith(f"convnet: {said}") and err.count("\n") == 1
    assert said or "PICTURE" in err


NAMES = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6)


@given(NAMES, st.integers(1, 200), st.sampled_from(["utf-8", "ascii", "latin-1", None]), st.floats(0, 1))
def test_lines_fit_the_terminal(names, width, encoding, share):
    bars = Bars(encoding, width)
    _, *lines = bars.text(Answer("x.jpg", [(i, name, share) for i, name in enumerate(names)])).split("\n")
    assert len(lines) == len(names) and max(map(columns_of, lines)) <= max(width - 1, 20)
    assert all(f"{share:.1%}" in line for line in lines)
    if encoding != "utf-8":
        assert not set("".join(lines)) & set("█▏")


@needs_museum
def test_a_net_of_an_original_wants_the_mean(place, capsys):
    """Its checkpoint holds no mean picture; a folder of batches does."""
    write_cifar(place / "data")
    run = str(SHARED / "fixtures/ckpt-2012.pickle")
    status, _, err = predict(capsys, run, "photos/red")
    assert status == 1 and err == (
        "convnet: the checkpoint holds no mean picture, and its data are not here; name them with --data-path\n"
    )
    assert "class 2" in predict(capsys, run, "photos/red", "--data-path", "data", "--top", "10")[1]


@pytest.mark.parametrize("weights", [None, (3, 1)])
def test_the_mean_of_several_nets(place, capsys, weights):
    """Nets of other sizes read the same picture each for itself."""
    save("second/1.1", side=4, stored=6)
    given = ("--average-weights", ",".join(map(str, weights))) if weights else ()
    words = ("run", "photos/blue/a.png", "photos/other/a.png", "--average", "second", *given, "--json")
    status, out, err = predict(capsys, *words)
    assert (status, err) == (0, "")
    said = [convnet.load(run).predict(["photos/blue/a.png", "photos/other/a.png"]) for run in ("run", "second")]
    expected = np.average(said, axis=0, weights=weights)
    for line, row in zip(map(json.loads, out.splitlines()), expected, strict=True):
        shares = {each["number"]: each["probability"] for each in line["classes"]}
        assert [shares[k] for k in range(3)] == pytest.approx(row.tolist())


@pytest.mark.parametrize(
    "more, message",
    [
        (("--average", "other"), "class 2 is 'violet' for other and 'blue' for run"),
        (("--average", "run", "--average-weights", "1"), "give one for RUN and each of --average, 2 here"),
        (("--average-weights", "1"), "give one for RUN and each of --average"),
        (("--average", "nowhere"), "nowhere"),
        (("--average", "values"), "of run and values one tells values, the other classes"),
        (("--average", "sum"), "convnet: --average sum: "),
    ],
)
def test_nets_that_have_no_mean(place, capsys, more, message):
    save("other/1.1", names=("red", "green", "violet"))
    save("values/1.1", names=(), text=VALUES)
    save("sum/1.1", text=SUM)
    status, out, err = predict(capsys, "run", "photos/red", *more)
    assert status != 0 and not out and message in err and "Traceback" not in err
