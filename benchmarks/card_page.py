"""The page of what ``on_a_card.py`` has measured, and its last lines."""

from __future__ import annotations

from typing import Any

from convnet.net.profile import share_text

PASSES = ("forward", "backward", "update")
Found = dict[str, Any]


def share_of_convolutions(report: Found) -> float:
    """Return the arithmetic of all convolutions over their time, as a share of the peak measured in the same run."""
    passes = [layer[kind] for layer in report["layers"] if layer["type"] == "conv" for kind in ("forward", "backward")]
    milliseconds = sum(timed["ms"]["median"] for timed in passes)
    return sum(timed["gflops"] * timed["ms"]["median"] for timed in passes) / milliseconds / report["peak"]["gflops"]


def by_type(report: Found) -> dict[str, float]:
    """Return the milliseconds of a step by type of layer, each layer timed by itself."""
    found: dict[str, float] = {}
    for layer in report["layers"]:
        spent = sum(layer[kind]["ms"]["median"] for kind in PASSES if kind in layer)
        found[layer["type"]] = found.get(layer["type"], 0.0) + spent
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def best_of_torch(found: Found, net: str, math: str) -> Found | None:
    """Return PyTorch's fastest record of a net in a math mode."""
    records = [record for record in found["theirs"] if (record["net"], record["math"]) == (net, math)]
    return min(records, key=lambda record: record["ms"], default=None)


def summary(found: Found) -> list[str]:
    """Return a line for each net and math mode: our step, PyTorch's best, and the share of the peak."""
    lines = []
    for report in found["ours"]:
        line = f"{report['net']}, {report['math']}: {report['step_ms']['median']:.2f} ms"
        if best := best_of_torch(found, report["net"], report["math"]):
            line += f", PyTorch's best {best['ms']:.2f} ({best['mode']}): {report['step_ms']['median'] / best['ms']:.2f}"
        lines.append(f"{line}; convolutions at {share_of_convolutions(report):.0%} of the peak")
    return lines + found["missing"]


def page(found: Found) -> str:
    """Return the page: steps, by type of layer, and every layer's passes with their shares of the peaks."""
    reports = found["ours"]
    device = reports[0]["device"] if reports else "no device"
    lines = [f"# Training steps on {device}, {found['date']}", ""]
    lines += [f"Minibatch {found['mini']}, median of {found['steps']} steps, milliseconds, inputs on the device.", ""]
    if reports:
        lines += [*_steps(found), "", "Where a step goes, layer by layer:", ""]
    for report in reports:
        spent = ", ".join(f"{kind} {ms:.2f}" for kind, ms in by_type(report).items() if ms > 0.005)
        lines.append(f"- {report['net']}, {report['math']}: {spent}")
    if found["missing"]:
        lines += ["", "Not measured:", "", *(f"- {text}" for text in found["missing"])]
    for report in reports:
        lines += ["", *_layers(report)]
    return "\n".join(lines)


def _steps(found: Found) -> list[str]:
    reports = found["ours"]
    steps = [report["step_ms"]["median"] for report in reports]

    def row(what: str, cells: list[str]) -> str:
        return f"| {what} | " + " | ".join(cells) + " |"

    lines = [row("", [f"{report['net']}, {report['math']}" for report in reports]), "|---" * (len(reports) + 1) + "|"]
    lines.append(row("convnet", [f"**{ms:.2f}**" for ms in steps]))
    for mode in dict.fromkeys(record["mode"] for record in found["theirs"]):
        times = {(r["net"], r["math"]): f"{r['ms']:.2f}" for r in found["theirs"] if r["mode"] == mode}
        lines.append(row(f"PyTorch, {mode}", [times.get((report["net"], report["math"]), "-") for report in reports]))
    if found["theirs"]:
        best = [best_of_torch(found, report["net"], report["math"]) for report in reports]
        ratios = [f"{ms / record['ms']:.2f}" if record else "-" for ms, record in zip(steps, best, strict=True)]
        lines.append(row("convnet over PyTorch's best", ratios))
    lines.append(row("images/s", [f"{report['images_per_s']:,.0f}" for report in reports]))
    lines.append(row("convolutions, of the peak measured here", [f"{share_of_convolutions(r):.0%}" for r in reports]))
    lines.append(row("that peak, TFLOP/s", [f"{report['peak']['gflops'] / 1e3:.1f}" for report in reports]))
    lines.append(row("bandwidth measured here, TB/s", [f"{report['peak']['gbs'] / 1e3:.2f}" for report in reports]))
    return lines


def _layers(report: Found) -> list[str]:
    lines = [f"## {report['net']}, {report['math']}", ""]
    lines += ["| layer | pass | ms | of peak | of bandwidth |", "|---|---|---:|---:|---:|"]
    for layer in report["layers"]:
        for kind in PASSES:
            # A neuron that the layers beside it include has nothing to do.
            if kind in layer and layer[kind]["gbs"] and layer[kind]["ms"]["median"] >= 0.0005:
                timed = layer[kind]
                flops = f"{timed['of_flops']:.0%}" if timed["gflops"] >= 0.05 else ""
                shown = f"{timed['ms']['median']:.3f} | {flops} | {share_text(timed['of_bytes'])}"
                lines.append(f"| {layer['name']} | {kind} | {shown} |")
    return lines
