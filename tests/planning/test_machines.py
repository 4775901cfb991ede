"""Devices and links by name, and how long a crossing takes."""

import math

import pytest

from convnet.backends import make_backend, timing
from convnet.errors import OptionError
from convnet.planning.machines import DEVICES, LINKS, Device, Link, Machine, device_named, link_named, measured_device


@pytest.mark.parametrize("name, known", [("H100", "H100"), ("k20", "K20"), ("gtx-580", "GTX 580"), ("titan", "Titan X")])
def test_devices_by_name(name, known):
    assert device_named(name) is DEVICES[known]


def test_an_unknown_device_names_the_nearest():
    with pytest.raises(
        OptionError, match=r"unknown device 'H10'; did you mean 'H100'.*there are GTX 580, K20,.*this machine"
    ):
        device_named("H10")


@pytest.mark.parametrize(
    "text, link",
    [
        ("PCIe2", LINKS["PCIe2 x16"]),
        ("nvlink", LINKS["NVLink4"]),
        ("10gbe", LINKS["10GbE"]),
        ("100 Gb infiniband", LINKS["100Gb InfiniBand"]),
        ("100Gb", Link(12.5e9)),
        ("25GB/s", Link(25e9)),
    ],
)
def test_links_by_name_or_rate(text, link):
    assert link_named(text) == link


@pytest.mark.parametrize(
    "text, said", [("NVLnk4", "did you mean 'NVLink4'"), ("25XB", "'XB' is no unit"), ("", "unknown link")]
)
def test_an_unknown_link(text, said):
    with pytest.raises(OptionError, match=f"^--link.*{said}"):
        link_named(text)


def test_every_device_has_a_link_of_the_table():
    assert {device.link for device in DEVICES.values()} <= set(LINKS)


def test_a_crossing_in_nodes():
    """Of 8 ranks in nodes of 4, each sends to 3 near ones and to 4 others."""
    machine = Machine(DEVICES["K20"], Link(6e9, 1e-5), node=4, between=3e9)
    assert machine.seconds(6e6, 8) == pytest.approx(1e-5 + 3e-3 + 4 * 2e-3)
    assert machine.seconds(6e6, 4, times=4) == pytest.approx(4 * (1e-5 + 3e-3))
    assert machine.seconds(6e6, 1) == 0
    assert (machine.rate(3, 0), machine.rate(3, 4)) == (6e9, 3e9)
    assert Machine(DEVICES["K20"], Link(6e9, 0)).seconds(6e6, 8) == pytest.approx(7e-3)
    assert Machine(DEVICES["K20"], Link(math.inf, 0)).seconds(6e6, 8) == 0


def test_tf32_where_there_is_any():
    assert DEVICES["H100"].with_tf32().flops == DEVICES["H100"].tf32
    with pytest.raises(OptionError, match="--math: K20 has no TF32"):
        DEVICES["K20"].with_tf32()


def test_this_machine_is_measured(monkeypatch):
    for name, size in (("_PRODUCT", 128), ("_STREAM", 4096)):
        monkeypatch.setattr(timing, name, size)
    device = measured_device(make_backend("reference"))
    assert device.flops > 0 and device.bandwidth > 0 and device.name.startswith("this machine (")
    assert not LINKS[device.link].hides  # processors copy themselves


def test_a_machine_divided():
    part = Device("x", 8.0, 6.0, 4.0, "").divided(2)
    assert (part.flops, part.bandwidth, part.memory) == (4, 3, 2)
