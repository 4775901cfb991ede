"""Pictures of test cases: what a net says of them, and what its layers make of them (io section 7).

    convnet shownet --load-file CHECKPOINT --show-preds probs --data-path DIR
    convnet shownet --load-file CHECKPOINT --show-maps conv1 --data-path DIR

Letters: N cases, C channels, H, W height and width of a picture, S side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnet.data.provider import Provider, batch_bounds
from convnet.errors import ConvnetError, OptionError, nearest
from convnet.net.net import Net
from convnet.training.log import Printer
from convnet.training.session import Opening, Session

_CASES = 8  # two rows of four
_BARS = 5
_TRUE, _OTHER = "#ffaaaa", "#aaaaff"
_MAP_CASES, _MAPS = 12, 16
_GAP = 1


@dataclass
class Prediction:
    """One case: its ``picture`` (H, W, C) in 0 to 1, ``truth``, and the likeliest classes as (name, probability, true?)."""

    picture: np.ndarray
    truth: str
    bars: list[tuple[str, float, bool]]


class TestSet:
    """A checkpoint's net beside its test data. ``options`` are those of ``convnet run``, by name."""

    __test__ = False

    def __init__(self, load_file: str, options: dict[str, Any]) -> None:
        session = Session.open(Opening.of({"load_file": load_file, "test_only": 1, **options}))
        self.provider: Provider = session.test
        self.number: int = session.options["test_range"][0]
        self.graph = session.prepare(session.shape(), Printer())
        self.net: Net = session.net(self.graph, session.backends(self.graph))

    def outputs(self, names: Sequence[str], most: int = 0) -> list[np.ndarray]:
        """Outputs (features, N) of layers for the first test batch, or its first ``most`` cases."""
        batch = self.provider.batch(1, self.number)
        parts = []
        for start, stop in batch_bounds(min(batch.cases, most or batch.cases), self.net.minibatch):
            self.net.test(batch.minibatch(start, stop), stop - start, keep=names)
            parts.append([self.net.output(name) for name in names])
        return [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]

    def data_layer(self) -> str:
        """The layer that the pictures enter by; raises ``ConvnetError``."""
        for layer in self.graph.layers.values():
            if layer.type == "data" and layer.dataIdx == 0:  # type: ignore[attr-defined]
                return layer.name
        raise ConvnetError("the net has no data layer with dataIdx=0, where pictures would enter")

    def find(self, name: str, among: Sequence[str], what: str) -> str:
        """``name`` if it is one of ``among``; raises ``OptionError`` with the nearest."""
        if name in among:
            return name
        hint = nearest(name, among)
        tail = f"; did you mean '{hint}'?" if hint else f"; there are {', '.join(among) or 'none'}"
        raise OptionError(f"no {what} '{name}' in the checkpoint{tail}")


def predictions(tests: TestSet, softmax: str, only_errors: bool = False, seed: int = 0) -> list[Prediction]:
    """Up to eight cases of the first test batch, drawn by ``seed``; with ``only_errors`` from those that went wrong."""
    layers = tests.graph.layers
    tests.find(softmax, [layer.name for layer in layers.values() if layer.type == "softmax"], "softmax layer")
    judges = [cost.sources[0].name for cost in tests.graph.costs if cost.sources[-1].name == softmax]
    if not judges:
        raise ConvnetError(f"no cost compares '{softmax}' with labels, so what is true is not known")
    data, labels, scores = tests.outputs([tests.data_layer(), judges[0], softmax])
    truths = labels.argmax(axis=0) if len(labels) > 1 else labels[0].astype(int)
    candidates = np.flatnonzero(scores.argmax(axis=0) != truths) if only_errors else np.arange(len(truths))
    if not candidates.size:
        raise ConvnetError(f"all {len(truths)} cases of test batch {tests.number} are right; nothing to show")
    chosen = np.random.default_rng(seed).choice(candidates, min(_CASES, candidates.size), replace=False)
    pictures = tests.provider.images(np.ascontiguousarray(data[:, chosen]))
    names = class_names(tests.provider, len(scores))
    return [
        Prediction(picture, names[truths[n]], _bars(scores[:, n], names, int(truths[n])))
        for picture, n in zip(pictures, chosen, strict=True)
    ]


def draw_predictions(cases: Sequence[Prediction], heading: str, out: Path, pyplot: Any) -> None:
    """The sheet of 2012: pictures above, bars of the five likeliest classes below, the true one in red."""
    figure = pyplot.figure(figsize=(12, 9))
    figure.suptitle(heading)
    sheet = figure.add_gridspec(2, 4, left=0.05, right=0.95, bottom=0.05, top=0.9, hspace=0.2, wspace=0.15)
    for place, case in zip(sheet, cases, strict=False):
        pair = place.subgridspec(2, 1, height_ratios=[2, 1], hspace=0.08)
        _draw_picture(figure.add_subplot(pair[0]), case)
        _draw_bars(figure.add_subplot(pair[1]), case)
    figure.savefig(out, dpi=80)
    pyplot.close(figure)


def maps_mosaic(maps: np.ndarray) -> np.ndarray:
    """Maps (cases, maps, S, S) as one grey picture: a row for each case, one-pixel gaps, all scaled together to 0 to 1."""
    cases, count, S, _ = maps.shape
    low, high = maps.min(), maps.max()
    scaled = (maps - low) / (high - low) if high > low else np.zeros_like(maps)
    canvas = np.zeros((cases * (S + _GAP) + _GAP, count * (S + _GAP) + _GAP))
    for i in range(cases):
        for j in range(count):
            y, x = _GAP + i * (S + _GAP), _GAP + j * (S + _GAP)
            canvas[y : y + S, x : x + S] = scaled[i, j]
    return canvas


def feature_maps(tests: TestSet, layer: str, seed: int = 0) -> np.ndarray:
    """Up to sixteen maps, drawn by ``seed``, of what ``layer`` makes of the first twelve test cases, negatives cut off."""
    with_maps = {name: found for name, found in tests.graph.layers.items() if found.maps}
    tests.find(layer, list(with_maps), "layer of maps")
    C, S = with_maps[layer].maps  # type: ignore[misc]
    chosen = np.sort(np.random.default_rng(seed).choice(C, min(_MAPS, C), replace=False))
    [values] = tests.outputs([layer], most=_MAP_CASES)
    return np.maximum(values.reshape(C, S, S, -1)[chosen], 0).transpose(3, 0, 1, 2)  # maps[n, c, y, x]


def draw_maps(maps: np.ndarray, zoom: int) -> Image.Image:
    """``maps_mosaic`` as a picture, ``zoom`` pixels for each value."""
    pixels = np.round(255 * maps_mosaic(maps)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def class_names(provider: Provider, classes: int) -> list[str]:
    """Names of classes up to the first comma; numbers, where the data have no names."""
    known = [name.split(",")[0] for name in provider.label_names]
    return [known[i] if i < len(known) else str(i) for i in range(classes)]


def _bars(scores: np.ndarray, names: Sequence[str], truth: int) -> list[tuple[str, float, bool]]:
    likeliest = np.argsort(-scores, kind="stable")[: min(_BARS, len(scores))]
    return [(names[i], float(scores[i]), int(i) == truth) for i in likeliest]


def _draw_picture(axes: Any, case: Prediction) -> None:
    grey = case.picture.shape[-1] == 1
    picture = case.picture[..., 0] if grey else case.picture
    axes.imshow(picture, cmap="gray" if grey else None, vmin=0, vmax=1, interpolation="lanczos")
    axes.set_title(case.truth, fontsize=15, fontweight="bold")
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_bars(axes: Any, case: Prediction) -> None:
    places = range(len(case.bars))[::-1]  # the likeliest on top
    colors = [_TRUE if true else _OTHER for _, _, true in case.bars]
    axes.barh(list(places), [share for _, share, _ in case.bars], color=colors)
    for y, (name, _, _) in zip(places, case.bars, strict=True):
        box = {"facecolor": "#dddddd", "alpha": 0.5, "edgecolor": "none", "pad": 1}
        axes.text(0.98, y, name, ha="right", va="center", fontsize=9, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([])
