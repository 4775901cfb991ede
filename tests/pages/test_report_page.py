"""The report of a run: it says what the log has, holds all of its pictures, loads nothing, and obeys no name in it.

Every page is read back: an element that is not closed, or an id that is there twice, fails the test.
"""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
from html_pages import Read, image_of
from support import SHARED, SMALL_NET, SMALL_PARAMS, dump, needs_museum, write_cifar, write_net

from convnet import pickles
from convnet.api.network import build
from convnet.cli import main
from convnet.drawing.filters import filters_of
from convnet.drawing.picture import times
from convnet.pages.report import about, net, numbers
from convnet.pages.report.about import marked_text, state_of
from convnet.pages.report.document import report
from convnet.pages.report.film import films_of
from convnet.pages.report.learning import best_test
from convnet.pages.report.material import Material
from convnet.training.advice import Advice
from convnet.training.history import Curve, History

PLANTED = ["<script>alert(1)</script>", "\"'><img src=http://x>", "a\u202eb", "&lt;"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that ended by itself, its data beside it."""
    folder = tmp_path_factory.mktemp("of a report")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "c"]
    assert main(["run", *map(str, options), "--epochs", "3", "--test-freq", "2", "--keep", "9"]) == 0
    return next((folder / "c").glob("ConvNet__*"))


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "run.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    return out.read_text()


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def text_of(page):
    return re.sub(r"\s+", " ", " ".join(Read(page).all("body")[0].text.split()))


def test_it_is_one_file_that_loads_nothing(page):
    read = Read(page)
    assert read.loads == [] and read.all("script") == [] and not re.search(r"""(?:src|href)=["']?https?:""", page)
    assert not any(name.startswith("on") for element in read.elements for name in element.attributes)
    policy = read.all("meta", http_equiv="Content-Security-Policy")[0].attributes["content"]
    assert "default-src 'none'" in policy and len(page) < 400_000


def test_its_parts_are_in_order_and_can_be_reached(page):
    read = Read(page)
    levels = [int(e.kind[1]) for e in read.elements if re.fullmatch("h[1-6]", e.kind)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    sections = [e.attributes["id"] for e in read.all("section")]
    assert sections == ["about", "learning", "predictions", "filters", "net", "speed", "health"]
    assert [link.attributes["href"] for link in read.all("a") if "nav" in link.around] == [f"#{name}" for name in sections]
    assert all(image.attributes["alt"] for image in read.all("img"))
    assert len(read.all("figcaption")) == len(read.all("figure"))
    assert all("svg" in e.around or "role" in e.attributes for e in read.all("svg"))


def test_it_says_what_the_log_and_the_checkpoint_have(run, page):
    read, records = Read(page), lines(run)
    begin, tests = records[0], [record for record in records if record["line"] == "test"]
    final = next(record for record in records if record["line"] == "final")
    words = text_of(page)
    assert [heading.text for heading in read.all("h1")] == ["layers-small"]
    for text in (begin["device"], begin["versions"]["numpy"], "1,538 parameters", run.name, "Ended after 6 batches."):
        assert text.replace("1,538", f"{Material.open(run).graph.parameters():,}") in words
    rows = {row[0]: row[1:] for row in read.rows("What it came to")}
    assert rows["logprob.error"][-1] == f"{100 * final['logprob.error']:.2f} %"
    errors = [record["logprob.error"] for record in tests]
    best = errors.index(min(errors))
    assert rows["logprob.error"][2:4] == [f"{100 * errors[best]:.2f} %", f"{tests[best]['batches']}"]
    files = [code.text for code in read.all("code")]
    assert files == [SMALL_NET, SMALL_PARAMS]
    options = {row[0]: row[1] for row in read.rows("Options of the run")[1:]}
    assert (options["--epochs"], options["--data-path"], options["--layer-def"]) == ("3", "data", "layers-small.cfg")
    epochs = read.rows("Time in batches")
    assert [row[:2] for row in epochs] == [["epoch", "batches"], ["1", "2"], ["2", "2"], ["3", "2"]]
    layers = [row[0] for row in read.rows("Layers;")]
    assert layers[1:-1] == list(Material.open(run).graph.layers)
    weights = [row[0] for row in read.rows("Mean sizes of weights")]
    assert weights == ["weights", "conv1 weights[0]", "conv1 biases", "fc weights[0]", "fc biases"]


def test_nobody_learns_where_it_was(run, page):
    for folder in (str(run.parents[1]), "/tmp/", "/root/", "/home/"):
        assert folder not in page


def test_the_same_run_gives_the_same_bytes(run, page, tmp_path):
    out = tmp_path / "again.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    assert out.read_text() == page


def test_filters_are_those_of_the_checkpoint_and_their_film(run, page):
    material = Material.open(run)
    filters = filters_of(material.checkpoint.layers["conv1"])
    images = {image.attributes["alt"]: image for image in Read(page).all("img")}
    pixels = image_of(images[times("conv1: 8 filters of 3x5x5, as pictures")])
    low, high = filters.min(), filters.max()
    for f in range(8):
        expected = np.round(255 * (filters[..., f] - low) / (high - low)).transpose(1, 2, 0)
        np.testing.assert_array_equal(pixels[1:6, 1 + 6 * f : 6 + 6 * f], expected)
    (frames,) = films_of(material).values()
    names = [label for label, _ in frames]
    assert names == ["1.2", "2.2", "3.2"] and np.array_equal(frames[-1][1], filters)
    assert [label.text for label in Read(page).all("label")] == ["play", *names]


def test_names_do_nothing(run, tmp_path, capsys):
    """Of layers, of classes, of the log: they are shown, letter by letter, and are no elements."""
    text = SMALL_NET.replace("[conv1]", "[c<script>1]").replace("inputs=conv1", "inputs=c<script>1")
    build(text, SMALL_PARAMS, side=32, classes=10).save(tmp_path / "1.1")
    data = write_cifar(tmp_path / "data <b>")
    meta = pickles.load(data / "batches.meta")
    dump(data / "batches.meta", meta | {"label_names": [*PLANTED, *map(str, range(4, 10))]})
    records = lines(run)
    records[0] |= {"device": PLANTED[0], "seed": PLANTED[1], "text": [PLANTED[2]]}
    records[0]["versions"]["system"] = PLANTED[1]
    records[0]["options"] |= {"data_path": f"/home/{PLANTED[1]}", "keep_best": PLANTED[0]}
    records += [{"line": "warning", "time": 9e9, "batches": 6, "text": PLANTED[0]}]
    records += [{"line": "change", "time": 9e9, "batches": 6, "text": [f"<b>{PLANTED[1]} epsW: 1 -> 2"]}]
    records += [{"line": "weights", "time": 9e9, "batches": 6, "weights": {PLANTED[0]: {PLANTED[1]: [1, 2]}}}]
    records += [{"line": "error", "time": 9e9, "batches": 6, "text": PLANTED[0] + PLANTED[2]}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "planted.html"
    command = ["report", str(tmp_path), "--data-path", str(data), "--title", PLANTED[0], "--out", str(out)]
    assert main(command) == 0, capsys.readouterr().err
    page = out.read_text()
    read = Read(page)
    assert read.loads == [] and read.all("script") == [] and read.all("b") == [] and "\u202e" not in page
    assert read.all("h1")[0].text == PLANTED[0] and read.all("title")[0].text.startswith(PLANTED[0])
    assert f"Ended by an error after 6 batches: {PLANTED[0]}a\\u202eb" in text_of(page)
    assert "c<script>1" in [row[0] for row in read.rows("Layers;")]


def material_of(records, **more):
    return Material(History.of(records, "a run"), has_log=True, **more)


def record(line, batches=2, **more):
    return {"line": line, "batches": batches, "time": 1e9, **more}


TRAINED = [record("begin", 0), record("batch", 1), record("batch", 2)]


@pytest.mark.parametrize(
    "records, kind, text",
    [
        ([*TRAINED, record("end")], "good", "Ended after 2 batches."),
        (TRAINED, "warn", "No end in its log, after 2 batches: it was going on, or had been killed."),
        ([*TRAINED, record("error", text="/home/a/data is gone")], "bad", "Ended by an error after 2 batches: data is"),
        ([*TRAINED, record("stopped", by="SIGINT"), record("end")], "warn", "Stopped after 2 batches, by SIGINT."),
        ([*TRAINED, record("end"), record("resume"), record("batch", 3)], "warn", "No end in its log, after 3 batches"),
        ([*TRAINED, record("stopped", by="SIGINT"), record("end"), record("resume"), record("batch", 3), record("end", 3)],
         "good", "Ended after 3 batches."),
    ],
)  # fmt: skip
def test_it_says_how_the_run_ended(records, kind, text):
    (box,) = Read(state_of(material_of(records))).all("p")
    assert box.attributes.get("class") == kind and box.text.startswith(text)


def test_lines_that_were_changed_while_it_trained_are_marked():
    """A key that a layer has from [DEFAULT] is marked there; other layers that have their own are not."""
    params = "[DEFAULT]\nepsW=0.1\nwc=0\n[conv1]\nepsW=0.2\n[fc]\nepsB=1\n[a<b]\nepsW : 0.3\n"
    changes = ["conv1 epsW[0]: 0.1 -> 0.2", "fc wc[0]: 1 -> 0", "a<b epsW[0]: 0.1 -> 0.3"]
    assert [mark.text for mark in Read(marked_text(params, changes)).all("mark")] == ["wc=0", "epsW=0.2", "epsW : 0.3"]
    text = Read("<p>" + marked_text(params, []) + "</p>")
    assert text.all("mark") == [] and text.all("p")[0].text == params


def test_changes_are_marks_and_lines(run, tmp_path):
    material = Material.open(run)
    material.history.add(record("change", 3, text=["conv1 epsW[0]: 0.0004 -> 0.0002"]))
    read = Read(report(material))
    assert [row[1:] for row in read.rows("Marks in the curves")[1:]] == [["3", "conv1 epsW[0]: 0.0004 -> 0.0002"]]
    assert [mark.text for mark in read.all("mark")] == ["epsW=dexp[base=0.0004;tgtFactor=10;numSteps=3]"]
    assert "after 3 batches: change: conv1 epsW[0]: 0.0004 -> 0.0002" in [item.text for item in read.all("li")]


@pytest.mark.parametrize("name, best", [("error", (1, 0.2)), ("precision of class 0", (3, 0.5)), ("cost", (1, 0.2))])
def test_the_best_test_is_the_lowest_or_the_most_precise(name, best):
    curve = Curve("cost", name)
    for at, value in enumerate([0.2, 0.4, 0.5, 0.2, float("nan")], 1):
        curve.means.add(at, value)
    assert best_test(curve) == best
    assert best_test(Curve("cost", name)) is None


def test_epochs_count_what_counts():
    records = [record("begin", 0), record("batch", 1, epoch=1, seconds=2.0), record("batch", 2, epoch=1, seconds=3.0)]
    records += [record("test", 2, seconds=0.5), record("batch", 3, epoch=2, seconds=9.0), record("resume", 2)]
    records += [record("batch", 3, epoch=2, seconds=4.0), record("batch", 4, epoch=2, seconds=math.inf)]
    assert numbers.epoch_times(History.of(records, "")) == [(1, 2, 5.0), (2, 1, 4.0)]
    assert numbers.epoch_times(History.of([*records, record("begin", 0)], "")) == []


def test_a_run_that_saved_nothing_yet_has_a_report(run, tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(run)[:3]))
    for path in (tmp_path, tmp_path / "log.jsonl"):
        material = Material.open(path)
        material.untested = "No checkpoint was saved yet."
        read = Read(report(material))
        assert [e.attributes["id"] for e in read.all("section")] == ["about", "learning", "predictions", "speed", "health"]
        assert "none was saved yet" in [dd.text for dd in read.all("dd")]


def test_a_checkpoint_without_a_log_has_a_report(run, tmp_path):
    (tmp_path / "3.2").write_bytes((run / "3.2").read_bytes())
    material = Material.open(tmp_path / "3.2")
    material.untested = "No."
    page = report(material)
    read = Read(page)
    assert "There is no log of this run" in text_of(page) and read.all("section", id="speed") == []
    assert {row[0] for row in read.rows("What it came to")} >= {"logprob.cost", "logprob.error"}
    assert {row[0] for row in read.rows("Options of the run")} >= {"--epochs", "--data-path"}


@pytest.mark.parametrize("speed", [0, 1e308, "nan", "inf", -1])
def test_odd_speeds_are_drawn(run, speed):
    records = lines(run)
    for line in records:
        if line["line"] == "batch":
            line["images_per_second"] = speed
    assert len(Read(report(Material(History.of(records, "a run")))).all("section", id="speed")) == 1


@pytest.mark.parametrize("value", [None, "x", -1, [1, "a"], {"a": 1}, [0, 10**12]])
def test_a_log_may_hold_anything(run, value):
    """What nobody checked before is shown as it is, or left out."""
    records = lines(run)
    begin = records[0]
    begin |= {"seed": value, "device": value, "versions": value, "data": value, "text": value, "time": value}
    begin["options"] = {"epochs": value, "train_range": value, "data_path": value, "mini": value}
    records += [record("weights", 6, dead=value), record("stopped", 6, by=value), record("error", 6, text=value)]
    material = Material.open(run)
    material.history = History.of(records, "a run")
    assert Read(report(material)).all("section", id="health")


def test_a_deep_net_stays_a_page(monkeypatch):
    monkeypatch.setattr(net, "_BOXES", 4)
    monkeypatch.setattr(net, "_ROWS", 3)
    network = build(SMALL_NET, SMALL_PARAMS, side=32, classes=10)
    read = Read(net.net_section(Material(History("x"), graph=network.graph, title="x")))
    assert read.all("svg") == [] and "too large for this page" in read.all("p")[0].text
    rows = read.rows("Layers;")
    assert len(rows) == 1 + 3 + 1 and rows[-1][1] == f"{len(network.graph.layers) - 3} more"


def test_very_many_events_are_some(monkeypatch):
    monkeypatch.setattr(about, "_EVENTS", 3)
    records = [*TRAINED, *(record("warning", text=f"w{i}") for i in range(5))]
    read = Read(about.about_section(material_of(records)))
    assert [item.text for item in read.all("li")] == [f"after 2 batches: warning: w{i}" for i in range(3)]
    assert [p.text for p in read.all("p")][-1] == "And 2 more."


def test_advice_and_sizes_of_weights_are_those_of_the_run(monkeypatch):
    found = [Advice("warning", "conv<1>", "of /home/a/x", "Lower epsW."), Advice("note", "", "slow", "")]
    monkeypatch.setattr(numbers, "advice_on", lambda _: found)
    sizes = {"conv1": {"weights[0]": [0.5, 0.25]}, "fc": {"biases": [0.0, 0.0]}}
    records = [*TRAINED, record("weights", weights=sizes, dead={"conv1": 0.254, "fc": 0})]
    read = Read(numbers.health_section(material_of(records)))
    boxes = [element for element in read.elements if element.attributes.get("class") in ("warn", "note", "bad")]
    assert [box.text for box in boxes] == ["warning, conv<1>: of xLower epsW.", "note: slow"]
    rows = read.rows("Mean sizes")
    assert rows[1][:4] == ["conv1 weights[0]", "0.5", "0.25", "0.5"] and rows[1][4].startswith("too large")
    assert rows[2][:2] == ["fc biases", "0"]
    assert read.rows("Units that were 0")[1:] == [["conv1", "25 %"]]
    monkeypatch.setattr(numbers, "advice_on", lambda _: [])
    assert "Nothing in its numbers calls for advice." in numbers.health_section(material_of(TRAINED))


def test_messages_are_told_but_for_commands_to_type():
    texts = ["Best test: 0.2 after 5 batches", "See its filters:  convnet shownet --load-file x", "   (noise yet)"]
    read = Read(about.about_section(material_of([*TRAINED, *(record("message", text=text) for text in texts)])))
    assert [item.text for item in read.all("li")] == ["after 2 batches: Best test: 0.2 after 5 batches"]


@needs_museum
@pytest.mark.parametrize("name", ["ckpt-2011.pickle", "ckpt-2011-zip.bin", "ckpt-2012.pickle", "ckpt-2014.pickle"])
def test_checkpoints_of_the_originals_have_reports(name, tmp_path, capsys):
    out = tmp_path / "old.html"
    assert main(["report", str(SHARED / "fixtures" / name), "--out", str(out)]) == 0
    page = out.read_text()
    read = Read(page)
    assert "not tested" in capsys.readouterr().err and "/home" not in page
    captions = [caption.text.partition(":")[0] for caption in read.all("figcaption")]
    assert "conv1" in captions
    assert "The test data, cifar, could not be used" in text_of(page) and f"a program of {name[5:9]}" in text_of(page)
