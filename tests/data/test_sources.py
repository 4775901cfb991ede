"""Where makebatches takes pictures from: ready splits, tables, the archives of ILSVRC-2012; what it says of others."""

import contextlib
import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ilsvrc import jpeg, make_ilsvrc, meta_mat, tar_of
from PIL import Image

from convnet.cli import main
from convnet.data.making.make import find_source, pack_folder
from convnet.data.making.matlab import read_table
from convnet.data.making.tar import Member, members
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.pickles import load, text_of


def place(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (number, 99, 9)).save(folder / name)
    return folder


def where(out):
    """The files of each batch, with the names of their classes."""
    meta, found = load(out / "batches.meta"), {}
    for path in sorted(out.rglob("data_batch_*")):
        if path.is_file():
            part = load(path)
            names = [[meta["label_names"][label] for label in labels] for labels in part["labels"]]
            found[path.relative_to(out).as_posix()] = dict(zip(map(text_of, part["files"]), names, strict=True))
    return found, meta["test_batches"]


# -- a ready split

SPLIT = [
    f"{part}/{name}/{i}.png" for part, most in (("train", 3), ("val", 2)) for name in ("cat", "dog") for i in range(most)
]


@pytest.mark.parametrize("training, testing", [("train", "val"), ("Training", "TEST"), ("train", "validation")])
def test_a_ready_split(tmp_path, training, testing):
    renamed = [name.replace("train", training).replace("val", testing) for name in SPLIT]
    said = []
    assert pack_folder(place(tmp_path / "photos", *renamed), tmp_path / "out", 8, None, None, 0, said.append) == 2
    found, tests = where(tmp_path / "out")
    assert tests == [2] and set(found["data_batch_2"]) == {name for name in renamed if name.startswith(testing)}
    assert set(found["data_batch_1"]) == {name for name in renamed if name.startswith(training)}
    assert all([name.split("/")[1]] == names for batch in found.values() for name, names in batch.items())
    assert open_provider("", Request(str(tmp_path / "out"))).default_ranges() == ([1], [2])
    assert said[-1] == "Train with batch 1, test with batch 2, as runs do by themselves."


def test_a_split_with_a_third_part(tmp_path):
    """Tests are on val; what is in test is not trained on either."""
    source = find_source(place(tmp_path, *SPLIT, "test/cat/9.png", "val/1.png"))
    assert len(source.names) == 10 and source.is_test.sum() == 4
    assert source.remarks == [
        f"Left out: 1 picture directly in {tmp_path}/val, in no sub-folder of a class.",
        "Left out: the folders test; tests are on val.",
    ]


def test_a_split_beside_other_folders(tmp_path):
    """It is one where both parts hold classes; pictures of other things do not make these parts classes."""
    source = find_source(place(tmp_path, *SPLIT, "notes/1.png"))
    assert source.classes == ["cat", "dog"] and source.remarks == ["Left out: the folders notes; tests are on val."]
    source = find_source(place(tmp_path / "x", "train/1.png", "val/2.png", "bus/3.png"))
    assert source.classes == ["bus", "train", "val"]


def test_a_test_part_without_classes_is_passed_over(tmp_path):
    source = find_source(place(tmp_path, *SPLIT[:6], *("test/x/1.png", "test/cat/1.png", "valid/y.png")[1:]))
    assert [name for name, aside in zip(source.names, source.is_test, strict=True) if aside] == ["test/cat/1.png"]


def test_a_split_of_the_source_is_the_split(tmp_path, capsys):
    words = ["makebatches", str(place(tmp_path / "photos", *SPLIT)), "--out", str(tmp_path / "out")]
    for more in (["--test-share", "0.1"], ["--stratified"]):
        assert main([*words, *more]) == 1
        assert "the source says itself which pictures are for testing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names, said",
    [
        ([*SPLIT, "val/cats/1.png"], "val has classes that .*train lacks: cats; did you mean 'cat'"),
        ([*SPLIT, "val/cow/1.png", "val/emu/1.png"], "val has classes that .*train lacks: cow, emu$"),
        ([*SPLIT[:6], "val/1.png", "val/2.png"], "no pictures in the sub-folders of .*/val; sort them .* or give .*/train$"),
        (["test/a/1.png", "val/a/1.png"], "test, val in .* are parts of a set, but none is 'train'"),
        (["train/a/1.png", "val/a/1.png"], "train has pictures in one sub-folder only, 'a'; a net tells classes apart"),
    ],
)
def test_splits_that_do_not_do(tmp_path, names, said):
    with pytest.raises(DataError, match=said):
        find_source(place(tmp_path, *names))


def test_classes_that_are_never_tested_are_named(tmp_path):
    assert find_source(place(tmp_path, *SPLIT, "train/emu/1.png")).remarks == [
        f"Never tested, being in no folder of {tmp_path}/val: emu."
    ]


def test_a_link_to_what_a_folder_lies_in_is_no_class(tmp_path):
    place(tmp_path / "photos", "a/1.png", "b/1.png")
    (tmp_path / "photos/again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/above").symlink_to(tmp_path)
    (tmp_path / "photos/linked").symlink_to(place(tmp_path / "elsewhere", "3.png"))
    assert find_source(tmp_path / "photos").names == ["a/1.png", "b/1.png", "linked/3.png"]


# -- a table


def table(tmp_path, text, name="labels.csv"):
    place(tmp_path, "a.png", "b, c.png", 'd"e.png', "sub/é.png", "plain")
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


@pytest.fixture(autouse=True)
def a_file_without_a_suffix(monkeypatch):
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, path, *a, **k: save(self, path, *(a or ["PNG"]), **k))


@pytest.mark.parametrize(
    "text, labels, classes, tests",
    [
        ("a.png,cat\nsub/é.png,dog\n", [(0,), (1,)], ["cat", "dog"], None),
        ("\ufeffpath,label\r\na.png,dog\r\n\r\nsub/é.png,cat\r\n", [(1,), (0,)], ["cat", "dog"], None),
        ('"b, c.png",cat\n"d""e.png", dog\n', [(0,), (1,)], ["cat", "dog"], None),
        ("a.png\t10\nsub/é.png\t9\nplain\t9", [(1,), (0,), (0,)], ["9", "10"], None),
        ("a.png;cat;red\nsub/é.png;dog;\n", [(0, 2), (1,)], ["cat", "dog", "red"], None),
        ("a.png,cat,train\nsub/é.png,dog,VAL\n", [(0,), (1,)], ["cat", "dog"], [False, True]),
        ("label,split,file\ncat,test,a.png\ndog,training,sub/é.png\n", [(0,), (1,)], ["cat", "dog"], [True, False]),
        ("\n  \na.png,cat\n,\nsub/é.png,dog\n", [(0,), (1,)], ["cat", "dog"], None),
        ("plain,cat\na.png,dog\n", [(0,), (1,)], ["cat", "dog"], None),
        ("a.png 1\nsub/é.png  0\n", [(1,), (0,)], ["0", "1"], None),
        ("b, c.png\tcat, or dog\na.png\tdog\n", [(0,), (1,)], ["cat, or dog", "dog"], None),
        ("b, c.png\tcat\na.png\tdog\n", [(0,), (1,)], ["cat", "dog"], None),
        ("a.png,cat,train\nsub/é.png,dog,eating\n", [(0, 3), (1, 2)], ["cat", "dog", "eating", "train"], None),
    ],
)
def test_tables(tmp_path, text, labels, classes, tests):
    source = find_source(table(tmp_path, text))
    assert (source.labels, source.classes) == (labels, classes)
    assert (None if source.is_test is None else source.is_test.tolist()) == tests
    assert all((tmp_path / name).is_file() for name in source.names)


def test_all_mistakes_of_a_table_are_said_at_once(tmp_path, capsys):
    text = "path,label,split\na.png,cat,train\n./a.png,dog,val\n,dog,val\nsub/é.png,,train\nplain,dog,trian\nx.png,dog\n"
    path = table(tmp_path, text)
    assert main(["makebatches", str(path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"convnet: {path}:3: ./a.png stands in line 2 already",
        f"    {path}:4: no path of a picture",
        f"    {path}:5: sub/é.png has no label",
        f"    {path}:6: 'trian' is no part of a set, such as train or test; did you mean 'train'?",
        f"    {path}:7: 2 cells; expected 3",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "is empty; expected lines of a path and its label, such as cats/1.jpg,cat"),
        ("a.png\nsub/é.png\n", "labels.csv:1: 'a.png' has no column of labels"),
        ("path,label\n", "no picture follows its first line"),
        ("file,split\na.png,train\n", "labels.csv:1: 'file,split' has no column of labels"),
        ('a.png,cat\n"b,dog\n', "labels.csv:2: unexpected end of data"),
        ("a.png," + "x" * 200_000, "labels.csv:1: field larger than field limit"),
        ("a.png,cat\n" * 30, "and 9 more$"),
        ("a.png,cat\n".encode("utf-16").decode("latin1"), "labels.csv is no text in UTF-8; save the table as that"),
    ],
)
def test_tables_that_do_not_do(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        find_source(table(tmp_path, text))


def test_pictures_of_a_table_that_are_not_there_are_left_out(tmp_path):
    path = table(tmp_path, 'a.png,cat\nsub/é.png,cat\nplain,dog\ngone.png,dog\n"b, c.png",dog\n')
    assert pack_folder(path, tmp_path / "out", 8, None, 0.4, 0, lambda _: None) == 2
    assert (tmp_path / "out/skipped.txt").read_text() == f"{tmp_path}/gone.png: No such file or directory\n"
    assert {name for batch in where(tmp_path / "out")[0].values() for name in batch} == {
        "a.png", "sub/é.png", "plain", "b, c.png"
    }  # fmt: skip


@pytest.mark.parametrize("split, said", [("test", "train"), ("train", "test")])
def test_a_table_that_is_all_for_one_purpose(tmp_path, split, said):
    path = table(tmp_path, f"a.png,cat,{split}\nplain,dog,{split}\n")
    with pytest.raises(DataError, match=f"no picture is left to {said} on"):
        pack_folder(path, tmp_path / "out", 8, None, None, 0, lambda _: None)


def test_several_labels_of_a_picture(tmp_path):
    path = table(tmp_path, "path,what,color\na.png,cat,red\nsub/é.png,dog,\nplain,dog,red\n")
    pack_folder(path, tmp_path / "out", 8, None, 0.1, 0, lambda _: None)
    found = {name: names for batch in where(tmp_path / "out")[0].values() for name, names in batch.items()}
    assert found == {"a.png": ["cat", "red"], "sub/é.png": ["dog"], "plain": ["dog", "red"]}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from('a.png,;\t"\n\r\0é\ud800 train'), max_size=60))
def test_any_text_is_a_table_or_a_line_on_why_not(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        source = find_source(path)
    except DataError:
        return
    assert len(source.names) == len(source.labels) > 0 and max(map(max, source.labels)) == len(source.classes) - 1


# -- ILSVRC-2012


def test_ilsvrc(tmp_path, capsys):
    """Layout and numbers of the maker of 2014: training from 0, validation from 1000 in order, classes by the kit."""
    folder, out = make_ilsvrc(tmp_path / "ilsvrc"), tmp_path / "out"
    assert main(["makebatches", str(folder), "--out", str(out), "--size", "16", "--batch-size", "6"]) == 0
    found, tests = where(out)
    assert tests == [1000] and [*found] == [f"data_batch_{n}/data_batch_{n}.0" for n in (0, 1, 1000, 2)]
    assert [*found["data_batch_1000/data_batch_1000.0"]] == [f"ILSVRC2012_val_{n:08}.JPEG" for n in (1, 3, 4, 5, 6)]
    names = {"n02119789": "thing 1, object 1", "n02100735": "thing 2, object 2", "n01440764": "thing 3, object 3"}
    assert load(out / "batches.meta")["label_names"] == list(names.values())
    assert all(
        label == [names[name[:9]]] for n in range(3) for name, label in found[f"data_batch_{n}/data_batch_{n}.0"].items()
    )
    provider = open_provider("", Request(str(out)))
    assert provider.default_ranges() == ([0, 1, 2], [1000]) and provider.batch(1, 0).cases == 6
    for n in (0, 1, 2, 1000):
        part = load(out / f"data_batch_{n}/data_batch_{n}.0")
        for data, [label] in zip(part["data"], part["labels"], strict=True):
            data = data if isinstance(data, bytes) else data.encode("latin1")
            red = np.asarray(Image.open(io.BytesIO(data)))[..., 0]
            assert red.shape == (16, 16) and abs(red.mean() - 60 * (label + 1)) < 3
    numbers = [line.split(",")[0] for line in (out / "pictures.csv").read_text("utf-8").splitlines()]
    assert numbers == ["batch", *"000000", *"111111", *"22", *["1000"] * 5]
    skipped = (out / "skipped.txt").read_text()
    assert f"{folder}/ILSVRC2012_img_train.tar: n02100735_1.JPEG: not a whole picture" in skipped
    assert f"{folder}/ILSVRC2012_img_val.tar: ILSVRC2012_val_00000002.JPEG: not a whole picture" in skipped
    assert "--layer-def layers-imagenet.cfg" in capsys.readouterr().out


def test_parts_of_batches(tmp_path, monkeypatch):
    """A batch is a folder of parts of 1024 pictures, here of 4, the last smaller; older ones are replaced."""
    from convnet.data.making import ilsvrc

    monkeypatch.setattr(ilsvrc, "_LAYOUT", ilsvrc._LAYOUT.__class__(batch_size=10, first=0, parts=4, tests_from=1000))
    folder, out = make_ilsvrc(tmp_path / "ilsvrc", train=9, val=5, broken=False), tmp_path / "out"
    for _ in range(2):
        assert main(["makebatches", str(folder), "--out", str(out), "--size", "16"]) == 0
        sizes = {name: len(files) for name, files in where(out)[0].items()}
        counts = {0: [4, 4, 2], 1: [4, 4, 2], 2: [4, 3], 1000: [4, 1]}
        assert sizes == {
            f"data_batch_{n}/data_batch_{n}.{j}": size for n, parts in counts.items() for j, size in enumerate(parts)
        }
    assert main(["makebatches", str(place(tmp_path / "two", "a/1.png", "b/1.png")), "--out", str(out), "--size", "16"]) == 0
    assert sorted(path.name for path in out.glob("data_batch_*")) == ["data_batch_1", "data_batch_2"]
    (out / "data_batch_2").unlink()
    (out / "data_batch_2").mkdir()
    assert main(["makebatches", str(folder), "--out", str(out), "--size", "16"]) == 1


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


KIT, TRAIN, VAL = "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def kit_of(meta=None, truth=b"1\n2\n3\n1\n2\n3\n"):
    files = {"x/data/meta.mat": meta, "x/data/ILSVRC2012_validation_ground_truth.txt": truth}
    return tar_of({name: data for name, data in files.items() if data is not None}, "w:gz")


ROWS = [(1, "n02119789", "a"), (2, "n02100735", "b"), (3, "n01440764", "c")]


@pytest.mark.parametrize(
    "name, change, said",
    [
        (TRAIN, None, f"lacks {TRAIN}; ILSVRC-2012 comes as"),
        (TRAIN, lambda data: data[:3000], "cut off: a file of"),
        (TRAIN, lambda data: b"x" * 4096, "no tar archive, or a damaged one: no header of a file at byte 0"),
        (TRAIN, lambda data: gzip.compress(data), "no tar archive, or a damaged one"),
        (TRAIN, lambda data: tar_of({"n02119789.tar": b"y" * 1024}), "n02119789.tar: no tar archive"),
        (TRAIN, lambda data: tar_of({"q.tar": tar_of({"n9.JPEG": b""})}), f"n9.JPEG is of no class that {KIT} names"),
        (VAL, lambda data: tar_of({"a.JPEG": b""}), f"1 picture, but {KIT} has 6 labels for them"),
        (KIT, lambda data: data[:200], "cannot be unpacked"),
        (KIT, lambda data: b"", "no data/meta.mat, data/ILSVRC2012_validation_ground_truth.txt in it"),
        (KIT, lambda data: kit_of(), "no data/meta.mat in it"),
        (KIT, lambda data: kit_of(b"MATLAB"), "meta.mat: not a MATLAB file"),
        (KIT, lambda data: kit_of(meta_mat(ROWS)[:300]), "meta.mat: a damaged MATLAB file"),
        (KIT, lambda data: kit_of(meta_mat(ROWS[1:])), "ILSVRC2012_ID is not 1 to 1000, once each"),
        (KIT, lambda data: kit_of(meta_mat(ROWS), b"1\n4\nx\n1\n2\n3\n"), r"line 2 \(b'4'\), line 3 \(b'x'\); expected"),
    ],
)  # fmt: skip
def test_archives_that_are_damaged(tmp_path, name, change, said):
    folder = make_ilsvrc(tmp_path / "ilsvrc")
    if change:
        damage(folder, name, change)
    else:
        (folder / name).unlink()
    with pytest.raises(DataError, match=said):
        find_source(folder)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_archives(format):
    long = "n" * 120 + "/" + "f" * 90 + ".JPEG"
    files = {"a": b"", "b.JPEG": jpeg(3), "d/c": b"x" * 513} | ({} if format == tarfile.PAX_FORMAT else {long: b"y"})
    archive = b"before" * 100 + tar_of(files, format=format)
    found = list(members(io.BytesIO(archive), 600, len(archive), "x.tar"))
    assert {name: archive[start : start + size] for name, start, size in found} == files
    assert all(isinstance(member, Member) for member in found)


def test_what_is_no_file_is_passed_over():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"kind{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    data = archive.getvalue()
    assert list(members(io.BytesIO(data), 0, len(data), "x.tar")) == []


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5000), st.binary(min_size=1, max_size=20), st.integers(0, 10_000))
def test_damaged_archives_and_tables_of_matlab(at, garbage, stop):
    """Whatever is in them: what was found, or a line on why not."""
    table = meta_mat(ROWS)
    for data, read in (
        (tar_of({"a": b"x" * 600, "b": b"y"}), lambda data: list(members(io.BytesIO(data), 0, len(data), "x"))),
        (table, lambda data: read_table(data, "synsets", ("ILSVRC2012_ID", "WNID"))),
    ):
        place = at % len(data)
        damaged = (data[:place] + garbage + data[place + len(garbage) :])[: max(1, stop % (2 * len(data)))]
        with contextlib.suppress(DataError):
            read(damaged)


def test_uncompressed_tables_of_matlab():
    from scipy.io import savemat

    data = io.BytesIO()
    rows = np.zeros((2, 1), [("id", object), ("name", object)])
    rows[0, 0], rows[1, 0] = (np.int32(7), "é wide ∞"), (np.uint8(9), "x")
    savemat(data, {"synsets": rows}, do_compression=False)
    assert read_table(data.getvalue(), "synsets", ("name", "id")) == [("é wide ∞", 7.0), ("x", 9.0)]
    with pytest.raises(DataError, match="no array of structs 'other'"):
        read_table(data.getvalue(), "other", ())


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_tables_of_matlab_whose_matrices_are_cut_off(number):
    """A matrix without its name, and one whose names are of a length that is no number."""
    header = b" " * 126 + b"IM"
    flags, shape, name = (struct.pack("<II8s", kind, 8, data) for kind, data in ((6, b"\2"), (5, b"\1"), (1, b"synsets\0")))
    named = flags + shape + name.replace(b"\x08", b"\x07", 1) + struct.pack("<IId", 9, 8, number)
    for parts in (flags, named):
        with pytest.raises(DataError, match="a damaged MATLAB file"):
            read_table(header + struct.pack("<II", 14, len(parts)) + parts, "synsets", ("x",))
