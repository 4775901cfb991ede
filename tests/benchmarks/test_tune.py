"""From times of tiles to a table; and how near the model comes to what was measured on a card."""

import argparse
import statistics
import sys

import pytest
import tune
from support import ROOT
from tile_passes import NETS, conv_passes
from tile_rows import FIELDS, Machine, Row, choice_of_model, compare, read_rows, rows_of_first_visit, table_text

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tile_table import Choice, Products, digest_of_kernels, read_table
from convnet.backends.cuda.tiles import Tile

FORWARD = Products("forward", "float32", 48, 128, 363, 3025, 1)
WEIGHTS = Products("weight_grad", "tf32", 1200, 128, 128, 729, 1)
OTHER = Choice(Tile(64, 128, 8, 8, False, False, 16, 2))
OTHER_WEIGHTS = Choice(Tile(64, 128, 32, 64, True, True, 32, 2), 27)


def write(path, rows):
    path.write_text("\n".join([",".join(FIELDS), *(",".join(row.values()) for row in rows), "net/conv9,forward,flo"]) + "\n")
    return path


def test_times_become_a_table_of_what_beats_the_model(tmp_path):
    machine = Machine()
    models = {products: choice_of_model(products, machine) for products in (FORWARD, WEIGHTS)}
    assert OTHER not in models.values() and OTHER_WEIGHTS not in models.values()
    rows = [Row("net/conv1", FORWARD, models[FORWARD], 1.00), Row("net/conv1", FORWARD, OTHER, 0.98)]
    rows += [Row("net/conv2", WEIGHTS, models[WEIGHTS], ms) for ms in (1.1, 0.9)]  # the mean counts
    rows += [Row("net/conv2", WEIGHTS, OTHER_WEIGHTS, 0.95)]
    read = read_rows(write(tmp_path / "times.csv", rows))
    assert read == rows
    compared = compare(read, machine)
    assert [(c.best, c.best_ms, c.model_ms) for c in compared] == [(OTHER, 0.98, 1.0), (OTHER_WEIGHTS, 0.95, 1.0)]
    path = tmp_path / "table.toml"
    path.write_text(table_text(compared, machine, "two\nlines"))
    assert read_table(path) == ((90, 132, digest_of_kernels()), {WEIGHTS: OTHER_WEIGHTS})  # 2 % are noise


def test_times_of_other_kernels_make_no_table(tmp_path, capsys):
    rows = [Row("net/conv1", FORWARD, choice_of_model(FORWARD, Machine()), 1.0), Row("net/conv1", FORWARD, OTHER, 0.5)]
    times, table = write(tmp_path / "times.csv", rows), tmp_path / "table.toml"
    times.write_text(times.read_text().replace(digest_of_kernels(), "0123456789abcdef"))
    assert tune._make(argparse.Namespace(times=times, table=table, machine=Machine(), device="a card")) == 1
    assert "have changed since" in capsys.readouterr().out and not table.exists()


def test_without_a_card_nothing_is_lost(tmp_path, monkeypatch, capsys):
    times, table = tmp_path / "times.csv", tmp_path / "table.toml"
    times.write_text("dear")
    table.write_text("dear")
    monkeypatch.setattr(tune, "why_not_cuda", lambda: "no GPU on this machine")
    for verb in (["measure", "--out"], ["table"]):
        monkeypatch.setattr(sys, "argv", ["tune.py", *verb, str(times), "--table", str(table)])
        assert tune.main() == 1 and len(capsys.readouterr().out.splitlines()) == 1
    assert tune._make(argparse.Namespace(times=tmp_path / "none.csv", table=table, machine=(90, 132, 228), device="")) == 1
    write(times, [Row("net/conv1", FORWARD, OTHER, 0.5)])  # the model's choice was not timed
    assert tune._make(argparse.Namespace(times=times, table=table, machine=(90, 132, 228), device="")) == 1
    assert table.read_text() == "dear" and "is not written" in capsys.readouterr().out


def test_products_are_those_of_the_nets():
    found = {(c.products.kind, layer): c for c in conv_passes(NETS, ("float32",), 128) for layer in c.layers}
    c = found["forward", "layers-imagenet/conv1a"]
    assert c.products == FORWARD and c.layers == ["layers-imagenet/conv1a", "layers-imagenet/conv1b"]
    assert c.shapes == ((3, 224, 224, 128), (3, 11, 11, 48), (48, 55, 55, 128))
    assert ("input_grad", "layers-imagenet/conv1a") not in found
    assert found["weight_grad", "layers-imagenet/conv2a"].products == WEIGHTS._replace(math="float32")
    recorder = Recorder()
    c.run(Cuda(recorder), c.arrays(Cuda(recorder)))
    assert [kernel for _, kernel, *_ in recorder.seen][-1] == "conv_forward"


@pytest.fixture(scope="module")
def compared():
    visit = ROOT / "benchmarks/2026-11-26-h100-tiles.csv"
    return compare(rows_of_first_visit(visit, conv_passes(NETS, ("float32", "tf32"), 128)), Machine())


def test_the_model_is_near_the_best_that_was_measured(compared):
    """Forward and input gradients on an H100, 46 in both math modes; a choice that was not timed is left out."""
    assert len(compared) >= 30
    ratios = [c.model_ms / c.best_ms for c in compared]
    assert statistics.mean(ratios) < 1.06 and max(ratios) < 1.4


def test_the_tuner_tries_each_tile_and_other_windows(tmp_path):
    tuner = tune.Tuner(tmp_path / "times.csv", 0, 1e9)
    by_kind = {c.products.kind: c for c in conv_passes(["layers-cifar10-18pct"], ("float32",), 128)}
    forward, weights = (tuner.candidates(by_kind[kind]) for kind in ("forward", "weight_grad"))
    assert choice_of_model(by_kind["forward"].products, tuner.machine) in forward
    assert choice_of_model(by_kind["weight_grad"].products, tuner.machine) in weights
    assert len({choice.tile for choice in weights}) > 10 and len(weights) > 2 * len({choice.tile for choice in weights})
    fastest = Row("x", by_kind["forward"].products, forward[0], 0.1)
    depths = {(choice.tile.BK, choice.tile.STAGES) for choice in tuner.variants(by_kind["forward"], [fastest])}
    assert len(depths) == 7 and (forward[0].tile.BK, forward[0].tile.STAGES) not in depths
