"""What tests of plans share: shipped nets, and machines of round numbers."""

import math
from functools import cache

from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.planning.machines import Device, Link, Machine, Shares

LATENCY, RATE, FLOPS = 1e-3, 1e3, 1e3


@cache
def shipped(name):
    return infer_data(parse(LayerFiles.open(name))).graph


def machine(rate=RATE, latency=LATENCY, flops=FLOPS, bandwidth=math.inf, **more):
    """Reach all of its peaks; its memory takes no time unless it is said to."""
    return Machine(Device("made up", flops, bandwidth, 1e9, "", Shares(1, 1, 1)), Link(rate, latency, **more))
