"""Test cases of a checkpoint, and what its net says of them (io 7.4); ``prediction_scene.py`` draws it.

Of a net in memory: ``predictions(TestSet(net, provider, [batch]), "probs")``.
Letters: N cases, K classes, F values of a picture; C channels, H, W height and width of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.data.provider import Provider, batch_bounds, class_names, first_synonyms, split
from convnet.errors import ConvnetError, OptionError
from convnet.graph.graph import Graph
from convnet.graph.needs import label_index
from convnet.layers.cost import Cost
from convnet.layers.data import Data
from convnet.net.net import Inputs, Net
from convnet.texts import did_you_mean, listed
from convnet.training.checks import check_batch
from convnet.training.session import RunInputs, Session

_CASES = 8  # two rows of four, as in the paper
_BARS = 5
_NO_PICTURE = np.empty((0, 0, 1))


class Prediction(NamedTuple):
    """One case: its ``picture`` (H, W, C) in 0 to 1, if it is one, ``truth``, and the likeliest as (name, share, true?).

    A case of several labels has them all in ``truth``, and may have several true bars; one of a net that tells no classes
    has no bars. ``case`` is its number in ``batch``.
    """

    picture: np.ndarray
    truth: str
    bars: list[tuple[str, float, bool]]
    case: int = 0
    batch: int = 0

    @property
    def is_right(self) -> bool:
        """Whether the likeliest class is true."""
        return self.bars[0][2]


class Head(NamedTuple):
    """A layer of shares of classes, and the cost that compares it with labels."""

    layer: str
    cost: Cost

    @property
    def labels(self) -> str:
        """The data layer that holds what is true."""
        return self.cost.sources[0].name


def session_of(checkpoint: Checkpoint, options: dict[str, Any]) -> Session:
    """Open a checkpoint to test it; ``options`` are those of ``convnet run``, by name. Raises ``ConvnetError``."""
    session = Session(RunInputs({"load_file": str(checkpoint.path), "test_only": 1, **options}, checkpoint))
    session.check_costs()
    return session


@dataclass
class TestSet:
    """A net beside ``provider``, whose batches ``numbers`` it is tested on, or the first of them."""

    __test__ = False

    net: Net
    provider: Provider
    numbers: Sequence[int]

    @classmethod
    def of(cls, session: Session) -> TestSet:
        """Return the net and the test batches of a session."""
        return cls(session.net(session.backends()[0], in_parts=False), session.test, session.plan.test)

    @property
    def number(self) -> int:
        """The batch of which cases are drawn."""
        return self.numbers[0]

    def outputs(self, names: Sequence[str], max_cases: int = 0) -> list[np.ndarray]:
        """Return outputs (features, N) of layers for the test batch, or its first ``max_cases`` cases."""
        parts = list(self.passes(names, self.number, max_cases))
        return [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]

    def passes(self, names: Sequence[str], number: int, max_cases: int = 0) -> Iterator[list[np.ndarray]]:
        """Yield outputs (features, N) of layers for every minibatch of a batch, or of its first ``max_cases`` cases."""
        for inputs, cases in self.inputs(number, max_cases):
            yield self.outputs_of(inputs, cases, names)

    def outputs_of(self, inputs: Inputs, cases: int, names: Sequence[str]) -> list[np.ndarray]:
        """Return outputs (features, N) of layers for a minibatch; raises ``ConvnetError`` unless all are finite."""
        self.net.test(inputs, cases, keep=names)
        outputs = [self.net.output(name) for name in names]
        for name, values in zip(names, outputs, strict=True):
            if not np.isfinite(values).all():
                raise ConvnetError(f"the outputs of '{name}' are not all finite numbers, so there is nothing to show")
        return outputs

    def inputs(self, number: int, max_cases: int = 0) -> Iterator[tuple[Inputs, int]]:
        """Yield (matrices, cases) of every minibatch of a batch, or of its first ``max_cases``; raises ``DataError``."""
        batch = self.provider.batch(1, number)
        minibatches = split(batch, self.net.minibatch)
        check_batch(self.net.graph, minibatches, f"{self.provider.where}: batch {number}", finite=False)
        for start, stop in batch_bounds(min(batch.cases, max_cases or batch.cases), self.net.minibatch):
            yield batch.minibatch(start, stop), stop - start

    def single_cases(self, number: int, cases: Sequence[int]) -> Iterator[Inputs]:
        """Yield the matrices of some cases of a batch, case by case; labels are not checked."""
        batch = self.provider.batch(1, number)
        for case in cases:
            yield batch.minibatch(case, case + 1)

    def data_layer(self) -> str:
        """Return the layer by which whole pictures enter; raises ``ConvnetError``."""
        if whole := data_layer_of(self.net.graph):
            return whole
        readers = [layer for layer in self.net.graph.layers.values() if isinstance(layer, Data) and layer.dataIdx == 0]
        if readers:
            raise ConvnetError(f"'{readers[0].name}' takes only a part of the data, so that there are no pictures to show")
        raise ConvnetError("the net has no data layer with dataIdx=0, where pictures would enter")


def data_layer_of(graph: Graph) -> str:
    """Return the layer by which all values of a case enter; ``""`` where none reads them all."""
    data = (layer for layer in graph.layers.values() if isinstance(layer, Data) and layer.dataIdx == 0)
    return next((layer.name for layer in data if layer.outputs == graph.data_dims[0]), "")


def predictions(
    tests: TestSet, layer: str = "", only_errors: bool = False, seed: int = 0, count: int = _CASES
) -> list[Prediction]:
    """Return up to ``count`` cases of the test batch, drawn by ``seed``; with ``only_errors`` of those that are wrong.

    ``layer`` is one of ``heads``, or its cost; ``""``: the first.
    """
    head = head_of(tests.net.graph, layer)
    data, labels, scores = tests.outputs([tests.data_layer(), head.labels, head.layer])
    truths = true_classes(labels, len(scores))
    chosen = chosen_cases(scores, truths, f"test batch {tests.number}", only_errors, seed, count)
    return told(tests, head, data, truths, scores, chosen, tests.number)


def told(
    tests: TestSet,
    head: Head,
    data: np.ndarray | None,
    truths: np.ndarray,
    scores: np.ndarray,
    cases: Sequence[int] | np.ndarray,
    batch: int,
    first: int = 0,
) -> list[Prediction]:
    """Return what a head says of ``cases``, of those of ``batch`` from its case ``first`` on.

    ``data`` (F, N) are their pictures, if they are any; ``truths`` and ``scores`` are (K, N).
    """
    names = names_of(tests, head, len(scores))
    pictures = [_NO_PICTURE] * len(cases) if data is None else tests.provider.images(np.ascontiguousarray(data[:, cases]))
    shown = []
    for picture, n in zip(pictures, cases, strict=True):
        likeliest = np.argsort(-scores[:, n], kind="stable")[:_BARS]
        bars = [(names[k], float(scores[k, n]), bool(truths[k, n])) for k in likeliest]
        shown.append(Prediction(picture, truth_text(truths[:, n], names), bars, first + int(n), batch))
    return shown


def heads(graph: Graph) -> list[Head]:
    """Return the layers that give shares of classes, those of a softmax first: one of several, or a yes or no for each."""
    found = [
        Head(cost.sources[-1].name, cost)
        for cost in graph.costs
        if cost.first_input in ("label", "target") and cost.sources[-1].function in ("softmax", "logistic")
    ]
    return sorted(found, key=lambda head: graph.layers[head.layer].function != "softmax")


def head_of(graph: Graph, name: str = "") -> Head:
    """Return the head called by the name of its layer, or of its cost; ``""``: the first. Raises ``OptionError``."""
    found = heads(graph)
    if not found:
        costs = listed(f"'{cost.name}' ({cost.type})" for cost in graph.costs)
        raise OptionError(
            f"the net has no softmax layer, nor another that gives shares of classes: it is trained by {costs}"
        )
    for head in found:
        if name in ("", head.layer, head.cost.name, graph.layers[head.layer].written_name):
            return head
    known = [head.layer for head in found]
    hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
    raise OptionError(f"no softmax layer '{name}' in the checkpoint{hint}")


def true_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return whether each class is true of each case, (K, N), of numbers of classes (1, N) or of targets (K, N)."""
    return labels > 0 if len(labels) == classes > 1 else np.arange(classes)[:, None] == labels[:1]


def names_of(tests: TestSet, head: Head, classes: int) -> list[str]:
    """Return a short name for each class of a head."""
    return first_synonyms(class_names(tests.provider.names_at(label_index(head.cost)), classes))


def truth_text(truths: np.ndarray, names: Sequence[str]) -> str:
    """Return the names of the true classes of a case."""
    return ", ".join(names[int(k)] for k in np.flatnonzero(truths)) or "(no label)"


def chosen_cases(
    scores: np.ndarray, truths: np.ndarray, where: str, only_errors: bool = False, seed: int = 0, count: int = _CASES
) -> np.ndarray:
    """Return the numbers of up to ``count`` cases, drawn by ``seed``, of ``only_errors`` where the likeliest is not true.

    ``scores`` and ``truths`` are (K, N). Raises ``ConvnetError`` where there are none.
    """
    cases = scores.shape[1]
    is_right = truths[scores.argmax(axis=0), np.arange(cases)]
    candidates = np.flatnonzero(~is_right) if only_errors else np.arange(cases)
    if not candidates.size:
        raise ConvnetError(f"all {cases} cases of {where} are right; nothing to show")
    return np.random.default_rng(seed).choice(candidates, min(count, candidates.size), replace=False)


def chosen_name(name: str, known: Iterable[str], what: str) -> str:
    """Return ``name``, or the first of those ``known`` where it is empty; raises ``OptionError`` for another."""
    known = list(known)
    if name in known or (known and not name):
        return name or known[0]
    if not name:
        raise OptionError(f"the checkpoint has no {what}")
    hint = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
    raise OptionError(f"no {what} '{name}' in the checkpoint{hint}")
