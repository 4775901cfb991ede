"""Filters of a report: planted weights are at their places, whatever layer they are of; films show what was when.

Letters: C channels, k side of a filter, F filters.
"""

import re

import numpy as np
import pytest
from html_pages import Read, image_of
from nets import DATA, cost_of
from support import make_graph

from convnet.pages.filters import filters_image
from convnet.pages.report.film import chosen, film, film_style
from convnet.pages.report.filters import LayerFilters, filter_figures, layer_filters
from convnet.texts import times

CONV = "[conv1]\ntype=conv\ninputs=data\nchannels=3\nfilters=20\nfilterSize=3\npadding=1\nstride=1\ninitW=0.1\n"
LOCAL = "[local2]\ntype=local\ninputs=conv1\nchannels=20\nfilters=4\nfilterSize=3\npadding=1\nstride=1\ninitW=0.1\n"
FC = "[fc]\ntype=fc\ninputs=local2\noutputs=10\ninitW=0.1\n"
NET = DATA + CONV + LOCAL + FC + cost_of("fc")


def stored(graph):
    """Layers as checkpoints have them, all weights 0."""
    layers = {}
    for name, layer in graph.layers.items():
        kept = {"name": name, "type": layer.type}
        if layer.type in ("conv", "local", "fc"):
            kept["weights"] = [np.zeros(layer.weight_shape(i), np.float32) for i in range(len(layer.sources))]
        layers[name] = kept
    return layers


@pytest.fixture
def net():
    graph = make_graph(NET, {0: 3 * 36, 1: 1}, 10)
    return graph, stored(graph)


def test_a_planted_filter_is_at_its_place_in_its_color(net):
    """Filter 17 is the second of the second row; a weight is a pixel, between them a gap."""
    graph, layers = net
    layers["conv1"]["weights"][0][9 + 3 + 2, 17] = 2  # green, second row, last column
    layers["conv1"]["weights"][0][18, 0] = -2  # blue, left upper corner
    (found,) = [each for each in layer_filters(layers, graph, 3) if each.layer == "conv1"]
    assert (found.what, found.total, found.filters.shape) == (times("20 filters of 3x3x3"), 20, (3, 3, 3, 20))
    ((figure,), notes) = filter_figures([found])
    (image,) = Read(figure).all("img")
    pixels = image_of(image)
    assert notes == [] and pixels.shape == (2 * 4 + 1, 16 * 4 + 1, 3)
    assert image.attributes["width"] == str(8 * pixels.shape[1])
    assert pixels[1 + 4 + 1, 1 + 4 + 2].tolist() == [128, 255, 128]
    assert pixels[1, 1].tolist() == [128, 128, 0]
    assert (pixels.reshape(-1, 3) == 128).all(axis=1).sum() == 20 * 9 - 2
    assert "-2 is black, 2 white" in Read(figure).all("figcaption")[0].text


def test_a_local_layer_shows_its_filters_at_the_middle(net):
    graph, layers = net
    weights = layers["local2"]["weights"][0]  # (places, C, k, k) x F
    middle = 3 * 6 + 3
    weights.reshape(36, 20, 3, 3, 4)[middle, 7, 1, 2, 3] = 0.5
    (found,) = [each for each in layer_filters(layers, graph, 3) if each.layer == "local2"]
    assert (found.what, found.total) == (times("4 filters of 20x3x3 at the middle of 36 places"), 4)
    assert np.argwhere(found.filters).tolist() == [[7, 1, 2, 3]]


def test_a_fully_connected_layer_shows_the_maps_that_it_reads(net):
    graph, layers = net
    layers["fc"]["weights"][0].reshape(4, 6, 6, 10)[2, 1, 5, 9] = 1
    (found,) = [each for each in layer_filters(layers, graph, 3) if each.layer == "fc"]
    assert found.what == times("10 filters of 4x6x6") and np.argwhere(found.filters).tolist() == [[2, 1, 5, 9]]


def test_a_net_without_convolutions_shows_what_it_looks_for_in_pictures():
    graph = make_graph(DATA + "[fc]\ntype=fc\ninputs=data\noutputs=10\ninitW=0.1\n" + cost_of("fc"), {0: 64, 1: 1}, 10)
    layers = stored(graph)
    layers["fc"]["weights"][0].reshape(8, 8, 10)[1, 2, 3] = 1
    (found,) = layer_filters(layers, graph, 1)
    assert found.what == times("10 filters of 1x8x8") and np.argwhere(found.filters).tolist() == [[0, 1, 2, 3]]
    assert list(layer_filters(layers, graph, 0)) == []  # data that are no pictures


def test_the_strongest_channels_come_first():
    C, k, F = 20, 3, 9
    filters = np.zeros((C, k, k, F))
    for f in range(F):
        filters[f + 5, 1, 1, f], filters[f, 0, 2, f] = -2, 1
    pixels = np.asarray(filters_image(filters))
    rows, wide = 3, 16 * 4 + 3  # four columns of three filters
    assert pixels.shape == (rows * 4 + 1, 4 * wide - 3 + 1)
    for f in range(F):
        x, y = f // rows * wide + 1, f % rows * 4 + 1
        assert pixels[y + 1, x + 1] == 0 and pixels[y, x + 4 + 2] == round(255 * 0.75)
        assert (pixels[y : y + 3, x + 8 : x + 11] == 128).all()


def test_what_cannot_be_shown_is_said(net):
    graph, layers = net
    layers["conv1"]["weights"][0][0, 0] = np.nan
    layers["local2"]["weights"] = []
    layers["fc"]["weights"][0] = np.zeros(3)
    found = list(layer_filters(layers, graph, 3))
    assert [bank for bank in found if isinstance(bank, LayerFilters)] == []
    assert "conv1: layer 'conv1': weights[0] are not all finite" in found[0] and "fc: weights of shape (3,)" in found[1]
    assert filter_figures(found) == ([], found)


def test_pictures_of_filters_have_bounds():
    """A large layer is cut to some filters, and very many layers to those that there is room for."""
    random = np.random.default_rng(0)
    graph = make_graph(DATA + "[fc]\ntype=fc\ninputs=data\noutputs=3000\ninitW=0.1\n" + cost_of("fc"), {0: 4096, 1: 1}, 3000)
    layers = {"fc": {"name": "fc", "type": "fc", "weights": [random.normal(size=(4096, 3000))]}}
    (found,) = layer_filters(layers, graph, 1)
    assert found.total == 3000 and found.filters.shape == (1, 64, 64, (1 << 18) // 65**2)
    figures, notes = filter_figures([found] * 6)
    assert sum(map(len, figures)) < 1.2e6 and 1 < len(figures) < 6
    assert notes == [f"For want of room the filters of {6 - len(figures)} layers are not shown, from fc on."]


def test_a_film_shows_a_frame_for_each_checkpoint_scaled_together():
    """The last one is chosen; a rule for each frame shows the picture of the same number, and no other."""
    frames = [(f"1.{i}", np.full((1, 2, 2, 4), float(i))) for i in range(3)]
    page = Read(film("<conv1>", frames, number=7))
    boxes = page.all("input", type="radio", name="film-7")
    assert [("checked" in box.attributes) for box in boxes] == [False, False, False, True]
    labels = {label.attributes["for"]: label.text for label in page.all("label")}
    assert [labels[box.attributes["id"]] for box in boxes] == ["play", "1.0", "1.1", "1.2"]
    assert [image_of(image)[1, 1, 0] for image in page.all("img")] == [0, 128, 255]
    assert page.all("legend")[0].text == "<conv1> at 3 checkpoints" and "0 is black, 2 white" in page.all("p")[0].text
    shown = re.findall(r"input:nth-of-type\((\d)\):checked ~ \.frames img:nth-child\((\d)\)", film_style(3))
    assert shown == [("2", "1"), ("3", "2"), ("4", "3")]
    assert re.findall(r"img:nth-child\((\d)\) \{ animation-delay: ([\d.]+)s", film_style(3)) == [
        ("1", "0.0"), ("2", "0.7"), ("3", "1.4"),
    ]  # fmt: skip


def test_of_many_checkpoints_some_are_shown_the_first_and_the_last_among_them():
    assert chosen(list(range(100)))[0] == 0 and chosen(list(range(100)))[-1] == 99 and len(chosen(list(range(100)))) == 12
    assert chosen([1, 2, 3]) == [1, 2, 3]
    large = [(str(i), np.random.default_rng(i).normal(size=(3, 24, 24, 16))) for i in range(8)]
    text = film("conv1", large, 0)
    assert len(text) < 6e5 and Read(text).all("img")[-1].attributes["alt"] == "Filters of conv1 at checkpoint 7"
