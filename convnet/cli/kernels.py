"""``convnet kernels DEF LAYER``: the kernels of a layer as they are compiled for it, and what the compiler makes of them.

    convnet kernels layers-imagenet.cfg conv2a
    convnet kernels layers-imagenet.cfg conv2a --arch 90 --source

For each kernel of a training step: the constants it is specialised by, grid and block, registers and shared memory, how
many warps of it fit on a multiprocessor, and the kernel of 2012 that it stands for. No GPU is needed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convnet.backends.cuda.cubin import resources_of
from convnet.errors import BackendError, ConvnetError, OptionError, did_you_mean

_MOST_WARPS = {75: 32, 86: 48, 87: 48, 89: 48, 120: 48, 121: 48}  # per multiprocessor; 64 elsewhere
_SHARED = {75: 64, 80: 164, 87: 164, 86: 100, 89: 100, 120: 100, 121: 100}  # KiB per multiprocessor; 228 elsewhere


@dataclass(frozen=True)
class Launch:
    """One kernel of a step."""

    source: Any
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int


def main(arguments: Sequence[str] | None = None, prog: str = "convnet kernels") -> int:
    """Print what is asked for; returns the exit status."""
    try:
        args = _parser(prog).parse_args(arguments)
        for launch in dict.fromkeys(launches_of(args.definition, args.params, args.layer, args.mini, args.math)):
            print(describe(launch, args.arch, args.source))
    except ConvnetError as error:
        print(f"convnet: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def launches_of(definition: str, params: str | None, layer: str, mini: int, math: str = "float32") -> list[Launch]:
    """The kernels that one training step starts for ``layer``; raises ``ConvnetError``."""
    from convnet.backends.cuda import Cuda
    from convnet.backends.cuda.recorder import Recorder
    from convnet.data.random import synthesize
    from convnet.graph.loading import LayerFiles, parse
    from convnet.net.dry_run import blank_inputs, empty_state
    from convnet.net.net import Net, Work
    from convnet.net.node import Node

    files = LayerFiles.open(definition, params)
    graph = synthesize(parse(files)).graph
    if layer not in graph.layers:
        raise OptionError(f"no layer '{layer}' in {definition}" + did_you_mean(layer, graph.layers))
    recorder = Recorder(math)
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


def describe(launch: Launch, capability: int, with_source: bool = False) -> str:
    """What a person wants to know of a kernel."""
    from convnet.backends.cuda.compile import build
    from convnet.backends.cuda.source import forerunner

    lines = [f"{launch.kernel} (cuda/{launch.source.file})", f"  constants  {launch.source.constants()}"]
    lines.append(f"  grid       {_extents(launch.grid)} blocks of {_extents(launch.block)} threads")
    try:
        resources = resources_of(build(launch.source, capability), launch.kernel)
        lines.append(f"  sm_{capability:<8} {resources_text(resources, launch, capability)}")
    except BackendError as error:
        lines.append(f"  sm_{capability:<8} not compiled: {str(error).splitlines()[0]}")
    lines.append(f"  2012       {forerunner(launch.source.file, launch.kernel)}")
    return "\n".join([*lines, "", launch.source.text()] if with_source else lines) + "\n"


def resources_text(resources: dict[str, int], launch: Launch, capability: int) -> str:
    """Registers, shared memory, and the warps that fit on a multiprocessor."""
    registers, shared = resources["registers"], resources["shared"] + launch.shared
    warps = -(-_product(launch.block) // 32)
    most = _MOST_WARPS.get(capability, 64)
    blocks = min(
        most // warps,
        65536 // max(1, -(-registers * 32 // 256) * 256 * warps),
        (_SHARED.get(capability, 228) << 10) // max(shared, 1024),
        32,
    )
    share = blocks * warps / most
    return f"{registers} registers, {shared} bytes of shared memory, {blocks * warps} of {most} warps resident ({share:.0%})"


def _extents(extents: tuple[int, ...]) -> str:
    return "x".join(map(str, extents))


def _product(extents: tuple[int, ...]) -> int:
    total = 1
    for extent in extents:
        total *= extent
    return total


def _architecture(text: str) -> int:
    match = re.fullmatch(r"(?:sm_)?(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no architecture; expected 90 or sm_90, for example")
    return int(match[1])


def _parser(prog: str) -> argparse.ArgumentParser:
    from convnet.options import CommandParser, natural

    parser = CommandParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("definition", help="layer definition file")
    parser.add_argument("layer", help="name of a layer")
    parser.add_argument("--params", help="layer parameter file")
    parser.add_argument("--mini", type=natural, default=128, help="minibatch size [128]")
    parser.add_argument("--arch", type=_architecture, default=90, help="compute capability [90]")
    parser.add_argument("--math", choices=("float32", "tf32"), default="float32")
    parser.add_argument("--source", action="store_true", help="print the specialised source as well")
    return parser
