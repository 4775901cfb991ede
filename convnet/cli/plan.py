"""What a step costs on many ranks, by data, model and hybrid parallelism, from the net's own counts; nothing is run.

convnet plan layers-imagenet.cfg                                                eight H100s of one machine
convnet plan layers-imagenet.cfg --ranks 8,64 --mini 8192 --link 25GB/s         more of them, and their link
convnet plan layers-imagenet-1gpu.cfg --device K20 --per-rank 128 --node 4 --between 3GB/s --out plan.svg
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from convnet.backends import make_backends
from convnet.cli.common import Parser, mini_of, run_verb, terminal_width
from convnet.cli.definition import Definition
from convnet.errors import OptionError
from convnet.graph.table import wrapped
from convnet.options import NATURAL, text, whole_numbers
from convnet.planning.machines import TF32_MODES, THIS_MACHINE, Machine, device_named, link_named, measured_device
from convnet.planning.plan import Plan, plan, ratio_on_one_machine
from convnet.planning.quantities import FLOPS, RATE, TIME
from convnet.planning.steps import Step
from convnet.planning.towers import is_placed
from convnet.texts import aligned, counted

_RANKS = whole_numbers(1, "1,2,4,8")
_FORMS = (".svg", ".pdf", ".png")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    example = "layers-imagenet.cfg --ranks 8,64 --mini 8192 --link 25GB/s --latency 5us"
    parser = Parser(prog, "Say what a step costs on many ranks: arithmetic, bytes over links, and waiting.", example)
    parser.add_definition()
    parser.add_value("--ranks", _RANKS, "numbers of ranks beside one, a device each [2,4,8]")
    parser.add_value("--per-rank", NATURAL, "cases of each rank, instead of --mini, which is the whole minibatch")
    parser.add_value("--device", text("NAME"), f"a card by name, such as K20 or A100, or '{THIS_MACHINE}', measured", "H100")
    parser.add_value("--peak", text("RATE"), f"operations a second at most, such as {FLOPS.example} [the device's]")
    parser.add_value("--bandwidth", text("RATE"), "bytes a second of its memory, such as 3.35TB/s [the device's]")
    what = f"{RATE.example}, 100Gb, or a name such as PCIe3, NVLink, 10GbE [the device's usual one]"
    parser.add_value("--link", text("RATE"), f"bytes a second from one rank to another: {what}")
    parser.add_value(
        "--latency", text("TIME"), f"until the first byte is there, such as {TIME.example} [the link's usual one]"
    )
    parser.add_value("--node", NATURAL, "ranks that are joined by --link; others by --between")
    parser.add_value("--between", text("RATE"), "bytes a second of a rank to those of other nodes")
    parser.add_value("--out", text("FILE"), "picture to write, .svg, .pdf or .png")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--layers", action="store_true", help="show each layer of the fastest scheme on the most ranks")
    shown.add_argument("--json", action="store_true", help="print numbers for programs")
    parser.add_run_options("threads", "math")
    parser.add_data_sizes()
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet plan") -> int:
    """Plan and print; return the exit status."""
    return run_verb(_plan, parser(prog), arguments)


def _plan(args: argparse.Namespace) -> int:
    out = Path(args.out) if args.out else None
    if out and out.suffix.lower() not in _FORMS:
        raise OptionError(f"--out {out}: the name must end in {', '.join(_FORMS)}")
    if args.mini and args.per_rank:
        raise OptionError("--mini is the whole minibatch and --per-rank a rank's part of it; give one of them")
    inferred = Definition.open(args.definition, args.params).graph(args)
    mini = args.per_rank or mini_of(args, inferred.graph.run)
    found = plan(inferred.graph, machine_of(args), args.ranks or (2, 4, 8), mini, bool(args.per_rank))
    if out:
        from convnet.drawing.files import write_picture
        from convnet.drawing.plan_scene import plan_scene

        write_picture(plan_scene(found), out)
    if args.json:
        print(json.dumps(as_json(found), indent=1))
        return 0
    width = terminal_width()
    texts = [wrapped(line, width, "    ") for line in (*found.places(), found.verdict(), *_shared(found))]
    lines = [*inferred.notes, *table(found), "", *texts]
    lines += ["", *layer_table(found)] if args.layers else []
    print("\n".join([*lines, *([f"Wrote {out}."] if out else [])]))
    return 0


def _shared(found: Plan) -> list[str]:
    """Say what ranks that divide this machine reach; the table has as many machines as ranks."""
    if not found.machine.device.name.startswith(THIS_MACHINE) or found.machine.link.hides:
        return []
    said = []
    for scheme in ("data", "model"):
        ratios = [
            f"{ranks} {ratio_on_one_machine(found.graph, found.machine, ranks, steps[0].mini, scheme):.2f}"
            for ranks, steps in found.steps.items()
            if (ranks > 1 if scheme == "data" else is_placed(found.graph, ranks))
        ]
        said += [f"{scheme} parallel {', '.join(ratios)}"] if ratios else []
    return [f"Ranks that divide this one machine, of the speed of one process on it: {'; '.join(said)}."] if said else []


def machine_of(args: argparse.Namespace) -> Machine:
    """Return the machine of the arguments; raises ``OptionError``."""
    if bool(args.node) != bool(args.between):
        raise OptionError("--node and --between go together")
    is_this = args.device.replace("-", " ").casefold() == THIS_MACHINE
    idle = "--threads" if args.threads else "--math exact" if args.math == "exact" else ""
    if idle and not is_this:
        raise OptionError(f"{idle} goes with --device '{THIS_MACHINE}'")
    if is_this:
        device = measured_device(make_backends("auto", args.threads, [0], args.math)[0], args.math)
    else:
        device = device_named(args.device)
        device = device.with_tf32() if args.math in TF32_MODES else device
    flops = FLOPS.read("--peak", args.peak) if args.peak else device.flops
    bandwidth = RATE.read("--bandwidth", args.bandwidth) if args.bandwidth else device.bandwidth
    if args.peak or args.bandwidth:
        device = replace(device, name=f"{device.name} with other numbers", flops=flops, bandwidth=bandwidth)
    link = link_named(args.link or device.link)
    if args.latency:
        link = link._replace(latency=TIME.read("--latency", args.latency))
    return Machine(device, link, args.node or 0, RATE.read("--between", args.between) if args.between else math.inf)


def table(found: Plan) -> list[str]:
    """Return a row for each step, the fastest on its ranks marked, and what columns mean."""
    rows = [
        ["ranks", "scheme", "cases", "step ms", "arithmetic", "waiting", "hidden", "speedup", "efficiency", "sent MB", "GB"]
    ]
    for ranks, steps in found.steps.items():
        for step in steps:
            mark = "*" if step is found.best(ranks) and ranks > 1 else ""
            times = [_ms(seconds) for seconds in (step.seconds, step.arithmetic, step.waiting, step.hidden)]
            rates = f"{found.speedup(step):.2f}", f"{found.efficiency(step):.0%}"
            memory = f"{step.memory / 1e9:.2f}" + "!" * (not found.fits(step))
            scheme = step.scheme + mark if ranks > 1 else "alone"
            rows.append([str(ranks), scheme, str(step.mini), *times, *rates, f"{step.sent / 1e6:,.1f}", memory])
    notes = ["Step = arithmetic + waiting; hidden: what links do beside arithmetic. Sent, GB: of a rank."]
    if len(found.steps) > 1:
        notes[0] = f"*: the fastest on so many ranks. {notes[0]}"
    if any("!" in row[-1] for row in rows):
        notes.append(f"!: more memory than the {found.machine.device.memory / 1e9:.4g} GB of a device.")
    return [
        f"{Path(found.graph.definition.path).name} on {found.machine.describe()}",
        "",
        *aligned(rows, left=2),
        "",
        *notes,
    ]


def layer_table(found: Plan) -> list[str]:
    """Return what each layer costs in the fastest scheme on the most ranks, and when the link sums its gradient."""
    step = found.best(max(found.steps))
    rows = [["layer", "split by", "forward", "backward", "update", "sent MB", "waits", "gradient at", "link from", "to"]]
    for layer in step.layers:
        times = [_ms(seconds) for seconds in (layer.forward, layer.backward, layer.update)]
        sums = [_ms(seconds) if layer.ready else "" for seconds in (layer.ready, *layer.busy)]
        rows.append([layer.name, layer.split, *times, f"{layer.sent / 1e6:,.2f}", _ms(layer.waits), *sums])
    return [f"{step.scheme} on {counted(step.ranks, 'rank')}, in ms:", *map(str.rstrip, aligned(rows, left=2))]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.{2 if seconds >= 0.01 else 3}f}"


def as_json(found: Plan) -> dict[str, Any]:
    """Return all numbers of a plan, in seconds and bytes."""

    def numbers(step: Step) -> dict[str, Any]:
        derived = {"seconds": step.seconds, "hidden": step.hidden, "speedup": found.speedup(step), "fits": found.fits(step)}
        return asdict(step) | derived | {"best": step is found.best(step.ranks)}

    steps = [numbers(step) for steps in found.steps.values() for step in steps]
    machine = asdict(found.machine) | {"link": found.machine.link._asdict()}
    machine["between"] = found.machine.between if found.machine.node else None  # JSON has no infinity
    return {"net": Path(found.graph.definition.path).name, "machine": machine, "steps": steps}
