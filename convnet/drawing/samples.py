"""Pictures of test cases: what a net says of them, and what its layers make of them (io 7.4, 7.5).

    convnet shownet --load-file CHECKPOINT --show-preds probs --data-path DIR
    convnet shownet --load-file CHECKPOINT --show-maps conv1 --data-path DIR

Letters: N cases, C channels, H, W height and width of a picture, S side of a map.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnet.data.provider import batch_bounds, split
from convnet.drawing.files import save_figure
from convnet.drawing.filters import mosaic, scale
from convnet.errors import ConvnetError, OptionError, did_you_mean, printable
from convnet.layers.data import Data
from convnet.training.checks import check_batch
from convnet.training.session import RunInputs, Session

_CASES = 8  # two rows of four
_BARS = 5
_TRUE, _OTHER = "#ffaaaa", "#aaaaff"
_MAP_CASES, _MAPS = 12, 16


class Prediction(NamedTuple):
    """One case: its ``picture`` (H, W, C) in 0 to 1, ``truth``, and the likeliest classes as (name, probability, true?)."""

    picture: np.ndarray
    truth: str
    bars: list[tuple[str, float, bool]]


class TestSet:
    """A checkpoint's net beside its test data. ``options`` are those of ``convnet run``, by name."""

    __test__ = False

    def __init__(self, load_file: str, options: dict[str, Any]) -> None:
        session = Session(RunInputs({"load_file": load_file, "test_only": 1, **options}))
        session.check_costs()
        self.provider, self.remarks = session.test, session.remarks
        self.number = session.plan.test[0]
        self.graph = session.graph
        backends, _ = session.backends()
        self.net = session.net(backends)

    def outputs(self, names: Sequence[str], max_cases: int = 0) -> list[np.ndarray]:
        """Return outputs (features, N) of layers for the first test batch, or its first ``max_cases`` cases."""
        batch = self.provider.batch(1, self.number)
        minibatches = split(batch, self.net.minibatch)
        check_batch(self.graph, minibatches, f"{self.provider.where}: batch {self.number}", finite=False)
        parts = []
        for start, stop in batch_bounds(min(batch.cases, max_cases or batch.cases), self.net.minibatch):
            self.net.test(batch.minibatch(start, stop), stop - start, keep=names)
            parts.append([self.net.output(name) for name in names])
        return [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]

    def data_layer(self) -> str:
        """Return the layer by which pictures enter; raises ``ConvnetError``."""
        for layer in self.graph.layers.values():
            if isinstance(layer, Data) and layer.dataIdx == 0:
                return layer.name
        raise ConvnetError("the net has no data layer with dataIdx=0, where pictures would enter")


def predictions(tests: TestSet, softmax: str, only_errors: bool = False, seed: int = 0) -> list[Prediction]:
    """Return up to eight cases of the first test batch, drawn by ``seed``; with ``only_errors`` of those that are wrong."""
    layers = tests.graph.layers.values()
    _check_known(softmax, [layer.name for layer in layers if layer.type == "softmax"], "softmax layer")
    labels_layers = [cost.sources[0].name for cost in tests.graph.costs if cost.sources[-1].name == softmax]
    if not labels_layers:
        raise ConvnetError(f"no cost compares '{softmax}' with labels, so what is true is not known")
    data, labels, scores = tests.outputs([tests.data_layer(), labels_layers[0], softmax])
    truths = labels.argmax(axis=0) if len(labels) > 1 else labels[0].astype(int)
    candidates = np.flatnonzero(scores.argmax(axis=0) != truths) if only_errors else np.arange(len(truths))
    if not candidates.size:
        raise ConvnetError(f"all {len(truths)} cases of test batch {tests.number} are right; nothing to show")
    chosen = np.random.default_rng(seed).choice(candidates, min(_CASES, candidates.size), replace=False)
    # Names of classes end at the first comma; classes without a name are shown by number.
    known = [name.split(",")[0] for name in tests.provider.label_names]
    names = [*known[: len(scores)], *map(str, range(len(known), len(scores)))]
    shown = []
    for picture, n in zip(tests.provider.images(np.ascontiguousarray(data[:, chosen])), chosen, strict=True):
        likeliest = np.argsort(-scores[:, n], kind="stable")[:_BARS]
        bars = [(names[i], float(scores[i, n]), bool(i == truths[n])) for i in likeliest]
        shown.append(Prediction(picture, names[truths[n]], bars))
    return shown


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    if name not in (known := list(known)):
        hint = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise OptionError(f"no {what} '{name}' in the checkpoint{hint}")


def draw_predictions(cases: Sequence[Prediction], heading: str, out: Path, pyplot: Any) -> None:
    """Draw the sheet of 2012: pictures above, bars of the five likeliest classes below, the true one in red."""
    figure = pyplot.figure(figsize=(12, 9))
    figure.suptitle(heading)
    sheet = figure.add_gridspec(2, 4, left=0.05, right=0.95, bottom=0.05, top=0.9, hspace=0.2, wspace=0.15)
    for place, case in zip(sheet, cases, strict=False):
        pair = place.subgridspec(2, 1, height_ratios=[2, 1], hspace=0.08)
        _draw_picture(figure.add_subplot(pair[0]), case)
        _draw_bars(figure.add_subplot(pair[1]), case)
    save_figure(figure, out, dpi=80)
    pyplot.close(figure)


def _draw_picture(axes: Any, case: Prediction) -> None:
    is_grey = case.picture.shape[-1] == 1
    picture = case.picture[..., 0] if is_grey else case.picture
    axes.imshow(picture, cmap="gray" if is_grey else None, vmin=0, vmax=1, interpolation="lanczos")
    axes.set_title(printable(case.truth), fontsize=15, fontweight="bold", parse_math=False)
    axes.set(xticks=[], yticks=[])


def _draw_bars(axes: Any, case: Prediction) -> None:
    places = range(len(case.bars))[::-1]  # the likeliest on top
    colors = [_TRUE if is_true else _OTHER for _, _, is_true in case.bars]
    axes.barh(list(places), [share for _, share, _ in case.bars], color=colors)
    for y, (name, _, _) in zip(places, case.bars, strict=True):
        box = {"facecolor": "#dddddd", "alpha": 0.5, "edgecolor": "none", "pad": 1}
        axes.text(0.98, y, printable(name), ha="right", va="center", fontsize=9, bbox=box, parse_math=False)
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], yticks=[])


def feature_maps(tests: TestSet, layer: str, seed: int = 0) -> np.ndarray:
    """Return up to sixteen maps (N, maps, S, S) of ``layer``, drawn by ``seed``, for twelve test cases; negatives are 0."""
    maps = {name: layer.maps for name, layer in tests.graph.layers.items() if layer.maps}
    _check_known(layer, maps, "layer of maps")
    C, S = maps[layer]
    chosen = np.sort(np.random.default_rng(seed).choice(C, min(_MAPS, C), replace=False))
    [values] = tests.outputs([layer], _MAP_CASES)
    return np.maximum(values.reshape(C, S, S, -1)[chosen], 0).transpose(3, 0, 1, 2)  # maps[n, c, y, x]


def maps_mosaic(maps: np.ndarray) -> np.ndarray:
    """Return maps (N, maps, S, S) as a grey mosaic: a row for each case, all scaled together to 0 to 1."""
    _, count, S, _ = maps.shape
    return mosaic(scale(maps, 0).reshape(-1, S, S, 1), count)
