"""``convnet batches``: what verify finds in folders of every maker, and what show draws and counts."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from convnet import pickles
from convnet.cli import main
from convnet.data.batches import write_file
from convnet.inspection import contact_sheet, show_batches, verify_batches

CLASSES = ("ape", "cat", "dog")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Batches that makebatches made of 30 pictures of three classes, in 5 batches of which the last is for testing."""
    folder = tmp_path_factory.mktemp("made")
    for i in range(30):
        path = folder / "pictures" / CLASSES[i % 3] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((12, 12, 3), np.uint8)
        pixels[..., i % 3] = 200  # apes are red, cats green, dogs blue
        Image.fromarray(pixels).save(path)
    words = ["--size", "12", "--batch-size", "6", "--test-share", "0.2", "--workers", "1"]
    assert main(["makebatches", str(folder / "pictures"), "--out", str(folder / "batches"), *words]) == 0
    return folder / "batches"


@pytest.fixture
def batches(made, tmp_path):
    """A copy of them, to be damaged."""
    return shutil.copytree(made, tmp_path / "batches")


def problems(folder) -> str:
    return "\n".join(what for what, _ in verify_batches(folder).problems)


def changed(folder, name, **keys):
    """A batch or a description with other values, and no manifest."""
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    write_file(folder / name, pickles.load(folder / name) | keys)


def test_whole_batches(made, capsys):
    assert main(["batches", "verify", str(made)]) == 0
    out = capsys.readouterr().out
    assert "written by convnet makebatches" in out and out.endswith("Nothing is wrong with them.\n")
    found = verify_batches(made)
    files = {"manifest": True, "files_compared": 7, "files_wrong": 0}
    assert found.facts.items() >= (files | {"for_training": "1-4", "for_testing": "5", "cases": 30, "classes": 3}).items()
    assert [row["cases"] for row in found.facts["batches"]] == [6] * 5 and not found.remarks


def test_files_are_compared_with_the_manifest(batches):
    data = bytearray((batches / "data_batch_2").read_bytes())
    data[-30] ^= 1
    (batches / "data_batch_2").write_bytes(data)
    (batches / "data_batch_3").unlink()
    shutil.copy(batches / "data_batch_1", batches / "data_batch_7")
    said = problems(batches)
    assert "1 file with other bytes than were written, by SHA256SUMS: data_batch_2" in said
    assert "1 file missing that SHA256SUMS names: data_batch_3" in said
    assert "1 file that SHA256SUMS does not name: data_batch_7" in said


@pytest.mark.parametrize("line", ["x" * 64 + "  data_batch_1", "0" * 64 + "  ../secret", "0" * 64 + "  /etc/passwd"])
def test_a_manifest_of_others_is_refused(line, batches):
    (batches / "SHA256SUMS").write_text(line + "\n")
    assert "SHA256SUMS:1" in problems(batches)


@pytest.mark.parametrize(
    "name, keys, expected",
    [
        ("data_batch_2", {"labels": [0, 1, 2, 0, 1, 3]}, "case 5 has label 3; labels must be 0 to 2"),
        ("data_batch_2", {"labels": [[0], [1], [2], [0], [1], [-1]]}, "case 5 has label -1; labels must be 0 to 2"),
        ("data_batch_2", {"labels": [0, 1, 2]}, "6 cases but 3 labels"),
        ("data_batch_4", {"data": [b"none", *[b""] * 5]}, "6 of 6 pictures cannot be decoded: number 0"),
        ("data_batch_1", {"data": 3}, "'data' is 3; expected a matrix of numbers"),
        ("batches.meta", {"num_vis": 431}, "num_vis=431 is not a square picture"),
        ("batches.meta", {"data_mean": np.ones(7)}, "data_mean has 7 values, the data 432"),
        ("batches.meta", {"test_batches": [5, 8]}, "test_batches names 8, which are not there"),
        ("batches.meta", {"label_names": ["ape", "cat"]}, "has label 2; labels must be 0 to 1"),
    ],
)
def test_what_is_wrong_is_found_without_a_manifest(name, keys, expected, batches, capsys):
    changed(batches, name, **keys)
    assert main(["batches", "verify", str(batches)]) == 1
    out = capsys.readouterr().out
    assert expected in out and "There is no SHA256SUMS" in out and "Nothing is wrong" not in out


def test_everything_that_is_wrong_is_named_at_once(batches):
    """A broken file hides neither the others nor pictures in them."""
    stored = pickles.load(batches / "data_batch_2")["data"]
    strings = [item if isinstance(item, bytes) else item.encode("latin1") for item in stored]
    changed(batches, "data_batch_2", data=[strings[0], strings[1][:200], *strings[2:5], b"none"])
    (batches / "data_batch_1").write_bytes((batches / "data_batch_1").read_bytes()[:300])
    (batches / "data_batch_4").write_bytes(b"")
    changed(batches, "data_batch_3", labels=[0, 1, 2, 0, 1, 9])
    said = problems(batches)
    assert "data_batch_3: case 5 has label 9; labels must be 0 to 2" in said
    assert "data_batch_1: " in said and "data_batch_4: " in said
    assert "2 of 6 pictures cannot be decoded: number 1 (" in said and "number 5 (not a whole picture" in said


PIXELS = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8)
NUMBERS = np.linspace(-1, 1, 42, dtype=np.float32).reshape(7, 6)
LABELS = [0, 1, 2, 0, 1, 2]
NAMES = {"label_names": list(CLASSES)}


@pytest.mark.parametrize(
    "meta, batch, cases",
    [
        (NAMES, {"data": PIXELS, "labels": LABELS}, 6),
        (NAMES, {"data": PIXELS.T.copy(), "labels": LABELS, "filenames": ["x"] * 6}, 6),
        ({}, {"data": NUMBERS, "labels": np.array([LABELS])}, 6),
        ({}, {"data": NUMBERS, "labels": NUMBERS[:3]}, 6),
        ({}, {"data": NUMBERS, "labels": [0.5, 1.5, 2.0, 0.0, -1.0, 7.25]}, 6),
        (NAMES | {"label_offset": -1}, {"data": PIXELS, "labels": [1, 2, 3, 1, 2, 3]}, 6),
        (NAMES, {"data": PIXELS, "labels": [[0, 1], [2, 0], [1, 2], [0, 1], [2, 1], [0, 2]]}, 6),
        (NAMES, {"data": PIXELS, "labels": [[0, 1], [2], [], [0], [1], [2]]}, 6),
    ],
)
def test_matrices_of_all_makers(meta, batch, cases, tmp_path):
    write_file(tmp_path / "batches.meta", meta)
    for number in (1, 2):
        write_file(tmp_path / f"data_batch_{number}", batch)
    found = verify_batches(tmp_path)
    assert found.problems == [] and [row["cases"] for row in found.facts["batches"]] == [cases] * 2
    write_file(tmp_path / "data_batch_2", batch | {"data": batch["data"].astype(np.float32) * np.nan})
    assert f"{tmp_path / 'data_batch_2'}: 'data' holds nan at [0, 0]; expected finite numbers" in problems(tmp_path)


def test_values_that_are_not_of_the_cases(tmp_path):
    write_file(tmp_path / "batches.meta", {})
    write_file(tmp_path / "data_batch_1", {"data": NUMBERS, "labels": NUMBERS[:3]})
    write_file(tmp_path / "data_batch_2", {"data": NUMBERS, "labels": NUMBERS[:3, :5]})
    write_file(tmp_path / "data_batch_3", {"data": NUMBERS, "labels": NUMBERS[:3] * np.inf})
    said = problems(tmp_path)
    assert "data_batch_2: 'labels' of shape (3, 5) is not of 6 cases" in said
    assert "data_batch_3: 'labels': row 0, column 0 is -inf; expected a finite number" in said


def test_several_heads(tmp_path):
    meta = NAMES | {"label_names2": ["left", "right"]}
    write_file(tmp_path / "batches.meta", meta)
    batch = {"data": NUMBERS, "labels": LABELS, "labels2": [0, 1, 0, 1, 0, 1], "labels3": NUMBERS[:4]}
    write_file(tmp_path / "data_batch_1", batch)
    assert problems(tmp_path) == ""
    write_file(tmp_path / "data_batch_2", batch | {"labels2": [0, 1, 0, 1, 0, 2]})
    write_file(tmp_path / "data_batch_3", batch | {"labels2": [0, 1, 0, 1, 0]})
    write_file(tmp_path / "data_batch_4", batch | {"labels3": NUMBERS[:4, :5]})
    said = problems(tmp_path)
    assert "data_batch_2: 'labels2': case 5 has label 2; labels must be 0 to 1" in said
    assert "data_batch_3: 'labels2': 6 cases but 5 labels" in said
    assert "data_batch_4: 'labels3' of shape (4, 5) is not of 6 cases" in said


def test_a_first_batch_that_no_run_opens_hides_no_other(tmp_path):
    write_file(tmp_path / "batches.meta", NAMES | {"num_vis": 48})
    write_file(tmp_path / "data_batch_1", {"data": PIXELS[:, :0], "labels": []})
    write_file(tmp_path / "data_batch_2", {"data": PIXELS})
    write_file(tmp_path / "data_batch_3", {"data": PIXELS[:-1], "labels": LABELS})
    write_file(tmp_path / "data_batch_4", {"data": PIXELS, "labels": [*LABELS[:5], 3]})
    said = problems(tmp_path)
    assert "data_batch_1: holds no cases" in said and "data_batch_2: no labels in it" in said
    assert "data_batch_3: data of shape 47x6; expected 48 values per case" in said
    assert "data_batch_4: case 5 has label 3; labels must be 0 to 2" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_pipes_are_not_waited_for(batches):
    (batches / "data_batch_2").unlink()
    os.mkfifo(batches / "data_batch_2")
    assert "1 file missing that SHA256SUMS names: data_batch_2" in problems(batches)


def test_parts_and_folders_without_a_description(tmp_path):
    for number in (1, 2):
        (tmp_path / f"data_batch_{number}").mkdir()
        for part in ("a", "b"):
            write_file(tmp_path / f"data_batch_{number}" / part, {"data": PIXELS, "labels": LABELS})
    assert "holds no batches.meta" in problems(tmp_path)
    write_file(tmp_path / "batches.meta", NAMES)
    found = verify_batches(tmp_path)
    assert not found.problems and found.facts["batches"][0] == {"batch": 1, "parts": 2, "cases": 12}
    assert "holds no batches.meta" in problems(tmp_path / "data_batch_1")


def test_what_is_no_folder_of_batches(tmp_path, capsys):
    for action in ("verify", "show"):
        assert (
            main(["batches", action, str(tmp_path / "none"), *["--out", str(tmp_path / "x.png")] * (action == "show")]) == 1
        )
    assert "no folder" in "".join(capsys.readouterr()) and not (tmp_path / "x.png").exists()
    assert main(["batches", "verify", str(tmp_path), "--out", "x.png"]) == 2
    assert "--out goes with show" in capsys.readouterr().err
    assert main(["batches", "look", str(tmp_path)]) == 2


# -- show


def test_the_sheet_and_the_counts(made, tmp_path, capsys):
    assert main(["batches", "show", str(made), "--out", str(tmp_path / "sheet.png")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["class", "train", "test"]
    counts = {name: (int(train), int(test)) for name, train, test in rows[1:4]}
    assert [*counts] == [*CLASSES] and [sum(both) for both in counts.values()] == [10] * 3
    assert sum(test for _, test in counts.values()) == 6
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    shown = show_batches(made)
    assert shown.counts == counts and pixels.shape == (shown.sheet.height, shown.sheet.width, 3)
    for channel, row in enumerate((-200, -120, -45)):  # ten pictures of a colour each, from above: red, green, blue
        line = pixels[row]
        assert (line[:, channel] - line.max(axis=1, where=np.arange(3) != channel, initial=0) > 100).sum() > 600


@pytest.mark.parametrize("channels", [1, 3])
def test_matrices_are_drawn(channels, tmp_path):
    write_file(tmp_path / "batches.meta", NAMES | {"num_colors": channels})
    pixels = np.full((channels * 16, 6), 200, np.uint8)
    for number in (1, 2):
        write_file(tmp_path / f"data_batch_{number}", {"data": pixels, "labels": LABELS})
    shown = show_batches(tmp_path)
    assert shown.counts == dict.fromkeys(CLASSES, (2, 2))
    assert (np.asarray(shown.sheet) == 200).all(axis=-1).sum() >= 12 * 70 * 70


def test_several_labels_count_each(tmp_path):
    write_file(tmp_path / "batches.meta", NAMES)
    for number in (1, 2):
        write_file(tmp_path / f"data_batch_{number}", {"data": PIXELS, "labels": [[0, 1], [2], [], [0], [1], [2]]})
    assert show_batches(tmp_path).counts == {"ape": (2, 2), "cat": (2, 2), "dog": (2, 2)}


def test_numbers_are_counted_and_not_drawn(tmp_path, capsys):
    write_file(tmp_path / "batches.meta", {"label_names": ["a", "a", "b"]})
    for number in (1, 2):
        write_file(tmp_path / f"data_batch_{number}", {"data": NUMBERS, "labels": LABELS})
    out = tmp_path / "sheet.png"
    assert main(["batches", "show", str(tmp_path), "--json", "--out", str(out)]) == 0
    said = capsys.readouterr()
    both = {"train": 2, "test": 2}
    assert json.loads(said.out) == {"classes": {"a (0)": both, "a (1)": both, "b": both}, "sheet": None}
    assert "no pictures" in said.err and not out.exists()


def test_batches_with_other_labels_than_cases_are_not_shown(batches, capsys):
    changed(batches, "data_batch_2", labels=[0, 1, 2, 0, 1, 2, 0])
    assert main(["batches", "show", str(batches), "--out", str(batches / "sheet.png")]) == 1
    assert "data_batch_2: 6 cases but 7 labels" in capsys.readouterr().err and not (batches / "sheet.png").exists()


def test_many_classes_are_cut_and_told(tmp_path, monkeypatch):
    drawn, draw = [], contact_sheet._drawn
    monkeypatch.setattr(contact_sheet, "_drawn", lambda item, channels: drawn.append(item) or draw(item, channels))
    write_file(tmp_path / "batches.meta", {"label_names": [f"class {i}" for i in range(60)]})
    data = np.zeros((48, 60), np.uint8)
    write_file(tmp_path / "data_batch_1", {"data": data, "labels": list(range(60))})
    shown = show_batches(tmp_path)
    assert "The sheet shows 40 of 60 classes." in shown.remarks and len(shown.counts) == 60
    assert shown.counts["class 59"] == (1, 0) and shown.sheet.height < 40 * 90 and len(drawn) == 40


def test_values_have_no_classes_to_show(tmp_path, capsys):
    write_file(tmp_path / "batches.meta", {})
    write_file(tmp_path / "data_batch_1", {"data": NUMBERS, "labels": NUMBERS[:3]})
    assert main(["batches", "show", str(tmp_path), "--out", str(tmp_path / "x.png")]) == 1
    assert "values, not labels of classes" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
