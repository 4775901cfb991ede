"""Pictures: where boxes stand, what is written beside edges, and that every file is well-formed and whole."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from support import SHARED, default_params, needs_museum

from convnet.cli import main
from convnet.drawing.dot import dot
from convnet.drawing.files import write_picture
from convnet.drawing.layout import BOX_WIDTH, lay_out
from convnet.drawing.page import neighbours, page
from convnet.drawing.picture import HOST, picture_of
from convnet.drawing.scene import scene_of
from convnet.drawing.shapes import Words
from convnet.drawing.svg import svg
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.texts import bytes_text, times

MUSEUM = SHARED / "corpus" / "files" / "2012" / "layers"
SHIPPED = [
    *("layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-imagenet-4gpu-data-model.cfg"),
    *("layers-cifar10-13pct.cfg", "layers-cifar10-2gpu-data-model.cfg"),
]
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


def test_what_replicas_send():
    """Cases of pool3 that are not where they are read: of three replicas of four; nothing between replicas."""
    shown = picture("layers-imagenet-4gpu-data-model.cfg", mini=512)
    sent = {(edge.source, edge.target): edge.sent for edge in shown.edges}
    assert sent["conv4", "conv5"] == 0 and sent["pass1c", "fc1024bc"] == 0
    assert sent["pool3", "fc1024a"] == sent["pool3", "fc1024d"] == 9216 * 4 * 512 * 3 // 4
    assert sent["dropout1a", "pass1a"] == 0 and sent["dropout1a", "pass1b"] == 1024 * 4 * 512


def test_the_two_towers_of_the_paper():
    shown = picture("layers-imagenet.cfg")
    layout = lay_out(shown)
    assert shown.devices == [(0,), (1,)]
    straight = [
        {layout.boxes[name][0] for name in shown.boxes if shown.boxes[name].device == device} for device in shown.devices
    ]
    assert [len(places) for places in straight] == [1, 1] and max(straight[0]) < min(straight[1])
    crossing = {(edge.source, edge.target): (edge.shape, bytes_text(edge.sent)) for edge in shown.edges if edge.sent}
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
    assert all(
        rule.startswith(".convnet ") for rule in root.find("{*}style").text.split("\n")
    )  # none is for the page around
    for written, links in ((svg(shown), ""), (page(shown), '(?!"#layer-)')):
        assert not re.search(rf"href\s*={links}|src\s*=|url\((?!#)|@import|https?://(?!www.w3.org/2000/svg)", written)
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


class Elements(HTMLParser):
    """(tag, attributes) of every element, in order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize("definition", SHIPPED)
def test_the_page_can_be_used_without_a_mouse_and_read_without_a_script(definition):
    shown = picture(definition)
    html = page(shown)
    elements = Elements(html)
    links, sections, ids = elements.of("a"), elements.of("section"), {a.get("id") for _, a in elements.found}
    assert [link["href"] for link in links] == ["#" + section["id"] for section in sections]  # in the order of the file
    assert len(links) == len(shown.boxes) and all(section["aria-labelledby"] in ids for section in sections)
    for link, box in zip(links, shown.boxes.values(), strict=True):
        assert link["aria-label"].startswith(f"{box.name}: {box.label}")
    assert elements.of("svg")[0]["role"] == "group"  # an image would hide its links
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in elements.of("meta")
    style = html[html.index("<style>") : html.index("</style>")]
    hidden = [
        rule for rule in re.findall(r"([^{}]*)\{[^{}]*display:none", style) if "button" not in rule and "js" not in rule
    ]
    assert not hidden and "prefers-color-scheme:dark" in style and ":focus-visible" in style


BROWSER = """
const out = [], {layers, script} = JSON.parse(require('fs').readFileSync(0));
let focused = null;
class Thing {
  constructor(dataset) {
    Object.assign(this, {dataset, marks: new Set(), on: {}, attributes: {}, scrollWidth: 900, clientWidth: 400});
    this.classList = {toggle: (mark, yes) => yes ? this.marks.add(mark) : this.marks.delete(mark)};
  }
  addEventListener(kind, act) { this.on[kind] = act }
  setAttribute(name, value) { this.attributes[name] = value }
  removeAttribute(name) { delete this.attributes[name] }
  focus() { focused = this; this.on.focus({}) }
  scrollIntoView() {}
}
const boxes = layers.map(data => new Thing(data)), sections = layers.map(() => new Thing());
const parts = {aside: new Thing(), main: new Thing(), button: new Thing()};
globalThis.document = Object.assign(new Thing(), {documentElement: {}, querySelector: name => parts[name],
  querySelectorAll: name => name === '.layer' ? boxes : sections});
function press(key) {
  const event = {key, preventDefault() {}};
  if (key === 'Enter') focused.on.click(event); else focused.on.keydown(event);
  document.on.keydown(event);
  out.push([boxes.indexOf(focused), sections.findIndex(section => section.marks.has('shown')),
    boxes.findIndex(box => box.attributes['aria-current'])]);
}
new Function(script)();
boxes[START].focus();
KEYS.forEach(press);
console.log(JSON.stringify([document.documentElement.className, parts.main.scrollLeft, out]));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_script_of_the_page():
    """Focus shows a layer, arrows move, Enter keeps, Escape lets go: (focus, shown, kept) after each key."""
    shown = picture("layers-imagenet.cfg")
    html, names = page(shown), list(shown.boxes)
    script = html[html.index("<script>") + 8 : html.index("</script>")]
    data = {"script": script, "layers": neighbours(shown, lay_out(shown))}
    keys = ["ArrowDown", "Enter", "ArrowRight", "Escape", "ArrowUp", "ArrowLeft", "Enter", "Enter"]
    program = BROWSER.replace("START", str(names.index("conv1a"))).replace("KEYS", str(keys))
    done = subprocess.run(["node", "-e", program], input=json.dumps(data), capture_output=True, text=True, check=True)
    a1, ra, rb, b1 = (names.index(name) for name in ("conv1a", "rnorm1a", "rnorm1b", "conv1b"))
    states = [[ra, ra, -1], [ra, ra, ra], [rb, ra, ra], [rb, -1, -1], [b1, b1, -1], [a1, a1, -1], [a1, a1, a1], [a1, -1, -1]]
    assert json.loads(done.stdout) == ["js", 250, states]


def test_arrow_keys_go_along_the_edges():
    shown = picture("layers-imagenet.cfg")
    names = list(shown.boxes)
    ways = [{way: names[i] for way, i in known.items()} for known in neighbours(shown, lay_out(shown))]
    of = dict(zip(names, ways, strict=True))
    assert of["conv2a"] == {"up": "pool1a", "down": "rnorm2a", "right": "conv2b"}
    assert of["pool2b"]["down"] == "conv3b" and of["conv3a"]["up"] == "pool2a"  # the nearest, not across
    assert of["data"]["down"] in ("conv1a", "conv1b") and "up" not in of["data"] and "down" not in of["logprob"]
    edges = {(edge.source, edge.target) for edge in shown.edges}
    assert all((name, way["down"]) in edges for name, way in of.items() if "down" in way)
    assert all((way["up"], name) in edges for name, way in of.items() if "up" in way)
    reached, before = {"data"}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {other for name in list(reached) for other in of[name].values()}
    assert reached == set(names)


@pytest.mark.parametrize("definition", [pytest.param(name, marks=[pytest.mark.slow] * ("net" in name)) for name in SHIPPED])
def test_png_shows_what_svg_shows(definition, tmp_path):
    """Every box in its colour at its place, two dots for a pixel; words in them; and the same file twice."""
    shown = picture(definition)
    root = ET.fromstring(svg(shown))
    write_picture(scene_of(shown), tmp_path / "net.png")
    with Image.open(tmp_path / "net.png") as drawn:
        dots = np.asarray(drawn.convert("RGB")).astype(int)
    assert abs(np.array(dots.shape[1::-1]) - [2 * float(root.get(side)) for side in ("width", "height")]).max() <= 2
    boxes = root.findall(".//{*}g[@class='layer']/{*}rect[@class='box']")
    assert len(boxes) == len(shown.boxes)
    for box in boxes:
        x, y, width, height = (round(2 * float(box.get(side))) for side in ("x", "y", "width", "height"))
        fill, line = ([int(box.get(name)[i : i + 2], 16) for i in (1, 3, 5)] for name in ("fill", "stroke"))
        assert abs(dots[y + height // 2, x + 8] - fill).max() <= 1
        assert abs(dots[y + height // 2, x - 1 : x + 2] - line).max(axis=-1).min() < 40
        assert (dots[y + 8 : y + height - 8, x + 116 : x + width - 8].sum(axis=-1) < 250).sum() > 40  # letters
    for name in ("one.pdf", "two.pdf"):
        write_picture(scene_of(shown), tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


def test_a_net_of_one_device_names_none():
    roots = [ET.fromstring(svg(picture(name))) for name in ("layers-cifar10-13pct.cfg", "layers-imagenet.cfg")]
    one, two = ("\n".join("".join(words.itertext()) for words in root.findall(".//{*}text")) for root in roots)
    assert "device" not in one and "host" not in one and "device 1" in two and "host" in two
    assert "cluster" not in dot(picture("layers-cifar10-13pct.cfg"))


def test_the_legend_is_inside():
    for name in SHIPPED:
        scene = scene_of(picture(name))
        assert max(shape.y for shape in scene.shapes if isinstance(shape, Words)) < scene.height - 4


FORMS = [("svg", "<svg"), ("html", "<!DOCTYPE html>"), ("dot", "digraph"), ("png", "\x89PNG"), ("pdf", "%PDF")]


@pytest.mark.parametrize("form, start", FORMS)
def test_command_line_writes_each_form(form, start, tmp_path, capsys):
    out = tmp_path / f"net.{form}"
    assert main(["draw", "layers-imagenet.cfg", "--out", str(out), "--title", "Figure 2"]) == 0
    written = out.read_text(encoding="latin-1")
    assert written.startswith(start) and ("Figure 2" in written or form in ("png", "pdf"))
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote {out}."


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (["layers-imagenet.cfg", "--out", "net.gif"], 2, "must end in .svg, .html, .dot, .png, .pdf"),
        (["layers-imagenet.cfg", "--out", "/nowhere/net.svg"], 1, "cannot be written"),
        (["layers-imagenet.cfg", "--data-dims", "5", "--out", "net.svg"], 1, "error:"),
    ],
)
def test_mistakes_in_clear_words(arguments, status, told, capsys):
    assert main(["draw", *arguments]) == status
    err = capsys.readouterr().err
    assert told in err and "Traceback" not in err
