"""Times training steps of the shipped networks in PyTorch, for comparison with ``convnet bench``; needs ``torch``.

    python benchmarks/nets_torch.py --channels-last
    python benchmarks/nets_torch.py --net layers-imagenet-1gpu --device cuda --math tf32 --compile max-autotune

Of the two-tower network the towers are groups of one convolution; normalisation spans the towers, and the extra
within-map normalisation of the second layer is left out, both in PyTorch's favour. Inputs lie on the device. Prints the
median and the best step in milliseconds of each net and math mode, or all of them with --json, a line each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2}


def two_towers(classes: int = 1000) -> nn.Module:
    """``layers-cfg/layers-imagenet.cfg``, 2012, with its towers as groups."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.LocalResponseNorm(**LRN), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), nn.LocalResponseNorm(**LRN), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4096, classes),
    )  # fmt: skip


def one_tower(classes: int = 1000) -> nn.Module:
    """``layers-cfg/layers-imagenet-1gpu.cfg``, 2014."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4), nn.LocalResponseNorm(**LRN), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.LocalResponseNorm(**LRN), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4096, classes),
    )  # fmt: skip


class WithinMaps(nn.Module):
    """``rnorm``: over windows of 3 x 3 pixels of a map, with the sum of squares scaled by 5e-5 / 9."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = nn.functional.avg_pool2d(x * x, 3, 1, 1)
        return x * (1 + 5e-5 * mean).pow(-0.75)


def cifar(classes: int = 10) -> nn.Module:
    """``layers-cfg/layers-cifar10-18pct.cfg``, 2011."""
    pool = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(**pool), nn.ReLU(inplace=True), WithinMaps(),
        nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(inplace=True), nn.AvgPool2d(**pool), WithinMaps(),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(inplace=True), nn.AvgPool2d(**pool), nn.Flatten(),
        nn.Linear(1024, classes),
    )  # fmt: skip


class Twin(NamedTuple):
    """How to make a net, the side of its pictures, and its classes."""

    make: Callable[[], nn.Module]
    side: int
    classes: int


# 227 pixels give the 55x55 positions that the 2012 rule gives for 224.
NETS = {
    "layers-imagenet": Twin(two_towers, 227, 1000),
    "layers-imagenet-1gpu": Twin(one_tower, 227, 1000),
    "layers-cifar10-18pct": Twin(cifar, 32, 10),
}


def measure(args: argparse.Namespace, name: str, math: str) -> list[float]:
    """Milliseconds of each step of a net, after two that are not counted."""
    twin = NETS[name]
    device = torch.device(args.device)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = math == "tf32"
    torch.backends.cudnn.benchmark = True
    net = twin.make().to(device).to(memory_format=layout)
    step = torch.compile(net, mode=args.compile) if args.compile else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(args.mini, 3, twin.side, twin.side, device=device).to(memory_format=layout)
    labels = torch.randint(0, twin.classes, (args.mini,), device=device)
    times = []
    for _ in range(args.steps + 2):
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(step(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return times[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", nargs="+", choices=NETS, default=["layers-imagenet"])
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", nargs="?", const="default", default="", help="mode of torch.compile")
    parser.add_argument("--math", nargs="+", choices=("float32", "tf32"), default=["float32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    for name in args.net:
        for math in args.math:
            times = measure(args, name, math)
            said = {"net": name, "math": math, "steps_ms": times, "torch": torch.__version__}
            shown = f"{statistics.median(times):.1f} ms median, {min(times):.1f} ms best of {len(times)} steps"
            print(json.dumps(said) if args.json else f"{name}, {math}: {shown} at {args.mini}", flush=True)


if __name__ == "__main__":
    main()
