"""Pictures: where boxes stand, what is written beside edges, and that every file is well-formed and whole."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from support import SHARED, default_params, needs_museum

from convnet.cli import main
from convnet.drawing.dot import dot
from convnet.drawing.layout import BOX_WIDTH, lay_out
from convnet.drawing.page import page
from convnet.drawing.picture import HOST, megabytes, picture_of, times
from convnet.drawing.svg import svg
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse

MUSEUM = SHARED / "corpus" / "files" / "2012" / "layers"
SHIPPED = ["layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-cifar10-13pct.cfg"]
BIG = [pytest.param(MUSEUM / f"layers-{name}.cfg", marks=needs_museum, id=name) for name in ("129", "184-4gpu", "117")]


def picture(definition, mini=128):
    return picture_of(infer_data(parse(LayerFiles.open(definition))).graph, "a net", mini)


@pytest.mark.parametrize("definition", [*SHIPPED, *BIG])
def test_boxes_stand_apart_and_edges_lead_down(definition):
    shown = picture(definition)
    layout = lay_out(shown)
    for (ax, ay), (bx, by) in combinations(layout.boxes.values(), 2):
        assert ay != by or abs(ax - bx) >= BOX_WIDTH + 10
    for route in layout.routes:
        heights = [y for _, y in route.points]
        assert heights == sorted(heights) and heights[0] > layout.boxes[route.edge.source][1]
        assert heights[-1] < layout.boxes[route.edge.target][1]
    for name, box in shown.boxes.items():
        x, y = layout.boxes[name]
        assert BOX_WIDTH / 2 <= x <= layout.width - BOX_WIDTH / 2 and y < layout.height
        if box.device != HOST:
            left, right = layout.columns[box.device]
            assert left <= x - BOX_WIDTH / 2 and x + BOX_WIDTH / 2 <= right


def test_the_two_towers_of_the_paper():
    shown = picture("layers-imagenet.cfg")
    layout = lay_out(shown)
    assert shown.devices == [(0,), (1,)]
    straight = [
        {layout.boxes[name][0] for name in shown.boxes if shown.boxes[name].device == device} for device in shown.devices
    ]
    assert [len(places) for places in straight] == [1, 1] and max(straight[0]) < min(straight[1])
    crossing = {(edge.source, edge.target): (edge.shape, megabytes(edge.sent)) for edge in shown.edges if edge.sent}
    maps = times("128x13x13")
    assert crossing == {
        ("pool2a", "conv3b"): (maps, "11.1 MB"), ("pool2b", "conv3a"): (maps, "11.1 MB"),
        ("pool3a", "fc2048b"): (times("128x6x6"), "2.4 MB"), ("pool3b", "fc2048a"): (times("128x6x6"), "2.4 MB"),
        ("hs1a", "fc2048bb"): ("2048", "1.0 MB"), ("hs1b", "fc2048ba"): ("2048", "1.0 MB"),
        ("hs2b", "fc1000"): ("2048", "1.0 MB"),
    }  # fmt: skip
    assert shown.sent == 4 * 128 * (2 * 128 * 13 * 13 + 2 * 128 * 6 * 6 + 3 * 2048)
    assert picture("layers-imagenet.cfg", mini=64).sent == shown.sent / 2


@pytest.mark.parametrize("definition", [*SHIPPED, *BIG])
def test_files_are_well_formed_and_whole(definition):
    shown = picture(definition)
    root = ET.fromstring(svg(shown))
    words = "\n".join(root.itertext())
    for name, box in shown.boxes.items():
        assert name in words and box.label in words
    assert len(root.findall(".//{*}marker")) == 2
    html = page(shown)
    for written in (svg(shown), html):
        assert not re.search(r"(href|src)\s*=|url\((?!#)|@import|https?://(?!www.w3.org/2000/svg)", written)
    assert html.count("<section") == len(shown.boxes)
    graph = dot(shown)
    assert graph.count(" -> ") == len(shown.edges) and graph.count("{") == graph.count("}")


NASTY = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[<script>alert("1 & 2")</script>\x07\\]
type=fc
inputs=data
outputs=10
initW=1
[probs]
type=softmax
inputs=<script>alert("1 & 2")</script>\x07\\
[cost]
type=cost.logreg
inputs=labels,probs
"""


def test_names_are_text_and_nothing_else():
    graph = infer_data(parse(LayerFiles(NASTY, "net.cfg", default_params(NASTY), "params.cfg"))).graph
    shown = picture_of(graph, "a <b> & \x00", 1)
    root = ET.fromstring(svg(shown))
    assert "<script>alert" in "".join(root.itertext()) and root.findall(".//{*}script") == []
    assert page(shown).count("<script>") == 1 and "<b>" not in page(shown)
    assert '"<script>alert(\\"1 & 2\\")</script> \\\\"' in dot(shown)


@pytest.mark.parametrize("form, start", [("svg", "<svg"), ("html", "<!DOCTYPE html>"), ("dot", "digraph")])
def test_command_line_writes_each_form(form, start, tmp_path, capsys):
    out = tmp_path / f"net.{form}"
    assert main(["draw", "layers-imagenet.cfg", "--out", str(out), "--title", "Figure 2"]) == 0
    written = out.read_text(encoding="utf-8")
    assert written.startswith(start) and "Figure 2" in written
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote {out}."


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (["layers-imagenet.cfg", "--out", "net.png"], 2, "must end in .svg, .html, .dot"),
        (["layers-imagenet.cfg", "--out", "/nowhere/net.svg"], 1, "cannot be written"),
        (["layers-imagenet.cfg", "--data-dims", "5", "--out", "net.svg"], 1, "error:"),
    ],
)
def test_mistakes_in_clear_words(arguments, status, told, capsys):
    assert main(["draw", *arguments]) == status
    err = capsys.readouterr().err
    assert told in err and "Traceback" not in err
