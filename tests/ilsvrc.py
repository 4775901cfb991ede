"""ILSVRC-2012 in small: archives of pictures and the kit, laid out as those that its organisers hand out."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(shade: int, size: tuple[int, int] = (40, 30)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, (shade, 255 - shade, 40)).save(data, "JPEG", quality=95)
    return data.getvalue()


def tar_of(files: dict[str, bytes], mode: str = "w", format: int = tarfile.USTAR_FORMAT) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode, format=format) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def meta_mat(rows: list[tuple[int, str, str]]) -> bytes:
    """``meta.mat``: the fields that there are, in an array of structs."""
    from scipy.io import savemat

    kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")]
    table = np.empty((len(rows), 1), kinds)
    for i, (number, word, name) in enumerate(rows):
        table[i, 0] = (np.float64(number), word, name, f"what {name} is", np.uint8(0), np.zeros((0, 0)))
    data = io.BytesIO()
    savemat(data, {"other": 3.0, "synsets": table}, do_compression=True)
    return data.getvalue()


def make_ilsvrc(folder: Path, train: int = 5, val: int = 6, broken: bool = True) -> Path:
    """Three classes of ``train`` pictures, and ``val`` for validation; one picture of each archive cannot be read."""
    folder.mkdir(parents=True)
    words = {"n02119789": 1, "n02100735": 2, "n01440764": 3}  # not in the order of their words
    inner = {}
    for word, number in words.items():
        pictures = {f"{word}_{i}.JPEG": jpeg(60 * number) for i in range(train)}
        if broken and number == 2:
            pictures[f"{word}_1.JPEG"] = b"no picture"
        inner[f"{word}.tar"] = tar_of(pictures)
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    truth = [1 + i % 3 for i in range(val)]
    pictures = {f"ILSVRC2012_val_{i + 1:08}.JPEG": jpeg(60 * number) for i, number in enumerate(truth)}
    if broken:
        pictures["ILSVRC2012_val_00000002.JPEG"] = b""
    backwards = dict(reversed(pictures.items()))  # the order of the archive is not that of the labels
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(backwards))
    rows = [(number, word, f"thing {number}, object {number}") for word, number in words.items()]
    groups = [(1001, "n00001740", "entity"), (1002, "n00001930", "physical entity")]
    kit = {
        "ILSVRC2012_devkit_t12/readme.txt": b"x" * 700,
        "ILSVRC2012_devkit_t12/data/meta.mat": meta_mat(rows[::-1] + groups),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in truth).encode(),
    }
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_of(kit, "w:gz"))
    return folder
