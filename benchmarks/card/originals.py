"""Times another library's convolutions, such as the originals', on a card beside ours: same shapes, same arrays, float32.

    python benchmarks/card/originals.py --library FILE.so --out originals.md

The library is given ready to be loaded; no part of it belongs to this project. It exports, with C linkage,

    int conv_forward(const float *images, const float *weights, float *out, const int *sizes);
    int conv_input_grad(const float *grad, const float *weights, float *input_grad, const int *sizes);
    int conv_weight_grad(const float *images, const float *grad, float *weight_grad, const int *sizes);
    int conv_sync(void);

Each of the first three issues work on the card and returns 0, or another number for sizes that it does not take;
``conv_sync`` waits for that work and returns 0, or the error of the card. Addresses are of the card's memory, in its primary
context. Layouts are those of the originals, slowest index first: images (C, H, W, N), weights (CF, k, k, F), out and grad
(F, MY, MX, N). Results replace what was there. ``sizes`` has N, C, H, W, F, MY, MX, k, padding (from 0 up), stride, groups.

Prints a line for each convolution and pass of the nets: milliseconds of both, their ratio, and how far the results are
apart. Both are timed alike: repeated between two waits, the best of some tries. Where the library or a card is missing, one
line says so.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.append(str(HERE.parents[1]))  # behind the wheel, if there is one

from convolutions import OPS, Arrays, Convolution, Sizes, convolutions  # noqa: E402

from convnet.backends import make_backend, why_not_cuda  # noqa: E402
from convnet.backends.base import Backend  # noqa: E402
from convnet.backends.timing import measured  # noqa: E402
from convnet.errors import ConvnetError, first_line  # noqa: E402

NETS = ("layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-cifar10-18pct.cfg")
FUNCTIONS = OPS  # the library names its functions as we name ops
TOLERANCE = 1e-3  # of the largest value: sums of some 100,000 products in float32, in any order, are nearer than that
TRIES = 3


class Refused(Exception):
    """The library does not take these sizes, or its work failed."""


class Library:
    """The functions of a shared library. Raises ``OSError`` or ``AttributeError`` where they are not there."""

    name = "cuda"  # for ``timing.measured``: work is issued, and repeated between two waits

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path.resolve()))
        self._functions = {kind: getattr(loaded, name) for kind, name in FUNCTIONS.items()}
        self._sync = loaded.conv_sync
        for function in self._functions.values():
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]

    def call(self, kind: str, arrays: Arrays, sizes: Sizes) -> Callable[[], None]:
        """Return the call of the library's function for a pass."""
        pointers = [array.pointer for array in (*arrays.inputs(kind), arrays.results[kind])]
        (C, H, W, N), (F, MY, MX, _), k = sizes.images, sizes.out, sizes.weights[1]
        geometry = sizes.geometry
        numbers = (N, C, H, W, F, MY, MX, k, geometry.padding, geometry.stride, geometry.groups)
        array = (ctypes.c_int * len(numbers))(*numbers)

        def work() -> None:
            if status := self._functions[kind](*pointers, array):
                raise Refused(f"returned {status}")

        return work

    def sync(self) -> None:
        if status := self._sync():
            raise Refused(f"the card's error {status}")


class Row(NamedTuple):
    """A pass of a convolution: milliseconds of one, and the largest difference over the largest value."""

    convolution: Convolution
    kind: str
    theirs: float | None
    ours: float
    apart: float
    remark: str = ""


def compare(be: Backend, library: Library, convolution: Convolution) -> Iterator[Row]:
    """Run, check and time the passes of a convolution."""
    arrays = Arrays(be, convolution.sizes)
    for kind in convolution.passes:
        ours, theirs = arrays.ours(kind), library.call(kind, arrays, convolution.sizes)
        own_time = best([be], ours)
        expected = be.download(arrays.results[kind])
        be.copy_in(np.full(expected.shape, np.nan, np.float32), arrays.results[kind])  # what is not written shows
        be.sync()
        try:
            theirs()
            library.sync()
            got = be.download(arrays.results[kind])
            apart = float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))
            remark = "" if apart <= TOLERANCE else "results differ"
            yield Row(convolution, kind, best([library], theirs), own_time, apart, remark)
        except (Refused, ConvnetError) as error:
            yield Row(convolution, kind, None, own_time, 0.0, first_line(error))


def best(parties: Sequence[Any], work: Callable[[], object]) -> float:
    """Milliseconds of the fastest try."""
    return 1e3 * min(measured(parties, work) for _ in range(TRIES))


def line(row: Row) -> str:
    """Return a line of the table."""
    count = len(row.convolution.layers)
    name = f"{Path(row.convolution.net).stem}: {row.convolution.name}" + (f" (of {count})" if count > 1 else "")
    if row.theirs is None:
        return f"| {name} | {row.kind} | - | {row.ours:.3f} | - | - | {row.remark} |"
    times = f"{row.theirs:.3f} | {row.ours:.3f} | {row.theirs / row.ours:.2f} | {row.apart:.0e}"
    return f"| {name} | {row.kind} | {times} | {row.remark} |"


def totals(rows: Sequence[Row]) -> list[str]:
    """Return a line for each net and pass: all its convolutions whose results agree, as often as the net has them."""
    lines = []
    for net, kind in dict.fromkeys((row.convolution.net, row.kind) for row in rows):
        found = [row for row in rows if (row.convolution.net, row.kind) == (net, kind)]
        valid = [(len(row.convolution.layers), row.theirs, row.ours) for row in found if row.theirs and not row.remark]
        theirs, ours = sum(n * t for n, t, _ in valid), sum(n * t for n, _, t in valid)
        if valid:
            left_out = "" if len(valid) == len(found) else f"without {len(found) - len(valid)} of {len(found)}"
            times = f"{theirs:.3f} | {ours:.3f} | {theirs / ours:.2f}"
            lines.append(f"| **{Path(net).stem}, all** | {kind} | {times} | | {left_out} |")
    return lines


def report(be: Backend, library: Library, nets: Sequence[str], mini: int, limit: float) -> Iterator[str]:
    """Yield the lines of the page as they are measured; after ``limit`` seconds, what was not."""
    begin, rows = time.monotonic(), []
    yield f"Convolutions of another library beside ours, float32, minibatch {mini}, milliseconds of one."
    yield "\n| | pass | theirs | ours | theirs over ours | apart | |\n|---|---|---:|---:|---:|---:|---|"
    late = []
    for net in nets:
        try:
            listed = convolutions(net, mini)
        except ConvnetError as error:
            yield f"| {net} | | | | | | {first_line(error)} |"
            continue
        for convolution in listed:
            if time.monotonic() - begin > limit:
                late.append(f"{Path(net).stem}: {convolution.name}")
                continue
            try:
                for row in compare(be, library, convolution):
                    rows.append(row)
                    yield line(row)
            except ConvnetError as error:
                yield f"| {Path(net).stem}: {convolution.name} | | | | | | {first_line(error)} |"
    yield from totals(rows)
    if late:
        yield f"\nNot timed within {limit:.0f} s: {'; '.join(late)}."


def load(path: Path | None) -> tuple[Library | None, str]:
    """Load the library; where that fails, say why."""
    if path is None or not path.is_file():
        return None, "no library to compare with" + (
            f" at {path}" if path else "; --library names one (of go.py: --originals)"
        )
    if reason := why_not_cuda():
        return None, reason
    try:
        return Library(path), ""
    except (OSError, AttributeError) as error:
        return None, first_line(error)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, metavar="FILE", help="shared library with the four functions")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file for the page, written as it grows")
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--limit", type=float, default=40, help="seconds after which no further convolution is begun")
    parser.add_argument("--nets", nargs="+", default=NETS, metavar="FILE")
    args = parser.parse_args(arguments)
    library, reason = load(args.library)
    if library is None:
        print(f"not here: {reason}")
        return 0
    lines: list[str] = []
    for text in report(make_backend("cuda"), library, args.nets, args.mini, args.limit):
        print(text, flush=True)
        lines.append(text)
        if args.out:
            args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
