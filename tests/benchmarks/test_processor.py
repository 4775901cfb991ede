"""benchmarks/on_a_processor.py: PyTorch modules made from layer graphs say what ours do; the page of what was measured."""

import json
import re

import numpy as np
import on_a_processor
import processor_page
import pytest
from support import ROOT


def timed(ms, gflops=0.0, **more):
    return {"ms": {"median": ms, "min": ms, "max": ms}, "gflops": gflops, **more}


@pytest.fixture
def results(tmp_path):
    """A file of a step whose middle turn took half of PyTorch's, and of two towers that are one layer to PyTorch."""
    of = {"net": "layers-imagenet", "N": 128, "threads": 2, "date": "2026-11-28"}
    step = {**of, "part": "steps", "math": "exact", "ours": [1.0, 2.0, 3.0], "theirs": [4.0, 4.0, 4.0], "mode": "eager"}
    halves = [{"name": f"conv2{tower}", "forward": timed(10.0, 200.0, methods=["direct"])} for tower in "ab"]
    neuron = {"name": "conv2a_neuron", "forward": timed(5.0)}
    report = {"layers": [*halves, neuron], "peak": {"gflops": 400.0, "by": "multiply-adds in registers"}}
    units = [{"layers": ["conv2a", "conv2b"], "type": "conv", "ms": {"forward": [49.0, 50.0, 51.0]}, "mode": "eager"}]
    layers = {**of, "part": "layers", "math": "exact", "report": report, "units": units}
    modes = {**of, "part": "modes", "math": "", "ms": {"eager": 4.0, "compiled": 5.0}, "of_few": {"outputs": 2e-7}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"processor": "A processor.", "records": [modes, step, layers]}))
    return path


def test_page(results, capsys):
    assert on_a_processor.read_page(results, None) == 0
    page = capsys.readouterr().out
    assert "| layers-imagenet | step at 128, 2 threads | exact | 2.0 | 4.0 | eager | **0.50** (0.25 to 0.75) |" in page
    assert "the two differ by 2.0e-07 at most. PyTorch's step by mode: eager 4.0, compiled 5.0" in page
    # 20 ms at 200 GFLOP/s and 5 of the neuron: 160 of 400
    assert "| conv2a + conv2b | forward | 25.00 | 50.00 | 0.50 | 40% | direct |" in page


def test_docs(results, tmp_path):
    docs = tmp_path / "performance.md"
    docs.write_text(f"before\n{processor_page.BEGIN}\nold\n{processor_page.END}\nafter\n")
    on_a_processor.read_page(results, tmp_path)
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text and "**0.50**" in text
    drawn = (tmp_path / "performance.svg").read_text()
    assert "exact: 2 ms, 0.50" in drawn and "PyTorch, eager: 4 ms" in drawn and "conv2a + conv2b forward: 40%" in drawn
    bars = [float(bar.split('"')[0]) for bar in drawn.split('<rect class="swatch"')[1:] for bar in bar.split('width="')[1:2]]
    assert bars == [pytest.approx(length) for length in (340, 170, 136)]  # PyTorch's, ours of half, the share of 40 %


def test_the_docs_have_a_place_for_it():
    text = (ROOT / "docs/performance.md").read_text()
    assert text.index(processor_page.BEGIN) < text.index(processor_page.END)


def test_newer_records_replace_older_ones(tmp_path):
    path = tmp_path / "results.json"
    results = on_a_processor.Results(path, threads=2)
    for ms in (3.0, 2.0):
        results.add("modes", "net", N=4, ms={"eager": ms, "compiled": 5.0})
    again = on_a_processor.Results(path, threads=2)
    assert len(again.records) == 1 and again.records[0]["ms"]["eager"] == 2.0 and again.mode("net", 4) == "eager"


@pytest.fixture
def towers(tmp_path):
    """The net of two towers with few maps: where its files lie."""
    fewer = {"48": "16", "128": "32", "192": "48", "2048": "64"}
    for part in ("layers", "layer-params"):
        text = (ROOT / f"layers-cfg/{part}-imagenet.cfg").read_text()
        text = re.sub(r"(?<=[=,])(48|128|192|2048)\b", lambda number: fewer[number[0]], text)
        (tmp_path / f"{part}-towers.cfg").write_text(text)
    return str(tmp_path / "layers-towers")


@pytest.mark.slow
@pytest.mark.parametrize("net", ["layers-cifar10-18pct", "layers-cifar10-11pct", "towers"])
def test_modules_compute_what_our_layers_do(net, towers, tmp_path):
    """Outputs, cost and gradients; a module with other weights is found out."""
    pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    import processor_workers as workers

    net = towers if net == "towers" else net
    ours, theirs = workers.Ours(2), workers.Theirs(2)
    for seed in range(5):
        ours.truth(net, "exact", 2, str(tmp_path), seed)
        found = theirs.check(net, "eager, channels_last", 2, str(tmp_path), seed)
        if max(found.values()) <= on_a_processor.LIMIT:
            break
    assert max(found.values()) <= on_a_processor.LIMIT
    weights = next(tmp_path.glob("w.conv2*.weights*"))
    np.save(weights, 1.01 * np.load(weights))
    assert theirs.check(net, "eager, channels_last", 2, str(tmp_path), seed)["gradients"] > on_a_processor.LIMIT
