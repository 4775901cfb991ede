"""Times every tile for every convolution of nets on the card at hand, and writes a table of those that beat the model.

    python benchmarks/card/tune.py measure --out tiles.csv --table tiles.toml --seconds 220
    python benchmarks/card/tune.py table tiles.csv --table cuda/tiles-sm_90.toml

Results are appended as they come, those of the most expensive products first: the model's choices, then each tile of
``tiles.py``, then other depths and stages of the fastest. Kernels are compiled on all cores while others are timed.
"""

from __future__ import annotations

import argparse
import csv
import gc
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tile_passes import NETS, ConvPass, Forced, conv_passes
from tile_rows import FIELDS, Machine, Row, choice_of_model, compare, read_rows, table_text, verdict

from convnet.backends import why_not_cuda
from convnet.backends.cuda import compile_all
from convnet.backends.cuda.driver import CudaDevice
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.tile_table import DEPTHS, MATH, STAGES, Choice
from convnet.backends.cuda.tiles import tiles_for, windows_per_part
from convnet.backends.timing import measured
from convnet.errors import BackendError

REPEATED = 4  # times that a pass is captured in a row, so that the gaps between launches do not count
BEST = 3  # tiles of which other depths and stages are tried
REMARK = """Tiles that beat the choice of the cost model by more than 3 %. Written by benchmarks/card/tune.py from
{source}: {device}."""


class Tuner:
    """Times choices on a card, and appends each time to a file."""

    def __init__(self, out: Path, most: int, until: float) -> None:
        self.out, self.most, self.until = out, most, until
        self.backends: dict[str, Forced] = {}  # over a ``CudaDevice`` each
        self.machine = Machine()
        out.write_text(",".join(FIELDS) + "\n")

    def backend(self, math: str) -> Forced:
        if math not in self.backends:
            device = CudaDevice(0, math)
            self.backends[math] = Forced(device)
            self.machine = Machine(device.capability, device.multiprocessors, device.shared_memory)
        self.backends[math].device.tiled_for = 0  # measure the model, not a table
        return self.backends[math]

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.until

    def compile(self, convolution: ConvPass, choices: list[Choice]) -> None:
        """Compile what the choices need; a choice that cannot be compiled fails again, alone, when it is timed."""
        recorder = Recorder(convolution.products.math, self.machine.multiprocessors, self.machine.shared_memory)
        be = Forced(recorder)
        arrays = convolution.arrays(be)
        for be.choice in choices:
            convolution.run(be, arrays)
        try:
            compile_all(recorder.sources, self.machine.capability)
        except BackendError as error:
            print(f"{convolution.layers[0]}: {error}", flush=True)

    def time(self, convolution: ConvPass, choices: list[Choice | None]) -> list[Row]:
        """Time choices, ``None`` for the model's; those that the device refuses are left out."""
        be, rows = self.backend(convolution.products.math), []
        arrays = convolution.arrays(be)
        for choice in choices:
            if self.is_late:
                break
            be.choice = choice
            taken = choice or choice_of_model(convolution.products, self.machine)
            try:
                ms = 1e3 * self._seconds(be, convolution, arrays)
            except BackendError as error:
                print(f"{convolution.layers[0]}, {taken}: {error}", flush=True)
                continue
            rows.append(Row(convolution.layers[0], convolution.products, taken, ms))
            with self.out.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(rows[-1].values())
        be.choice, arrays = None, []
        be.device.trim_pool()  # each choice has partial sums of a size of its own
        return rows

    def _seconds(self, be: Forced, convolution: ConvPass, arrays: list) -> float:
        convolution.run(be, arrays)  # loads the kernel
        if not be.captures:
            return measured([be], lambda: convolution.run(be, arrays))
        with be.capturing() as captured:
            for _ in range(REPEATED):
                convolution.run(be, arrays)
        return measured([be], lambda: [be.replay(part) for part in captured]) / REPEATED

    def candidates(self, convolution: ConvPass) -> list[Choice]:
        """Return a choice for each tile, of weight gradients from half to twice the model's windows, too."""
        products = convolution.products
        weights = products.kind == "weight_grad"
        found = []
        for tile in list(tiles_for(products.math == "tf32", weights))[: self.most or None]:
            if not weights:
                found.append(Choice(tile))
                continue
            sizes = products.rows, products.columns, products.groups, products.places, products.depth
            share = windows_per_part(tile, *sizes, self.machine.multiprocessors, self.machine.shared_memory)
            shares = dict.fromkeys(min(products.places, max(1, round(share * scale))) for scale in (1, 0.5, 0.75, 1.5, 2))
            found += [Choice(tile, windows) for windows in shares]
        return found

    def variants(self, convolution: ConvPass, rows: list[Row]) -> list[Choice]:
        """Return other depths and stages for the fastest of ``rows``."""
        tensor = convolution.products.math == "tf32"
        best = sorted(rows, key=lambda row: row.ms)[: 1 if self.most else BEST]
        return [
            row.choice._replace(tile=replace(row.choice.tile, BK=BK, STAGES=stages))
            for row in best
            for BK in DEPTHS[tensor : tensor + 2]
            for stages in STAGES[: self.most or None]
            if (BK, stages) != (row.choice.tile.BK, row.choice.tile.STAGES)
        ]


def measure(args: argparse.Namespace) -> int:
    """Time all there is time for, and write the table."""
    if reason := why_not_cuda():
        print(f"nothing is timed: {reason}")
        return 1
    tuner, status = Tuner(args.out, args.most, time.monotonic() + args.seconds), 0
    gc.disable()  # a collection in the thread that compiles would free memory of the card beside its work
    try:
        found = conv_passes(args.nets, args.math, args.mini)
        first = {id(c): rows[0].ms for c in found if (rows := tuner.time(c, [None]))}
        found = sorted((c for c in found if id(c) in first), key=lambda c: -first[id(c)] * len(c.layers))
        print(f"{len(found)} products, {sum(first.values()):.2f} ms with the model's choices", flush=True)
        for c, choices in _compiled_ahead(tuner, found):
            rows = tuner.time(c, list(choices))
            if not tuner.is_late and rows:
                more = tuner.variants(c, rows)
                tuner.compile(c, more)
                rows += tuner.time(c, list(more))
            if rows:
                best = min(rows, key=lambda row: row.ms)
                shown = f"{c.layers[0]} {c.products.kind} {c.products.math}: model {first[id(c)]:.4f} ms, best {best.ms:.4f}"
                print(f"{shown} of {len(rows)}", flush=True)
    except KeyboardInterrupt:
        print("stopped")
    except Exception:
        traceback.print_exc()
        status = 1
    device = next((be.device.name for be in tuner.backends.values()), "no device")
    return write(read_rows(args.out), tuner.machine, args.table, args.out.name, device) or status


def _compiled_ahead(tuner: Tuner, found: list[ConvPass]) -> Iterator[tuple[ConvPass, list[Choice]]]:
    """Yield each convolution and its candidates, compiled while the one before was timed."""
    with ThreadPoolExecutor(1) as worker:
        choices = {id(c): tuner.candidates(c) for c in found}
        ready = [worker.submit(tuner.compile, found[0], choices[id(found[0])])] if found else []
        for i, c in enumerate(found):
            if tuner.is_late:
                return
            ready[i].result()
            if i + 1 < len(found):
                ready.append(worker.submit(tuner.compile, found[i + 1], choices[id(found[i + 1])]))
            yield c, choices[id(c)]


def write(rows: list[Row], machine: Machine, table: Path, source: str, device: str) -> int:
    """Write the table, and print how near the model comes; without times a table that is there stays."""
    compared = compare(rows, machine)
    if not compared:
        print(f"no product was timed with the choice of the model; of another device (--machine)? {table} is not written")
        return 1
    table.write_text(table_text(compared, machine, REMARK.format(source=source, device=device)))
    print("\n".join(verdict(compared)))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    timing = verbs.add_parser("measure", help="time tiles on the card")
    timing.add_argument("--nets", nargs="+", default=NETS)
    timing.add_argument("--math", nargs="+", choices=MATH, default=MATH)
    timing.add_argument("--mini", type=int, default=128)
    timing.add_argument("--most", type=int, default=0, help="tiles for each product; 0: all")
    timing.add_argument("--seconds", type=float, default=220)
    timing.add_argument("--out", type=Path, required=True, help="file for the times")
    timing.set_defaults(work=measure)
    making = verbs.add_parser("table", help="make a table from times")
    making.add_argument("times", type=Path)
    sizes = "capability, multiprocessors, and KiB of shared memory of one"
    making.add_argument("--machine", type=int, nargs=3, default=(90, 132, 228), metavar="N", help=sizes)
    making.add_argument("--device", default="NVIDIA H100 80GB HBM3", help="for the table's head")
    making.set_defaults(work=_make)
    for verb in (timing, making):
        verb.add_argument("--table", type=Path, required=True, help="file for the table, in TOML")
    args = parser.parse_args()
    return args.work(args)


def _make(args: argparse.Namespace) -> int:
    try:
        rows = read_rows(args.times)
    except (OSError, ValueError, KeyError) as error:
        print(f"{args.times} cannot be read: {error}")
        return 1
    if not rows:
        print(f"{args.times} has no times of the kernels that lie here: they have changed since, or nothing was timed")
        return 1
    capability, multiprocessors, shared = args.machine
    return write(rows, Machine(capability, multiprocessors, shared << 10), args.table, args.times.name, args.device)


if __name__ == "__main__":
    sys.exit(main())
