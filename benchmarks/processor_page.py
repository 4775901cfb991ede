"""The page of what ``on_a_processor.py`` has measured, and the tables and the picture of it for ``docs/performance.md``."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convnet.drawing.headed_scene import headed_scene
from convnet.drawing.shapes import Paint, Rectangle, Scene, Shape, Words
from convnet.drawing.svg import svg_of

Record = dict[str, Any]
PASSES = ("forward", "backward", "update")
COLORS = {"exact": "#2b6aa6", "float32": "#3a7d3a", "fast": "#b8651b", "theirs": "#9aa5b1"}
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
SHORT = 0.1  # milliseconds of a pass in which threads meet for a good part


class Pass(NamedTuple):
    """A pass of a layer: milliseconds of both, how long the peaks of arithmetic and of memory would take, and methods."""

    ours: float
    theirs: float
    arithmetic: float
    memory: float
    methods: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.arithmetic / max(self.ours, 1e-9)

    @property
    def bound(self) -> str:
        return "threads" if self.ours < SHORT else "arithmetic" if self.arithmetic > self.memory else "memory"

    def __str__(self) -> str:
        share = f", {self.share:.0%}" if self.share >= 0.01 else ""
        return f"{self.ours:.2f} ({self.ours / self.theirs:.2f}{share})"


def fastest_passes(turns: Sequence[Sequence[Record]]) -> list[Record]:
    """Return each of PyTorch's units with the median milliseconds of its passes, of each the mode in which it is fastest."""
    found: dict[tuple[str, ...], Record] = {}
    for i, alone in enumerate(turns[0]):
        about = {key: alone[key] for key in ("layers", "type")}
        unit = found.setdefault(tuple(alone["layers"]), {**about, "ms": {}, "modes": {}})
        for kind in alone["ms"]:
            ms = statistics.median(turn[i]["ms"][kind] for turn in turns)
            if ms < unit["ms"].get(kind, ms + 1):
                unit["ms"][kind], unit["modes"][kind] = ms, alone["mode"]
    return list(found.values())


def peak_of(record: Record) -> Record:
    return max((report["peak"] for report in record["reports"]), key=lambda peak: peak["gflops"])


def rows_of(record: Record) -> Iterator[tuple[list[str], dict[str, Pass]]]:
    """Yield the layers of a ``layers`` record, towers that are one to PyTorch together, with their neurons."""
    peak = peak_of(record)
    for unit in record["units"]:
        names, passes = {*unit["layers"], *(f"{name}_neuron" for name in unit["layers"])}, {}
        for kind, theirs in unit["ms"].items():
            turns = [[layer[kind] for layer in report["layers"] if layer["name"] in names and kind in layer]
                     for report in record["reports"]]  # fmt: skip
            ours = statistics.median(sum(timed["ms"]["median"] for timed in turn) for turn in turns)
            done = [(timed["ms"]["median"], timed) for timed in turns[0]]
            work = [sum(ms * timed[rate] for ms, timed in done) / peak[rate] for rate in ("gflops", "gbs")]
            methods = dict.fromkeys(method for timed in turns[0] for method in timed.get("methods", ()))
            passes[kind] = Pass(ours, theirs, *work, tuple(methods))
        yield unit["layers"], passes


def ratios(record: Record) -> list[float]:
    """Return ours over theirs, turn by turn."""
    return [ours / theirs for ours, theirs in zip(record["ours"], record["theirs"], strict=True)]


def ratio_text(record: Record) -> str:
    found = ratios(record)
    ours, theirs = statistics.median(record["ours"]), statistics.median(record["theirs"])
    return f"{ours:.1f} ms beside {theirs:.1f}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def page(records: Sequence[Record], processor: str) -> str:
    """Return the page of a visit."""
    heading = f"# On a processor beside PyTorch, {records[0]['date']}" if records else "# Nothing was measured"
    lines = [heading, "", processor, "", *turns_table(records)]
    for record in _of(records, "modes"):
        shown = ", ".join(f"{mode} {ms:.1f}" for mode, ms in sorted(record["ms"].items(), key=lambda item: item[1]))
        apart = ", ".join(f"{max(found.values()):.1e} in {math}" for math, found in record["of_few"].items())
        lines += ["", f"{record['net']}: the two differ by {apart} at most. PyTorch's step by mode: {shown}."]
    for record in _of(records, "layers"):
        lines += ["", *layers_table(record)]
    return "\n".join(lines)


def turns_table(records: Sequence[Record]) -> list[str]:
    """Return a row for each net, part, minibatch, number of threads and math mode."""
    lines = ["Milliseconds, the two by turns; a ratio is that of two turns in a row: median (smallest to largest).",
             "Rows with the same time beside them are of one run; only these compare with each other.", ""]  # fmt: skip
    lines += ["| net | what | math | convnet | beside | which is | ratio |", "|---|---|---|---:|---:|---|---|"]
    for record in (r for part in ("steps", "inference", "scaling") for r in _of(records, part)):
        what = f"{'inference' if record['part'] == 'inference' else 'step'} at {record['N']}, {_threads(record)}"
        ours, theirs, found = *(statistics.median(record[side]) for side in ("ours", "theirs")), ratios(record)
        mode = record["mode"] if record["part"] == "scaling" else f"PyTorch, {record['mode']}"
        ratio = f"**{statistics.median(found):.2f}** ({min(found):.2f} to {max(found):.2f})"
        cells = [record["net"].removeprefix("layers-"), what, record["math"], f"{ours:,.1f}", f"{theirs:,.1f}", mode, ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def layers_table(record: Record) -> list[str]:
    """Return a row for each layer, below what its numbers are and what the peak is."""
    peak = peak_of(record)
    whole = statistics.median(report["gflops"] for report in record["reports"]) / peak["gflops"]
    memory = [report["memory"] for report in record["reports"] if report["memory"]["peak"]]
    lines = [f"Layers of {record['net']} alone at {record['N']}, {record['math']}, {_threads(record)}: milliseconds, beside",
             "PyTorch's fastest mode of each pass, and the share of the peak of arithmetic, which is",
             f"{peak['gflops']:.0f} GFLOP/s by {peak['by']}; memory moves {peak['gbs']:.0f} GB/s.",
             f"A whole step reaches {whole:.0%} of the peak."]  # fmt: skip
    if memory:
        most = max(memory, key=lambda found: found["peak"])
        lines[-1] += f" It takes {most['peak'] / most['expected']:.2f} of the memory that `convnet explain` expects."
    lines += ["", "| layer | forward | backward | update | bound by | method |", "|---|---|---|---|---|---|"]
    for names, passes in rows_of(record):
        cells = [" + ".join(names), *(str(passes.get(kind, "")) for kind in PASSES)]
        bounds = dict.fromkeys(passes[kind].bound for kind in PASSES[:2] if kind in passes)
        methods = dict.fromkeys(method for found in passes.values() for method in found.methods)
        lines.append(f"| {' | '.join([*cells, ', '.join(bounds), ', '.join(methods)])} |")
    return lines


def shown_layers(records: Sequence[Record]) -> Record | None:
    """Return the layers that the docs show: exact, whose shares are those of what is computed, of the deepest net."""
    return max(_of(records, "layers"), key=lambda r: (r["math"] == "exact", len(r["units"])), default=None)


def picture(records: Sequence[Record]) -> Scene:
    """Draw the steps of every net beside PyTorch's, and of the layers that are shown how near each pass is to the peak."""
    steps, bars = list(_of(records, "steps")), []
    for net in dict.fromkeys(record["net"] for record in steps):
        threads = max(record["threads"] for record in steps if record["net"] == net)
        of_net = [record for record in steps if (record["net"], record["threads"]) == (net, threads)]
        shown = [("theirs", 1.0, f"PyTorch, {of_net[0]['mode']}: {statistics.median(of_net[0]['theirs']):,.0f} ms")]
        for record in of_net:
            ratio, ours = statistics.median(ratios(record)), statistics.median(record["ours"])
            shown.append((record["math"], ratio, f"{record['math']}: {ours:,.0f} ms, {ratio:.2f}"))
        bars.append((f"{net}: step at {of_net[0]['N']}, {_threads(of_net[0])}", shown))
    if layers := shown_layers(records):
        passes = [(names, kind, found) for names, all_passes in rows_of(layers) for kind, found in all_passes.items()]
        shown = [(layers["math"], found.share, f"{' + '.join(names)} {kind}: {found.share:.0%}")
                 for names, kind, found in passes if found.share >= 0.05]  # fmt: skip
        bars.append((f"{layers['net']}: share of the peak by layer and pass, {layers['math']}", shown))
    lines = ["Time beside PyTorch's fastest mode, which is 1: shorter is faster.",
             "Below it how much of what the processor can multiply and add each layer's passes do."]  # fmt: skip
    shapes, y = _bars(bars, 24, 100, 340)
    return headed_scene(720, y, "Training steps on a processor", lines, shapes, 24)


def _bars(groups: Sequence[tuple[str, list]], x: float, y: float, length: float) -> tuple[list[Shape], float]:
    """Return groups of bars, (color, share, words) each, from (x, y) on, and where they end."""
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
    """Put the picture and the tables into the docs, between the marks of ``performance.md``."""
    (folder / "performance.svg").write_text(svg_of(picture(records)), encoding="utf-8")
    path, layers = folder / "performance.md", shown_layers(records)
    lines = [BEGIN, processor, "", *turns_table(records), *(["", *layers_table(layers)] if layers else []), END]
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(before + "\n".join(lines) + rest.split(END)[1], encoding="utf-8")


def _of(records: Sequence[Record], part: str) -> Iterator[Record]:
    return (record for record in records if record["part"] == part)


def _threads(record: Record) -> str:
    return f"{record['threads']} thread{'s' * (record['threads'] != 1)}"
