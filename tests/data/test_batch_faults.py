"""Whatever is wrong with batches or their description is one line that names file, key and what was expected."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image
from support import dump, values

from convnet.data import pictures
from convnet.data.batches import read_batch
from convnet.data.labels import labels_of
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError

NAMES = ["a", "b", "c"]
DATA = np.arange(48 * 5, dtype=np.uint8).reshape(48, 5)
MATRICES = {"data": DATA, "labels": [0, 1, 2, 0, 1]}


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 99, 199)).save(file, "JPEG")
    return file.getvalue()


PICTURES = {"data": [jpeg()] * 3, "labels": [[0], [1, 2], [2]]}


def use(folder, meta, part, **request):
    """Open a provider and load its first batch, in training and not."""
    dump(folder / "batches.meta", meta)
    dump(folder / "data_batch_1", part)
    for training in (False, True):
        provider = open_provider("", Request(str(folder), training=training, batches=[1], **request))
        batch = provider.batch(1, 1)
        batch.minibatch(0, batch.cases)
    return batch


META_FAULTS = [
    ({"label_names": 3}, "'label_names' is 3"),
    ({"label_names": [1, 2]}, r"'label_names'\[0\] is 1; expected a text"),
    ({"data_mean": "x"}, "'data_mean' is 'x'"),
    ({"data_mean": np.full(48, np.nan)}, r"'data_mean' holds nan at \(0,\); expected finite numbers"),
    ({"data_mean": np.full(48, 1e300)}, "'data_mean' holds 1e\\+300"),
    ({"data_mean": [1e300] * 48}, r"data_mean holds 1e\+300; expected finite numbers of 32 bits"),
    ({"data_mean": np.ones(47)}, "data_mean has 47 values, the data 48"),
    ({"data_mean": [1.0, None]}, r"'data_mean'\[1\] is None"),
    ({"data_mean": {}}, "'data_mean' is a dict of 0"),
    ({"num_vis": None}, "'num_vis' is None; expected a whole number from 1"),
    ({"num_vis": 0}, "'num_vis' is 0"),
    ({"num_vis": -48}, "'num_vis' is -48"),
    ({"num_vis": 48.5}, "'num_vis' is 48.5"),
    ({"num_vis": 10**12}, "'num_vis' is 1000000000000; expected a whole number from 1 to 2147483648"),
    ({"num_colors": 0}, "'num_colors' is 0"),
    ({"label_offset": "x"}, "'label_offset' is 'x'; expected a whole number"),
    ({"color_pca": (np.ones(2), np.eye(2))}, "'color_pca' is a tuple of 2; expected"),
    ({"color_pca": (np.ones(3), np.full((3, 3), np.inf))}, "'color_pca' is a tuple of 2; expected"),
    ({"color_pca": (np.ones(3), np.eye(3) * 1e300)}, "'color_pca' is a tuple of 2; expected"),
    ({"color_pca": (np.ones(3), np.eye(3).astype("U8").tolist())}, "'color_pca' is a tuple of 2; expected"),
    ({"color_pca": 3}, "'color_pca' is 3; expected"),
    ({"color_pca": [[1, 2], "x"]}, "'color_pca' is a list of 2; expected"),
    ({"tree": {"x": 1}}, "'tree'"),
    ({"tree": {3: [0, 1], 0: ["x"]}}, "'tree'"),
    ({"tree": {3: [0, 1, 2], 0: [3]}}, "tree"),
    ({"tree": {3: [0, 1, 2]}, "all_wnids": {"gproot": "x"}}, "'all_wnids'"),
    ({"dp_type": 3}, "'dp_type' is 3; expected a text"),
    ({"no_crop": "yes"}, "'no_crop' is 'yes'"),
    ({"freq_to_id": [1]}, "'freq_to_id' is a list of 1"),
    ({"freq_to_id": {"sea": -1}}, r"'freq_to_id'\['sea'\] is -1; expected a whole number from 0"),
    ({"data_mean": [1.0, 2.0]}, "data_mean has 2 values, the data 48"),
]


@pytest.mark.parametrize("part", [MATRICES, PICTURES], ids=["matrices", "pictures"])
@pytest.mark.parametrize("fault, said", META_FAULTS, ids=str)
def test_descriptions(tmp_path, part, fault, said):
    meta = {"label_names": NAMES, "num_vis": 48, "data_mean": np.ones(48)} | fault
    with pytest.raises(DataError, match=said) as caught:
        use(tmp_path, meta, part)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("names", [None, [], NAMES, np.array(NAMES), np.array(NAMES, object), tuple(NAMES), ["x"] * 3])
def test_names_in_all_forms(tmp_path, names):
    use(tmp_path, {"num_vis": 48, "label_names": names if not isinstance(names, np.ndarray) else list(names)}, MATRICES)


PART_FAULTS = [
    ({"labels": None}, "no labels in it"),
    ({"labels": 3}, "'labels' is 3; expected one number, or a list of numbers, per case"),
    ({"labels": ["x"]}, r"'labels'\[0\] is 'x'; expected"),
    ({"labels": ["cat", "dog"]}, r"'labels'\[1\] is 'dog'"),
    ({"labels": [0, 1, 2, 0, None]}, r"'labels'\[4\] is None"),
    ({"labels": [0, 1, 2, 0, float("nan")]}, r"'labels'\[4\] is nan"),
    ({"labels": [[0], [1], ["x"], [1], [2]]}, r"'labels'\[2\] is a list of 1"),
    ({"labels": {"a": 1}}, "'labels' is a dict of 1"),
    ({"labels": np.array([0, 1, np.inf])}, "case 2 is inf"),
    ({"labels": np.where(np.eye(6, 5, 1), np.nan, 0.5)}, "row 0, column 1 is nan; expected a finite number"),
    ({"labels": [[0.5, float("nan")]] * 5}, "is a list of 2; expected a finite number, or a list of finite numbers"),
    ({"labels": np.zeros((5, 2, 2))}, "'labels' is an array of shape"),
    ({"labels": np.zeros((5, 3))}, "neither one label per case nor one-hot"),
    ({"labels": [0, 1]}, "5 cases but 2 labels; the file is truncated or damaged"),
    ({"labels": [0, 1, 2, 3, 4]}, "case 3 has label 3; labels must be 0 to 2"),
    ({"labels": [0, 1, 1.5, 0, 0]}, "case 2 has label 1.5"),
    ({"labels": [0, 1, 10**60, 0, 0]}, "case 2 has label 1e"),
    ({"data": None}, "'data' is None; expected a matrix of numbers"),
    ({"data": 7}, "'data' is 7"),
    ({"data": np.zeros((48, 0), np.uint8), "labels": np.zeros(0)}, "holds no cases"),
    ({"data": np.where(np.arange(240.0).reshape(48, 5) == 7, 1e300, 0.5)}, r"in 1 of 5 cases: value 1 of case 2 is 1e\+300"),
    ({"data": [1, 2]}, r"'data'\[0\] is 1; expected the bytes of a picture"),
    ({"data": np.zeros(5)}, "'data' is an array of shape"),
    ({"data": np.zeros((47, 5), np.uint8)}, "data of shape 47x5; expected 48 values per case"),
    ({"data": np.zeros((48, 0), np.uint8), "labels": []}, "holds no cases"),
    ({"data": np.where(np.arange(240.0).reshape(48, 5) == 7, np.nan, 0.5)}, "value 1 of case 2 is nan"),
    ({"data": np.where(np.arange(240.0).reshape(48, 5) % 5 == 4, np.inf, 0.5)}, "in 1 of 5 cases: value 0 of case 4 is inf"),
]


@pytest.mark.parametrize("fault, said", PART_FAULTS, ids=[said for _, said in PART_FAULTS])
def test_matrices(tmp_path, fault, said):
    with pytest.raises(DataError, match=said) as caught:
        use(tmp_path, {"label_names": NAMES, "num_vis": 48, "data_mean": np.ones(48)}, MATRICES | fault)
    assert "\n" not in str(caught.value) and "data_batch_1" in str(caught.value)


@pytest.mark.parametrize(
    "fault, said",
    [
        ({"labels": [[0], [1, 99], [2]]}, "case 1 has label 99; labels must be 0 to 2"),
        ({"labels": [[0], [1, -1], [2]]}, "case 1 has label -1"),
        ({"labels": [[0], [1.5], [2]]}, "case 1 has label 1.5; expected whole numbers"),
        ({"labels": [[0], None, [2]]}, r"'labels'\[1\] is None"),
        ({"labels": 3}, "'labels' is 3"),
        ({"labels": [[0], [1]]}, "3 pictures but 2 labels"),
        ({"data": [], "labels": []}, "holds no cases"),
        ({"data": [1, 2, 3]}, r"'data'\[0\] is 1; expected the bytes of a picture"),
        ({"data": 3}, "'data' is 3"),
    ],
)
def test_pictures(tmp_path, fault, said):
    """Every label is looked at, whichever the seed draws."""
    for seed in range(3):
        with pytest.raises(DataError, match=said):
            use(tmp_path, {"label_names": NAMES, "num_vis": 48}, PICTURES | fault, seed=seed)


def test_numbers_and_means_as_others_write_them(tmp_path):
    mean = [[1.0]] * 48
    use(
        tmp_path,
        {"label_names": NAMES, "num_vis": 48.0, "num_colors": 3.0, "data_mean": mean, "label_offset": 0.0},
        PICTURES,
    )


def test_values_that_are_none_of_these_are_no_batch(tmp_path):
    for value in (3, None, "text", [1], (1, 2, 3), ([], [], [])):
        with pytest.raises(DataError, match="data_batch_1"):
            use(tmp_path, {"label_names": NAMES, "num_vis": 48}, value)


def test_a_folder_without_parts(tmp_path):
    (tmp_path / "data_batch_1").mkdir()
    (tmp_path / "data_batch_1" / "notes.txt").write_text("mine")
    dump(tmp_path / "batches.meta", {"label_names": NAMES})
    with pytest.raises(DataError, match=r"data_batch_1: a folder without parts; expected data_batch_1.0"):
        open_provider("", Request(str(tmp_path)))


@pytest.mark.parametrize("labels", [[[0, 0, 1], [1, 0, 0]] + [[0, 1, 0]] * 3, None], ids=["lists", "arrays"])
def test_one_hot_labels_are_recognised(tmp_path, labels):
    expected = [2, 0, 1, 1, 1]
    one_hot = np.eye(3, dtype=np.float32)[expected]
    for given in [labels] if labels else [one_hot, one_hot.T, one_hot.astype(int)]:
        batch = use(tmp_path, {"label_names": NAMES, "num_vis": 48}, MATRICES | {"labels": given})
        np.testing.assert_array_equal(batch.minibatch(0, 5)[1][0], expected)


def test_a_batch_of_values_among_pixels(tmp_path):
    use(tmp_path, {"num_vis": 48, "label_names": NAMES}, MATRICES)
    dump(tmp_path / "data_batch_2", MATRICES | {"data": MATRICES["data"] - 0.5})
    provider = open_provider("", Request(str(tmp_path)))
    with pytest.raises(DataError, match=r"data_batch_2: holds values, but .*data_batch_1 pixels, from 0 to 255"):
        provider.batch(1, 2)


def test_two_numbers_per_case_are_labels(tmp_path):
    part = {"data": values(4, 3), "labels": [[0, 1], [1, 0], [0, 1]]}
    assert labels_of(part, tmp_path, 3).values.tolist() == [0, 1, 1, 0, 0, 1]


def test_2012_tuples_that_end_with_words(tmp_path):
    """(JPEG strings, labels, words), as fix-big-imgnet wrote them (io 5.4)."""
    batch = use(tmp_path, {"label_names": NAMES, "num_vis": 48}, ([jpeg()] * 3, [2, 0, 1], ["n1", "n2", "n3"]))
    np.testing.assert_array_equal(batch.minibatch(0, 3)[1][0], [2, 0, 1])


@pytest.mark.parametrize("shape", [(2**39, 0), (0, 2**39)])
def test_sides_that_hold_nothing(tmp_path, shape):
    """A matrix of no cases may have any number of values, in a file of some bytes."""
    with pytest.raises(DataError, match=r"data_batch_1: (holds no cases|data of shape)"):
        use(tmp_path, {}, {"data": np.zeros(shape, np.uint8), "labels": []})
    with pytest.raises(DataError, match="data of shape 48x5; expected 1,073,741,824 values per case"):
        use(tmp_path, {"num_vis": 2**30, "label_names": NAMES}, MATRICES)


@pytest.mark.parametrize("names", [None, ["x"] * 2**20], ids=["unnamed", "named"])
def test_more_targets_than_any_batch_has(tmp_path, names):
    many = {"data": np.zeros((48, 65), np.uint8), "labels": [2**20 - 1] * 65}
    with pytest.raises(DataError, match="data_batch_1: 65 cases of 1,048,576 classes are too many; make smaller batches"):
        use(tmp_path, {"num_vis": 48, "label_names": names}, many)


def test_pictures_that_are_texts_of_python_3(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": ["\xe9", "\u20ac"], "labels": [0, 1]}, 2))
    with pytest.raises(DataError, match=r": 'data'\[1\] is '\u20ac'; expected the bytes of a picture"):
        read_batch(tmp_path / "data_batch_1")


def test_colour_noise_of_lists(tmp_path):
    """Principal axes that a user wrote as lists are those of arrays."""
    meta = {"label_names": NAMES, "num_vis": 48, "data_mean": np.ones(48)}
    shifts = []
    for pca in ((np.ones(3), np.eye(3)), ([1, 1, 1], np.eye(3).tolist())):
        batch = use(tmp_path, meta | {"color_pca": pca}, PICTURES, color_noise=0.1)
        shifts.append(batch.crops[0].shifts)
    np.testing.assert_array_equal(*shifts)
    assert shifts[0].any()


def test_more_pictures_than_memory_holds(tmp_path, monkeypatch):
    """None is decoded before there is room for all."""

    class Full:
        def __getattr__(self, name):
            return getattr(np, name)

        def empty(self, shape, dtype):
            raise MemoryError(f"Unable to allocate an array with shape {shape}")

    monkeypatch.setattr(pictures, "np", Full())
    meta = {"label_names": NAMES, "num_vis": 48, "data_mean": np.zeros(48)}
    with pytest.raises(DataError, match=r"data_batch_1: 3 pictures of 4x4 need more memory than there is$"):
        use(tmp_path, meta, PICTURES)
