"""Tables of measured tiles: what they say is taken, for exactly their products, and nothing wrong in them is."""

import re

import pytest

from convnet.backends.arguments import Geometry
from convnet.backends.cuda import Cuda, tile_table
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.source import folder
from convnet.backends.cuda.tile_table import Choice, Products, read_table, table_for
from convnet.backends.cuda.tiles import Tile
from convnet.cli.kernels import launches_of
from convnet.errors import BackendError

FORWARD = 'kind = "forward", math = "float32", rows = 16, columns = 8, depth = 27, places = 25, groups = 2'
SIDES = "BM = 128, BN = 64, own_m = 8, own_n = 8, BK = 16, STAGES = 3"
WEIGHTS = 'kind = "weight_grad", math = "tf32", rows = 27, columns = 16, depth = 8, places = 25, groups = 2'
TENSOR = "BM = 64, BN = 96, own_m = 32, own_n = 48, BK = 32, STAGES = 2, windows = 7"


def text_of(*entries, head="capability = 90\nmultiprocessors = 132"):
    return head + "\ntile = [\n" + "".join(f"    {{ {entry} }},\n" for entry in entries) + "]\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Puts a table where the shipped ones lie."""

    def put(text):
        path = tmp_path / "tiles-sm_90.toml"
        path.write_text(text)
        monkeypatch.setattr(tile_table, "folder", lambda: tmp_path)
        table_for.cache_clear()
        return path

    yield put
    table_for.cache_clear()


def test_what_a_table_says(table):
    machine, found = read_table(table(text_of(f"{FORWARD}, {SIDES}", f"{WEIGHTS}, {TENSOR}")))
    assert machine == (90, 132)
    assert found == {
        Products("forward", "float32", 16, 8, 27, 25, 2): Choice(Tile(128, 64, 8, 8, False, False, 16, 3), 1),
        Products("weight_grad", "tf32", 27, 16, 8, 25, 2): Choice(Tile(64, 96, 32, 48, True, True, 32, 2), 7),
    }


@pytest.mark.parametrize(
    "text, said",
    [
        ("capability = [", "Invalid value"),
        (text_of(head="multiprocessors = 132"), "capability: expected a whole number from 1, not None"),
        (
            text_of(head="capability = 90\nmultiprocessors = true"),
            "multiprocessors: expected a whole number from 1, not True",
        ),
        (text_of(head="capability = 90\nmultiprocessors = 1\nname = 3"), "name: no such key"),
        ("capability = 90\nmultiprocessors = 1\ntile = 3", "tile: expected a list of tables"),
        ("capability = 90\nmultiprocessors = 1\ntile = [3]", "tile[0]: expected a table"),
        (text_of(f"{FORWARD}, {SIDES}", f"{FORWARD}, {SIDES}"), "tile[1]: these products were listed before"),
        (text_of(f"{FORWARD}, {SIDES}, windows = 3"), "tile[0].windows: no such key"),
        (text_of(f"{FORWARD}, {SIDES}".replace("forward", "backward")), "tile[0].kind: expected one of forward, input_grad"),
        (
            text_of(f"{FORWARD}, {SIDES}".replace("float32", "half")),
            "tile[0].math: expected one of float32, tf32, not 'half'",
        ),
        (text_of(f"{FORWARD}, {SIDES}".replace("rows = 16", "rows = -16")), "tile[0].rows: expected a whole number from 1"),
        (text_of(f"{FORWARD}, {SIDES}".replace("rows = 16", "rows = 1.5")), "tile[0].rows: expected a whole number from 1"),
        (text_of(f"{FORWARD}, {SIDES}".replace("own_m = 8", "own_m = 7")), "tile[0]: BM, BN, own_m, own_n: (128, 64, 7, 8)"),
        (text_of(f"{FORWARD}, {SIDES}".replace("BK = 16", "BK = 12")), "tile[0].BK: expected one of 8, 16, 32, not 12"),
        (text_of(f"{WEIGHTS}, {TENSOR}".replace("BK = 32", "BK = 8")), "tile[0].BK: expected one of 16, 32, not 8"),
        (text_of(f"{FORWARD}, {SIDES}".replace("STAGES = 3", "STAGES = 9")), "tile[0].STAGES: expected one of 2, 3, 4, 5"),
        (text_of(f"{WEIGHTS}, {TENSOR}".replace("windows = 7", "windows = 26")), "tile[0].windows: 26 are more than its 25"),
    ],
)
def test_mistakes_are_named(table, text, said):
    path = table(text)
    with pytest.raises(BackendError, match=re.escape(f"{path}: {said}")):
        read_table(path)


def kernels_of(tiled_for=90, cases=8, math="float32", local=False, multiprocessors=132):
    """The constants of each product that the passes of a convolution start."""
    recorder = Recorder(math, multiprocessors, tiled_for=tiled_for)
    be = Cuda(recorder)
    images, out, weights = be.empty((6, 5, 5, cases)), be.empty((32, 5, 5, cases)), be.empty((3, 3, 3, 32))
    how = {"geometry": Geometry(1, 1, 2)}
    weights = be.empty((25, 3, 3, 3, 32)) if local else weights
    be.conv_forward(images, weights, out, **how)
    be.conv_weight_grad(images, out, weights, **how)
    return {kernel: (dict(source.tiles), grid) for source, kernel, grid, *_ in recorder.seen}


def test_a_table_wins_for_exactly_its_products(table):
    table(text_of(f"{FORWARD}, {SIDES}", f"{WEIGHTS}, {TENSOR}"))
    tiles, grid = kernels_of()["conv_forward"]
    assert [tiles[name] for name in ("BM", "BN", "BK", "STAGES")] == [128, 64, 16, 3] and grid == (50, 1)
    tiles, grid = kernels_of(math="tf32")["conv_weight_grad"]
    assert [tiles[name] for name in ("BM", "BN", "BK", "STAGES")] == [64, 96, 32, 2] and grid == (2 * 4,)  # 25 windows by 7
    for other in ({"tiled_for": 0}, {"tiled_for": 80}, {"cases": 16}, {"local": True}, {"multiprocessors": 114}):
        assert kernels_of(**other)["conv_forward"][0]["BM"] != 128


def test_shipped_tables_are_sound():
    """Every kernel that they choose fits the device; the listing of kernels shows their choices."""
    paths = sorted(folder().glob("tiles-*.toml"))
    assert paths
    for path in paths:
        (capability, _), found = read_table(path)
        assert path.name == f"tiles-sm_{capability}.toml" and found
    sizes = {"forward": (128, 128, 1200), "input_grad": (48, 128, 3200), "weight_grad": (1200, 128, 128)}  # of conv2a
    found = 0
    for math in tile_table.MATH:
        launches = launches_of("layers-imagenet.cfg", None, "conv2a", 128, math, 90)
        tiles = {launch.kernel: dict(launch.source.tiles) for launch in launches}
        for kind, own in sizes.items():
            choice = table_for(90, 132).get(Products(kind, math, *own, 729, 1))
            if choice:
                found += 1
                assert tiles[f"conv_{kind}"].items() >= choice.tile.constants.items()
    assert found
