"""Checkpoints of nets with weights of one's own beside data of one's own, of which it is known what should be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support import default_params, dump

import convnet
from convnet.checkpoint import load
from convnet.drawing.samples import TestSet, session_of

HEAD = "[fc]\ntype=fc\ninputs=data\noutputs={classes}\ninitW=0\n"


def write_pictures(folder: Path, batches: list[tuple[np.ndarray, list]], names: list[str]) -> Path:
    """Batches 1, 2, ... of (pictures (N, S, S, C), labels), with a mean of 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (pictures, labels) in enumerate(batches, 1):
        data = np.asarray(pictures, np.uint8).transpose(3, 1, 2, 0).reshape(-1, len(pictures))
        dump(folder / f"data_batch_{number}", {"data": data, "labels": labels})
    values = int(np.prod(batches[0][0].shape[1:]))
    meta = {"label_names": names, "num_vis": values, "data_mean": np.zeros((values, 1), np.float32)}
    dump(folder / "batches.meta", meta)
    return folder


def save_net(folder: Path, text: str, side: int, weights: dict[str, np.ndarray], classes: int, params: str = "") -> Path:
    """A checkpoint of a net from ``text``; ``weights`` are (inputs, outputs) by layer, other biases and weights as drawn."""
    net = convnet.build(text, params or default_params(text), side=side, classes=classes, backend="reference")
    for name, matrix in weights.items():
        net.weights[name][0] = matrix
    return net.save(folder / "1.1")


def open_tests(path: Path, data: Path, **options) -> TestSet:
    """The checkpoint's net beside its test data."""
    return TestSet.of(session_of(load(path), {"data_path": str(data), "backend": "reference", **options}))


def rows_of(side: int, places: dict[tuple[int, int, int], int], classes: int, weight: float = 0.05) -> np.ndarray:
    """Weights of three channels by which the pixel at (channel, y, x) speaks for a class, and nothing else for any."""
    matrix = np.zeros((3, side, side, classes))
    for (c, y, x), k in places.items():
        matrix[c, y, x, k] = weight
    return matrix.reshape(-1, classes)
