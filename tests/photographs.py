"""Twelve photographs that installed packages carry, cut into a folder of pictures with one sub-folder per class.

A class is a photograph: its pictures are squares of random place and size, on which there is something to see. Each
photograph is divided into 6 by 6 cells; pictures for testing lie within six of them, those for training touch none of
these, so that they share no pixel.

    PYTHONPATH=. python tests/photographs.py photos/
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from convnet.data.making.split import set_aside

PHOTOGRAPHS = {
    "astronaut": "skimage/data/astronaut.png",
    "brick": "skimage/data/brick.png",
    "cat": "skimage/data/chelsea.png",
    "china": "sklearn/datasets/images/china.jpg",
    "coffee": "skimage/data/coffee.png",
    "flower": "sklearn/datasets/images/flower.jpg",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "hopper": "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    "hubble": "skimage/data/hubble_deep_field.jpg",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "tissue": "skimage/data/ihc.png",
}
CELLS = 6  # along a side
LEAST = 48  # pixels of a side of a picture
_PLAIN = 8  # deviation of pixels below which a picture shows nothing
_ASIDE = {(0, 1), (1, 4), (2, 2), (3, 5), (4, 0), (5, 3)}  # cells for testing: one in each row and in each column


def photograph(name: str) -> Image.Image:
    """The photograph of a class, in RGB; raises ``FileNotFoundError`` if the package that carries it is not installed."""
    package, _, rest = PHOTOGRAPHS[name].partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed, which carries {rest}")
    with Image.open(Path(spec.submodule_search_locations[0]) / rest) as picture:
        return picture.convert("RGB")


def box(whole: Image.Image, testing: bool, random: np.random.RandomState) -> tuple[int, int, int, int]:
    """A random square (left, top, right, bottom) of a photograph, in the cells for testing or outside them."""
    width, height = (length // CELLS for length in whole.size)
    while True:
        side = random.randint(LEAST, min(width, height) + 1)
        left, top = (random.randint(0, length - side + 1) for length in whole.size)
        right, bottom = left + side, top + side
        rows, columns = range(top // height, -(-bottom // height)), range(left // width, -(-right // width))
        touched = {(row, column) in _ASIDE for row in rows for column in columns}
        fits = touched == {testing} and (not testing or len(rows) == len(columns) == 1)
        if fits and np.std(whole.crop((left, top, right, bottom))) >= _PLAIN:
            return left, top, right, bottom


def make_photographs(folder: Path, each: int = 150, test_share: float = 0.1, seed: int = 0) -> dict[str, bool]:
    """Write ``each`` JPEG files of every class; return by their names in ``folder`` which are for testing.

    These are the ones that makebatches sets aside with the same share and seed.
    """
    random = np.random.RandomState(seed)
    labels = [label for label in range(len(PHOTOGRAPHS)) for _ in range(each)]
    aside = set(set_aside(labels, test_share, seed)[1])
    written = {}
    for label, name in enumerate(PHOTOGRAPHS):  # in alphabetical order, as makebatches counts them
        whole = photograph(name)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            testing = label * each + number in aside
            file = f"{name}/{number:04}.jpg"
            whole.crop(box(whole, testing, random)).save(folder / file, quality=92)
            written[file] = testing
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=150, help="pictures of every class [150]")
    args = parser.parse_args()
    print(f"{len(make_photographs(args.folder, args.each))} pictures in {args.folder}")
