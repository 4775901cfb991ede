"""Times training steps of layer graphs as PyTorch modules, for comparison with ``convnet bench``; needs ``torch``.

    python benchmarks/steps_torch.py --channels-last
    python benchmarks/steps_torch.py --net layers-imagenet-1gpu --device cuda --math tf32 --compile max-autotune

The towers of a net are groups of one convolution, and inputs lie on the device. Prints the median and the best step in
milliseconds of each net and math mode, or all of them with --json, a line each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from graph_torch import LAYOUTS, GraphNet
from processor_ours import load, pictures_of
from processor_theirs import SGD
from torch import nn


def measure(args: argparse.Namespace, name: str, math: str) -> list[float]:
    """Milliseconds of each step of a net, after two that are not counted."""
    data, device, layout = load(name), torch.device(args.device), "channels_last" if args.channels_last else "contiguous"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = math == "tf32"
    torch.backends.cudnn.benchmark = True
    net = GraphNet(data.graph).to(device).to(memory_format=LAYOUTS[layout])
    step = torch.compile(net, mode=args.compile) if args.compile else net
    optimizer = torch.optim.SGD(net.parameters(), **SGD)
    matrices = pictures_of(data, args.mini)
    images = net.pictures(matrices[net.data_layer.dataIdx], layout).to(device)
    labels = torch.from_numpy(matrices[net.label_layer.dataIdx][0]).long().to(device)
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
    parser.add_argument("--net", nargs="+", default=["layers-imagenet"])
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
