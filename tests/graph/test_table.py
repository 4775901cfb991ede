"""The table of layers fits the width it is shown in, and says what it leaves out."""

import re
from itertools import pairwise

import pytest
from support import ROOT, make_graph

from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.table import COLUMNS, brief, layer_table, wrapped
from convnet.texts import columns_of

SHIPPED = sorted(path.name for path in (ROOT / "layers-cfg").glob("layers-*.cfg"))
WIDTHS = (20, 40, 60, 80, 100, 132)


def shipped(name):
    return infer_data(parse(LayerFiles.open(name))).graph


@pytest.mark.parametrize("name", SHIPPED)
def test_no_line_is_too_long(name):
    graph = shipped(name)
    seen = set()
    for width in WIDTHS:
        lines = layer_table(graph, 128, width).splitlines()
        assert max(map(len, lines)) <= width
        seen.add(len(lines[0].split()))
        words = " ".join(lines)
        missing = [column.head for column in COLUMNS if column.head not in words]
        assert not missing or ("MB" in lines[0].split() and set(missing) <= {"outputs", "gradients", "weights"})
    assert len(seen) > 3  # the more room, the more columns
    *whole, _, _ = layer_table(graph, 128).splitlines()
    assert layer_table(graph, 128, max(map(len, whole))).splitlines()[: len(whole)] == whole


def test_what_80_columns_hold():
    lines = layer_table(shipped("layers-imagenet.cfg"), 128, 80).splitlines()
    assert lines[0].split() == ["layer", "type", "inputs", "output", "params", "mult-adds", "MB"]
    assert lines[4].split() == ["conv1a", "conv", "data", "48x55x55", "17.5", "k", "52.7", "M", "148.8"]
    by_name = {line.split()[0]: line.split() for line in lines if line}
    assert by_name["pool1a_neuron"][:3] == ["pool1a_neuron", "relu", "pool1a"]
    assert by_name["conv2a"][2] == "pool1a" and by_name["conv3a"][2] == "pool2…ol2b"
    assert by_name["total"] == ["total", "61.0", "M", "724.4", "M", "2,090.6"]
    end = " ".join(lines[-5:])
    assert "60,965,224 parameters" in end and "724,406,816 multiply-adds" in end
    assert "Left out to fit 80 columns: field, step, gpu, learning rate, decay; 'convnet explain --wide' shows all." in end


def test_what_40_columns_hold():
    lines = layer_table(shipped("layers-imagenet.cfg"), 128, 40).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "params"]
    assert [line.split()[0] for line in lines if "2048" in line][:2] == ["fc2048a", "fc204…uron"]


def test_columns_come_in_the_order_of_their_importance():
    graph = shipped("layers-cifar10-26pct.cfg")
    shown = [set(layer_table(graph, 128, width).splitlines()[0].split()) for width in range(20, 110)]
    for less, more in pairwise(shown):
        assert less <= more


def test_names_that_would_move_the_cursor_and_long_ones():
    text = "[data]\ntype=data\ndataIdx=0\n[a\x1b[31mb]\ntype=fc\ninputs=data\noutputs=3\ninitW=1\n" + "[" + "x" * 300 + "]\n"
    text += f"type=fc\ninputs=a\x1b[31mb\noutputs=3\ninitW=1\n[{'层' * 9}]\ntype=cost.sum2\ninputs=" + "x" * 300 + "\n"
    graph = make_graph(text, {0: 4})
    for width in (0, 40, 80):
        table = layer_table(graph, 1, width)
        assert "\x1b" not in table and "\\x1b" in table
        rules = {len(line) for line in table.splitlines() if re.fullmatch("-+", line)}
        assert len(rules) == 1 and (not width or max(map(columns_of, table.splitlines())) <= width)


@pytest.mark.parametrize(
    "number, text",
    [(0, ""), (1, "1"), (999, "999"), (1000, "1.0 k"), (17_472, "17.5 k"), (999_949, "999.9 k"), (999_950, "1.0 M"),
     (60_965_224, "61.0 M"), (7 * 10**9, "7.0 G"), (10**13, "10.0 T"), (0.04, "0.0"), (2090.64, "2,090.6"), ("8x8", "8x8")],
)  # fmt: skip
def test_numbers_for_people(number, text):
    assert brief(number) == text


def test_wrapping_keeps_words():
    text = "one two three --data-dims 3072,1 four"
    assert wrapped(text, 0) == text and " ".join(wrapped(text, 24).split()) == text
    assert all(len(line) <= 24 for line in wrapped(text, 24, "  ").splitlines()) and "--data-dims" in wrapped(text, 20)
    wide = wrapped(f"{'层' * 8}.cfg: {text}", 24).splitlines()
    assert wide[0] == "层" * 8 + ".cfg:" and max(map(columns_of, wide)) <= 24
