"""Batches of the handwritten digits that scikit-learn carries: 1,797 grey pictures of 8x8 pixels."""

from pathlib import Path

import numpy as np

from convnet.data.batches import write_file
from convnet.data.making.manifest import sum_of, write_sums
from convnet.errors import DataError

_BATCHES = 6


def pack_digits(out: Path) -> int:
    """Write the handwritten digits as six batches, the last for testing; returns the number of batches."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install scikit-learn") from None
    digits = load_digits()
    # The grey values run from 0 to 16; writers follow each other, so the cases are shuffled.
    pixels = np.round(digits.data.T * 255 / 16).astype(np.uint8)
    order = np.random.RandomState(0).permutation(pixels.shape[1])
    groups = np.array_split(order, _BATCHES)
    for number, group in enumerate(groups, 1):
        labels = [int(label) for label in digits.target[group]]
        write_file(out / f"data_batch_{number}", {"data": np.ascontiguousarray(pixels[:, group]), "labels": labels})
    meta = {
        "num_vis": 64,
        "num_colors": 1,
        "num_cases_per_batch": len(groups[0]),
        "label_names": [str(digit) for digit in range(10)],
        "test_batches": [_BATCHES],
        "data_mean": pixels[:, np.concatenate(groups[:-1])].mean(axis=1, dtype=np.float64).astype(np.float32)[:, None],
    }
    write_file(out / "batches.meta", meta)
    names = [*(f"data_batch_{number}" for number in range(1, len(groups) + 1)), "batches.meta"]
    write_sums(out, {name: sum_of(out / name) for name in names})
    return _BATCHES
