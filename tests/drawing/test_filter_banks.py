"""Filters of towers, groups, local and fully-connected layers: which maps they read, and where each stands on a sheet."""

import numpy as np
import pytest
from nets import DATA, cost_of
from PIL import Image
from support import write_net

import convnet
from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.cli import shownet
from convnet.drawing.filter_banks import FilterBank, filter_banks
from convnet.drawing.filter_sheet import channel_rows, filter_sheet, in_towers, mosaic, plain_sheet
from convnet.drawing.local_sheet import local_panels, local_sheet
from convnet.errors import OptionError


def conv(name, weights, channels=4, groups=1, size=2, **more):
    return {
        "name": name,
        "type": "conv",
        "inputs": ["data"],
        "weights": [weights],
        "channels": [channels],
        "groups": [groups],
        "filterChannels": [len(weights) // size**2],
        "filterSize": [size],
    } | more


def checkpoint_of(*layers):
    data = {"name": "data", "type": "data", "inputs": []}
    named = {layer["name"]: layer for layer in (data, *layers)}
    return Checkpoint({"model_state": {"layers": named}, "op": {}})


@pytest.mark.parametrize(
    "more, maps",
    [
        ({"groups": 2}, [[0, 1]] * 3 + [[2, 3]] * 3),
        ({"groups": 2, "randSparse": [True], "filterConns": [[3, 1, 0, 2]]}, [[3, 1]] * 3 + [[0, 2]] * 3),
        ({"groups": 2, "channels": 2}, [[0, 1]] * 6),  # each map read twice
    ],
)
def test_the_maps_that_filters_of_groups_read(more, maps):
    [bank] = filter_banks(checkpoint_of(conv("c", np.zeros((8, 6)), **more)), "c")
    assert bank.maps.tolist() == maps and (bank.source, bank.modules) == ("data", 0)


def test_towers_are_read_by_the_name_that_they_share():
    weights = [np.full((8, count), value) for count, value in ((3, 1.0), (5, 2.0))]
    known = checkpoint_of(conv("c1b", weights[1], 2), conv("c1a", weights[0], 2))
    banks = filter_banks(known, "c1")
    assert [(bank.name, bank.filters.max(), bank.names[-1]) for bank in banks] == [("c1a", 1, "a2"), ("c1b", 2, "b4")]
    with pytest.raises(OptionError, match="did you mean 'c1"):
        filter_banks(known, "c1c")


def towers(C=3, k=4, counts=(20, 18)):
    """Filters of white, and one red weight in each tower's last."""
    banks = []
    for letter, count in zip("ab", counts, strict=True):
        filters = np.ones((C, k, k, count))
        filters[1:, 1, 2, -1] = 0
        names = [f"{letter}{i}" for i in range(count)]
        banks.append(FilterBank(f"conv1{letter}", "conv", "data", filters, names, np.tile(np.arange(C), (count, 1))))
    return banks


def reds(image):
    ys, xs = np.nonzero((np.asarray(image) == (255, 0, 0)).all(axis=-1))
    return sorted({(int(y), int(x)) for y, x in zip(ys, xs, strict=True)})


def test_a_tower_stands_below_the_other_in_rows_of_its_own():
    """20 filters are rows of 16 and 4; the other tower begins a new row, below a gap with its name."""
    banks, zoom, k = towers(), 5, 4
    sheet = filter_sheet(banks, "conv1", True, zoom)
    first, second = (square for square in (reds(sheet)[:25], reds(sheet)[25:]))
    assert len(second) == 25
    x_of = [zoom + column * (k + 1) * zoom + 2 * zoom for column in (3, 1)]
    assert (first[0][1], second[0][1]) == tuple(x_of)
    bodies = [mosaic(bank.filters, True, bank.names, zoom) for bank in banks]
    assert second[0][0] - first[0][0] == bodies[0].height + 44
    gap = np.asarray(in_towers(bodies, banks))[bodies[0].height + 44 :][:44]
    assert (gap.max(axis=(1, 2)) > 100).sum() > 8 and gap[:12].max() == 0  # a name, and black above it


def test_without_words_towers_share_a_border():
    plain = plain_sheet(towers(), True, 1)
    assert plain.size == (16 * 5 + 1, 4 * 5 + 1)
    assert reds(plain) == [(5 + 1 + 1, 3 * 5 + 1 + 2), (15 + 1 + 1, 5 + 1 + 2)]
    [local] = [bank._replace(modules=4, filters=bank.filters[..., :16]) for bank in towers()[:1]]
    assert plain_sheet([local], True, 1).size == (4 * 5 + 1, 4 * 5 + 1)  # as many in a row as places


def test_filters_of_deeper_towers_are_shared_out():
    """32 of each of two towers, each a row of its strongest maps, whose numbers are those that it reads."""
    filters, maps = np.ones((20, 3, 3, 40)), np.full((40, 20), 7)
    names = [str(i) for i in range(40)]
    banks = [FilterBank(f"c{letter}", "conv", "p", filters, names, maps) for letter in "ab"]
    both, one = filter_sheet(banks, "c", False), filter_sheet(banks[:1], "c", False)
    of_32, of_40 = (channel_rows(banks[0], count).height for count in (32, 40))
    assert both.height - one.height == 2 * (of_32 + 44) - of_40


@pytest.mark.parametrize("color", [True, False])
def test_filters_of_a_local_layer_lie_where_they_are(color):
    """A planted weight of the filter at row 2 and column 1 of 3 x 3 places is in that cell, of the channel's panel."""
    C, k, M, zoom = 3, 2, 3, 6
    filters = np.full((C, k, k, M * M), -1.0)
    filters[0, 1, 0, 2 * M + 1] = 1
    bank = FilterBank("l", "local", "p", filters, [], np.array([[7, 8, 9]]), M)
    pixels = np.asarray(local_panels(bank, color, zoom))
    bright = np.argwhere(pixels[..., 0] == 255)
    y, x = zoom + 2 * (k + 1) * zoom + zoom, zoom + (k + 1) * zoom
    across = 3 * ((M * (k + 1) + 1) * zoom) + 2 * 24  # of three panels, the strongest first: all are as strong
    assert pixels.shape[1] == (across if not color else (M * (k + 1) + 1) * zoom)
    assert tuple(bright.min(axis=0)) == (20 + y, x) and len(bright) == zoom**2
    assert local_sheet([bank, bank], "l", color, zoom).height > 2 * pixels.shape[0]


FC = f"""{DATA}[fc1]
type=fc
inputs=data
outputs=10
initW=0.1
[conv1]
type=conv
inputs=data
channels=2
filters=16
filterSize=3
padding=1
stride=1
initW=0.1
neuron=relu
[fc2]
type=fc
inputs=conv1
outputs=10
initW=0.1
[both]
type=eltsum
inputs=fc1,fc2
{cost_of("both")}"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("banks")
    net = convnet.build(write_net(folder, FC, "[DEFAULT]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\ncoeff=1\n"), features=72)
    net.save(folder / "c" / "1.1")
    return folder / "c"


def test_the_maps_below_a_fully_connected_layer_are_found(saved, tmp_path):
    known = find_latest(str(saved), load)[1]
    assert filter_banks(known, "fc2")[0].filters.shape == (16, 6, 6, 10)
    assert filter_banks(known, "fc1")[0].filters.shape == (2, 6, 6, 10)  # the data are maps for conv1
    assert filter_banks(known, "fc2", channels=4)[0].filters.shape == (4, 12, 12, 10)
    assert (filter_banks(known, "fc2")[0].source, filter_banks(known, "fc1")[0].source) == ("conv1", "data")
    out = tmp_path / "fc.png"
    assert shownet.main(["-f", str(saved), "--show-filters", "fc2", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.width > 1000
