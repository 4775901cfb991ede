"""Times one training step of the 2012 network in PyTorch, for comparison with ``convnet bench``; needs ``torch``.

The two towers are groups of one convolution; normalisation spans the towers, and the extra within-map normalisation of
the second layer is left out, both in PyTorch's favour. Prints the median and the best step in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn


def alexnet(classes: int = 1000) -> nn.Module:
    """The network of ``layers-cfg/layers-imagenet.cfg`` with its towers as groups."""
    lrn = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2}
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.LocalResponseNorm(**lrn), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), nn.LocalResponseNorm(**lrn), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4096, classes),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    net = alexnet().to(device).to(memory_format=layout)
    step = torch.compile(net) if args.compile else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    # 227 pixels give the 55x55 positions that the 2012 rule gives for 224.
    images = torch.randn(args.mini, 3, 227, 227, device=device).to(memory_format=layout)
    labels = torch.randint(0, 1000, (args.mini,), device=device)
    times = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(step(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    times = times[1:]
    print(f"{statistics.median(times):.1f} ms median, {min(times):.1f} ms best of {len(times)} steps at {args.mini}")


if __name__ == "__main__":
    main()
