"""Batches with labels of several matrices, and with real values: what nets get of them, and what is said of others."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nets import DATA
from PIL import Image
from support import ROOT, default_params, dump

from convnet.api.labels import label_matrices
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.data.random import synthesize
from convnet.data.targets import Values, read_targets
from convnet.errors import DataError
from convnet.graph.infer import needed_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.needs import Need

PICTURES = DATA.split("[labels]")[0]
N = 20
RANDOM = np.random.RandomState(3)
X = RANDOM.randn(30, N).astype(np.float32)
T = RANDOM.randn(6, N)
A, B = RANDOM.randint(0, 10, N), RANDOM.randint(0, 4, N)
MARKS = (np.arange(6)[:, None] == A % 6).astype(np.float32)


def net(*layers):
    """A net of an fc layer for each (kind, matrix, outputs): ``label`` with a softmax, ``value`` with a sum of squares."""
    text = PICTURES
    for kind, index, outputs in layers:
        text += f"[y{index}]\ntype=data\ndataIdx={index}\n"
        text += f"[fc{index}]\ntype=fc\ninputs=data\noutputs={outputs}\ninitW=0.01\n"
        if kind == "label":
            text += f"[p{index}]\ntype=softmax\ninputs=fc{index}\n[c{index}]\ntype=cost.logreg\ninputs=y{index},p{index}\n"
        elif kind == "target":
            text += f"[p{index}]\ntype=softmax\ninputs=fc{index}\n[c{index}]\ntype=cost.crossent\ninputs=y{index},p{index}\n"
        else:
            text += f"[d{index}]\ntype=eltsum\ninputs=fc{index},y{index}\ncoeffs=1,-1\n"
            text += f"[c{index}]\ntype=cost.sum2\ninputs=d{index}\n"
    return parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg"))


def folder_of(path, meta=None, data=X, **keys):
    for number in (1, 2):
        dump(path / f"data_batch_{number}", {"data": data, **keys})
    dump(path / "batches.meta", meta or {"num_vis": 30})
    return str(path)


def opened(path, *layers, **more):
    builder = net(*layers)
    return builder, open_provider("", Request(path, needs=needed_data(builder), builder=builder, **more))


REGRESSION, HEADS = [("value", 1, 6)], [("label", 1, 10), ("label", 2, 4)]
READ = {
    "a column for each case": (REGRESSION, {"labels": T}, {1: T}),
    "a row for each case": (REGRESSION, {"labels": T.T}, {1: T}),
    "a list for each case": (REGRESSION, {"labels": T.T.tolist()}, {1: T}),
    "a list for each value": (REGRESSION, {"labels": T.tolist()}, {1: T}),
    "whole numbers": (REGRESSION, {"labels": np.round(T * 9)}, {1: np.round(T * 9)}),
    "whole numbers in lists": (REGRESSION, {"labels": (MARKS * 7).T.tolist()}, {1: MARKS * 7}),
    "two whole numbers each": (
        [("value", 1, 2)],
        {"labels": [[int(a), int(b)] for a, b in zip(A, B, strict=True)]},
        {1: np.stack([A, B])},
    ),
    "lists of whole numbers": (REGRESSION, {"labels": (MARKS * 7).astype(int).tolist()}, {1: MARKS * 7}),
    "one value each": ([("value", 1, 1)], {"labels": T[0].tolist()}, {1: T[:1]}),
    "one value each in a column": ([("value", 1, 1)], {"labels": T[:1].T}, {1: T[:1]}),
    "classes as values": (REGRESSION, {"labels": (A % 6).tolist()}, {1: MARKS}),
    "classes as targets": ([("target", 1, 6)], {"labels": A % 6}, {1: MARKS}),
    "soft targets": ([("target", 1, 6)], {"labels": np.abs(T)}, {1: np.abs(T)}),
    "several classes of each case": (
        [("target", 1, 6)],
        {"labels": [[int(a) % 6, (int(a) + 1) % 6] for a in A]},
        {1: np.maximum(MARKS, np.roll(MARKS, 1, axis=0))},
    ),
    "two targets each": (
        [("target", 1, 2)],
        {"labels": np.eye(2, dtype=int)[A % 2].tolist()},
        {1: np.eye(2, dtype=np.float32)[A % 2].T},
    ),
    "a key for each head": (HEADS, {"labels": A, "labels2": B}, {1: A[None], 2: B[None]}),
    "a row for each head": (HEADS, {"labels": np.stack([A, B])}, {1: A[None], 2: B[None]}),
    "a list for each head": (HEADS, {"labels": [A.tolist(), B.tolist()]}, {1: A[None], 2: B[None]}),
    "a matrix for each head": (HEADS, {"labels": [A[None], B[None]]}, {1: A[None], 2: B[None]}),
    "a head that is one-hot": (HEADS, {"labels": A, "labels2": np.eye(4)[B]}, {1: A[None], 2: B[None]}),
    "coarse classes": (HEADS, {"fine_labels": A.tolist(), "coarse_labels": B.tolist()}, {1: A[None], 2: B[None]}),
    "a head and values": ([("label", 1, 10), ("value", 2, 6)], {"labels": A, "labels2": T}, {1: A[None], 2: T}),
    "the same classes as 0 and 1": ([("label", 1, 10), ("target", 2, 10)], {"labels": A}, {1: A[None], 2: np.eye(10)[A].T}),
    "a matrix that nobody reads": ([("value", 3, 6)], {"labels3": T}, {3: T}),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_stored_becomes_what_is_needed(tmp_path, name):
    layers, keys, expected = READ[name]
    builder, provider = opened(folder_of(tmp_path, **keys), *layers)
    graph = builder.shape(provider.dims, provider.classes, heads=provider.heads)
    matrices = provider.batch(1, 1).matrices
    for index, matrix in expected.items():
        assert matrices[index].dtype == np.float32 and provider.dims[index] == len(matrix)
        np.testing.assert_array_equal(matrices[index], matrix.astype(np.float32))
    assert graph.data_dims == provider.dims
    np.testing.assert_allclose(matrices[0].mean(axis=1), 0, atol=1e-6)  # values lose no mean, data do


@pytest.mark.parametrize(
    "layers, keys, words",
    [
        (REGRESSION, {"labels": T[:5]}, r"_1: 'labels' is an array .* layer 'y1' \(net.cfg:7\) needs 6 values per case"),
        (REGRESSION, {"labels": T[:, 1:]}, "for 20 cases"),
        (REGRESSION, {"labels": T[0]}, "needs 6 values per case"),
        (REGRESSION, {"labels": [[0.5] * (5 + i % 2) for i in range(N)]}, "not as many values for every case"),
        (REGRESSION, {}, "no 'labels' in it; layer 'y1'"),
        (REGRESSION, {"labels": T * np.inf}, "inf"),
        (HEADS, {"labels": A, "labels2": T}, r"'labels2' is an array .* needs labels of 4 classes"),
        (HEADS, {"labels": A, "labels2": A + 4}, "'labels2': case . has label .*; labels must be 0 to 3"),
        (HEADS, {"labels": A, "labels2": B[1:]}, "20 cases but 19 labels"),
        (HEADS, {"labels": A, "labels2": ["a"] * N}, r"'labels2'\[0\] is 'a'"),
        (HEADS, {"labels": T[0], "labels2": B}, "expected whole numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, layers, keys, words):
    with pytest.raises(DataError) as caught:
        _, provider = opened(folder_of(tmp_path, **keys), *layers)
        provider.batch(1, 1)
    assert re.search(words, str(caught.value))


@pytest.mark.parametrize("layers", [HEADS, [("label", 2, 4)], [("label", 1, 10), ("value", 3, 6)]])
def test_a_head_that_nothing_is_stored_for_is_missing(tmp_path, layers):
    _, provider = opened(folder_of(tmp_path, labels=A), *layers)
    assert max(index for _, index, _ in layers) not in provider.dims


@pytest.mark.parametrize("index, other", [(1, T[:5]), (2, T)])
def test_batches_of_other_sizes(tmp_path, index, other):
    folder = folder_of(tmp_path, labels=T, labels2=T[:3])
    dump(
        tmp_path / "data_batch_2", {"data": X, "labels": T, "labels2": T[:3]} | {"labels2" if index > 1 else "labels": other}
    )
    with pytest.raises(DataError, match="data_batch_2: 'labels"):
        opened(folder, ("value", 1, 6), ("value", 2, 3))[1].batch(1, 2)


def test_classes_of_a_program():
    """Lists of them are what they are in a batch; lists of values are no classes."""
    graph = net(("target", 1, 4)).shape({0: 30, 1: 4}, 4)
    lists = [[0], [1, 3], [], [2, 0], [3]]
    marks = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    for labels in (lists, marks.tolist(), marks.T, {"y1": lists}):
        np.testing.assert_array_equal(label_matrices(labels, graph)[0], marks.T)
    for labels, words in (
        ([[0], [4]], "case 1 has label 4; labels must be 0 to 3"),
        ([[0, 0], [1, 1]], r"labels of shape \(2, 2\) do not fit"),
        ([[0.5, 0.7]] * 5, r"labels of shape \(5, 2\) do not fit"),
    ):
        with pytest.raises(DataError, match=words):
            label_matrices(labels, graph)


def test_names_of_each_head(tmp_path):
    names = {"label_names": [*"abcdefghij"], "label_names2": [*"wxyz"]}
    _, provider = opened(folder_of(tmp_path, {"num_vis": 30, **names}, labels=A, labels2=B), *HEADS)
    assert (provider.classes, provider.heads) == (10, {2: 4})
    assert (provider.names_at(1), provider.names_at(2)) == (names["label_names"], names["label_names2"])
    free = net(("label", 1, "num_classes"), ("label", 2, "num_classes"))
    folder = folder_of(tmp_path, labels=A, labels2=B)  # without names they are counted
    counted = open_provider("", Request(folder, needs=needed_data(free), builder=free))
    graph = free.shape(counted.dims, counted.classes, heads=counted.heads)
    assert (graph.layers["fc1"].outputs, graph.layers["fc2"].outputs) == (A.max() + 1, B.max() + 1)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["files", "bytes"])
def test_values_beside_cropped_pictures(tmp_path, kind):
    """They are those of the pictures that can be decoded, and the same in all views."""
    pixels = RANDOM.randint(0, 256, (N, 8, 8, 3)).astype(np.uint8)
    values = pixels.mean(axis=(1, 2)).T
    data = [png(picture) for picture in pixels] if kind == "files" else pixels.transpose(3, 1, 2, 0).reshape(-1, N)
    if kind == "files":
        data[3] = b"no picture"
    folder = folder_of(tmp_path, {"num_vis": 192}, data, labels=values)
    kept = np.delete(values, 3, axis=1) if kind == "files" else values
    _, provider = opened(folder, ("value", 1, 3), inner_size=6, multiview=True)
    batch = provider.batch(1, 1)
    assert batch.views > 1 and provider.dims == {0: 108, 1: 3}
    for view in range(batch.views):
        np.testing.assert_array_equal(batch.minibatch(0, batch.cases, view)[1], kept.astype(np.float32))


def test_batches_in_parts(tmp_path):
    """Each has its own values, or the first those of all."""
    for name, labels in (("1", T), ("2", None)):
        dump(tmp_path / f"data_batch_1.{name}", {"data": X[:, : N // 2], **({} if labels is None else {"labels": labels})})
    for name, labels in (("1", T[:, : N // 2]), ("2", T[:, N // 2 :])):
        dump(tmp_path / f"data_batch_2.{name}", {"data": X[:, : N // 2], "labels": labels})
    dump(tmp_path / "batches.meta", {"num_vis": 30})
    _, provider = opened(str(tmp_path), *REGRESSION)
    for number in (1, 2):
        np.testing.assert_array_equal(provider.batch(1, number).matrices[1], T.astype(np.float32))


@pytest.mark.parametrize("layers", [REGRESSION, HEADS, [("label", 1, 10), ("value", 2, 6)]])
def test_random_data_fit(layers):
    fitted = synthesize(net(*layers))
    for kind, index, outputs in layers:
        matrix = fitted.matrices(200)[index]
        if kind == "label":
            assert matrix.shape == (1, 200) and set(matrix[0]) == set(range(outputs))
        else:
            assert matrix.shape == (outputs, 200) and len(np.unique(matrix)) > 1000


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(1, 5))
def test_values_of_any_shape(data, rows, cases):
    """Columns or rows, arrays or lists: what is read is what was meant, or it is refused."""
    values = data.draw(arrays(np.float32, (rows, cases), elements=finite))
    stored = data.draw(st.sampled_from([values, values.T.tolist(), values.T if rows != cases else values]))
    builder = net(("value", 1, rows))
    need = needed_data(builder)
    assert isinstance(need[1], Need)
    held = read_targets([("x", {"data": np.zeros((3, cases)), "labels": stored})], [cases], need, {}, {}).held
    if isinstance(held.get(1), Values):
        np.testing.assert_array_equal(held[1].rows, values)
    else:  # whole numbers, one or two for each case, may be classes
        assert (values == np.floor(values)).all() and rows > 1


def test_the_layer_files_of_the_page(tmp_path):
    """Columns of the recipe, with the layers that they read, take the batches that stand below them."""
    page = (ROOT / "docs/batches.md").read_text(encoding="utf-8")
    lines = page[page.index("    [targets]") : page.index('    {"data": data, "labels": targets}')].splitlines()
    regression, first, second = ("\n".join(line[at : at + 36].strip() for line in lines) + "\n" for at in (4, 40, 76))
    fc = "[{0}]\ntype=fc\ninputs=data\noutputs={1}\ninitW=0.1\n"
    softmax = "[{1}]\ntype=softmax\ninputs={0}\n"
    heads = fc.format("fc", 8) + softmax.format("fc", "probs") + fc.format("fc2", 2) + softmax.format("fc2", "probs2")
    assert '"labels": [3, 0, 7], "labels2": [1, 1, 0]}' in page
    for text, keys, dims in (
        (fc.format("fc6", 6) + regression, {"labels": T[:, :3]}, {1: 6}),
        (heads + first + second, {"labels": [3, 0, 7], "labels2": [1, 1, 0]}, {1: 1, 2: 1}),
    ):
        builder = parse(LayerFiles(PICTURES + text, "net.cfg", default_params(PICTURES + text), "params.cfg"))
        folder = folder_of(tmp_path, data=X[:, :3], **keys)
        provider = open_provider("", Request(folder, needs=needed_data(builder), classes=8))
        graph = builder.shape(provider.dims, provider.classes, heads=provider.heads)
        assert {index: graph.data_dims[index] for index in dims} == dims and provider.batch(1, 1).cases == 3


@pytest.mark.parametrize("provider, layers", [("dummy-cn-30", REGRESSION), ("dummy-cn-30", HEADS), ("dummy", HEADS)])
def test_random_data_by_name(provider, layers):
    builder = net(*layers)
    provider = open_provider(provider, Request(needs=needed_data(builder), builder=builder, classes=10))
    graph = builder.shape(provider.dims, provider.classes, heads=provider.heads)
    matrices = provider.batch(1, 1).matrices
    assert all(len(matrices[index]) == rows for index, rows in graph.data_dims.items())
    for kind, index, outputs in layers:
        assert matrices[index].max() < (outputs if kind == "label" else 1.01)


def test_the_demonstration_set_has_one_kind_of_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("convnet.data.demo.BATCH_CASES", 4)
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    provider = open_provider("demo", Request(needs=needed_data(net(*HEADS)), classes=10))
    assert provider.dims == {0: 3072, 1: 1}
