"""Devices and links: what they can do at most, as their makers say, and what share of it programs have reached.

A share is measured, not promised. Those of cards before 2016 are of 2014's kernels: 0.4 of the peak for convolutions makes a
step on one K20 take the 0.392 s that follow from the 98.05 hours in 2014's paper; cuda-convnet2 reached 0.49 on a Titan X.
Those of later cards are this program's on an H100 (``benchmarks/2026-11-26-h100.md``), those of processors its shares of the
peak that ``convnet bench`` measures (``docs/performance.md``), above 1 by Winograd's methods.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from convnet.backends.base import Backend
from convnet.backends.timing import peak_bytes, peak_flops
from convnet.errors import OptionError
from convnet.planning.quantities import RATE
from convnet.texts import bytes_text, did_you_mean, listed

THIS_MACHINE = "this machine"
TF32_MODES = ("fast", "tf32")


class Shares(NamedTuple):
    """What is reached of the peak of arithmetic, in convolutions and in products of matrices, and of memory's."""

    conv: float
    fc: float
    memory: float


_OF_2014, _OF_CARDS, _OF_TF32 = Shares(0.4, 0.7, 0.75), Shares(0.5, 0.7, 0.8), Shares(0.23, 0.3, 0.8)
_OF_PROCESSORS, _EXACT = Shares(1.4, 0.8, 1.0), Shares(0.9, 0.8, 1.0)


@dataclass(frozen=True)
class Device:
    """A device: operations a second at its peak, bytes a second of its memory, and the bytes of that (0: not known)."""

    name: str
    flops: float
    bandwidth: float
    memory: float
    link: str
    shares: Shares = _OF_CARDS
    tf32: float = 0.0

    def with_tf32(self) -> "Device":
        """Return the device as it computes with TF32; raises ``OptionError`` where it cannot."""
        if not self.tf32:
            raise OptionError(f"--math: {self.name} has no TF32")
        return replace(self, flops=self.tf32, shares=_OF_TF32)

    def divided(self, ranks: int) -> "Device":
        """Return what each of so many ranks has of the device, as processes of few threads have of one machine."""
        name = f"1/{ranks} of {self.name}"
        return replace(
            self, name=name, flops=self.flops / ranks, bandwidth=self.bandwidth / ranks, memory=self.memory / ranks
        )


DEVICES = {
    device.name: device
    for device in (
        Device("GTX 580", 1.58e12, 192e9, 3e9, "PCIe2 x16", _OF_2014),
        Device("K20", 3.52e12, 208e9, 5e9, "PCIe2 x16", _OF_2014),
        Device("K20X", 3.95e12, 250e9, 6e9, "PCIe2 x16", _OF_2014),
        Device("K40", 4.29e12, 288e9, 12e9, "PCIe3 x16", _OF_2014),
        Device("Titan X", 6.14e12, 336e9, 12e9, "PCIe3 x16", _OF_2014),
        Device("V100", 15.7e12, 900e9, 32e9, "NVLink2"),
        Device("A100", 19.5e12, 2.04e12, 80e9, "NVLink3", tf32=156e12),
        Device("H100", 66.9e12, 3.35e12, 80e9, "NVLink4", tf32=495e12),
        Device("H200", 66.9e12, 4.8e12, 141e9, "NVLink4", tf32=495e12),
    )
}


class Link(NamedTuple):
    """What joins ranks: bytes a second that each sends while it receives as many, and seconds before the first arrives.

    ``hides``: it sends while its rank computes.
    """

    rate: float
    latency: float = 5e-6
    hides: bool = True


LINKS = {  # what programs reach: 0.75 to 0.8 of what makers say of PCIe and NVLink, 0.9 of networks
    "PCIe2 x16": Link(6e9, 10e-6),
    "PCIe3 x16": Link(12e9, 10e-6),
    "PCIe4 x16": Link(24e9, 10e-6),
    "PCIe5 x16": Link(48e9, 10e-6),
    "NVLink2": Link(120e9),
    "NVLink3": Link(240e9),
    "NVLink4": Link(360e9),
    "1GbE": Link(0.11e9, 50e-6),
    "10GbE": Link(1.1e9, 30e-6),
    "25GbE": Link(2.8e9, 20e-6),
    "100GbE": Link(11e9, 10e-6),
    "100Gb InfiniBand": Link(11e9, 3e-6),
    "200Gb InfiniBand": Link(22e9, 3e-6),
    "400Gb InfiniBand": Link(45e9, 3e-6),
    "shared memory": Link(10e9, 5e-6, hides=False),  # two processes of one machine, by MPI
}


@dataclass(frozen=True)
class Machine:
    """Equal devices, a rank on each: their link, and the bytes a second ``between`` nodes of ``node`` ranks (0: one)."""

    device: Device
    link: Link
    node: int = 0
    between: float = math.inf

    def seconds(self, size: float, ranks: int, times: int = 1) -> float:
        """Return how long every rank, or one, takes to send each other rank ``size`` bytes of its own, ``times`` over."""
        if ranks == 1:
            return 0.0
        near = (ranks % self.node or self.node) if self.node else ranks  # of a rank of the smallest node
        rates = (near - 1) / self.link.rate + (ranks - near) / self.between
        return times * (self.link.latency + size * rates)

    def rate(self, one: int, other: int) -> float:
        """Return the bytes a second from one rank to another."""
        return self.link.rate if not self.node or one // self.node == other // self.node else self.between

    def describe(self) -> str:
        """Return its devices and links in words."""
        device, link = self.device, self.link
        words = f"{device.name} ({device.flops / 1e12:.3g} TFLOP/s, {bytes_text(device.bandwidth)}/s), "
        words += f"links of {bytes_text(link.rate)}/s and {link.latency * 1e6:.3g} us"
        return words + (f", nodes of {self.node} with {bytes_text(self.between)}/s between them" if self.node else "")


def device_named(name: str) -> Device:
    """Return a device of the table; raises ``OptionError`` with the nearest name."""
    known = _matching(name, DEVICES)
    if not known:
        names = [*DEVICES, THIS_MACHINE]
        text = f"--device: unknown device '{name}'{did_you_mean(name, names)}"
        raise OptionError(f"{text}; there are {listed(names)}, or --peak and --bandwidth")
    return DEVICES[known]


def link_named(text: str) -> Link:
    """Return a link of the table, or one of a rate; raises ``OptionError``."""
    if known := _matching(text, LINKS):
        return LINKS[known]
    if not text[:1].isdigit():
        hint = f"{did_you_mean(text, LINKS)}; there are {listed(LINKS)}, or a rate such as {RATE.example}"
        raise OptionError(f"--link: unknown link '{text}'{hint}")
    return Link(RATE.read("--link", text))


def _matching(name: str, known: Iterable[str]) -> str:
    """Return the known name that is the same but for case, blanks and hyphens, else the last that begins so, else ``''``."""
    names, wanted = {_folded(other): other for other in known}, _folded(name)
    begun = [
        other for folded, other in names.items() if folded.startswith(wanted) and len(wanted) > 3 and not wanted[0].isdigit()
    ]
    return names.get(wanted) or (begun[-1] if begun else "")


def _folded(name: str) -> str:
    return "".join(char for char in name.casefold() if char not in " -_")


def measured_device(be: Backend, math: str = "float32") -> Device:
    """Return the machine that runs this, by the peaks that ``convnet bench`` measures (some seconds)."""
    shares, link = _EXACT if math == "exact" else _OF_PROCESSORS, "shared memory"
    if be.name == "cuda":
        shares, link = _OF_TF32 if math in TF32_MODES else _OF_CARDS, "PCIe4 x16"
    memory = be.memory()
    name = f"{THIS_MACHINE} ({be.describe()})"
    return Device(name, peak_flops(be), peak_bytes(be), memory[1] if memory else 0, link, shares)
