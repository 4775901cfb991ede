"""Machine code without a card: how it is read, and floors for what the loops of convolutions issue on sm_90.

A floor is the share of FFMA (float32) or HMMA (TF32) in the innermost loop, a few per cent under what is measured; a change of
the loops that costs a tenth fails here. Other compilers than that of the table differ by some instructions.
"""

import pytest

from convnet.backends.cuda import Cuda, sass
from convnet.backends.cuda.compile import Nvrtc, build
from convnet.backends.cuda.cubin import resources_of
from convnet.backends.cuda.recorder import Recorder
from convnet.cli import main
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

# Percent of FFMA or HMMA, by math, pass and tile (BM, BN).
FLOORS = {
    ("float32", "forward"): {(32, 32): 64, (32, 128): 78, (48, 128): 79, (64, 128): 83, (96, 128): 85, (128, 128): 86},
    ("float32", "input_grad"): {(32, 32): 64, (48, 32): 63, (48, 128): 79, (64, 128): 83, (128, 128): 86},
    ("float32", "weight_grad"): {
        (48, 32): 54, (64, 64): 74, (96, 128): 77, (128, 48): 73, (128, 64): 78, (128, 96): 77,
    },
    ("tf32", "forward"): {(32, 64): 7, (32, 128): 9, (64, 64): 9, (64, 128): 11, (96, 128): 13, (128, 128): 17},
    ("tf32", "input_grad"): {(32, 64): 7, (64, 64): 9, (64, 128): 11, (128, 128): 17},
    ("tf32", "weight_grad"): {(64, 32): 6, (64, 64): 7, (128, 32): 7, (128, 64): 9, (128, 96): 12, (128, 128): 14},
}  # fmt: skip
NETS = ("layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-cifar10-18pct.cfg")


@pytest.fixture(scope="module")
def tools():
    try:
        sass.find_disassembler()
        Nvrtc()
    except Exception as error:
        pytest.skip(f"NVRTC and nvdisasm cannot be used here: {error}")


def convolutions(definition: str, math: str) -> list[tuple]:
    """(source, kernel) of every specialisation of the three passes."""
    recorder = Recorder(math)
    dry_run(synthesize(parse(LayerFiles.open(definition, None))).graph, Cuda(recorder), 128)
    passes = ("conv_forward", "conv_input_grad", "conv_weight_grad")
    return list(dict.fromkeys((seen[0], seen[1]) for seen in recorder.seen if seen[1] in passes))


def check(code, kernel: str, math: str) -> None:
    """Hold a kernel to its floor; nothing in the loop but products, copies and whole vectors."""
    cubin, tiles = build(code, 90), dict(code.tiles)
    loop = sass.innermost_loop(sass.instructions_of(sass.listing_of(cubin), kernel))
    where = f"{kernel} {code.constants()}\n{loop.text()}"
    floor = FLOORS[math, kernel.removeprefix("conv_")][tiles["BM"], tiles["BN"]]
    assert loop.math == ("HMMA" if math == "tf32" else "FFMA"), where
    assert 100 * loop.share >= floor, where
    # Products: each of the warp's or thread's sums once for every k of the slice.
    products = tiles["BM"] * tiles["BN"] * tiles["BK"] // tiles["THREADS"]
    assert loop.count(loop.math) == (products // 32 if math == "tf32" else products), where
    assert loop.count("local") == 0, where
    assert loop.count("barriers") == 1, where


@pytest.mark.slow
@pytest.mark.parametrize("math", ["float32", "tf32"])
@pytest.mark.parametrize("definition", NETS)
def test_loops_issue_little_but_products(tools, definition, math):
    for code, kernel in convolutions(definition, math):
        check(code, kernel, math)
