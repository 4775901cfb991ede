"""Tables of measured tiles: what they say is taken, for exactly their products, and nothing wrong in them is."""

import re

import pytest

from convnet.backends.arguments import Geometry
from convnet.backends.cuda import Cuda, tile_table
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.source import folder, read
from convnet.backends.cuda.tile_table import Choice, Products, digest_of_kernels, read_table, table_for
from convnet.backends.cuda.tiles import Tile
from convnet.cli.kernels import launches_of
from convnet.errors import BackendError

FORWARD = 'kind = "forward", math = "float32", rows = 16, columns = 8, depth = 27, places = 25, groups = 2'
SIDES = "BM = 128, BN = 64, own_m = 8, own_n = 8, BK = 16, STAGES = 3"
WEIGHTS = 'kind = "weight_grad", math = "tf32", rows = 27, columns = 16, depth = 8, places = 25, groups = 2'
WIDE = "BM = 64, BN = 128, own_m = 32, own_n = 64, BK = 16, STAGES = 4"
TENSOR = "BM = 64, BN = 96, own_m = 32, own_n = 48, BK = 32, STAGES = 2, windows = 7"


HEAD = f'capability = 90\nmultiprocessors = 132\nkernels = "{digest_of_kernels()}"'


def text_of(*entries, head=HEAD):
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
    head, found = read_table(table(text_of(f"{FORWARD}, {SIDES}", f"{WEIGHTS}, {TENSOR}")))
    assert head == (90, 132, digest_of_kernels())
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
        (text_of(head="capability = 90\nmultiprocessors = 1"), "kernels: expected the digest"),
        (text_of(head="capability = 90\nmultiprocessors = 1\nkernels = 7"), "kernels: expected the digest"),
        (text_of(head=f"{HEAD}\nname = 3"), "name: no such key"),
        (f"{HEAD}\ntile = 3", "tile: expected a list of tables"),
        (f"{HEAD}\ntile = [3]", "tile[0]: expected a table"),
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


def test_a_table_of_other_kernels_is_not_used(table, monkeypatch):
    """The loop inside decides which tile is the fastest. Comments are no code."""
    table(text_of(f"{FORWARD}, {SIDES}").replace(digest_of_kernels(), "0123456789abcdef"))
    assert kernels_of()["conv_forward"][0]["BM"] != 128
    digests, text = [], read("conv.cu")
    for changed in (text, text + "\n// A remark.\n", text.replace("conv_forward", "conv_backward")):
        monkeypatch.setattr(tile_table, "read", lambda _, changed=changed: changed)
        digests.append(digest_of_kernels.__wrapped__())
    assert digests[0] == digests[1] == digest_of_kernels() != digests[2]


def test_the_listing_of_kernels_shows_the_choice(table):
    products = {"forward": (128, 128, 1200), "weight_grad": (1200, 128, 128)}  # of conv2a
    sizes = "rows = {}, columns = {}, depth = {}, places = 729, groups = 1"
    table(text_of(*(f'kind = "{kind}", math = "tf32", {sizes.format(*own)}, {TENSOR if kind == "weight_grad" else WIDE}'
                    for kind, own in products.items())))  # fmt: skip
    launches = launches_of("layers-imagenet.cfg", None, "conv2a", 128, "tf32", 90)
    tiles = {launch.kernel: dict(launch.source.tiles) for launch in launches}
    assert [tiles["conv_forward"][name] for name in ("BM", "BN", "BK", "STAGES")] == [64, 128, 16, 4]
    assert [tiles["conv_weight_grad"][name] for name in ("BM", "BN", "BK", "STAGES")] == [64, 96, 32, 2]


def test_shipped_tables_are_sound():
    """Those of today's kernels are used on their devices."""
    for path in folder().glob("tiles-*.toml"):
        head, found = read_table(path)
        assert path.name == f"tiles-sm_{head.capability}.toml" and found
        used = table_for(head.capability, head.multiprocessors)
        assert used == (found if head.kernels == digest_of_kernels() else {})
