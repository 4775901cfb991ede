"""``convnet plan``: its table, its JSON, its picture, and what it says of wrong options."""

import json
import re

import pytest
from support import ROOT

from convnet.backends import timing
from convnet.cli import main
from convnet.errors import ConvnetError


def run(capsys, *arguments):
    status = main(["plan", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def rows(text):
    """The rows of the table of steps: cells by the name of their column."""
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("ranks  scheme"))
    names = re.split(r" {2,}", lines[head].strip())
    return [dict(zip(names, line.split(), strict=True)) for line in lines[head + 1 : lines.index("", head)]]


def test_without_options(capsys):
    status, text, _ = run(capsys, "layers-imagenet.cfg")
    table = rows(text)
    assert status == 0 and "layers-imagenet.cfg on H100 (66.9 TFLOP/s, 3,350 GB/s), links of 360 GB/s and 5 us" in text
    assert [row["ranks"] for row in table] == [*"1222444888"] and {row["cases"] for row in table} == {"128"}
    assert [row["scheme"].rstrip("*") for row in table] == ["alone", *["data", "model", "hybrid"] * 3]
    for number in "248":  # the fastest is marked
        steps = [row for row in table if row["ranks"] == number]
        assert [row for row in steps if "*" in row["scheme"]] == [min(steps, key=lambda row: float(row["step ms"]))]
    assert re.search(r"^hybrid: conv1a, .*, conv5b split by cases; fc2048a, .*fc1000 split by outputs$", text, re.MULTILINE)
    assert re.search(
        r"^On 8 ranks model is the fastest, \d\.\d\d times as fast as one rank\. Waiting bounds it: ", text, re.MULTILINE
    )


def test_the_towers_of_2012_run_where_the_file_says(capsys):
    text = run(capsys, "layers-imagenet.cfg", "--ranks", "2", "--device", "GTX 580")[1]
    assert re.search(r"^model: conv1a, .* on rank 0; conv1b, .* on rank 1$", text, re.MULTILINE)


def test_numbers_for_programs(capsys):
    options = ["--ranks", "1,8", "--per-rank", "16", "--device", "K20", "--node", "4", "--between", "3GB/s"]
    found = json.loads(run(capsys, "layers-imagenet-1gpu.cfg", *options, "--json")[1])
    alone, *steps = found["steps"]
    assert (found["net"], found["machine"]["node"], found["machine"]["between"]) == ("layers-imagenet-1gpu.cfg", 4, 3e9)
    assert (alone["ranks"], alone["mini"], alone["speedup"]) == (1, 16, 1)
    assert [(step["scheme"], step["mini"]) for step in steps] == [("data", 128), ("model", 128), ("hybrid", 128)]
    assert steps[0]["sent"] == pytest.approx(2 * 7 / 8 * 4 * 61_100_840)
    assert sum(step["best"] for step in steps) == 1
    assert {"forward", "backward", "ready", "busy"} <= steps[0]["layers"][0].keys()


def test_a_machine_without_nodes_is_json(capsys):
    assert json.loads(run(capsys, "layers-digits.cfg", "--json")[1])["machine"]["between"] is None


def test_layers_and_when_their_gradients_are_summed(capsys):
    text = run(capsys, "layers-digits.cfg", "--ranks", "8", "--link", "10GbE", "--layers")[1]
    table = text[text.index(" on 8 ranks, in ms:") :]
    assert re.search(
        r"^layer +split by +forward +backward +update +sent MB +waits +gradient at +link from +to$", table, re.MULTILINE
    )
    assert re.search(r"^conv1 +cases( +[\d.]+){8}$", table, re.MULTILINE) and re.search(
        r"^pool1 +\S+( +[\d.]+){5}$", table, re.MULTILINE
    )


def test_what_bounds_a_step(capsys):
    slow = run(capsys, "layers-imagenet.cfg", "--ranks", "64", "--mini", "8192", "--link", "25GB/s", "--latency", "5us")[1]
    assert "Waiting bounds it: " in slow and "at 'fc2048a', for the sum of its gradient." in slow
    assert "!: more memory than the 80 GB of a device." in slow
    tiny = run(capsys, "layers-digits.cfg", "--ranks", "8", "--link", "10GbE")[1]
    assert "which is faster alone" in tiny


def test_a_device_of_numbers(capsys):
    text = run(capsys, "layers-digits.cfg", "--peak", "100TF", "--bandwidth", "5TB/s", "--link", "100Gb", "--latency", "0")[
        1
    ]
    assert "on H100 with other numbers (100 TFLOP/s, 5,000 GB/s), links of 12.5 GB/s and 0 us" in text
    assert "H200 (495 TFLOP/s" in run(capsys, "layers-digits.cfg", "--device", "h200", "--math", "tf32")[1]


@pytest.mark.parametrize("net, towers", [("digits", ""), ("imagenet", r"; model parallel 2 0\.\d\d")])
def test_this_machine(net, towers, capsys, monkeypatch):
    for name, size in (("_PRODUCT", 128), ("_STREAM", 4096), ("_ROUNDS", 1 << 12)):
        monkeypatch.setattr(timing, name, size)
    status, text, _ = run(capsys, f"layers-{net}.cfg", "--device", "this machine", "--threads", "1")
    assert status == 0 and "on this machine (" in text and "links of 10.0 GB/s" in text
    said = " ".join(text.split("\n\n")[-1].split())
    ratios = r"data parallel 2 0\.\d\d, 4 0\.\d\d, 8 0\.\d\d" + towers
    assert re.search(rf"Ranks that divide this one machine, of the speed of one process on it: {ratios}\.$", said)


def test_the_picture_of_the_docs(tmp_path, capsys):
    """The command beside it makes it."""
    page = next(page for page in (ROOT / "docs").glob("*.md") if "machines-2014.svg" in page.read_text())
    command = re.search(r"^ {4}convnet plan (.*--out )machines-2014.svg$", page.read_text(), re.MULTILINE)[1]
    assert run(capsys, *command.split(), str(tmp_path / "plan.svg"))[0] == 0
    assert (tmp_path / "plan.svg").read_text() == (ROOT / "docs/machines-2014.svg").read_text()


@pytest.mark.parametrize("ending", ["svg", "png", pytest.param("pdf", marks=pytest.mark.slow)])
def test_pictures(ending, tmp_path, capsys):
    if ending == "pdf":
        pytest.importorskip("matplotlib")
    out = tmp_path / f"plan.{ending}"
    status, text, _ = run(capsys, "layers-digits.cfg", "--out", str(out))
    assert status == 0 and f"Wrote {out}." in text
    assert out.read_bytes()[:5] == {"svg": b"<svg ", "png": b"\x89PNG\r", "pdf": b"%PDF-"}[ending]


@pytest.mark.parametrize(
    "options, said",
    [
        (["--device", "H10"], "--device: unknown device 'H10'; did you mean 'H100'?"),
        (["--link", "NVLnk4"], "--link: unknown link 'NVLnk4'; did you mean 'NVLink4'?"),
        (["--link", "25GX/s"], "--link 25GX/s: 'GX/s' is no unit of bytes a second, such as 25GB/s; did you mean 'GB/s'?"),
        (["--latency", "soon"], "--latency: 'soon' is not a time, such as 5us"),
        (["--peak", "0TF"], "--peak: 0TF is out of the range of operations a second"),
        (["--ranks", "0"], "--ranks: '0' is not a list of whole numbers from 1"),
        (["--mini", "64", "--per-rank", "8"], "--mini is the whole minibatch and --per-rank a rank's part of it"),
        (["--node", "4"], "--node and --between go together"),
        (["--threads", "2"], "--threads goes with --device 'this machine'"),
        (["--math", "exact"], "--math exact goes with --device 'this machine'"),
        (["--device", "K20", "--math", "tf32"], "--math: K20 has no TF32"),
        (["--out", "plan.txt"], "--out plan.txt: the name must end in .svg, .pdf, .png"),
        (["--json", "--layers"], "not allowed with argument"),
    ],
)
def test_wrong_options(options, said, capsys):
    status, text, error = run(capsys, "layers-digits.cfg", *options)
    assert (status, text) == (2, "") and error.startswith("convnet: ") and said in error and error.count("\n") == 1


def test_a_net_that_is_not_there(capsys):
    assert run(capsys, "nothing.cfg")[0] == ConvnetError.exit_code


def test_one_rank_is_always_beside_the_others(capsys):
    table = rows(run(capsys, "layers-digits.cfg", "--mini", "50", "--ranks", "3,3,64")[1])
    assert [row["ranks"] for row in table] == [*"1333", "64", "64", "64"] and table[0]["speedup"] == "1.00"
