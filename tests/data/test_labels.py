"""Labels in every form: one per case, several, none; numbers, lists, arrays, marks, words, and 2012's tuples (io 5)."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import values

from convnet.data.labels import Labels, labels_of, part_of_2012
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.generation import COMPAT

NAMES = ["a", "b", "c", "d"]
DATA = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8)
ONE = [0, 1, 2, 3, 1, 0]
MARKS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
SEVERAL = [[0, 1], [1, 2], [2], [0, 1, 3], [], [0]]


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


STRINGS = [jpeg(40 * n) for n in range(6)]
SIZES, WORDS = [(500, 375)] * 6, [f"n{n:08}" for n in range(6)]


def rows_of(folder, part, meta=None, **request):
    """The matrices of labels of a batch."""
    described = {"label_names": NAMES, "num_vis": 48, "data_mean": np.zeros(48)} | (meta or {})
    for name, value in (("batches.meta", described), ("data_batch_1", part)):
        (folder / name).write_bytes(pickle.dumps(value))  # as users do
    provider = open_provider("", Request(str(folder), batches=[1], **request))
    batch = provider.batch(1, 1)
    rows = batch.minibatch(0, batch.cases)[1:]
    assert {i: len(matrix) for i, matrix in enumerate(rows, 1)} == {i: n for i, n in provider.dims.items() if i}
    return rows


def classes_of(matrix):
    return [np.flatnonzero(case).tolist() for case in matrix.T]


@pytest.mark.parametrize("data", [DATA, STRINGS], ids=["matrix", "pictures"])
@pytest.mark.parametrize(
    "labels",
    [
        ONE,
        tuple(ONE),
        [ONE],
        [float(label) for label in ONE],
        [[label] for label in ONE],
        [(label,) for label in ONE],
        [np.array([label]) for label in ONE],
        [np.array(label) for label in ONE],
        np.array(ONE, np.float32),
        np.array([ONE]),
        np.array(ONE)[:, None],
        np.array(ONE, object),
        np.eye(4)[ONE],
        np.eye(4, dtype=np.uint8)[ONE].T,
        np.eye(4, dtype=int)[ONE].tolist(),
    ],
    ids=lambda labels: f"{type(labels).__name__} {np.shape(labels)}",
)
def test_one_label_per_case(tmp_path, data, labels):
    one, every = rows_of(tmp_path, {"data": data, "labels": labels})
    assert one.tolist() == [ONE] and classes_of(every) == [[label] for label in ONE]


@pytest.mark.parametrize("data", [DATA, STRINGS], ids=["matrix", "pictures"])
@pytest.mark.parametrize("labels", [SEVERAL, np.array(SEVERAL, object), MARKS, MARKS.T.astype(np.float32)], ids=str)
def test_several_labels_per_case(tmp_path, data, labels, caplog):
    """Matrix 2 has all of them; of those in matrix 1 another one may be drawn in each epoch."""
    one, every = rows_of(tmp_path, {"data": data, "labels": labels})
    assert classes_of(every) == SEVERAL
    assert all(label in (case or [0]) for label, case in zip(one[0], SEVERAL, strict=True))
    assert caplog.messages == [f"{tmp_path} has cases without labels, which count as class 0."]
    provider = open_provider("", Request(str(tmp_path), training=True, batches=[1]))
    drawn = {provider.batch(epoch, 1).minibatch(0, 6)[1][0, 0] for epoch in range(20)}
    assert drawn == {0, 1}


def test_cases_that_all_have_two_labels(tmp_path):
    _, every = rows_of(tmp_path, {"data": DATA, "labels": [[0, 1], [1, 2]] * 3})
    assert classes_of(every) == [[0, 1], [1, 2]] * 3


def test_marks_in_lists():
    """Lists of 0 and 1 are no lists of classes where these would be the same one twice, or all two of every case."""

    def read(labels, names):
        return labels_of({"labels": labels}, "x", len(labels), names)

    two = [[0, 1], [1, 0], [0, 1]]
    assert read(two, 2).values.tolist() == [1, 0, 1]
    assert read(two, 3).values.tolist() == [0, 1, 1, 0, 0, 1]
    assert read([[0, 1]] * 2, 2).values.tolist() == [0, 1, 0, 1]
    assert classes_of(read(MARKS.tolist(), 4).matrix(4)) == SEVERAL
    with pytest.raises(DataError, match="neither one label per case nor one-hot"):
        read([[0, 1, 1], [1, 0, 1]], 5)


def test_single_labels_draw_no_random_numbers(tmp_path):
    """So that crops are those of earlier versions, which runs go on with."""
    crops = []
    for labels in (ONE, [[label] for label in ONE]):
        rows_of(tmp_path, {"data": DATA, "labels": labels})
        request = Request(str(tmp_path), batches=[1], training=True, inner_size=2)
        crops += open_provider("", request).batch(1, 1).crops
    np.testing.assert_array_equal(crops[0].tops, crops[1].tops)
    random = np.random.default_rng([0, 1, 1, 1])
    np.testing.assert_array_equal(crops[0].flips, random.integers(0, 2, 6))


@pytest.mark.parametrize("data", [DATA, STRINGS], ids=["matrix", "pictures"])
def test_label_offset(tmp_path, data):
    """2012's labels may count from 1; what a file holds is what a message says."""
    part = {"data": data, "labels": [label + 1 for label in ONE]}
    one, every = rows_of(tmp_path, part, {"label_offset": -1})
    assert one.tolist() == [ONE] and classes_of(every) == [[label] for label in ONE]
    with pytest.raises(DataError, match="data_batch_1: case 0 has label 0; labels must be 1 to 4"):
        rows_of(tmp_path, part | {"labels": ONE}, {"label_offset": -1})


def test_every_label_is_checked(tmp_path):
    with pytest.raises(DataError, match="case 3 has label 7; labels must be 0 to 3"):
        rows_of(tmp_path, {"data": DATA, "labels": [*SEVERAL[:3], [0, 7], [], []]})
    with pytest.raises(DataError, match=r"case 1 has label 1.5; expected whole numbers, labels must be 0 to 3"):
        rows_of(tmp_path, {"data": DATA, "labels": [[0], [1, 1.5], [], [], [], []]})


def test_2012_marks_all_classes_of_a_batch(tmp_path):
    _, every = rows_of(tmp_path, {"data": DATA, "labels": SEVERAL[:3] * 2}, compat=COMPAT["2012"])
    assert classes_of(every) == [[0, 1, 2]] * 6


PAIRS = list(zip(WORDS, ONE, strict=True))


@pytest.mark.parametrize(
    "members, expected",
    [
        ((SIZES, PAIRS), ONE),
        ((PAIRS, SIZES), ONE),
        (([[500, 375]] * 6, PAIRS), ONE),
        ((np.array(SIZES), PAIRS), ONE),
        ((SIZES, [list(pair) for pair in PAIRS]), ONE),
        ((SIZES, [(None, label) for label in ONE]), ONE),
        ((None, PAIRS), ONE),
        ((ONE, WORDS), ONE),
        ((np.array(ONE), WORDS), ONE),
        (([float(label) for label in ONE], WORDS), ONE),
        (([[label] for label in ONE], WORDS), ONE),
        ((SIZES, ONE), ONE),
        ((SIZES, [[label] for label in ONE]), ONE),
        ((ONE,), ONE),
        ((SIZES, [(word, None) for word in WORDS]), [0] * 6),
        ((SIZES, [None] * 6), [0] * 6),
        ((SIZES, [*PAIRS[:5], ("n9", None)]), [*ONE[:5], 0]),
    ],
    ids=str,
)
def test_tuples_of_2012(tmp_path, members, expected):
    """Labels are the member that holds them: pairs (word, class), numbers, or lists of these (io 5.4)."""
    assert rows_of(tmp_path, (STRINGS, *members))[0].tolist() == [expected]


def test_an_unknown_class_of_2012_is_class_0_whatever_the_offset(tmp_path):
    part = (STRINGS, SIZES, [*((word, label + 1) for word, label in PAIRS[:5]), ("n9", None)])
    assert rows_of(tmp_path, part, {"label_offset": -1})[0].tolist() == [[*ONE[:5], 0]]


@pytest.mark.parametrize(
    "members, said",
    [
        ((SIZES, WORDS), "no labels in it"),
        ((SIZES, None), "'labels' is None|no labels in it"),
        ((SIZES, [*PAIRS[:5], ("n9", "x")]), r"'labels'\[5\]"),
        ((SIZES, PAIRS[:5]), "6 pictures but 5 labels"),
        ((SIZES, [*PAIRS[:5], ("n9", 4)]), "case 5 has label 4; labels must be 0 to 3"),
        ((SIZES, 3), "'labels' is 3"),
    ],
    ids=str,
)
def test_tuples_that_hold_no_labels(tmp_path, members, said):
    with pytest.raises(DataError, match=f"data_batch_1.*{said}") as caught:
        rows_of(tmp_path, (STRINGS, *members))
    assert "\n" not in str(caught.value)


TAGS = [["Beach ", "New\tYork"], [], ["sunset", "SUNSET"], ["Caf\u00c9"], ["nothing"], [b"Z\xc3\xbcrich"]]
IDS = {"beach": 0, "newyork": 1, "sunset": 2, "caf\u00e9": 3, b"z\xc3\xbcrich": 4}


def test_flickrs_tags(tmp_path):
    """In lower case and without blanks they are classes, several or none of a picture; matrix 1 has them all (io 5.4)."""
    meta = {"freq_to_id": IDS, "label_names": None}
    (every,) = rows_of(tmp_path, (STRINGS, SIZES, TAGS), meta)
    assert classes_of(every) == [[0, 1], [], [2], [3], [], [4]]
    provider = open_provider("", Request(str(tmp_path)))
    assert provider.label_names == ["beach", "newyork", "sunset", "caf\u00e9", "z\u00fcrich"]
    assert open_provider("image", Request(str(tmp_path))).dims == {0: 48, 1: 1, 2: 5}
    with pytest.raises(DataError, match=r"its pictures have words for labels; freq_to_id of batches.meta must say"):
        rows_of(tmp_path, (STRINGS, SIZES, TAGS))
    with pytest.raises(DataError, match=r"'tags'\[1\]\[0\] is 3; expected a text"):
        rows_of(tmp_path, (STRINGS, SIZES, [["a"], [3], [], [], [], []]), meta)


def test_numbers_of_2012(tmp_path):
    """flatmem: [data, one-hot labels] (io 6.4)."""
    rows_of(tmp_path, {"data": values(48, 6), "labels": ONE})
    provider = open_provider("flatmem", Request(str(tmp_path)))
    assert provider.dims == {0: 48, 1: 4} and classes_of(provider.batch(1, 1).minibatch(0, 6)[1]) == [[n] for n in ONE]


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=8), st.integers(-3, 3), st.integers(0, 99))
def test_labels_are_what_they_were(cases, offset, seed):
    labels = labels_of({"labels": [[label - offset for label in case] for case in cases]}, "x", len(cases) + 100)
    labels.check(6, offset, "x")
    labels = labels.numbered(offset, None)
    assert [labels.values[labels.cases == n].tolist() for n in range(len(labels))] == cases
    assert classes_of(labels.matrix(6)) == [sorted(set(case)) for case in cases]
    drawn = labels.drawn(np.random.default_rng(seed))
    assert drawn.shape == (1, len(cases)) and all(a in (b or [0]) for a, b in zip(drawn[0], cases, strict=True))
    some = labels.of(range(0, len(cases), 2))
    assert classes_of(some.matrix(6)) == [sorted(set(case)) for case in cases[::2]]
    assert classes_of(Labels.joined([some, labels]).matrix(6)) == [sorted(set(case)) for case in (*cases[::2], *cases)]


@given(
    st.lists(
        st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers(0, 9)), st.tuples(st.text(), st.none())),
        max_size=4,
    )
)
def test_any_member_of_a_tuple_is_looked_at(member):
    part = part_of_2012(([], [], member))
    assert part["data"] == [] and set(part) <= {"data", "labels", "tags"}
