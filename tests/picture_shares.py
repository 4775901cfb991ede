"""Batches of small pictures, what one rank wants of them, and what its share has to be."""

import numpy as np
from picture_files import encoded
from PIL import Image
from support import dump

from convnet.data import pictures
from convnet.data.decoding import read_square
from convnet.data.provider import Request, batch_bounds
from convnet.data.providers import open_provider

MINI, SIDE = 8, 12


def wanted_by(rank, size, first=0, mini=MINI):
    """Part ``rank`` of ``size`` of every minibatch from case ``first`` on."""

    def wanted(cases):
        mask = np.zeros(cases, bool)
        for start, stop in batch_bounds(cases, mini, first):
            pitch = -(-(stop - start) // size)
            mask[start + rank * pitch : min(start + (rank + 1) * pitch, stop)] = True
        return mask

    return wanted


def picture(seed, wide=False):
    pixels = np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE + 7 * wide, 3)).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


def write_batches(folder, counts, failing=(), wide=(), **meta):
    """Batches of so many pictures, case i of batch b with i % 3 labels or 1; ``failing`` and ``wide`` are (batch, case)."""
    for number, count in enumerate(counts, 1):
        strings = [picture(100 * number + i, (number, i) in wide) for i in range(count)]
        for batch, i in failing:
            if batch == number:
                strings[i] = b"no picture %d" % i
        labels = [[(i + k) % 5 for k in range(max(i % 3, 1))] for i in range(count)]
        dump(folder / f"data_batch_{number}", {"data": strings, "labels": labels})
    described = {"num_vis": 3 * SIDE**2, "label_names": [*"abcde"], "color_pca": (np.ones(3), np.eye(3))}
    dump(folder / "batches.meta", described | {"data_mean": np.arange(3 * SIDE**2) % 200} | meta)
    return folder


def opened(folder, ranks=None, **wanted):
    wanted = {"training": True, "inner_size": 8, "color_noise": 0.1, "seed": 5, "threads": 2} | wanted
    if not wanted["training"]:
        wanted["color_noise"] = 0.0
    return open_provider("image", Request(str(folder), ranks=ranks, **wanted))


def assert_share(batch, whole, wanted):
    """All but the pixels of cases that are not wanted are those of the whole."""
    assert (batch.cases, batch.views) == (whole.cases, whole.views)
    for found, expected in zip(batch.labels, whole.labels, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(batch.crops, whole.crops, strict=True):
        assert vars(found).keys() == vars(expected).keys()
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(getattr(found, name), value)
    mask = wanted(whole.cases)
    np.testing.assert_array_equal(batch.pixels[mask], whole.pixels[mask])


def count_decodes(monkeypatch):
    """The files that are decoded from now on, one behind the other."""
    found = []

    def counting(file, *args, **more):
        found.append(file.getvalue())
        return read_square(file, *args, **more)

    monkeypatch.setattr(pictures, "read_square", counting)
    return found
