"""Times of tiles: rows of a file of comma-separated values, and the table of tiles that they give (``tile_table.py``).

A row has the products of a pass (its matrices, how many there are), a tile, and milliseconds.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tile_passes import ConvPass

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tile_table import KINDS, MATH, SIDES, Choice, Products, digest_of_kernels
from convnet.backends.cuda.tiles import Tile

NOISE = 0.03  # how much faster than the model's choice a tile must be: twice the same tile differs by up to 2.6 %
FIELDS = ("layer", *Products._fields, *SIDES, "windows", "ms", "kernels")


class Machine(NamedTuple):
    """What the model asks of a device; an H100 has these."""

    capability: int = 90
    multiprocessors: int = 132
    shared_memory: int = 228 << 10


@dataclass(frozen=True)
class Row:
    """A measured time of a choice."""

    layer: str
    products: Products
    choice: Choice
    ms: float

    def values(self) -> list[str]:
        """Return the row's values in the order of ``FIELDS``."""
        sides = [getattr(self.choice.tile, name) for name in SIDES]
        sizes = map(str, [*self.products, *sides, self.choice.windows])
        return [self.layer, *sizes, f"{self.ms:.4f}", digest_of_kernels()]


def read_rows(path: Path) -> list[Row]:
    """Read what ``tune.py`` has appended with today's kernels; a last line that is cut short is left out."""
    rows = []
    with path.open(newline="") as file:
        for record in csv.DictReader(file):
            if record["kernels"] == digest_of_kernels():
                sizes = [int(record[name]) for name in Products._fields[2:]]
                products = Products(record["kind"], record["math"], *sizes)
                choice = Choice(_tile(record, products), int(record["windows"]))
                rows.append(Row(record["layer"], products, choice, float(record["ms"])))
    return rows


def rows_of_first_visit(path: Path, found: Iterable[ConvPass]) -> Iterator[Row]:
    """Yield the rows of ``2026-11-26-h100-tiles.csv``, which names layers, without weight gradients.

    Of these it does not say how many windows a part had, and the rule for that was another one in each of two calls.
    """
    products = {(layer, c.products.kind, c.products.math): c.products for c in found for layer in c.layers}
    with path.open(newline="") as file:
        for record in csv.DictReader(file):
            if record["pass"] != "weight_grad":
                key = products[record["layer"], record["pass"], record["math"]]
                yield Row(record["layer"], key, Choice(_tile(record, key), 1), float(record["ms"]))


def _tile(record: dict[str, str], products: Products) -> Tile:
    sides = {name: int(record[name]) for name in SIDES}
    return Tile(**sides, tensor=products.math == "tf32", k_major=products.kind == "weight_grad")


def choice_of_model(products: Products, machine: Machine) -> Choice:
    """Return what the cost model chooses on a device."""
    kind, math, *sizes, groups = products
    be = Cuda(Recorder(math, machine.multiprocessors, machine.shared_memory))
    return be._choice(kind.upper(), {"G": groups, "LOCAL": 0}, *sizes)


class Comparison(NamedTuple):
    """The fastest choice for some products, and the model's."""

    products: Products
    best: Choice
    best_ms: float
    model_ms: float


def compare(rows: Iterable[Row], machine: Machine) -> list[Comparison]:
    """Compare the model's choice with the best, for all products of which the model's was measured; means of equal rows."""
    times: dict[Products, dict[Choice, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        times[row.products][row.choice].append(row.ms)
    found = []
    for products, by_choice in times.items():
        means = {choice: sum(ms) / len(ms) for choice, ms in by_choice.items()}
        model = choice_of_model(products, machine)
        if model in means:
            best = min(means, key=lambda choice: means[choice])
            found.append(Comparison(products, best, means[best], means[model]))
    return found


def table_text(comparisons: Iterable[Comparison], machine: Machine, remark: str) -> str:
    """Return the text of a table with the choices that beat the model's by more than noise."""
    lines = [f"# {line}" for line in remark.splitlines()]
    lines += [f"capability = {machine.capability}", f"multiprocessors = {machine.multiprocessors}"]
    lines += [f'kernels = "{digest_of_kernels()}"', "tile = ["]
    better = [c for c in comparisons if c.best_ms < (1 - NOISE) * c.model_ms]
    for c in sorted(better, key=lambda c: (KINDS.index(c.products.kind), c.products)):
        values = c.products._asdict() | {name: getattr(c.best.tile, name) for name in SIDES}
        if c.products.kind == "weight_grad":
            values["windows"] = c.best.windows
        texts = {name: f'"{value}"' if isinstance(value, str) else value for name, value in values.items()}
        entry = ", ".join(f"{name} = {text}" for name, text in texts.items())
        lines.append(f"    {{ {entry} }},  # {c.best_ms:.4f} ms, the model's {c.model_ms:.4f}")
    return "\n".join([*lines, "]"]) + "\n"


def verdict(comparisons: list[Comparison]) -> list[str]:
    """Return a line for each pass and math mode: the model's time over the best."""
    lines = []
    for kind in KINDS:
        for math in MATH:
            own = [c for c in comparisons if (c.products.kind, c.products.math) == (kind, math)]
            if own:
                model, best = sum(c.model_ms for c in own), sum(c.best_ms for c in own)
                times = f"model {model:.3f} ms, best {best:.3f}: {model / best:.3f}"
                lines.append(f"{kind}, {math}, {len(own)} convolutions: {times}")
    return lines
