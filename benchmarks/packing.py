"""Measures how many JPEGs a second become minibatches, beside a PyTorch ``DataLoader`` over the same files, in one run.

    python benchmarks/packing.py --out results          # packing.json, and a table on standard output
    python benchmarks/packing.py --photos pictures/     # of these, instead of one photograph that matplotlib carries

Pictures of 256x256 become random crops of 224x224, mirrored or not, less a mean picture, in minibatches of 128. Our side
reads batch files and packs floats with the cases innermost, as in training: threads decode the next batch meanwhile.
PyTorch's side holds the files in memory and does what torchvision's functions do, with a mean and no deviation: to a float
tensor case by case; or, as one who needs speed would write it, bytes up to the minibatch, which becomes floats whole and
stays channels_last. A process for each way takes its turn, round by round. Without ``torch`` only our figures are shown.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STORED, SIDE, MINI = 256, 224, 128
BATCHES, CASES = 3, 4 * MINI  # files of a pass, and pictures of each
OURS = ("convnet, simplejpeg", "convnet, Pillow")
THEIRS = tuple(f"DataLoader, {kind}, {n} worker{'s' * (n != 1)}" for kind in ("floats", "bytes") for n in (0, 1, 2))
Pass = Callable[[], int]


def make_batches(folder: Path, photos: Path | None, quality: int) -> None:
    """Write the batch files of a pass: random squares of photographs."""
    from convnet.data.batches import write_file

    random = np.random.default_rng(0)
    if photos:
        paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    else:
        import matplotlib

        paths = [Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    wholes = [Image.open(path).convert("RGB") for path in paths]
    for number in range(1, BATCHES + 1):
        pictures = []
        for case in range(CASES):
            whole = wholes[case % len(wholes)]
            side = int(random.integers(min(min(whole.size), STORED), min(whole.size) + 1))
            left, top = (int(random.integers(length - side + 1)) for length in whole.size)
            data, box = io.BytesIO(), (left, top, left + side, top + side)
            whole.resize((STORED, STORED), Image.Resampling.BICUBIC, box).save(data, "JPEG", quality=quality)
            pictures.append(data.getvalue())
        write_file(folder / f"data_batch_{number}", {"data": pictures, "labels": [[0]] * CASES})
    mean = np.full((3 * STORED**2, 1), 110, np.float32)
    write_file(folder / "batches.meta", {"data_mean": mean, "num_vis": len(mean), "label_names": ["a photograph"]})


def our_pass(folder: Path) -> Pass:
    """Return what packs every picture once: a thread loads and decodes a batch, while the one before is packed."""
    from convnet.backends import make_backend
    from convnet.data import pictures
    from convnet.data.provider import Request, split
    from convnet.data.providers import open_provider

    pictures._KEPT = 0  # every pass decodes anew, as that of a set does that is larger than the memory for it
    be = make_backend("cpu", 0)
    provider = open_provider("image", Request(str(folder), training=True, threads=be.threads))
    out = be.empty((3 * SIDE**2, MINI))
    loader = ThreadPoolExecutor(1)

    def work() -> int:
        cases, loading = 0, [loader.submit(provider.batch, 1, number) for number in provider.numbers[:1]]
        for number in [*provider.numbers[1:], None]:
            batch = loading.pop().result()
            loading += [loader.submit(provider.batch, 1, number)] if number else []
            for inputs, count in split(batch, MINI):
                inputs[0].fill(be, out)
                cases += count
        return cases

    return work


def their_pass(folder: Path, name: str) -> Pass:
    """Return the same by a ``DataLoader``."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from convnet.data.batches import read_batch

    _, kind, workers = name.split(", ")
    mean = torch.full((3, SIDE, SIDE), 110 / 255)

    class Photographs(Dataset):
        def __init__(self) -> None:
            self.files = [data for path in sorted(folder.glob("data_batch_*")) for data in read_batch(path)["data"]]

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(io.BytesIO(self.files[index])) as opened:
                picture = opened.convert("RGB")
            top, left = (int(torch.randint(0, STORED - SIDE + 1, (1,))) for _ in range(2))
            picture = picture.crop((left, top, left + SIDE, top + SIDE))
            if torch.rand(1) < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(picture, copy=True))
            if kind == "bytes":
                return pixels, 0
            return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255).sub_(mean), 0

    sizes: dict[str, Any] = {"batch_size": MINI, "shuffle": True, "num_workers": int(workers[0])}
    loader = DataLoader(Photographs(), persistent_workers=sizes["num_workers"] > 0, **sizes)

    def work() -> int:
        cases = 0
        for images, _ in loader:
            floats = images.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean) if kind == "bytes" else images
            cases += len(floats)
        return cases

    return work


def serve(name: str, folder: Path) -> None:
    """Take one pass for every line of standard input, and print its pictures per second; the first is not counted."""
    if name == OURS[1]:
        sys.modules["simplejpeg"] = None  # type: ignore[assignment]  # as where it is not installed
    work = our_pass(folder) if name in OURS else their_pass(folder, name)
    work()
    for _ in iter(lambda: print("ready", flush=True) or sys.stdin.readline(), ""):
        start = time.perf_counter()
        cases = work()
        print(cases / (time.perf_counter() - start), flush=True)


@contextmanager
def served(name: str, folder: Path) -> Iterator[Callable[[], float]]:
    """Give what takes a pass in a process of its own, and returns pictures per second."""
    command = [sys.executable, __file__, "--serve", name, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def line(told: str = "") -> str:
            process.stdin.write(told)
            process.stdin.flush()
            return process.stdout.readline().strip() or sys.exit(f"{name}: failed")

        line()
        yield lambda: (float(line("go\n")), line())[0]
        process.stdin.close()


def table(found: dict[str, list[float]]) -> str:
    """Return the figures as Markdown: the median of each way, its least and most, and ours beside the fastest of theirs."""
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    best = max((medians[name] for name in THEIRS if name in medians), default=0.0)
    lines = ["| way | pictures/s | least to most | beside PyTorch's best |", "|---|---:|---:|---:|"]
    for name, rates in found.items():
        ratio = f"{medians[name] / best:.2f}" if best else ""
        lines.append(f"| {name} | {medians[name]:.0f} | {min(rates):.0f} to {max(rates):.0f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of photographs of at least 256 pixels a side")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for packing.json")
    parser.add_argument("--serve", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve[0], Path(args.serve[1]))
    with tempfile.TemporaryDirectory() as folder:
        make_batches(Path(folder), args.photos, args.quality)
        ways = [*OURS, *(THEIRS if importlib.util.find_spec("torch") else ())]
        with ExitStack() as stack:
            passes = {name: stack.enter_context(served(name, Path(folder))) for name in ways}
            rounds = [{name: one_pass() for name, one_pass in passes.items()} for _ in range(args.rounds)]
        found = {name: [each[name] for each in rounds] for name in ways}
    print(table(found))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "packing.json").write_text(json.dumps({"quality": args.quality, "pictures_per_second": found}, indent=1))


if __name__ == "__main__":
    main()
