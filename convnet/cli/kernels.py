"""The kernels of a layer as they are compiled for it, and what the compiler makes of them.

    convnet kernels layers-imagenet.cfg conv2a
    convnet kernels layers-imagenet.cfg conv2a --arch 90 --source
    convnet kernels layers-imagenet.cfg conv2a --sass

For each kernel of a training step: the constants it is specialised by, grid and block, registers and shared memory, how
many warps of it fit on a multiprocessor, and the kernels of 2012 that it replaces; with --sass its machine code, and what
an iteration of its innermost loop issues. No GPU is needed.
"""

import argparse
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.compile import build
from convnet.backends.cuda.cubin import resources_of
from convnet.backends.cuda.machine import TF32_SINCE, math_for
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.sass import find_disassembler, innermost_loop, instructions_of, listing_of
from convnet.backends.cuda.source import originals_of_kernel
from convnet.cli.common import Parser, run_verb
from convnet.data.random import synthesize
from convnet.errors import BackendError, OptionError, first_line
from convnet.graph.loading import LayerFiles, parse
from convnet.net.dry_run import blank_inputs, empty_state
from convnet.net.net import Net, Work
from convnet.net.node import Node
from convnet.options import BY_NAME, Kind, text
from convnet.texts import did_you_mean

_MAX_WARPS = {75: 32, 86: 48, 87: 48, 89: 48, 120: 48, 121: 48}  # per multiprocessor; 64 elsewhere
_SHARED = {75: 64, 80: 164, 87: 164, 86: 100, 89: 100, 120: 100, 121: 100}  # KiB per multiprocessor; 228 elsewhere
_ARCHITECTURE = Kind(
    lambda word: int(word.removeprefix("sm_")), "an architecture; expected 90 or sm_90, for example", "N", lambda n: n > 0
)


class Launch(NamedTuple):
    """One kernel of a step."""

    source: Any
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Show the CUDA kernels of a layer as they are compiled for it.", "layers-imagenet.cfg conv2a")
    parser.add_argument("definition", metavar="DEF", help=BY_NAME["layer_def"].help)
    parser.add_argument("layer", metavar="LAYER", help="name of a layer")
    parser.add_value("--params", text("FILE"), BY_NAME["layer_params"].help)
    parser.add_run_options("mini", "math")
    parser.add_value("--arch", _ARCHITECTURE, "compute capability, such as 80", 90)
    parser.add_argument("--source", action="store_true", help="print the specialised source as well")
    parser.add_argument("--sass", action="store_true", help="count the innermost loop and print the machine code (nvdisasm)")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet kernels") -> int:
    """Print the kernels of a layer; return the exit status."""
    return run_verb(_kernels, parser(prog), arguments)


def _kernels(args: argparse.Namespace) -> int:
    if args.sass:
        find_disassembler()
    math = math_for(args.arch, args.math)
    if math == "tf32" and args.arch < TF32_SINCE:
        raise OptionError(f"sm_{args.arch} has no TF32; leave out --math tf32")
    launches = dict.fromkeys(launches_of(args.definition, args.params, args.layer, args.mini, math, args.arch))
    if not launches:
        print(f"'{args.layer}' starts no kernel: the layers beside it compute its neuron, or its values are only copied")
    for launch in launches:
        print(describe(launch, args.arch, args.source, args.sass))
    return 0


def launches_of(
    definition: str, params: str | None, layer: str, mini: int, math: str = "float32", capability: int = 0
) -> list[Launch]:
    """Return the kernels that one training step starts for ``layer``; raises ``ConvnetError``."""
    files = LayerFiles.open(definition, params)
    graph = synthesize(parse(files)).graph
    if layer not in graph.layers:
        raise OptionError(f"no layer '{layer}' in {definition}" + did_you_mean(layer, graph.layers))
    recorder = Recorder(math, tiled_for=capability)
    net = Net(graph, Cuda(recorder), minibatch=mini, state=empty_state(graph))
    launches: list[Launch] = []

    def record(node: Node, kind: str, work: Work) -> None:  # noqa: ARG001 (every kind)
        start = len(recorder.seen)
        work()
        if node.layer.name == layer:
            launches.extend(Launch(*seen) for seen in recorder.seen[start:])

    net.around = record
    net.train(blank_inputs(graph, mini), mini)
    return launches


def describe(launch: Launch, capability: int, with_source: bool = False, with_sass: bool = False) -> str:
    """Return what there is to say of a kernel: constants, extents, resources, and what it replaces."""
    grid, block = ("x".join(map(str, extents)) for extents in (launch.grid, launch.block))
    machine_code: list[str] = []
    try:
        cubin = build(launch.source, capability)
        compiled = resources_text(resources_of(cubin, launch.kernel), launch, capability)
        if with_sass:
            listing = listing_of(cubin)
            loop = innermost_loop(instructions_of(listing, launch.kernel))
            machine_code = [f"  loop       {loop.text() if loop else 'none'}", "", listing]
    except BackendError as error:
        compiled = f"not compiled: {first_line(error)}"
    lines = [
        f"{launch.kernel} (cuda/{launch.source.file})",
        f"  constants  {launch.source.constants()}",
        f"  grid       {grid} blocks of {block} threads",
        f"  sm_{capability:<8} {compiled}",
        f"  2012       {originals_of_kernel(launch.source.file, launch.kernel)}",
    ]
    return "\n".join([*lines, *machine_code, *(["", launch.source.text()] if with_source else [])]) + "\n"


def resident_blocks(resources: dict[str, int], launch: Launch, capability: int) -> int:
    """Count the blocks that fit on a multiprocessor."""
    registers, shared = resources["registers"], resources["shared"] + launch.shared
    warps = _warps(launch)
    # Each quarter of a multiprocessor has 16384 registers, given out to warps in units of 256; all have room for 32 blocks.
    by_registers = 4 * (16384 // max(1, -(-registers * 32 // 256) * 256))
    by_shared = (_SHARED.get(capability, 228) << 10) // max(shared, 1024)
    return min(_MAX_WARPS.get(capability, 64) // warps, by_registers // warps, by_shared, 32)


def resources_text(resources: dict[str, int], launch: Launch, capability: int) -> str:
    """Return registers, shared memory, and the warps that fit on a multiprocessor."""
    shared, max_warps = resources["shared"] + launch.shared, _MAX_WARPS.get(capability, 64)
    warps = resident_blocks(resources, launch, capability) * _warps(launch)
    resident = f"{warps} of {max_warps} warps resident ({warps / max_warps:.0%})"
    return f"{resources['registers']} registers, {shared} bytes of shared memory, {resident}"


def _warps(launch: Launch) -> int:
    return -(-prod(launch.block) // 32)
