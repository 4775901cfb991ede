"""benchmarks/on_ranks.py: what ranks send on paper and by MPI, and the page of what was measured."""

import json
import os
import sys
from dataclasses import replace

import on_ranks
import pytest
import ranks_page
import ranks_side
from nets import DATA, cost_of
from on_ranks import Way
from plans import machine, shipped
from ranks.started import MPIEXEC, SETTINGS, has_mpi
from support import ROOT

from convnet.ranks.communicator import Solo

WEIGHTS = 244e6  # of layers-imagenet, bytes
# Outputs of a tower that the other one reads, and those of one that the last layer reads, which lies on the other's rank.
CROSSING = 4 * 128 * (2 * (13 * 13 * 128 + 6 * 6 * 128 + 2048) + 2048)


@pytest.fixture
def towers(tmp_path):
    """A net of two towers that meet: where its files lie."""
    text, params = DATA, "[logprob]\ncoeff=1\n"
    for own in "ab":
        text += f"[fc1{own}]\ntype=fc\ninputs=data\noutputs=6\ninitW=0.001\ngpu={'ab'.index(own)}\n"
    text += "[fc2]\ntype=fc\ninputs=fc1a,fc1b\noutputs=10\ninitW=0.1,0.1\ngpu=1\n" + cost_of("fc2")
    for name, rates in (("fc1a", "0.1"), ("fc1b", "0.1"), ("fc2", "0.1,0.1")):
        zeros = rates.replace("0.1", "0")
        params += f"[{name}]\nepsW={rates}\nepsB=0.1\nmomW={zeros}\nmomB=0\nwc={zeros}\n"
    (tmp_path / "layers-small.cfg").write_text(text)
    (tmp_path / "layer-params-small.cfg").write_text(params)
    return str(tmp_path / "layers-small")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["on_ranks.py", *map(str, arguments)])
    assert on_ranks.main() == 0


def test_ways():
    """Towers lie on ranks as they run, and are data parallel, too; without any there is one way on so many ranks."""
    one, alone = Way(1, 2), Way(1, 1)
    of_shards = [Way(1, 2, "data", 8), Way(2, 1, "towers", 8)]
    found = on_ranks.ways_of(shipped("layers-imagenet.cfg"), [2, 4], 2, 8)
    assert [*found] == [one, alone, Way(2, 1, "towers"), Way(2, 1), Way(4, 1, "towers"), *of_shards]
    found = on_ranks.ways_of(shipped("layers-cifar10-18pct.cfg"), [2, 4], 2, 0)
    assert [*found] == [one, alone, Way(2, 1), Way(4, 1)]


@pytest.mark.parametrize(
    "way, expected",
    [
        (Way(1, 2), 0),
        (Way(1, 2, "data", 8), 0),
        (Way(2, 1), WEIGHTS),
        (Way(4, 1), 1.5 * WEIGHTS),
        (Way(2, 1, "data", 8), WEIGHTS),
        (Way(2, 1, "towers"), CROSSING),
        (Way(4, 1, "towers"), CROSSING / 2 + WEIGHTS / 2),  # of half of the cases; each rank has half of the weights
    ],
    ids=str,
)
def test_bytes_on_paper(way, expected):
    found = on_ranks.on_paper(shipped("layers-imagenet.cfg"), way, 128, machine())
    assert found == pytest.approx(expected, rel=1e-3)


def test_what_the_plan_knows():
    graph = shipped("layers-imagenet.cfg")
    known = [Way(1, 2), Way(2, 1), Way(2, 1, "towers"), Way(4, 1, "towers"), Way(2, 1, "data", 8)]
    found = [on_ranks.planned(graph, way, 128, machine(hides=False)) for way in known]
    assert [ratio is None for ratio in found] == [True, False, False, True, True]
    assert 0 < found[1] < 1 and 0 < found[2] < 1


def test_peaks_are_the_highest_so_far():
    found = {}
    for flops, bandwidth, expected in ((5e9, 2e9, (5e9, 2e9)), (4e9, 3e9, (5e9, 3e9)), (6e9, 1e9, (6e9, 3e9))):
        device = replace(machine().device, flops=flops, bandwidth=bandwidth, link="shared memory")
        used = on_ranks.machine_of(device, found).device
        assert (used.flops, used.bandwidth) == (found["flops"], found["bandwidth"]) == expected


def test_rounds_wait_for_others(monkeypatch):
    """Busy for two looks, then idle."""
    now, looks = iter(range(99)), iter([0, 1, 1, 2, 2, 2])
    monkeypatch.setattr(on_ranks, "busy_seconds", lambda: next(looks))
    monkeypatch.setattr(on_ranks.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(on_ranks.time, "sleep", lambda _: None)
    on_ranks.await_quiet(50)
    assert next(now) == 4 and next(looks, None) is None
    on_ranks.await_quiet(0)


def test_steps_of_one_process(towers):
    rank = ranks_side.Rank(Solo(), 1)
    for way, shards in (("whole", 0), ("in shards", 4)):
        assert rank.prepare(way, towers, 8, "data", shards, "float32") > 0
        found = rank.steps(way, 3, before=1)
        assert found["begin"] < found["end"] and found["waits"] == found["sent"] == 0
        assert rank.nets[way][0].step == 2 + 1 + 3
    rank.close()
    assert not rank.nets


@has_mpi
@pytest.mark.slow
def test_ranks_send_what_is_on_paper(towers, tmp_path, monkeypatch, capsys):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    monkeypatch.setattr(on_ranks, "measured_device", lambda *_: replace(machine().device, link="shared memory"))
    options = [
        "--out",
        tmp_path / "ranks.json",
        "--ranks",
        2,
        "--shards",
        4,
        "--mini",
        8,
        "--rounds",
        2,
        "--turn",
        1,
        "--patience",
        0,
    ]
    run(monkeypatch, "--nets", towers, "--mpiexec", MPIEXEC, *options)
    (record,) = json.loads((tmp_path / "ranks.json").read_text())["records"]
    assert len(record["rounds"]) == 2 and len(record["ways"]) == 6
    for turns in record["rounds"]:
        for name, way in record["ways"].items():
            assert turns[name]["sent"] == way["paper"] and len(turns[name]["waits"]) == way["ranks"]
            assert (way["paper"] > 0) == (way["ranks"] > 1) and turns[name]["ms"] > 0
    monkeypatch.setattr(ranks_page, "QUIET", 9)
    capsys.readouterr()
    run(monkeypatch, "--page", tmp_path / "ranks.json")
    assert "| 2 ranks of 1 thread, towers, 4 shards |" in capsys.readouterr().out


def test_rounds_stay_in_a_file(tmp_path):
    path = tmp_path / "ranks.json"
    for way in ("one", "other"):
        results = on_ranks.Results(path)
        record = results.record("net", 4, "exact", {way: {"ranks": 1}})
        record["rounds"].append({way: turned(10)})
        results.record("net", 8, "exact", {way: {"ranks": 1}})
        results.write()
    first, second = on_ranks.Results(path).found["records"]
    assert [*first["ways"]] == ["one", "other"] and first["rounds"] == [{"one": turned(10)}, {"other": turned(10)}]
    assert second["N"] == 8 and not second["rounds"]


def turned(ms, waits=(), sent=0, others=0.0):
    return {"ms": ms, "waits": [*waits], "sent": sent, "others": others}


def test_page(tmp_path, monkeypatch, capsys):
    """Turns of a round beside each other; where others had the processors in one of them, neither counts for the speed."""
    ways = {str(way): {**way._asdict(), "paper": 3e6, "planned": 0.9 if way.ranks > 1 else None}
            for way in (Way(1, 2), Way(1, 1), Way(2, 1, "towers"), Way(1, 2, "data", 8), Way(2, 1, "data", 8))}  # fmt: skip
    one, alone, towers, shards, of_ranks = ways
    rounds = [
        {one: turned(10), alone: turned(20), towers: turned(8, (1, 4), 3e6), shards: turned(30)},
        {one: turned(12), alone: turned(90, others=0.2), towers: turned(12, (2, 5), 3e6), of_ranks: turned(15, (0, 0), 3e6)},
        {one: turned(11), towers: turned(16, (3, 9), 3e6), shards: turned(30), of_ranks: turned(20, (0, 0), 3e6)},
        {one: turned(99, others=0.06), alone: turned(30), towers: turned(9, (1, 4), 3e6)},
    ]
    record = {"net": "layers-imagenet", "N": 128, "math": "float32", "ways": ways, "rounds": rounds, "planned_ms": 9}
    found = {"date": "2026-11-28", "processor": "A processor.", "machine": "a machine", "records": [record]}
    (tmp_path / "ranks.json").write_text(json.dumps(found))
    run(monkeypatch, "--page", tmp_path / "ranks.json")
    page, beside = capsys.readouterr().out, "one process of 2 threads"
    assert page.startswith("# Ranks beside one process, 2026-11-28\n\nA processor.\n\nMilliseconds of a training step")
    assert "layers-imagenet at 128, float32; by the plan one process takes 9.0 ms:" in page
    assert "more than 5% of the processors" in page and "\nThe plan is for a machine.\n" in page
    rows = page[page.index("| one process") :].splitlines()
    assert rows == [
        "| one process of 2 threads | 11.0 (10.0 to 12.0) |  |  |  |  |  |  |",
        f"| one process of 1 thread | 25.0 (20.0 to 30.0) | {beside} | **0.50** (0.50 to 0.50; 1) |  |  |  |  |",
        f"| 2 ranks of 1 thread, towers | 10.5 (8.0 to 16.0) | {beside} | **1.00** (0.69 to 1.25; 3) | 0.90 | 1.5, 4.5 | "
        "3.000 | 3.000 |",
        f"| one process of 2 threads, 8 shards | 30.0 (30.0 to 30.0) | {beside} | **0.35** (0.33 to 0.37; 2) |  |  |  |  |",
        f"| 2 ranks of 1 thread, data, 8 shards | 17.5 (15.0 to 20.0) | {beside}, 8 shards | **1.50** (1.50 to 1.50; 1) | "
        "0.90 | 0.0, 0.0 | 3.000 | 3.000 |",
    ]
