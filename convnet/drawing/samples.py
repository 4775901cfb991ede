"""What a net says of test cases, as a sheet of pictures and bars, drawn by Pillow (io 7.4).

    convnet shownet --load-file CHECKPOINT --show-preds probs --data-path DIR

Of a net in memory: ``write_predictions(TestSet(net, provider, batch), Path("preds.png"), "probs")``.
Letters: N cases, C channels, H, W height and width of a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from convnet.checkpoint import Checkpoint
from convnet.data.provider import Provider, batch_bounds, class_names, first_synonyms, split
from convnet.drawing.files import save_image
from convnet.drawing.sheet import LIGHT, Sheet, headed, resized
from convnet.errors import ConvnetError, OptionError
from convnet.graph.needs import label_index
from convnet.layers.data import Data
from convnet.net.net import Net
from convnet.texts import did_you_mean
from convnet.training.checks import check_batch
from convnet.training.session import RunInputs, Session

_CASES = 8  # two rows of four
_BARS = 5
_TRUE, _OTHER = "#ffaaaa", "#aaaaff"  # the originals'
_PICTURE, _PER_ROW, _GAP, _BAR, _HEAD = 288, 4, 24, 26, 30


class Prediction(NamedTuple):
    """One case: its ``picture`` (H, W, C) in 0 to 1, ``truth``, and the likeliest classes as (name, probability, true?)."""

    picture: np.ndarray
    truth: str
    bars: list[tuple[str, float, bool]]


@dataclass
class TestSet:
    """A net beside ``provider``, whose batch ``number`` it is tested on; ``remarks`` are on how these were found."""

    __test__ = False

    net: Net
    provider: Provider
    number: int
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, checkpoint: Checkpoint, options: dict[str, Any]) -> TestSet:
        """Return a checkpoint's net and its first test batch. ``options`` are those of ``convnet run``, by name."""
        session = Session(RunInputs({"load_file": str(checkpoint.path), "test_only": 1, **options}, checkpoint))
        session.check_costs()
        backends, _ = session.backends()
        return cls(session.net(backends), session.test, session.plan.test[0], session.remarks)

    def outputs(self, names: Sequence[str], max_cases: int = 0) -> list[np.ndarray]:
        """Return outputs (features, N) of layers for the test batch, or its first ``max_cases`` cases."""
        batch = self.provider.batch(1, self.number)
        minibatches = split(batch, self.net.minibatch)
        check_batch(self.net.graph, minibatches, f"{self.provider.where}: batch {self.number}", finite=False)
        parts = []
        for start, stop in batch_bounds(min(batch.cases, max_cases or batch.cases), self.net.minibatch):
            self.net.test(batch.minibatch(start, stop), stop - start, keep=names)
            parts.append([self.net.output(name) for name in names])
        outputs = [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]
        for name, values in zip(names, outputs, strict=True):
            if not np.isfinite(values).all():
                raise ConvnetError(f"the outputs of '{name}' are not all finite numbers, so there is nothing to show")
        return outputs

    def data_layer(self) -> str:
        """Return the layer by which pictures enter; raises ``ConvnetError``."""
        for layer in self.net.graph.layers.values():
            if isinstance(layer, Data) and layer.dataIdx == 0:
                return layer.name
        raise ConvnetError("the net has no data layer with dataIdx=0, where pictures would enter")


def write_predictions(tests: TestSet, out: Path, softmax: str = "", only_errors: bool = False, seed: int = 0) -> None:
    """Draw up to eight test cases with what the net says of them, and write the sheet; ``""``: the first softmax layer."""
    cases = predictions(tests, softmax, only_errors, seed)
    save_image(prediction_sheet(cases, f"{'Mistaken' if only_errors else 'Random'} test samples"), out)


def predictions(tests: TestSet, softmax: str = "", only_errors: bool = False, seed: int = 0) -> list[Prediction]:
    """Return up to eight cases of the test batch, drawn by ``seed``; with ``only_errors`` of those that are wrong."""
    graph = tests.net.graph
    softmax = chosen_name(
        softmax, [name for name, layer in graph.layers.items() if layer.type == "softmax"], "softmax layer"
    )
    cost = next((cost for cost in graph.costs if cost.sources[-1].name == softmax), None)
    if cost is None:
        raise ConvnetError(f"no cost compares '{softmax}' with labels, so what is true is not known")
    data, labels, scores = tests.outputs([tests.data_layer(), cost.sources[0].name, softmax])
    truths = labels.argmax(axis=0) if len(labels) > 1 else labels[0].astype(int)
    candidates = np.flatnonzero(scores.argmax(axis=0) != truths) if only_errors else np.arange(len(truths))
    if not candidates.size:
        raise ConvnetError(f"all {len(truths)} cases of test batch {tests.number} are right; nothing to show")
    chosen = np.random.default_rng(seed).choice(candidates, min(_CASES, candidates.size), replace=False)
    names = first_synonyms(class_names(tests.provider.names_at(label_index(cost)), len(scores)))
    shown = []
    for picture, n in zip(tests.provider.images(np.ascontiguousarray(data[:, chosen])), chosen, strict=True):
        likeliest = np.argsort(-scores[:, n], kind="stable")[:_BARS]
        bars = [(names[i], float(scores[i, n]), bool(i == truths[n])) for i in likeliest]
        shown.append(Prediction(picture, names[truths[n]], bars))
    return shown


def chosen_name(name: str, known: Iterable[str], what: str) -> str:
    """Return ``name``, or the first of those ``known`` where it is empty; raises ``OptionError`` for another."""
    known = list(known)
    if name in known or (known and not name):
        return name or known[0]
    if not name:
        raise OptionError(f"the checkpoint has no {what}")
    hint = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
    raise OptionError(f"no {what} '{name}' in the checkpoint{hint}")


def prediction_sheet(cases: Sequence[Prediction], heading: str) -> Image.Image:
    """Return the sheet of 2012: pictures above, bars of the likeliest classes below; the true class is red, and marked."""
    rows, pitch = -(-len(cases) // _PER_ROW), _HEAD + _PICTURE + 8 + _BARS * _BAR + _GAP
    sheet = Sheet(_GAP + _PER_ROW * (_PICTURE + _GAP), rows * pitch, LIGHT)
    for i, case in enumerate(cases):
        _draw_case(sheet, case, _GAP + i % _PER_ROW * (_PICTURE + _GAP), i // _PER_ROW * pitch)
    right = sum(case.bars[0][2] for case in cases)
    caption = f"{right} of {len(cases)} right. Above each picture its true class; below what the net says, the truth marked."
    return headed(sheet.image, heading, caption, LIGHT)


def _draw_case(sheet: Sheet, case: Prediction, x: int, y: int) -> None:
    verdict = "right" if case.bars[0][2] else "wrong"
    sheet.write((x + _PICTURE, y + 6), verdict, 14, "ra", color=LIGHT.faint)
    sheet.write((x, y + 2), case.truth, 19, width=_PICTURE - 50)
    picture = resized(case.picture, _PICTURE)
    sheet.paste(picture, x + (_PICTURE - picture.width) // 2, y + _HEAD + (_PICTURE - picture.height) // 2)
    for place, (name, share, is_true) in enumerate(case.bars):
        top = y + _HEAD + _PICTURE + 8 + place * _BAR
        middle, length = top + _BAR // 2 - 2, round((_PICTURE - 14) * min(max(share, 0), 1))
        sheet.draw.rectangle((x + 14, top, x + 14 + length, top + _BAR - 5), _TRUE if is_true else _OTHER)
        if is_true:
            sheet.draw.polygon([(x, middle - 6), (x, middle + 6), (x + 10, middle)], LIGHT.words)
        sheet.write((x + 20, middle), name, 14, "lm", width=_PICTURE - 80)
        sheet.write((x + _PICTURE, middle), f"{share:.1%}", 14, "rm")
