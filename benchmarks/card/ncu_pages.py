"""What Nsight Compute prints with ``--csv``, read into values, and the table of them.

The raw page has a line for each kernel, a column for each metric, and a line of units; the details page has a line for each
metric. Both are read. Values have commas between thousands; ``n/a`` stands for a metric that the chip does not have.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PEAK = ".avg.pct_of_peak_sustained_active"
# A column of the table: the metrics that may fill it, the first that has a value does. The first column is worth most.
METRICS = {
    "time": ("gpu__time_duration.sum",),
    "issue slots": (f"sm__inst_issued{PEAK}", f"smsp__issue_active{PEAK}"),
    "FMA pipe": (f"sm__pipe_fma_cycles_active{PEAK}", f"sm__inst_executed_pipe_fma{PEAK}"),
    "tensor pipe": (
        f"sm__pipe_tensor_op_hmma_cycles_active{PEAK}",
        f"sm__pipe_tensor_cycles_active{PEAK}",
        f"sm__inst_executed_pipe_tensor_op_hmma{PEAK}",
    ),
    "L2": ("lts__t_sectors.avg.pct_of_peak_sustained_elapsed", "lts__throughput.avg.pct_of_peak_sustained_elapsed"),
    "L2 bytes": ("lts__t_bytes.sum",),
    "DRAM": ("dram__throughput.avg.pct_of_peak_sustained_elapsed",),
    "DRAM bytes": ("dram__bytes.sum",),
    "occupancy": (f"sm__warps_active{PEAK}",),
    "most": ("sm__maximum_warps_per_active_cycle_pct", "sm__maximum_warps_avg_per_active_cycle_pct"),
    "waves": ("launch__waves_per_multiprocessor",),
    "registers": ("launch__registers_per_thread",),
    "bank conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",),
}
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNIT = re.compile(r"(n|u|m|K|M|G|T|)(?:s|second|byte|B)$")


class Kernel(NamedTuple):
    """A launch that was measured: values by metric, in seconds, bytes, percent or counts."""

    name: str
    grid: str
    block: str
    values: dict[str, float]

    def of(self, column: str) -> float | None:
        """Return the value for a column of the table, ``None`` where no metric of it was measured."""
        return next((self.values[name] for name in METRICS[column] if name in self.values), None)


def parse_page(text: str) -> list[Kernel]:
    """Read the launches of a log in order, whatever else stands around the tables."""
    found: list[Kernel] = []
    for rows in _tables(text):
        found += _long(rows) if "Metric Name" in rows[0] else _wide(rows)
    return found


def _tables(text: str) -> Iterator[list[dict[str, str]]]:
    """Yield the tables of a log that have lines, as dictionaries by the names in their heads."""
    head: list[str] | None = None
    rows: list[dict[str, str]] = []
    for cells in csv.reader(line for line in text.splitlines() if line.startswith('"')):
        if "Kernel Name" in cells:
            if rows:
                yield rows
            head, rows = cells, []
        elif head:
            rows.append(dict(zip(head, cells, strict=False)))
    if rows:
        yield rows


def _wide(rows: list[dict[str, str]]) -> Iterator[Kernel]:
    """Read a table with a column for each metric; the line of units has no number of a launch."""
    units = next((row for row in rows if not row.get("ID")), {})
    for row in rows:
        if row.get("ID"):
            values = {name: _value(text, units.get(name, "")) for name, text in row.items() if "__" in name}
            yield _kernel(row, values)


def _long(rows: list[dict[str, str]]) -> Iterator[Kernel]:
    """Read a table with a line for each metric."""
    launches: dict[str, tuple[dict[str, str], dict[str, float | None]]] = {}
    for row in rows:
        _, values = launches.setdefault(row.get("ID", ""), (row, {}))
        values[row.get("Metric Name", "")] = _value(row.get("Metric Value", ""), row.get("Metric Unit", ""))
    for row, values in launches.values():
        yield _kernel(row, values)


def _kernel(row: dict[str, str], values: dict[str, float | None]) -> Kernel:
    name = row["Kernel Name"].partition("(")[0].split()[-1]
    known = {metric: value for metric, value in values.items() if value is not None}
    return Kernel(name, row.get("Grid Size", ""), row.get("Block Size", ""), known)


def _value(text: str, unit: str) -> float | None:
    """Return a value in seconds, bytes, percent or counts; ``None`` for what is no number."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    scaled = _UNIT.match(unit)
    return value * _UNITS[scaled[1]] if scaled else value


def unknown_metrics(text: str, metrics: Sequence[str]) -> list[str]:
    """Return those of ``metrics`` that ncu's errors and warnings name, by their whole name or without its ending."""
    said = "\n".join(line for line in text.splitlines() if line.startswith(("==ERROR==", "==WARNING==")))
    words = set(re.findall(r"[A-Za-z0-9_]+__[A-Za-z0-9_.]*[A-Za-z0-9_]", said))
    return [name for name in metrics if name in words or name.partition(".")[0] in words]


def table(kernels: Sequence[tuple[str, Kernel]]) -> str:
    """Return the table, with the columns of ``benchmarks/2026-11-26-h100.md`` and more; ``-`` where nothing was measured."""
    if not kernels:
        return "nothing was measured"
    heads = ["time, µs", "issue slots", "FMA pipe", "tensor pipe", "L2", "L2, MB", "DRAM", "DRAM, MB", "occupancy (most)"]
    heads += ["waves", "registers", "bank conflicts"]
    lines = ["| | " + " | ".join(heads) + " |", "|---" + "|---:" * len(heads) + "|"]
    return "\n".join(lines + [f"| {label} | " + " | ".join(_cells(kernel)) + " |" for label, kernel in kernels])


def _cells(kernel: Kernel) -> list[str]:
    def shown(column: str, form: str, scale: float = 1.0) -> str:
        value = kernel.of(column)
        return "-" if value is None else format(value * scale, form)

    def share(column: str) -> str:
        value = shown(column, ".0f")
        return value if value == "-" else f"{value} %"

    pipes = [share(column) for column in ("issue slots", "FMA pipe", "tensor pipe")]
    traffic = [share("L2"), shown("L2 bytes", ".1f", 1e-6), share("DRAM"), shown("DRAM bytes", ".1f", 1e-6)]
    occupancy = f"{share('occupancy')} ({shown('most', '.1f')})"
    resources = [shown("waves", ".1f"), shown("registers", ".0f"), shown("bank conflicts", ",.0f")]
    return [shown("time", ".0f", 1e6), *pipes, *traffic, occupancy, *resources]
