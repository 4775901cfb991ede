"""What was published and measured of real machines, which plans must come near."""

import pytest
from plans import shipped

from convnet.planning.machines import DEVICES, LINKS, Device, Link, Machine, Shares
from convnet.planning.plan import plan, ratio_on_one_machine
from convnet.planning.steps import step_of

# 2014's machine: eight K20s, four to a socket behind PCIe 2 switches; half the rate from socket to socket where all send
OF_2014 = Machine(DEVICES["K20"], LINKS["PCIe2 x16"], node=4, between=3e9)


@pytest.mark.parametrize("ranks, published", [(1, 1), (2, 1.95), (4, 3.74), (8, 6.25)])
def test_ratios_of_2014(ranks, published):
    """Hybrid, 128 cases on each card (arXiv 1404.5997, table 1)."""
    found = plan(shipped("layers-imagenet-1gpu.cfg"), OF_2014, [ranks], 128, is_per_rank=True)
    step = next(step for step in found.steps[ranks] if ranks == 1 or step.scheme == "hybrid")
    assert found.speedup(step) == pytest.approx(published, rel=0.10)


def test_hours_of_one_card_in_2014():
    """98.05 hours for 90 epochs of 1,281,167 pictures; the share of convolutions was chosen for this."""
    step = step_of(shipped("layers-imagenet-1gpu.cfg"), OF_2014, "data", 1, 128)
    assert step.seconds * 90 * 1_281_167 / 128 / 3600 == pytest.approx(98.05, rel=0.02)


def test_days_of_two_cards_in_2012():
    """Five to six days for about 90 epochs of 1.2 million pictures, on two GTX 580; kernels here are those of 2014."""
    machine = Machine(DEVICES["GTX 580"], LINKS["PCIe2 x16"])
    step = plan(shipped("layers-imagenet.cfg"), machine, [2], 128).steps[2][1]
    assert 0.8 * 5 < step.seconds * 90 * 1_200_000 / 128 / 86400 < 6


@pytest.mark.parametrize(
    "name, tf32, measured",
    [
        ("layers-imagenet.cfg", False, 18.5e-3),
        ("layers-imagenet-1gpu.cfg", False, 15.8e-3),
        ("layers-imagenet.cfg", True, 7.9e-3),
        ("layers-imagenet-1gpu.cfg", True, 6.8e-3),
    ],
)
def test_steps_of_one_h100(name, tf32, measured):
    """Means of the two calls of benchmarks/2026-11-26-h100.md."""
    device = DEVICES["H100"].with_tf32() if tf32 else DEVICES["H100"]
    step = step_of(shipped(name), Machine(device, LINKS["NVLink4"]), "data", 1, 128)
    assert step.seconds == pytest.approx(measured, rel=0.18)


def test_ranks_that_share_one_machine():
    """They lose what they copy, whatever the machine: nothing without bytes, all the more the slower the link is."""
    device = Device("a processor", 552e9, 65e9, 0, "", Shares(1.4, 0.8, 1.0))

    def ratio(rate, ranks=2):
        return ratio_on_one_machine(shipped("layers-imagenet.cfg"), Machine(device, Link(rate, 0, hides=False)), ranks, 128)

    assert 0.9 < ratio(10e9) < 1 and ratio(1e9) < ratio(10e9) < ratio(1e12)
    assert ratio(10e9, ranks=1) == 1


def test_towers_that_share_one_machine():
    """Each rank has one: nothing but what crosses between them is lost, and half of a layer takes as long as all of it."""
    graph, device = shipped("layers-imagenet.cfg"), Device("a processor", 552e9, 65e9, 0, "", Shares(1.4, 0.8, 1.0))

    def ratio(rate):
        return ratio_on_one_machine(graph, Machine(device, Link(rate, 0, hides=False)), 2, 128, "model")

    assert 0.9 < ratio(10e9) < ratio(1e12) <= 1 and ratio(1e9) < ratio(10e9)


def test_the_best_fits():
    """Model parallel is fastest where latency is all, but a device cannot hold all cases."""
    graph = shipped("layers-imagenet-1gpu.cfg")
    roomy = Device("roomy", 1e15, 1e15, 1e12, "", Shares(1, 1, 1))
    small = Device("small", 1e15, 1e15, 2e9, "", Shares(1, 1, 1))
    found = {device.name: plan(graph, Machine(device, Link(1e15, 1e-4)), [8], 512) for device in (roomy, small)}
    assert found["roomy"].best(8).scheme == "model" and found["small"].best(8).scheme != "model"
    assert "by latency at" in found["roomy"].verdict()
    tiny = Device("tiny", 1e15, 1e15, 1e6, "", Shares(1, 1, 1))
    assert "no scheme fits into the 1.0 MB of a device" in plan(graph, Machine(tiny, Link(1e9)), [8], 512).verdict()
