"""The history of a run: of its log as of its checkpoint, of lines in any order, and however a log is damaged."""

import json
import math
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet.checkpoint import find_latest, load
from convnet.cli.run import main
from convnet.errors import ConvnetError
from convnet.training.history import History, Mark, Size
from convnet.training.records import read_log, records_of


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    """A run of six batches that was gone on with from its fourth."""
    folder = tmp_path_factory.mktemp("run") / "wide net"
    words = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--mini", 16, "--backend", "cpu"]
    words += ["--test-range", "3-4", "--epochs", 3, "--test-freq", 1, "--keep", 9, "--save-file", folder]
    assert main(list(map(str, [*words, "--max-batches", 5]))) == 0
    assert main(["--load-file", str(folder / "2.2"), "--backend", "cpu"]) == 0
    return folder


def pairs(series):
    return list(zip(series.at, series.values, strict=True))


def test_everything_in_the_log_is_in_the_series(run):
    history, remarks = History.read(run)
    records = records_of(run)[0]
    assert remarks == [] and history.title == "wide net" and history.begin == records[0]
    assert (history.epoch, history.done, history.window, history.costs) == (2, 6, 2, ["logprob"])
    assert [curve.key for curve in history.curves] == ["logprob.cost", "logprob.error", "logprob.top-2 error"]
    kinds = {kind: [r for r in records if r["line"] == kind] for kind in ("batch", "test", "weights", "final")}
    for curve in history.curves:
        assert pairs(curve.train) == [(r["batches"], r[curve.key]) for r in kinds["batch"]]
        assert pairs(curve.test) == [(r["batches"], r[curve.key]) for r in kinds["test"]]
        means = [(r["batches"], r.get("averages", r)[curve.key]) for r in kinds["test"]]
        assert pairs(curve.means) == means and len(means) == 6
        assert curve.final == kinds["final"][-1][curve.key]
    assert pairs(history.speed) == [(r["batches"], r["images_per_second"]) for r in kinds["batch"]]
    sizes = [Size(r["batches"], *r["weights"]["conv1"]["biases"]) for r in kinds["weights"]]
    assert history.sizes["conv1", "biases"] == sizes
    assert history.marks == [Mark(4, "resume", "went on from 2.2")]
    assert history.last == kinds["batch"][-1]
    assert history.events == [r for r in records if r["line"] != "batch"]


def test_rates_are_kept_where_they_change(run):
    rates = History.read(run)[0].rates
    said = [(r["batches"], r["rates"]) for r in records_of(run)[0] if "rates" in r]
    known = [(at, found["conv1"]["weights[0]"]) for at, found in said]
    kept = [known[0], *(b for a, b in pairwise(known) if a[1] != b[1])]
    assert pairs(rates["conv1", "weights[0]"]) == kept and len(kept) > 1
    assert all(a != b for series in rates.values() for a, b in pairwise(series.values))


def test_a_checkpoint_knows_the_same_curves(run):
    _, checkpoint, _ = find_latest(run, load)
    history, remarks = History.of_checkpoint(checkpoint)
    known = History.read(run)[0]
    assert (remarks, history.title, history.marks) == ([], "wide net", known.marks)
    assert (history.epoch, history.done, history.window) == (known.epoch, known.done, known.window)
    for curve, other in zip(history.curves, known.curves, strict=True):
        for series in ("train", "test", "means"):
            assert pairs(getattr(curve, series)) == [pytest.approx(pair) for pair in pairs(getattr(other, series))]
        assert curve.final == pytest.approx(other.final)
    earlier, _ = History.of_checkpoint(load(run / "2.1"))
    assert earlier.done == 3 and earlier.marks == [] and earlier.curves[0].final is None


def test_a_damaged_log_beside_a_checkpoint_takes_only_its_marks(run, tmp_path):
    (tmp_path / "3.2").write_bytes((run / "3.2").read_bytes())
    (tmp_path / "log.jsonl").write_text('{"line": 5}\n')
    history, [remark] = History.of_checkpoint(load(tmp_path / "3.2"))
    assert history.done == 6 and history.marks == []
    assert "log.jsonl: line 1 is not of a log" in remark and remark.endswith("the curves are without marks")


def line(kind, at, **values):
    return {"line": kind, "batches": at, **values}


def test_marks():
    lines = [
        line("begin", 0),
        line("batch", 1, **{"c.cost": 1.0}),
        line("stopped", 1, by="SIGINT"),
        line("resume", 1, checkpoint="/runs/1.1"),
        line("change", 2, text=["conv1 epsW[0]: 0.1 -> 0.05", "fc1 momB: 0 -> 0.9"]),
        line("batch", 3, **{"c.cost": 1.0}),
        line("change", 3, text="of one line"),
    ]
    known = [
        Mark(1, "stopped", "stopped by SIGINT"),
        Mark(1, "resume", "went on from 1.1"),
        Mark(2, "change", "conv1 epsW[0]: 0.1 -> 0.05; fc1 momB: 0 -> 0.9"),
        Mark(3, "change", "of one line"),
    ]
    assert History.of(lines, "x").marks == known
    gone_on = History.of([*lines, line("resume", 2, checkpoint="2")], "x")
    assert gone_on.marks == [*known[:3], Mark(2, "resume", "went on from 2")] and gone_on.done == 2
    assert History.of([*lines, line("begin", 0)], "x").marks == []
    elsewhere = History.of([line("resume", 7)], "x")  # the log of a run that went on in another folder
    assert elsewhere.marks == [Mark(7, "resume", "went on")] and elsewhere.done == 7


def test_weights_that_were_measured_later_than_a_resume_are_unknown():
    sizes = {"weights": {"conv1": {"weights[0]": [0.1, 1e-4]}}}
    lines = [line("begin", 0), line("batch", 2), line("weights", 2, **sizes), line("resume", 1)]
    assert History.of(lines[:3], "x").sizes == {("conv1", "weights[0]"): [Size(2, 0.1, 1e-4)]}
    assert History.of(lines, "x").sizes == {}


def test_other_batches_from_a_resume_on():
    """Then an epoch is no number of batches, and a mean is over as many tests as there are test batches now."""

    def options(train, test):
        return {"options": {"train_range": list(range(train)), "test_range": list(range(test))}}

    lines = [line("begin", 0, **options(5, 1)), *(line("batch", at, epoch=1) for at in range(1, 6))]
    lines += [line("resume", 4, **options(5, 2)), line("batch", 5, epoch=1), line("batch", 6, epoch=2)]
    lines += [line("test", 6, tested=[0], averages={"c.cost": 1.0}, **{"c.cost": 2.0})]
    history = History.of(lines, "x")
    assert (history.epoch, history.window, pairs(history.epochs)) == (5, 2, [(1, 1), (6, 2)])
    history.add(line("resume", 6, **options(3, 2)))
    assert (history.epoch, history.window) == (0, 2)
    history.add(line("resume", 4, **options(5, 1)))
    assert (history.epoch, pairs(history.epochs)) == (5, [(1, 1)])


def test_numbers_that_json_lacks_and_values_that_are_none():
    lines = [
        line("batch", 1, **{"a.b.cost": "nan", "a.b.error": "inf", "c": 3, "d.cost": None, "e.cost": "many"}),
        line("test", 1, tested=[1, 2], averages={"a.b.cost": 5}, **{"a.b.cost": 2.0, "a.b.top-1 error": 0.5}),
    ]
    history = History.of(lines, "x")
    assert [(curve.cost, curve.name) for curve in history.curves] == [("a.b", "cost"), ("a.b", "error")]
    assert math.isnan(history.curves[0].train.values[0]) and pairs(history.curves[1].train) == [(1, math.inf)]
    assert pairs(history.curves[0].means) == [(1, 2)]  # a test of all test batches is its own mean
    assert (history.epoch, history.begin, history.window) == (0, {}, 1)


def test_a_batch_takes_few_bytes():
    """So that a million are small: two numbers for each value of a cost, and for speed, seconds and time."""
    values = {"images_per_second": 100.0, "time": 1e9, "seconds": 2.0, "c.cost": 1.5, "c.error": 0.5, "epoch": 1, "batch": 1}
    tracemalloc.start()
    try:
        history = History.of((line("batch", at, **values) for at in range(1, 10_001)), "long")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(history.times) == 10_000 and size < 10_000 * 16 * 5 * 1.5


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"line": st.sampled_from(["begin", "resume", "batch", "test", "weights", "final", "change"])},
            optional={
                "batches": st.integers(0, 5),
                **dict.fromkeys(("tested", "averages", "rates", "weights", "options", "text", "a.cost"), VALUES),
                "images_per_second": VALUES,
            },
        ),
        max_size=6,
    )
)
def test_any_log_is_read_or_refused_and_counts_what_read_log_counts(tmp_path, records):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    try:
        history, _ = History.read(path)
    except ConvnetError as error:
        assert "log.jsonl: line " in str(error)
        return
    counted = read_log(path)
    assert history.events == [record for record in counted if record["line"] != "batch"]
    assert len(history.marks) == sum(record["line"] in ("resume", "change") for record in counted)
    assert history.epoch >= 0 and history.window >= 1
