"""The page of what ``on_a_processor.py`` has measured, and the table and the picture of it for ``docs/performance.md``."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convnet.drawing.headed_scene import headed_scene
from convnet.drawing.shapes import Paint, Rectangle, Scene, Shape, Words
from convnet.drawing.svg import svg_of

Record = dict[str, Any]
PASSES = ("forward", "backward", "update")
COLORS = {"exact": "#2b6aa6", "float32": "#3a7d3a", "fast": "#b8651b", "theirs": "#9aa5b1"}
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


class Row(NamedTuple):
    """A pass of a layer, or of towers that are one to PyTorch: milliseconds, and ours as a share of the peak."""

    name: str
    kind: str
    ours: float
    theirs: float
    share: float
    methods: str


def ratios(record: Record) -> list[float]:
    """Return ours over theirs, turn by turn."""
    return [ours / theirs for ours, theirs in zip(record["ours"], record["theirs"], strict=True)]


def ratio_text(record: Record) -> str:
    found = ratios(record)
    ours, theirs = statistics.median(record["ours"]), statistics.median(record["theirs"])
    return f"{ours:.1f} ms beside {theirs:.1f}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def rows_of(record: Record) -> Iterator[Row]:
    """Yield the passes of a ``layers`` record; neurons belong to the layers that they stand behind."""
    report = record["report"]
    for unit in record["units"]:
        names = {*unit["layers"], *(f"{name}_neuron" for name in unit["layers"])}
        for kind, times in unit["ms"].items():
            ours = [layer[kind] for layer in report["layers"] if layer["name"] in names and kind in layer]
            spent = sum(timed["ms"]["median"] for timed in ours)
            done = sum(timed["gflops"] * timed["ms"]["median"] for timed in ours)
            methods = dict.fromkeys(method for timed in ours for method in timed.get("methods", ()))
            share = done / max(spent, 1e-9) / report["peak"]["gflops"]
            yield Row(" + ".join(unit["layers"]), kind, spent, statistics.median(times), share, ", ".join(methods))


def page(records: Sequence[Record], processor: str) -> str:
    """Return the page of a visit."""
    lines = [
        f"# On a processor beside PyTorch, {records[0]['date']}" if records else "# Nothing was measured",
        "",
        processor,
        "",
    ]
    lines += [
        "Milliseconds; the two take turns, and a ratio is that of two turns in a row: median (smallest to largest).",
        "",
    ]
    lines += turns_table(records)
    for record in _of(records, "modes"):
        shown = ", ".join(f"{mode} {ms:.1f}" for mode, ms in sorted(record["ms"].items(), key=lambda item: item[1]))
        worst = max(record["of_few"].values())
        lines += ["", f"{record['net']}: the two differ by {worst:.1e} at most. PyTorch's step by mode: {shown}."]
    for record in _of(records, "layers"):
        lines += [
            "",
            f"## {record['net']} at {record['N']}, {record['math']}, {_threads(record)}",
            "",
            *layers_table(record),
        ]
    return "\n".join(lines)


def turns_table(records: Sequence[Record]) -> list[str]:
    """Return a row for each net, minibatch, number of threads and math mode."""
    lines = ["| net | what | math | convnet | PyTorch | its mode | ratio |", "|---|---|---|---:|---:|---|---|"]
    for record in [*_of(records, "steps"), *_of(records, "inference")]:
        what = f"{'step' if record['part'] == 'steps' else 'inference'} at {record['N']}, {_threads(record)}"
        ours, theirs, found = *(statistics.median(record[side]) for side in ("ours", "theirs")), ratios(record)
        ratio = f"**{statistics.median(found):.2f}** ({min(found):.2f} to {max(found):.2f})"
        cells = [record["net"], what, record["math"], f"{ours:,.1f}", f"{theirs:,.1f}", record["mode"], ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def layers_table(record: Record) -> list[str]:
    """Return a row for each pass of each layer, and what the peak is."""
    peak = record["report"]["peak"]
    lines = [f"The peak: {peak['gflops']:.1f} GFLOP/s by {peak['by']}.", ""]
    lines += ["| layer | pass | convnet | PyTorch | ratio | of the peak | method |", "|---|---|---:|---:|---:|---:|---|"]
    for row in rows_of(record):
        share = f"{row.share:.0%}" if row.share >= 0.01 else ""
        cells = [
            row.name,
            row.kind,
            f"{row.ours:.2f}",
            f"{row.theirs:.2f}",
            f"{row.ours / row.theirs:.2f}",
            share,
            row.methods,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def picture(records: Sequence[Record]) -> Scene:
    """Draw the steps of every net beside PyTorch's, and of the first net with layers how near each pass is to the peak."""
    steps, layers = list(_of(records, "steps")), next(_of(records, "layers"), None)
    bars: list[tuple[str, list[tuple[str, float, str]]]] = []
    for net in dict.fromkeys(record["net"] for record in steps):
        most = max((record for record in steps if record["net"] == net), key=lambda record: record["threads"])
        of_net = [record for record in steps if record["net"] == net and record["threads"] == most["threads"]]
        shown = [("theirs", 1.0, f"PyTorch, {most['mode']}: {statistics.median(most['theirs']):,.0f} ms")]
        for record in of_net:
            ratio = statistics.median(ratios(record))
            shown.append(
                (record["math"], ratio, f"{record['math']}: {statistics.median(record['ours']):,.0f} ms, {ratio:.2f}")
            )
        bars.append((f"{net}: step at {most['N']}, {_threads(most)}", shown))
    if layers:
        passes = [row for row in rows_of(layers) if row.share >= 0.05]
        shown = [(layers["math"], row.share, f"{row.name} {row.kind}: {row.share:.0%}") for row in passes]
        bars.append((f"{layers['net']}: share of the peak by layer and pass, {layers['math']}", shown))
    shapes, y = _bars(bars, 24, 100, 340)
    lines = ["Time beside PyTorch's fastest mode, which is 1: shorter is faster.",
             "Below it how much of what the processor can multiply and add each layer's passes do."]  # fmt: skip
    return headed_scene(720, y, "Training steps on a processor", lines, shapes, 24)


def _bars(
    groups: Sequence[tuple[str, list[tuple[str, float, str]]]], x: float, y: float, length: float
) -> tuple[list[Shape], float]:
    """Return groups of bars, each with its words beside it, from (x, y) on, and where they end."""
    shapes: list[Shape] = []
    for heading, bars in groups:
        shapes.append(Words("column", x, y + 14, heading))
        y += 24
        for color, share, words in bars:
            shapes.append(Rectangle("swatch", x, y, length * min(share, 1.6), 13, paint=Paint(COLORS[color])))
            shapes.append(Words("label", x + length * min(share, 1.6) + 8, y + 11, words))
            y += 17
        y += 16
    return shapes, y


def write_docs(records: Sequence[Record], folder: Path, processor: str) -> None:
    """Put the picture and the table into the docs, between the marks of ``performance.md``."""
    (folder / "performance.svg").write_text(svg_of(picture(records)), encoding="utf-8")
    path = folder / "performance.md"
    text, table = path.read_text(encoding="utf-8"), "\n".join([processor, "", *turns_table(records)])
    measured: Callable[[re.Match[str]], str] = lambda _: f"{BEGIN}\n{table}\n{END}"  # noqa: E731
    path.write_text(re.sub(f"{BEGIN}.*?{END}", measured, text, flags=re.DOTALL), encoding="utf-8")


def _of(records: Sequence[Record], part: str) -> Iterator[Record]:
    return (record for record in records if record["part"] == part)


def _threads(record: Record) -> str:
    return f"{record['threads']} thread{'s' * (record['threads'] != 1)}"
