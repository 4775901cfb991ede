"""Machine code without a card: how it is read, and floors for what the loops of convolutions issue on sm_90.

A floor is the share of FFMA (float32) or HMMA (TF32) in the innermost loop, 4 % under what NVRTC 13.5 makes of it, because
other compilers differ by some instructions. A change of the loops that costs a tenth fails here.
"""

import re

import pytest

from convnet.backends.cuda import Cuda, sass
from convnet.backends.cuda.compile import Nvrtc, build
from convnet.backends.cuda.cubin import resources_of
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tiles import Tile
from convnet.cli import main
from convnet.cli.kernels import Launch, launches_of, resident_blocks
from convnet.data.random import synthesize
from convnet.errors import BackendError
from convnet.graph.loading import LayerFiles, parse
from convnet.net.dry_run import dry_run

LISTING = """
	.section	.text.other,"ax",@progbits
.text.other:
        /*0000*/                   EXIT ;
	.section	.text.mine,"ax",@progbits
mine:
.text.mine:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_2:
        /*0010*/                   IMAD.MOV.U32 R3, RZ, RZ, R2 ;
.L_x_1:
        /*0020*/                   LDS.128 R8, [R3+0x100] ;
        /*0030*/                   LDS.64 R4, [R3] ;
        /*0040*/              @!PT LDS RZ, [RZ] ;
        /*0050*/               @P1 LDGSTS.E.BYPASS.128 [R39], desc[UR8][R36.64], P0 ;
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0070*/                   FFMA R69, R28, R32.reuse, R61 ;
        /*0080*/                   FFMA R70, R28, R33, R62 ;
        /*0090*/                   FADD R71, R28, R33 ;
        /*00a0*/                   STL [R1], R2 ;
        /*00b0*/              @!P2 BRA `(.L_x_1) ;
        /*00c0*/               @P0 BRA `(.L_x_2) ;
        /*00d0*/                   EXIT ;
.L_x_3:
        /*00e0*/                   BRA `(.L_x_3);
"""


def test_the_innermost_loop_is_counted():
    instructions = sass.instructions_of(LISTING, "mine")
    assert len(instructions) == 15 and instructions[0] == sass.Instruction(0, "LDC", "R1, c[0x0][0x28]")
    assert instructions[5].predicate == "P1" and instructions[11].target == 0x20
    loop = sass.innermost_loop(instructions)
    assert (loop.body[0].address, loop.body[-1].address) == (0x20, 0xB0)
    assert loop.kinds() == {
        "FFMA": 2, "shared": 2, "idle": 1, "copies": 1, "barriers": 1, "float": 1, "local": 1, "branches": 1,
    }  # fmt: skip
    assert loop.loads() == {128: 1, 64: 1} and loop.share == 0.2
    assert loop.text().startswith("10 instructions: 2 FFMA (20.0%), 1 LDS.128, 1 LDS.64, 1 idle")


def test_what_cannot_be_disassembled_is_said(monkeypatch, tmp_path):
    assert sass.innermost_loop(sass.instructions_of(LISTING, "other")) is None
    with pytest.raises(BackendError, match="no third in"):
        sass.instructions_of(LISTING, "third")
    with pytest.raises(BackendError, match="PTX"):
        sass.listing_of(b".version 8.0")
    broken = tmp_path / "nvdisasm"
    broken.write_text("#!/bin/sh\necho nvdisasm fatal: no code >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sass, "find_disassembler", lambda: str(broken))
    with pytest.raises(BackendError, match="fatal: no code"):
        sass.listing_of(b"\x7fELF")


@pytest.fixture
def no_package(monkeypatch, tmp_path):
    """Neither the package nor a toolkit."""
    monkeypatch.setattr(sass, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    sass.find_disassembler.cache_clear()
    yield
    sass.find_disassembler.cache_clear()


def test_without_a_disassembler(no_package, capsys):
    assert main(["kernels", "layers-imagenet.cfg", "conv2a", "--sass"]) == 1
    expected = "convnet: no disassembler (nvdisasm) here; pip install nvidia-cuda-nvdisasm\n"
    assert capsys.readouterr().err == expected


def test_the_disassembler_of_a_toolkit(no_package, monkeypatch, tmp_path):
    program = tmp_path / "bin" / "nvdisasm"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert sass.find_disassembler() == str(program)


# -- floors

# By math, pass and tile (BM, BN): the least percentage of FFMA or HMMA in the loop, and the least number of resident warps.
FLOORS = {
    ("float32", "forward"): {
        (32, 32): (76, 26), (32, 128): (84, 14), (48, 128): (84, 15), (64, 128): (86, 16), (96, 128): (86.5, 12),
        (128, 128): (87.5, 16),
    },
    ("float32", "input_grad"): {
        (32, 32): (76, 26), (48, 32): (73, 36), (48, 128): (85.5, 15), (64, 128): (87, 16), (128, 128): (87.5, 16),
    },
    ("float32", "weight_grad"): {
        (48, 32): (68, 24), (64, 64): (83.5, 12), (96, 128): (84.5, 12), (128, 48): (81.5, 12), (128, 64): (83.5, 12),
        (128, 96): (84, 12),
    },
    ("tf32", "forward"): {
        (32, 64): (13.5, 16), (32, 128): (14.5, 10), (64, 64): (16, 20), (64, 128): (20, 16), (96, 128): (26, 12),
        (128, 128): (35, 8),
    },
    ("tf32", "input_grad"): {(32, 64): (13.5, 16), (64, 64): (16.5, 20), (64, 128): (23, 16), (128, 128): (35, 8)},
    ("tf32", "weight_grad"): {
        (64, 32): (8, 16), (64, 64): (10.5, 16), (128, 32): (11, 12), (128, 64): (14.5, 12), (128, 96): (19.5, 8),
        (128, 128): (23, 8),
    },
}  # fmt: skip
NETS = ("layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-cifar10-18pct.cfg")
PASSES = ("conv_forward", "conv_input_grad", "conv_weight_grad")


@pytest.fixture(scope="module")
def tools():
    try:
        sass.find_disassembler()
        Nvrtc()
    except Exception as error:
        pytest.skip(f"NVRTC and nvdisasm cannot be used here: {error}")


def check(launch: Launch, math: str) -> None:
    """Hold a kernel to its floors; nothing in its loop but products, copies and reads of whole vectors."""
    cubin, tiles = build(launch.source, 90), dict(launch.source.tiles)
    instructions = sass.instructions_of(sass.listing_of(cubin), launch.kernel)
    loop = sass.innermost_loop(instructions)
    where = f"{launch.kernel} {launch.source.constants()}\n{loop.text()}"
    share, warps = FLOORS[math, launch.kernel.removeprefix("conv_")][tiles["BM"], tiles["BN"]]
    assert 100 * loop.share >= share, where
    resident = resident_blocks(resources_of(cubin, launch.kernel), launch, 90) * tiles["THREADS"] // 32
    assert resident >= warps, (resident, where)
    assert resident >= tile_of(tiles).resident(228 << 10) * tiles["THREADS"] // 32, (resident, where)
    # Each sum of a thread, or with HMMA 32 of them, once for every k of the slice.
    products = tiles["BM"] * tiles["BN"] * tiles["BK"] // tiles["THREADS"]
    assert (loop.multiply_add, loop.count(loop.multiply_add)) == (
        ("HMMA", products // 32) if math == "tf32" else ("FFMA", products)
    ), where
    assert loop.count("barriers") == 1, where
    # What is multiplied is read four values at a time, but filters by tensor cores two: a fragment's in two reads. Besides,
    # copies look up addresses, at most one each.
    loads = loop.loads()
    pairs = tiles["WM"] // 16 * 2 * (tiles["BK"] // 8) if math == "tf32" and not tiles["K_MAJOR"] else 0
    assert loads[32] <= loop.count("copies") and loads[64] <= pairs + 2, where
    # No spills in the loop; around it a few, once for every list of rows.
    assert not loop.count("local") and sum(each.kind == "local" for each in instructions) <= 6, where


def tile_of(tiles: dict[str, int]) -> Tile:
    tensor = bool(tiles["TF32"])
    own = (tiles["WM"], tiles["WN"]) if tensor else (tiles["TM"], tiles["TN"])
    return Tile(tiles["BM"], tiles["BN"], *own, tensor, bool(tiles["K_MAJOR"]), tiles["BK"], tiles["STAGES"])


def convolutions(definition: str, math: str) -> list[Launch]:
    """Every specialisation of the three passes."""
    recorder = Recorder(math)
    dry_run(synthesize(parse(LayerFiles.open(definition, None))).graph, Cuda(recorder), 128)
    seen = {(launch.source, launch.kernel): launch for launch in (Launch(*seen) for seen in recorder.seen)}
    return [launch for launch in seen.values() if launch.kernel in PASSES]


@pytest.mark.parametrize("math", ["float32", "tf32"])
def test_loops_of_one_layer(tools, math):
    launches = launches_of("layers-cifar10-18pct.cfg", None, "conv3", 128, math)
    checked = [launch.kernel for launch in launches if launch.kernel in PASSES]
    assert sorted(checked) == sorted(PASSES)
    for launch in launches:
        if launch.kernel in PASSES:
            check(launch, math)


@pytest.mark.slow
@pytest.mark.parametrize("math", ["float32", "tf32"])
@pytest.mark.parametrize("definition", NETS)
def test_loops_issue_little_but_products(tools, definition, math):
    for launch in convolutions(definition, math):
        check(launch, math)


@pytest.mark.slow
def test_the_verb_prints_counts_and_code(tools, capsys):
    assert main(["kernels", "layers-cifar10-18pct.cfg", "conv3", "--mini", "128", "--sass"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"  loop       \d+ instructions: \d+ FFMA \(\d\d\.\d%\), \d+ LDS.128", text)
    assert re.search(r"/\*[0-9a-f]{4}\*/ +FFMA R", text)
