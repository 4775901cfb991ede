"""Curves as a drawing: every number at its place, marks numbered, runs told apart, and small however long a run is."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.plot import MOST, Frame, limits, thinned, ticks
from convnet.drawing.shapes import DARK, LOOKS, RUN_COLORS, Path, Words
from convnet.drawing.svg import svg_of
from convnet.errors import OptionError
from convnet.training.history import History


def line(kind, at, **values):
    return {"line": kind, "batches": at, **values}


def run(costs, title="run", tests=(), epoch=2, final=None, marks=()):
    """A history of batches with ``costs``, of tests (after, cost, mean) and of marks (after, text)."""
    tested, happened = {at: pair for at, *pair in tests}, {at: [text] for at, text in marks}
    lines = [line("begin", 0, options={"train_range": list(range(epoch)), "test_range": [8, 9]})]
    for at, cost in enumerate(costs, 1):
        lines.append(line("batch", at, **{"logprob.cost": cost, "logprob.error": float(cost) / 10}))
        lines += [line("change", at, text=[text]) for text in happened.get(at, ())]
        if at in tested:
            value, mean = tested[at]
            averages = {"logprob.cost": mean, "logprob.error": mean / 10}
            values = {"logprob.cost": value, "logprob.error": value / 10}
            lines.append(line("test", at, tested=[8], averages=averages, **values))
    if final is not None:
        lines.append(line("final", len(costs), **{"logprob.cost": final, "logprob.error": final / 10}))
    return History.of(lines, title)


def words(scene, look=None):
    return [shape.text for shape in scene.shapes if isinstance(shape, Words) and look in (None, shape.look)]


def paths(scene, look):
    return [shape for shape in scene.shapes if isinstance(shape, Path) and shape.look == look]


def number(text):
    return float(text.replace(",", "").rstrip(" %"))


def frame_of(scene):
    """Where numbers are in the first panel, from what is written beside its axes: (x, y) to numbers."""
    texts = [shape for shape in scene.shapes if isinstance(shape, Words) and shape.look == "faint"]
    ups = [(number(s.text), s.y - 4) for s in texts if s.anchor == "end" and s.x < 72]
    across = [(number(s.text), s.x) for s in texts if s.anchor == "middle"]
    return [np.polyfit([place for _, place in pairs], [value for value, _ in pairs], 1) for pairs in (across, ups)]


def points(scene, path):
    """The points of a path in the numbers that are written beside the axes."""
    x, y = frame_of(scene)
    return [(np.polyval(x, at[0]), np.polyval(y, at[1])) for _, at in path.segments if at]


def middles(scene, path):
    """The middles of markers."""
    corners = [list(group) for end, group in itertools.groupby(path.segments, lambda s: s[0] == "Z") if not end]
    x, y = frame_of(scene)
    boxes = [np.array([at for _, at in marker]) for marker in corners]
    return [(np.polyval(x, box[:, 0].mean()), np.polyval(y, box[:, 1].mean())) for box in boxes]


@pytest.mark.parametrize("smooth", [True, False])
def test_every_number_is_at_its_place(smooth):
    costs, tests = [4.0, 3.0, 2.5, 2.0, 1.5, 1.0], [(2, 3.5, 3.25), (4, 2.5, 3.0), (6, 2.0, 2.25)]
    scene = curve_scene([run(costs, tests=tests, final=1.25)], index=0, smooth=smooth)
    [training] = paths(scene, "training")[-1:]
    assert np.allclose(points(scene, training), [((i + 1) / 2, cost) for i, cost in enumerate(costs)], atol=1e-6)
    [test] = paths(scene, "test")[-1:]
    known = [(at / 2, mean if smooth else value) for at, value, mean in tests]
    assert np.allclose(points(scene, test), known, atol=1e-6)
    dots, star = paths(scene, "test-dot")[-2:]
    assert np.allclose(middles(scene, dots), known, atol=1e-6)
    assert np.allclose(middles(scene, star), [(3, 1.25)], atol=0.02)
    assert words(scene, "panel-name") == ["cost"] and "Epochs" in words(scene)
    newest = f"training 1, test {2.25 if smooth else 2:g}, final test 1.25"
    assert newest in words(scene)
    assert ("Test set, means over 2 tests" in words(scene)) == smooth and "Training set" in words(scene)


def test_all_values_have_panels_and_errors_are_shares():
    scene = curve_scene([run([9.0, 1.0])])
    assert words(scene, "panel-name") == ["cost", "error"] and words(scene, "heading") == ["logprob of run"]
    assert "Training set" in words(scene) and "Test set" not in words(scene)
    assert "40 %" in words(scene, "faint") and "training 10.00 %" in words(scene)


@pytest.mark.parametrize("width", [320, 400, 900, 1600])
def test_words_stand_beside_each_other_at_any_width(width):
    """By a width of letters that is that of Helvetica, or more."""
    tests, marks = [(2, 2.5, 2.25)], [(1, "a mark"), (2, "another")]
    histories = [run([3.0, "nan"], f"a run with a name {i}", tests, final=1.0, marks=marks) for i in range(3)]
    for scene in (curve_scene(histories[:1], width=width), curve_scene(histories, width=width)):
        assert scene.width == width
        boxes = []
        for shape in scene.shapes:
            if isinstance(shape, Words) and shape.look != "heading":
                wide = 6 * len(shape.text)
                left = shape.x - {"start": 0, "middle": wide / 2, "end": wide}[shape.anchor]
                boxes.append((left, left + wide, shape.y, shape.text))
        for one, other in itertools.combinations(boxes, 2):
            assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 10, (one, other)
        assert all(left >= 0 and right <= width + 12 for left, right, *_ in boxes)


def test_marks_are_numbered_lines_with_their_words():
    scene = curve_scene([run([3.0, 2.0, 1.0, 0.5], marks=[(2, "conv1 epsW[0]: 0.1 -> 0.05"), (3, "later")])], index=0)
    assert [points(scene, mark)[0][0] for mark in paths(scene, "mark")] == pytest.approx([1, 1.5])
    assert {"1", "2", "1   epoch 1: conv1 epsW[0]: 0.1 -> 0.05", "2   epoch 1.5: later"} <= set(words(scene, "words"))
    many = curve_scene([run([1.0] * 90, marks=[(at, f"mark {at}") for at in range(1, 90)])])
    said = [text for text in words(many) if ": mark " in text]
    assert said[-1] == "89   epoch 44.5: mark 89" and len(said) == 20 and "69 earlier marks left out" in words(many)
    early = run([1.0] * 90, "early", marks=[(at, f"early {at}") for at in range(1, 12)])
    late = run([1.0] * 90, "late", marks=[(at, f"late {at}") for at in range(6, 21)])
    said = [text for text in words(curve_scene([early, late])) if ": early " in text or ": late " in text]
    assert len(said) == 20 and said[0] == "7   late, epoch 3: late 6" and said[-1].endswith("late 20")  # the newest of both
    unknown = curve_scene([run([1.0, 2.0], marks=[(2, "x" * 5000)], epoch=0)])
    [said] = [text for text in words(unknown) if text.startswith("1   after 2 batches: xx")]
    assert "Batches" in words(unknown) and len(said) < 150


def test_runs_have_names_colours_and_markers_of_their_own():
    histories = [run([3.0 + i, 2.0, 1.0], f"run {i}", [(2, 2.0, 2.0), (3, 1.0, 1.0)]) for i in range(9)]
    scene = curve_scene(histories, index=0)
    assert [text for text in words(scene) if text.endswith("tests")] == [f"run {i}, means over 2 tests" for i in range(9)]
    assert words(scene, "heading") == ["logprob"] and not paths(scene, "training")
    assert "run 0 1, run 1 1" in words(curve_scene(histories[:2], index=0))
    found = {
        (path.look, len(points(scene, path))) for path in scene.shapes if isinstance(path, Path) and "-dot" in path.look
    }
    assert len(found) == 14 + 2 * 2  # seven colours, a marker in the legend and two; of the eighth and ninth other forms
    assert all(paths(scene, f"run-{i}-training") and paths(scene, f"run-{i}-test") for i in range(7))


def contrast(*colors):
    def light(color):
        shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05

    first, second = sorted(map(light, colors))
    return second / first


@pytest.mark.parametrize("looks", [LOOKS, DARK], ids=["light", "dark"])
def test_colours_can_be_seen_on_their_ground(looks):
    """3 to 1 for lines, 4.5 to 1 for words, as WCAG 2 asks."""
    ground = looks["ground"].fill
    for i in range(len(RUN_COLORS)):
        assert contrast(looks[f"run-{i}-test"].line, ground) >= 3
    for name in ("training", "test", "axis", "mark"):
        assert contrast(looks[name].line, ground) >= 3
    for name in ("heading", "panel-name", "words", "faint"):
        assert contrast(looks[name].fill, ground) >= 4.5


# What the two most frequent kinds of the colour-blind see, in linear light (Vienot, Brettel and Mollon, 1999)
BLIND = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", BLIND)
def test_colours_of_runs_are_told_apart_by_the_colour_blind(kind, theme):
    colors = np.array([[int(pair[theme][i : i + 2], 16) / 255 for i in (1, 3, 5)] for pair in RUN_COLORS[:4]])
    seen = np.clip(colors**2.2 @ np.array(BLIND[kind]).T, 0, 1) ** (1 / 2.2)
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.12


def test_what_is_not_finite_is_told_and_leaves_a_gap():
    scene = curve_scene([run(["nan", 2.0, "inf", 3.0, 1.0], tests=[(5, math.nan, math.nan)])], index=0)
    assert "not finite: 2 of 5 batches, 1 of 1 tests" in words(scene)
    assert [letter for letter, _ in paths(scene, "training")[-1].segments] == ["M", "L"]
    assert np.allclose(middles(scene, paths(scene, "training-dot")[0]), [(1, 2)], atol=1e-6)
    assert "no finite number" in words(curve_scene([run(["nan", "nan"])]))


def test_it_is_small_however_long_a_run_is():
    costs = [2 + math.sin(i / 9) for i in range(30_000)]
    costs[12_345], costs[23_456] = 50.0, -50.0
    tests = [(at, 1.0, 1.0) for at in range(0, 30_000, 300)]
    scene = curve_scene([run(costs, tests=tests, marks=[(at, "x") for at in range(5000)])])
    assert len(svg_of(scene)) < 60_000 and not paths(scene, "test-dot")[1:]
    drawn = points(scene, paths(scene, "training")[1])
    assert len(drawn) <= MOST
    ups = [
        y for _, y in points(curve_scene([run(costs)], index=0), paths(curve_scene([run(costs)], index=0), "training")[1])
    ]
    assert max(ups) == pytest.approx(50, abs=1e-3) and min(ups) == pytest.approx(-50, abs=1e-3)  # no spike is lost


@pytest.mark.parametrize(
    "histories, options, message",
    [
        ([run([1.0])], {"cost": "logprop"}, "no cost 'logprop' in run; it has logprob; did you mean 'logprob'"),
        ([run([1.0])], {"index": 2}, "--cost-idx 2: 'logprob' has 2 values, counted from 0"),
        ([run([1.0]), run([], "other")], {}, "nothing to show of other: no batch was done and no test"),
    ],
)
def test_mistakes(histories, options, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        curve_scene(histories, **options)


def test_svg_has_its_words_and_its_looks():
    text = svg_of(curve_scene([run([3.0, 2.0], tests=[(2, 2.5, 2.5)], final=2.0, marks=[(1, "a <b> & \x1b")])]))
    root = ElementTree.fromstring(text)
    assert root.find("{*}title").text == "logprob of run"
    assert "1   epoch 0.5: a <b> &  " in [words.text for words in root.iter("{http://www.w3.org/2000/svg}text")]
    style = root.find("{*}style").text
    assert ".convnet .test{fill:none;stroke:#e00000" in style and "@media (prefers-color-scheme:dark)" in style
    assert "edge" not in style and "http" not in style


FLOATS = st.floats(allow_nan=True) | st.sampled_from([0.0, 1e308, -1e308, 5e-324, 1.0])


@settings(deadline=None, database=None)
@given(st.lists(FLOATS, max_size=8), st.lists(FLOATS, max_size=3), st.integers(1, 3))
def test_any_numbers_are_drawn(costs, tests, count):
    """No number is drawn outside its panel, and none is left out of the file for being no number."""
    found = run(
        [*costs, 1.0], tests=[(i, value, value) for i, value in enumerate(tests, 1)], final=costs[0] if costs else None
    )
    scene = curve_scene([found] * count)
    for shape in scene.shapes:
        if isinstance(shape, Path):
            for _, at in shape.segments:
                assert all(-20 <= value <= 1e4 and math.isfinite(value) for value in at)
    assert "nan" not in re.sub(r">[^<]*<", "><", svg_of(scene))


@settings(deadline=None, database=None)
@given(st.floats(-1e300, 1e300), st.floats(1e-12, 1e300))
def test_ticks_are_round_and_within(low, size):
    high = low + size
    if not high > low + 1e-9 * abs(low):
        return
    found = ticks(low, high)
    assert 1 <= len(found) <= 12 and all(low - 1e-9 * size <= value <= high + 1e-9 * size for value, _ in found)
    assert len({text for _, text in found}) == len(found)


@pytest.mark.parametrize(
    "low, high, texts",
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 40, ["0", "10", "20", "30", "40"]),
        (-0.3, 12, ["0.0", "2.5", "5.0", "7.5", "10.0"]),
        (0.0001, 0.0004, ["0.0001", "0.0002", "0.0003", "0.0004"]),
        (0, 5e6, ["0", "1,000,000", "2,000,000", "3,000,000", "4,000,000", "5,000,000"]),
        (0, 4e9, ["0", "1e+09", "2e+09", "3e+09", "4e+09"]),
        (1e61, 1.0009e61, ["1e+61", "1.0002e+61", "1.0004e+61", "1.0006e+61", "1.0008e+61"]),
    ],
)
def test_ticks(low, high, texts):
    assert [text for _, text in ticks(low, high)] == texts


def test_limits_and_places():
    assert limits([]) is limits([math.nan, math.inf]) is None
    assert limits([2, 2]) == (1.8, 2.2) and limits([0]) == (0, 0.5) and limits([0, 10]) == (-0.5, 10.5)
    frame = Frame(10, 20, 100, 50, (0, 10), (0, 5))
    assert (frame.x(5), frame.y(5), frame.y(0)) == (60, 20, 70)


@given(st.integers(MOST + 1, 5000), st.integers(0, 599))
@settings(deadline=None, database=None, max_examples=20)
def test_thinned_lines_keep_extremes(count, place):
    values = np.zeros(count)
    values[place], values[place + 1] = np.nan, 7
    at, kept = thinned(np.arange(count), values)
    assert len(at) == len(kept) <= MOST and kept.max() == 7 and at[kept.argmax()] == place + 1 and (np.diff(at) > 0).all()
