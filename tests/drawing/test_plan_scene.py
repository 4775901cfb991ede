"""The picture of a plan: heights are times beside the ideal, whatever is longer than there is room is cut."""

import pytest
from plans import machine, shipped

from convnet.drawing.plan_scene import plan_scene
from convnet.drawing.shapes import Path, Rectangle, Words
from convnet.planning.machines import DEVICES, LINKS, Machine
from convnet.planning.plan import plan

BLUE, ORANGE, GREEN = "#3f86c4", "#d2691e", "#2a9d76"


def bars(scene, fill):
    """Rectangles of a colour from left to right, without the one of the legend."""
    found = [shape for shape in scene.shapes if isinstance(shape, Rectangle) and shape.paint.fill == fill]
    return sorted(found[1:], key=lambda shape: shape.x)


@pytest.fixture(scope="module")
def found():
    k20 = Machine(DEVICES["K20"], LINKS["PCIe2 x16"], 4, 3e9)
    return plan(shipped("layers-imagenet-1gpu.cfg"), k20, [1, 2, 8], 128, is_per_rank=True)


def test_heights(found):
    """A bar of 100 % is as high as that of one rank; parts stand on each other, what is hidden beside them."""
    scene = plan_scene(found)
    blue, orange, green = (bars(scene, fill) for fill in (BLUE, ORANGE, GREEN))
    whole = blue[0].height
    steps = [found.one if ranks == 1 else found.steps[ranks][i] for i in range(3) for ranks in (1, 2, 8)]
    assert len(blue) == len(steps) == 9
    for bar, step in zip(blue, steps, strict=True):
        assert bar.height / whole == pytest.approx(step.arithmetic / step.seconds / found.efficiency(step))
    waiting = [step for step in steps if step.waiting > 1e-3 * step.seconds]
    assert len(orange) == len(waiting)
    for bar, step in zip(orange, waiting, strict=True):
        assert bar.height / whole == pytest.approx(step.waiting / step.seconds / found.efficiency(step))
        assert min(abs(bar.y + bar.height - other.y) for other in blue) < 1e-6
    hidden = [step for step in steps if step.hidden > 1e-3 * step.seconds]
    assert [bar.height / whole for bar in green] == pytest.approx(
        [step.hidden / step.seconds / found.efficiency(step) for step in hidden]
    )


def test_words(found):
    words = [shape.text for shape in plan_scene(found).shapes if isinstance(shape, Words)]
    assert words[0] == "layers-imagenet-1gpu.cfg on 8 ranks: where the time of a step goes"
    assert [word for word in words if word in ("data", "model", "hybrid")] == ["data", "model", "hybrid"]
    assert f"{found.speedup(found.steps[8][2]):.2f}\N{MULTIPLICATION SIGN}" in words
    stars = [shape for shape in plan_scene(found).shapes if isinstance(shape, Path) and shape.look == "test-dot"]
    assert len(stars) == 1 + 2  # one in the legend, one for 2 and for 8 ranks


def test_long_bars_are_cut():
    found = plan(shipped("layers-digits.cfg"), machine(rate=1e9, flops=1e12), [2, 4, 8, 16, 32, 64], 128)
    scene = plan_scene(found)
    grounds = [shape for shape in scene.shapes if isinstance(shape, Rectangle) and shape.look == "ground"][1:]
    assert len(grounds) > 10
    step, blue = found.steps[64][0], bars(scene, BLUE)[6]  # the last of data; cut bars show shares
    orange = next(bar for bar in bars(scene, ORANGE) if bar.x == blue.x)
    assert blue.height / (blue.height + orange.height) == pytest.approx(step.arithmetic / step.seconds)
    top = min(bar.y for bar in bars(scene, ORANGE))
    assert all(bar.y >= top and bar.x + bar.width < scene.width for bar in bars(scene, BLUE) + bars(scene, ORANGE))
    assert all(0 < shape.y < scene.height for shape in scene.shapes if isinstance(shape, Words))
