"""Figure 2: the volumes of a net in columns and rows, the numbers of the paper's figure, and what stands where."""

import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from nets import DATA, cost_of
from PIL import Image
from support import SHARED, make_graph, needs_museum

from convnet.cli import main
from convnet.drawing.figures.two import figure_two
from convnet.drawing.shapes import Path, Words
from convnet.drawing.volume_boxes import POINT, boxes_of, windows_of
from convnet.drawing.volumes import volumes_of
from convnet.errors import ConvnetError
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse


def volumes(definition):
    return volumes_of(infer_data(parse(LayerFiles.open(definition))).graph)


def conv(name, inputs, size, filters=4, channels=4, **more):
    keys = {"padding": 0, "stride": 1, **more}
    count = len(inputs.split(","))
    each = {"channels": channels, "filters": filters, "filterSize": size, "initW": 0.1, **keys}
    listed = "".join(f"{key}={','.join([str(value)] * count)}\n" for key, value in each.items())
    return f"[{name}]\ntype=conv\ninputs={inputs}\n{listed}"


POOL = "[pool]\ntype=pool\npool=avg\ninputs=conv2\nchannels=4\nsizeX=6\nstride=1\n"


def test_the_volumes_of_the_paper():
    shown = volumes("layers-imagenet.cfg")
    columns = [[] for _ in range(shown.columns)]
    for volume in shown.volumes.values():
        columns[volume.column].append((volume.side, volume.maps, volume.row))
    towers = [(55, 48), (27, 128), (13, 192), (13, 192), (13, 128), (0, 2048), (0, 2048)]
    assert columns == [[(224, 3, 0)], *([(*size, -0.5), (*size, 0.5)] for size in towers), [(0, 1000, 0)]]
    edges = {(edge.source, edge.target): (edge.filter_size, edge.side, edge.notes) for edge in shown.edges}
    assert len(edges) == 2 + 2 + 4 + 2 + 2 + 4 + 4 + 2
    assert edges["data", "conv1b"] == (11, 224, ("Stride of 4",))
    assert edges["conv1a", "conv2a"] == (5, 27, ("Max pooling",)) and ("conv1a", "conv2b") not in edges
    assert edges["conv2a", "conv3b"] == edges["conv2b", "conv3b"] == (3, 13, ("Max pooling",))
    assert edges["conv5b", "fc2048a"] == (0, 0, ("Max pooling",)) and edges["fc2048ba", "fc1000"] == (0, 0, ())


def test_the_numbers_of_the_papers_figure():
    """As printed: each side twice, at both edges of every map; notes once for both towers, each in two lines."""
    scene = figure_two(volumes("layers-imagenet.cfg"), "x")
    words = Counter(shape.text for shape in scene.shapes if isinstance(shape, Words))
    sides = {"224": 2, "55": 4, "27": 4, "13": 12}
    maps = {"48": 2, "128": 4, "192": 4, "2048": 4, "1000": 1}
    filters = {"11": 4, "5": 4, "3": 12 + 1}  # and the three maps of the picture
    assert words == sides | maps | filters | {"Stride": 1, "of 4": 1, "Max": 3, "pooling": 3, "dense": 3}
    crossing = [shape for shape in scene.shapes if isinstance(shape, Path) and shape.look == "across"]
    assert len(crossing) == 2 * 3 + 2 * 2 + 2 * 2  # from conv2 to conv3, and between the dense layers


def test_everything_lies_inside_and_words_apart():
    scene = figure_two(volumes("layers-imagenet.cfg"), "x")
    words = [shape for shape in scene.shapes if isinstance(shape, Words)]
    for shape in scene.shapes:
        for _, at in shape.segments if isinstance(shape, Path) else ():
            assert all(0 <= value <= size for i, value in enumerate(at) for size in [(scene.width, scene.height)[i % 2]])
    boxes = []
    for word in words:
        wide = 7.5 * len(word.text)
        left = word.x - wide * {"start": 0, "middle": 0.5, "end": 1}[word.anchor]
        assert left >= 0 and left + wide <= scene.width and 0 < word.y < scene.height
        boxes.append((left, word.y - 9, left + wide, word.y))
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert all(right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top for other in boxes[:i]), (
            words[i]
        )


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_museum) for name in ("129", "184-4gpu", "117")])
def test_nets_of_more_towers(name):
    shown = volumes(SHARED / "corpus" / "files" / "2012" / "layers" / f"layers-{name}.cfg")
    places = Counter((volume.column, volume.row) for volume in shown.volumes.values())
    assert set(places.values()) == {1}
    assert all(shown.volumes[edge.source].column < shown.volumes[edge.target].column for edge in shown.edges)
    assert figure_two(shown, name).height > 700


def test_a_net_that_ends_in_pooling_shows_what_is_pooled():
    text = DATA + conv("conv1", "data", 3, channels=3) + conv("conv2", "conv1", 3, padding=1) + POOL + cost_of("pool")
    shown = volumes_of(make_graph(text, {0: 192, 1: 1}, 4))
    assert [tuple(volume)[1:4] for volume in shown.volumes.values()] == [(3, 8, 0), (4, 6, 1), (4, 6, 2), (4, 0, 3)]
    assert tuple(shown.edges[-1]) == ("conv2", "pool", 6, 6, ("Average pooling",))
    words = [shape.text for shape in figure_two(shown, "x").shapes if isinstance(shape, Words)]
    assert "6\N{MULTIPLICATION SIGN}6" in words and "Average" in words and "dense" not in words


def test_a_way_past_other_volumes_is_bent_above_them():
    text = DATA + conv("conv1", "data", 3, channels=3) + conv("conv2", "conv1", 3, padding=1)
    text += "[both]\ntype=eltsum\ninputs=conv1,conv2\n" + conv("conv3", "both", 3) + cost_of("conv3")
    shown = volumes_of(make_graph(text, {0: 192, 1: 1}, 64))
    assert [(edge.source, edge.target, edge.notes) for edge in shown.edges[2:]] == [
        ("conv1", "both", ("Elementwise sum",)), ("conv2", "both", ("Elementwise sum",)), ("both", "conv3", ()),
    ]  # fmt: skip
    bends = [shape for shape in figure_two(shown, "x").shapes if isinstance(shape, Path) and shape.segments[-1][0] == "C"]
    assert len(bends) == 1


def test_what_cannot_be_read_is_refused():
    chain = "".join(conv(f"conv{i}", f"conv{i - 1}" if i else "data", 1, channels=4 if i else 3) for i in range(60))
    with pytest.raises(ConvnetError, match=r"of 61 columns of up to 1 volume cannot be read.*convnet draw"):
        volumes_of(make_graph(DATA + chain + cost_of("conv59"), {0: 192, 1: 1}, 256))
    chain = "".join(conv(f"conv{i}", f"conv{i - 1}" if i else "data", 1, channels=4 if i else 3) for i in range(500))
    with pytest.raises(ConvnetError, match=r"a figure of 500 layers with weights cannot be read"):
        volumes_of(make_graph(DATA + chain + cost_of("conv499"), {0: 12, 1: 1}, 16))
    with pytest.raises(ConvnetError, match="no layers with weights"):
        volumes_of(make_graph(DATA + cost_of("data"), {0: 10, 1: 1}, 10))


@pytest.mark.parametrize("form, start", [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_verb_writes_each_form(form, start, tmp_path, capsys):
    out = tmp_path / f"two.{form}"
    assert main(["figure", "2", "layers-cifar10-11pct.cfg", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(start) and capsys.readouterr().out.endswith(f"Wrote {out}.\n")
    if form == "svg":
        words = [element.text for element in ET.parse(out).getroot().findall(".//{*}text")]
        assert words.count("Locally") == 2 and "dense" in words
    if form == "png":
        with Image.open(out) as picture:
            assert picture.width > 1000


def test_windows_are_as_large_as_filters_and_lines_lead_to_their_output():
    shown = volumes("layers-imagenet.cfg")
    boxes = boxes_of(shown)
    windows = windows_of(shown.edges, boxes)
    assert len(set(windows.values())) == 2 + 2 + 2 + 2 + 2  # conv3 reads from one window of each tower, whoever reads it
    for edge, window in windows.items():
        corners = [boxes[edge.source].at(*corner) for corner in window.corners]
        tall = corners[0][1] - corners[1][1]
        assert tall == pytest.approx(max(11, boxes[edge.source].height * edge.filter_size / edge.side))
        assert all(0 <= value <= 1 for corner in window.corners for value in corner)
    points = {box.at(*POINT) for box in boxes.values()}
    moved = figure_two(shown, "x").shapes
    lines = [shape for shape in moved if isinstance(shape, Path) and len(shape.segments) == 2 and shape.look == "across"]
    ends = {tuple(round(value, 3) for value in shape.segments[1][1]) for shape in lines[-6:]}
    assert len(points) == len(boxes) and len(ends) == 2  # six lines, to an output of each tower


def test_windows_of_several_sizes_on_one_volume_lie_apart():
    text = DATA + conv("conv1", "data", 3, channels=3, padding=1) + conv("conv2", "conv1", 3, padding=1)
    text += conv("conv3", "conv1", 5, padding=2) + "[both]\ntype=eltsum\ninputs=conv2,conv3\n" + cost_of("both")
    shown = volumes_of(make_graph(text, {0: 3 * 576, 1: 1}, 4 * 576))
    first, second = (window for edge, window in windows_of(shown.edges, boxes_of(shown)).items() if edge.source == "conv1")
    assert abs(first.v - second.v) >= (first.share + second.share) / 2
