"""``convnet inspect``: what it says of files of every kind, what it calls wrong, and that nothing makes it stumble."""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from dataclasses import fields

import numpy as np
import pytest
from fuzz.batches import JPEGS, encoded
from support import ROOT, SHARED, SMALL_NET, SMALL_PARAMS, needs_museum, write_net

import convnet
from convnet import pickles
from convnet.checkpoint import load
from convnet.cli import main
from convnet.data.batches import write_file
from convnet.inspection import Found, inspect, kinds
from convnet.inspection import found as found_module
from convnet.inspection.found import described

SHARING = SMALL_NET.replace("[probs]", "[fc2]\ntype=fc\ninputs=drop\noutputs=10\nweightSource=fc\n[probs]").replace(
    "inputs=fc\n", "inputs=sum\n"
)
SHARING = SHARING.replace("[probs]", "[sum]\ntype=eltsum\ninputs=fc,fc2\ncoeffs=1,1\n[probs]")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a checkpoint of a net of which two layers share a matrix."""
    folder = tmp_path_factory.mktemp("run")
    net = convnet.build(SHARING, SMALL_PARAMS + "[fc2]\n[sum]\n", side=12, classes=10, backend="reference", seed=3)
    net.save(folder / "1.1")
    return folder


def saved(folder, value, name="data_batch_1"):
    with (folder / name).open("wb") as file:
        pickles.dump(value, file)
    return folder / name


def problems(path) -> str:
    return "\n".join(what for what, _ in inspect(path).problems)


# -- checkpoints


@pytest.mark.parametrize("form, container", [("2011", "pickle, protocol 2"), ("2014", "pickle, protocol 2"), ("npz", "npz")])
@pytest.mark.parametrize("packed", ["", "zip", "gzip"])
def test_our_checkpoints_in_every_format(form, container, packed, run, tmp_path, capsys):
    path = tmp_path / "1.1"
    assert main(["convert", str(run), "--to", form, "--out", str(path)]) == 0
    if packed == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif packed == "zip":
        with zipfile.ZipFile(tmp_path / "packed", "w") as archive:
            archive.writestr("data", path.read_bytes())
        path = tmp_path / "packed"
    if form == "npz" and packed:
        return  # which nobody packs once more
    found = inspect(path)
    assert not found.problems and found.kind == "a checkpoint"
    assert (found.program, found.generation) == ("convnet", "2011" if form == "2011" else "2014")
    assert found.container == (packed or container) and found.facts["format"] == form
    arrays = {array.name: array for array in found.arrays}
    matrix = load(path).layers["fc"]["weights"][0]
    fc = arrays["fc.weights[0]"]
    assert (fc.shape, fc.type, fc.not_finite, fc.shared_with) == (matrix.shape, "float32", 0, "")
    assert (fc.least, fc.largest) == (matrix.min(), matrix.max()) and fc.mean == pytest.approx(matrix.mean(), abs=1e-6)
    assert arrays["fc2.weights[0]"].shared_with == "fc.weights[0]"
    rows = {row["name"]: row for row in found.facts["layers"]}
    assert rows["sum"] == {"name": "sum", "type": "eltsum", "inputs": ["fc", "fc2"], "outputs": 10}
    assert [*rows].index("conv1") < [*rows].index("pool1") < [*rows].index("fc") < [*rows].index("logprob")


@needs_museum
@pytest.mark.parametrize(
    "name, generation, program",
    [
        ("ckpt-2011.pickle", "2011", "cuda-convnet (2011)"),
        ("ckpt-2011-zip.bin", "2011", "cuda-convnet (2011)"),
        ("ckpt-2012.pickle", "2012", "the programs of the 2012 release"),
        ("ckpt-2014.pickle", "2014", "cuda-convnet2 (2014)"),
    ],
)
def test_checkpoints_of_the_originals(name, generation, program):
    found = inspect(SHARED / "fixtures" / name)
    assert (found.generation, found.program, found.problems) == (generation, program, [])
    assert found.facts["options"]["data_provider"] == "cifar" and found.facts["epoch"] >= 1
    assert found.facts["last_train"]["logprob"]["cost"] == pytest.approx(2.302585, abs=1e-5)
    shared = {array.name: array.shared_with for array in found.arrays if array.shared_with}
    assert shared == ({} if "zip" in name else {f"fcB.{key}[0]": f"fcA.{key}[0]" for key in ("weights", "weightsInc")})


def test_a_checkpoint_that_an_original_has_trained_on(run, tmp_path):
    value = pickles.load(run / "1.1")
    state = value["model_state"]
    value["model_state"] = {key: state[key] for key in sorted(state)} | {"batchnum": state["batchnum"] + 1}
    with (tmp_path / "1.2").open("wb") as file:
        pickles.dump(value, file)
    found = inspect(tmp_path / "1.2")
    assert found.program == "cuda-convnet2 (2014), which went on from a checkpoint of convnet" and not found.problems
    assert any("trained it on" in remark for remark in found.remarks) and any(
        "no checksum" in line for line in found.remarks
    )


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda fc: fc["weights"][0].__setitem__((0, 0), np.nan), "numbers that are not finite: 1 in fc.weights[0]"),
        (lambda fc: fc.update(biases=np.zeros((1, 9), np.float32)), "biases has shape (1, 9); the net needs shape (1, 10)"),
        (lambda fc: fc.pop("weightsInc"), "weightsInc[0] is missing; the net needs shape (72, 10)"),
        (lambda fc: fc.update(name=b"conv1"), "there are two layers called 'conv1'"),
    ],
)
def test_what_is_wrong_in_a_checkpoint_is_named(change, expected, run, tmp_path):
    value = pickles.load(run / "1.1")
    change(value["model_state"]["layers"]["fc"])
    with (tmp_path / "1.1").open("wb") as file:
        pickles.dump(value, file, checksum=True)
    assert expected in problems(tmp_path / "1.1")
    assert main(["inspect", str(tmp_path / "1.1")]) == 1


def test_damage_in_a_checkpoint(run, tmp_path, capsys):
    data = bytearray((run / "1.1").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "1.1").write_bytes(data)
    assert main(["inspect", str(tmp_path / "1.1")]) == 1
    out = capsys.readouterr().out
    assert "problem: damaged: its checksum does not match\n    use another copy" in out


def test_nothing_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    (tmp_path / "1.1").write_bytes(pickle.dumps({"model_state": {"layers": Evil()}}, 2))
    assert "names" in problems(tmp_path / "1.1") and not (tmp_path / "made").exists()


@pytest.mark.parametrize("beginning", [b"\x80\x02", b"PK\x03\x04", b'{"line": "begin", "batches": 0}\n', b"[conv1]\n"])
def test_files_that_do_not_fit_into_memory_are_not_read(beginning, tmp_path, monkeypatch):
    path = tmp_path / "1.1"
    path.write_bytes(beginning.ljust(4096, b" " if beginning[:1] in b"{[" else b"\0"))
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    monkeypatch.setattr(kinds, "host_memory", lambda: (2 << 30, 4 << 30))
    monkeypatch.setattr(pickles, "read", None)
    monkeypatch.setattr(kinds, "found_text", None)
    assert problems(path) == "1.1 GB are more than fit into memory here"


# -- batches

PIXELS = np.arange(48 * 6, dtype=np.uint8).reshape(48, 6)
NUMBERS = np.linspace(-1, 1, 42, dtype=np.float32).reshape(7, 6)
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "value, kind, facts",
    [
        ({"data": PIXELS, "labels": LABELS}, "a batch", {"cases": 6, "values_per_case": 48, "cases_lie_in": "columns"}),
        ({"data": PIXELS, "labels": LABELS}, "a batch", {"pictures": "4 x 4 pixels, 3 channels"}),
        (
            {"data": PIXELS.T.copy(), "labels": LABELS, "batch_label": "x", "filenames": ["x"] * 6},
            "a batch of CIFAR",
            {"cases": 6, "cases_lie_in": "rows", "values_per_case": 48},
        ),
        ({"data": NUMBERS, "labels": np.array([LABELS])}, "a batch of numbers, or features", {"cases": 6}),
        ({"data": NUMBERS, "labels": NUMBERS[:2]}, "a batch of numbers, or features", {"labels": "values, not classes"}),
        ({"data": JPEGS, "labels": [[0], [1, 2], []]}, "a batch", {"formats": {"JPEG": 3}, "sizes": {"4 x 4": 3}}),
        (
            {"data": JPEGS, "labels": [[0], [1, 2], []]},
            "a batch",
            {"labels": {"different": 3, "least": 0, "largest": 2, "cases_with_several": 1, "cases_without": 1}},
        ),
        ((JPEGS, [(4, 4)] * 3, [("n1", 0), ("n2", 1), ("n3", 1)]), "a batch, a tuple", {"cases": 3}),
        ((JPEGS, [(4, 4)] * 3, [["Sea"], [], ["sky", "sea"]]), "a batch, a tuple", {"tags": 3}),
        ({"data": NUMBERS, "note": "from 1.2"}, "predictions", {"cases": 7, "values_per_case": 6, "note": "'from 1.2'"}),
        ({"num_vis": 48, "label_names": ["a", "b"]}, "a description of batches", {"classes": 2, "num_vis": 48}),
        ({"source_model": "run/1.2", "num_vis": 7}, "a description of features", {"source_model": "run/1.2"}),
        ({"fine_label_names": ["a"], "coarse_label_names": ["b"]}, "a description of CIFAR-100", {"classes": 1}),
    ],
)
@pytest.mark.parametrize("write", [pickles.dump, pickles.dump_plain])
def test_batches_and_descriptions(value, kind, facts, write, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        write(value, file)
    found = inspect(tmp_path / "file")
    assert (found.kind, found.problems) == (kind, [])
    assert {key: found.facts[key] for key in facts} == facts


def test_bytes_behind_the_end_are_told(tmp_path):
    path = saved(tmp_path, {"data": PIXELS, "labels": LABELS})
    assert not inspect(path).remarks
    path.write_bytes(path.read_bytes() + b"xyz")
    assert inspect(path).remarks == ["3 bytes too many stand behind its end, which nobody reads."]


def test_features_are_told_by_what_lies_beside_them(tmp_path):
    path = saved(tmp_path, {"data": NUMBERS.T.copy(), "labels": LABELS})
    assert inspect(path).kind == "a batch of numbers, or features"
    write_file(tmp_path / "batches.meta", {"source_model": "run/1.2", "num_vis": 7})
    found = inspect(path)
    assert (found.kind, found.facts["source_model"], found.facts["values_per_case"]) == ("features", "run/1.2", 7)
    assert inspect(tmp_path).kind == "a folder of features" and not inspect(tmp_path).problems


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_python_3(protocol, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": PIXELS, "labels": LABELS}, protocol))
    found = inspect(tmp_path / "data_batch_1")
    assert found.container == f"pickle, protocol {protocol if protocol > 1 else '0 or 1'}" and not found.problems
    assert found.arrays[0].least == PIXELS.min() and found.arrays[0].largest == PIXELS.max()


@pytest.mark.parametrize(
    "value, expected",
    [
        ({"data": PIXELS, "labels": LABELS[:5]}, "6 cases but 5 labels"),
        ({"data": [*JPEGS, JPEGS[0][:90]], "labels": [0] * 4}, "1 of 4 pictures cannot be read: number 3"),
        ({"data": NUMBERS * np.inf, "labels": LABELS}, "'data' holds 42 numbers that are not finite"),
        ({"data": PIXELS, "labels": [*LABELS[:5], "x"]}, "'labels'[5] is 'x'"),
        ({"data": PIXELS.reshape(2, 4, 36), "labels": LABELS}, "expected a matrix of numbers (values, cases)"),
        ({"num_vis": "many", "label_names": 3}, "'num_vis' is 'many'"),
        ({"num_vis": 3, "data_mean": np.array([1, np.nan, 2])}, "'data_mean'"),
        ({"weights": PIXELS}, "it is neither a checkpoint nor a batch nor a description"),
        ([1, 2], "it is neither a checkpoint nor a batch nor a description"),
    ],
)
def test_what_is_wrong_in_a_batch_is_named(value, expected, tmp_path):
    assert expected in problems(saved(tmp_path, value))


def test_an_array_that_is_there_often_is_gone_over_once(tmp_path, monkeypatch):
    array, calls = np.arange(6.0), []
    monkeypatch.setattr(found_module, "described", lambda name, array: calls.append(name) or described(name, array))
    found = inspect(saved(tmp_path, {"x": [array] * 50, "y": array}))
    assert calls == ["x[0]"] and len(found.arrays) == 51
    assert {(array.least, array.largest, array.shared_with) for array in found.arrays[1:]} == {(0, 5, "x[0]")}


# -- texts


def test_layer_files(tmp_path):
    definition = write_net(tmp_path)
    found = inspect(definition)
    assert (found.kind, found.container, found.problems) == ("a layer definition", "INI", [])
    assert found.facts["parameter_file"] == str(tmp_path / "layer-params-small.cfg")
    inputs = next(row["outputs"] for row in found.facts["layers"] if row["name"] == "drop")
    assert found.facts["parameters"] == 75 * 8 + 8 + 10 * inputs + 10
    params = inspect(tmp_path / "layer-params-small.cfg")
    assert (params.kind, params.problems) == ("layer parameters", []) and params.facts["sections"] == ["logprob"]
    assert main(["convert", str(definition), "--to", "toml", "--out", str(tmp_path / "net.toml")]) == 0
    toml = inspect(tmp_path / "net.toml")
    assert (toml.container, toml.facts["parameters"], toml.problems) == ("TOML", found.facts["parameters"], [])


@pytest.mark.parametrize(
    "text, expected",
    [
        (SMALL_NET.replace("filters=8", "filter=8"), "did you mean 'filters'?"),
        (SMALL_NET.replace("type=pool", "type=pol"), "'pol'"),
        ("# notes on a run\n", "it is a text"),
        ("x = [\n", "it is a text"),
    ],
)
def test_what_is_wrong_in_a_layer_file_is_named(text, expected, tmp_path):
    (tmp_path / "net.cfg").write_text(text)
    assert expected in problems(tmp_path / "net.cfg")


def test_parameters_alone(tmp_path):
    text = "[conv1]\nepsW=0.1\nmomV=0.9\nmomW=0.9\n[run]\nepochs=3\nepoch=3\n"
    (tmp_path / "params.cfg").write_text(text)
    found = inspect(tmp_path / "params.cfg")
    assert (found.kind, found.problems) == ("layer parameters", [])
    assert "[conv1] has 'momv', which no type of layer has; did you mean 'momw'?" in found.remarks
    assert "[run] has 'epoch', which no type of layer has; did you mean 'epochs'?" in found.remarks


def test_archives_of_other_things_are_to_be_unpacked(tmp_path):
    (tmp_path / "net.gz").write_bytes(gzip.compress(b"[conv1]\ntype=conv\n"))
    ((what, advice),) = inspect(tmp_path / "net.gz").problems
    assert what.startswith("it holds neither a checkpoint nor a batch") and advice.startswith("unpack it")


def test_lines_fit_a_terminal(tmp_path):
    path = saved(tmp_path, {"label_names": [f"class {i}" for i in range(40)], "num_vis": 48}, "batches.meta")
    found = inspect(path)
    found.path, found.remarks = "batches.meta", ["word " * 40]
    assert max(map(len, found.lines())) > 200
    folded = [line for lines in found.lines(80) for line in lines.splitlines()]
    assert max(map(len, folded)) <= 80 and "".join(folded).count("class ") == 40
    assert "".join(folded).count("word") == 40


def test_what_a_run_printed(tmp_path):
    (tmp_path / "out").write_text(
        "Initialized\n1.1... logprob: 2.30, 0.90 (1.0 sec)\n1.2... logprob: 2.10, 0.80 (1.0 sec)\n"
    )
    found = inspect(tmp_path / "out")
    assert (found.kind, found.problems) == ("what a run printed", [])
    assert found.facts == {"batches": 2, "last_batch": "1.2", "last_costs": "logprob: 2.10, 0.80 (1.0 sec)"}


def test_logs(tmp_path):
    lines = [{"line": "begin", "batches": 0, "net": "a.cfg", "seed": 3}]
    lines += [{"line": "batch", "batches": n, "epoch": 1, "batch": n, "cost.error": 0.5 / n} for n in (1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = inspect(tmp_path / "log.jsonl")
    assert (found.kind, found.problems) == ("the log of a run", [])
    assert found.facts["lines"] == {"begin": 1, "batch": 2} and found.facts["seed"] == 3
    assert found.facts["last_batch"] == {"batches": 2, "epoch": 1, "batch": 2, "cost.error": 0.25}
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write("{\n")
    assert "line 4 is not JSON" in problems(tmp_path / "log.jsonl")


def test_what_lies_beside_batches(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"x")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  data_batch_1\n{'0' * 64}  data_batch_2\n")
    found = inspect(tmp_path / "SHA256SUMS")
    assert found.facts == {"files": 2, "missing": ["data_batch_2"]} and len(found.problems) == 1
    (tmp_path / "pictures.csv").write_text("batch,case,file,class\n1,0,a.jpg,cat\n2,0,b.jpg,cat\n")
    assert inspect(tmp_path / "pictures.csv").facts == {"pictures": 2, "batches": 2, "classes": 1}
    (tmp_path / "skipped.txt").write_text("a.jpg: empty\n")
    assert inspect(tmp_path / "skipped.txt").facts == {"pictures": 1}


# -- folders, and everything else


def test_folders(run, tmp_path):
    found = inspect(run)
    assert (found.kind, found.facts["checkpoints"], found.problems) == ("the folder of a run", ["1.1"], [])
    assert found.arrays == inspect(run / "1.1").arrays
    batches = tmp_path / "batches"
    batches.mkdir()
    write_file(batches / "batches.meta", {"num_vis": 48, "label_names": ["a", "b", "c"], "test_batches": [2, 7]})
    for number in (1, 2):
        write_file(batches / f"data_batch_{number}", {"data": PIXELS, "labels": LABELS})
    found = inspect(batches)
    assert (found.kind, found.facts["batches"], found.facts["for_testing"]) == ("a folder of batches", "1-2", "2")
    assert problems(batches) == "test_batches names 7, which are not there"
    (tmp_path / "empty").mkdir()
    assert "but nothing" in problems(tmp_path / "empty")
    assert "but folders" in problems(tmp_path)
    (tmp_path / "set" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "train" / "cat" / "1.JPG").touch()
    assert not problems(tmp_path / "set") and "makebatches" in inspect(tmp_path / "set").remarks[0]
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(JPEGS[0])
    assert "convnet makebatches" in inspect(tmp_path / "cat").remarks[0]


@pytest.mark.parametrize("names", [("part-1", "part-10"), ("data_batch_3.0", "data_batch_3.1")])
def test_a_batch_in_parts(names, tmp_path, monkeypatch):
    parts = tmp_path / "data_batch_3"
    parts.mkdir()
    for name in names:
        write_file(parts / name, {"data": PIXELS, "labels": LABELS})
    found = inspect(parts)
    assert (found.kind, found.facts["cases"], found.problems) == ("a batch in parts", 12, [])
    assert [row["part"] for row in found.facts["parts"]] == [*names]
    monkeypatch.chdir(parts)
    assert inspect(".").facts == found.facts
    write_file(parts / names[0], {"data": PIXELS, "labels": LABELS * 2})
    write_file(parts / names[1], {"data": PIXELS})
    assert not problems(parts)
    write_file(parts / names[1], {"data": PIXELS, "labels": LABELS[:5]})
    write_file(parts / names[0], {"data": PIXELS, "labels": LABELS})
    assert problems(parts) == f"{names[1]}: 6 cases but 5 labels; the file is truncated or damaged"
    (parts / names[1]).write_bytes(b"x")
    assert names[1] in problems(parts)


@pytest.mark.parametrize(
    "data, kind",
    [
        (b"", "an empty file"),
        (b"\x93NUMPY\x01\x00v\x00", "an array of NumPy's (.npy)"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5, as Keras and MATLAB 7.3 write"),
        (b"MATLAB 5.0 MAT-file" + bytes(200), "a MATLAB file of level 5"),
        (b"\x7fELF" + bytes(20), "a program"),
        (b"<!DOCTYPE html><html>404</html>", "a page of HTML, such as one of a server without the file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, which stands for another file"),
        (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
        (b"\x1f\x8b" + bytes(30), "a gzip archive"),
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (bytes(5000), "of no kind that convnet knows"),
        (b"\x80\x02" + bytes(30), "a pickle"),
        ("Grüße".encode("utf-16"), "a text in UTF-16"),
        ("Grüße\n".encode(), "a text"),
        (b"\xff\xd8\xff" + bytes(30), "a picture"),
    ],
)
def test_other_files_and_their_first_bytes(data, kind, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_bytes(data)
    found = inspect(path)
    assert found.kind == kind and found.problems and all(advice for _, advice in found.problems)
    assert found.facts.get("first_bytes", data[:16].hex(" ")) == data[:16].hex(" ")
    assert main(["inspect", str(path)]) == 1 and "Traceback" not in capsys.readouterr().out


def test_archives_of_other_programs(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"x")
    assert inspect(tmp_path / "a.npz").kind == "arrays of NumPy's (.npz)"
    assert inspect(tmp_path / "a.pt").kind == "a file of PyTorch"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_pictures(kind, tmp_path):
    (tmp_path / "file").write_bytes(encoded(kind, side=5))
    found = inspect(tmp_path / "file")
    assert (found.kind, found.container, found.facts) == ("a picture", kind, {"width": 5, "height": 5})


def test_what_is_not_there(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "no\nsuch"), "/dev/null"]) == 1
    out = capsys.readouterr().out
    assert "there is no such file" in out and "it is a device or a pipe" in out and "no\\nsuch" in out


def test_json(run, tmp_path, capsys):
    saved(tmp_path, {"data": NUMBERS * np.nan, "labels": LABELS})
    assert main(["inspect", "--json", str(run), str(tmp_path / "data_batch_1")]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    keys = [field.name for field in fields(Found)]
    assert [*first] == [*second] == keys
    assert first["problems"] == [] and set(second["problems"][0]) == {"problem", "advice"}
    assert second["arrays"][0]["not_finite"] == 42 and second["arrays"][0]["least"] is None
    page = (ROOT / "docs" / "checkpoints.md").read_text()
    facts = [*first["facts"], *second["facts"], *inspect(write_net(tmp_path)).facts]
    assert all(f"`{key}`" in page for key in [*keys, *first["arrays"][0], *facts] if key != "labels")


def test_names_from_files_forge_no_line(tmp_path, capsys):
    saved(tmp_path, {"data": PIXELS, "labels": LABELS, "x\nproblem: none": 1, "\x1b[31m": 2})
    assert main(["inspect", str(tmp_path / "data_batch_1")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\nproblem" not in out and "x\\nproblem: none" in out
