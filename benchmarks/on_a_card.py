"""Measures training steps on a GPU beside PyTorch, in one run, and prints a page for this folder.

    python benchmarks/on_a_card.py > benchmarks/DATE-CARD.md

Every figure is the median of the steps of a process of its own. PyTorch runs eager and compiled, its images contiguous and
channels_last; the ratio is to the fastest of these in the same math mode. Without ``torch`` only our own figures are shown.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

NETS = ("layers-imagenet", "layers-imagenet-1gpu")
MATH = ("float32", "tf32")
TORCH_MODES = {
    "eager": [],
    "eager, channels_last": ["--channels-last"],
    "compiled": ["--compile"],
    "compiled, channels_last": ["--compile", "--channels-last"],
    "compiled with CUDA graphs, channels_last": ["--compile", "reduce-overhead", "--channels-last"],
}
HERE = Path(__file__).resolve().parent


def ours(net: str, math: str, steps: int, backend: str, mini: int) -> dict[str, Any]:
    """Run ``convnet bench --json`` and return its report."""
    command = ["-m", "convnet", "bench", "--layer-def", f"{net}.cfg", "--backend", backend, "--math", math, "--json"]
    return json.loads(_run([*command, "--steps", str(steps), "--mini", str(mini)]))


def theirs(net: str, math: str, steps: int, mode: str, mini: int) -> float | None:
    """Measure PyTorch's median step in milliseconds; ``None`` where it does not run."""
    command = [str(HERE / "alexnet_torch.py"), "--net", net, "--math", math, "--device", "cuda", "--json"]
    try:
        said = _run([*command, "--steps", str(steps), "--mini", str(mini), *TORCH_MODES[mode]])
    except subprocess.CalledProcessError as error:
        print(f"{net}, {math}, PyTorch {mode}: {error.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return statistics.median(json.loads(said.splitlines()[-1])["steps_ms"])


def share_of_convolutions(report: dict[str, Any]) -> float:
    """Return the arithmetic of all convolutions over their time, as a share of the peak measured in the same run."""
    passes = [layer[kind] for layer in report["layers"] if layer["type"] == "conv" for kind in ("forward", "backward")]
    milliseconds = sum(timed["ms"]["median"] for timed in passes)
    return sum(timed["gflops"] * timed["ms"]["median"] for timed in passes) / milliseconds / report["peak"]["gflops"]


def by_type(report: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds of a step by type of layer, each layer timed by itself."""
    found: dict[str, float] = {}
    for layer in report["layers"]:
        spent = sum(layer[kind]["ms"]["median"] for kind in ("forward", "backward", "update") if kind in layer)
        found[layer["type"]] = found.get(layer["type"], 0.0) + spent
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def page(args: argparse.Namespace) -> str:
    """Measure everything and return the page."""
    reports = {(net, math): ours(net, math, args.steps, args.backend, args.mini) for net in NETS for math in MATH}
    device = reports[NETS[0], MATH[0]]["device"]
    lines = [f"# Training steps on {device}, {datetime.date.today()}", ""]
    lines += [f"Minibatch {args.mini}, median of {args.steps} steps, milliseconds, inputs on the device.", ""]
    lines += ["| | " + " | ".join(f"{net}, {math}" for net, math in reports) + " |", "|---" * (len(reports) + 1) + "|"]
    steps = {key: report["step_ms"]["median"] for key, report in reports.items()}
    lines.append("| convnet | " + " | ".join(f"**{ms:.2f}**" for ms in steps.values()) + " |")
    best: dict[tuple[str, str], float] = {}
    for mode in TORCH_MODES if not args.alone else ():
        times = {(net, math): theirs(net, math, args.steps, mode, args.mini) for net, math in reports}
        best |= {key: min(best.get(key, ms), ms) for key, ms in times.items() if ms is not None}
        lines.append(f"| PyTorch, {mode} | " + " | ".join("-" if t is None else f"{t:.2f}" for t in times.values()) + " |")
    if best:
        shown = [f"{steps[key] / best[key]:.2f}" if key in best else "-" for key in reports]
        lines.append("| convnet over PyTorch's best | " + " | ".join(shown) + " |")
    lines.append("| images/s | " + " | ".join(f"{report['images_per_s']:,.0f}" for report in reports.values()) + " |")
    shares = [f"{share_of_convolutions(report):.0%}" for report in reports.values()]
    lines.append("| convolutions, of the peak measured here | " + " | ".join(shares) + " |")
    peaks = [f"{report['peak']['gflops'] / 1e3:.1f}" for report in reports.values()]
    lines += ["| that peak, TFLOP/s | " + " | ".join(peaks) + " |", "", "Where a step goes, layer by layer:", ""]
    for (net, math), report in reports.items():
        lines.append(
            f"- {net}, {math}: " + ", ".join(f"{kind} {ms:.2f}" for kind, ms in by_type(report).items() if ms > 0.005)
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    print(page(parser.parse_args()))


def _run(command: list[str]) -> str:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
