"""Testing a net: one view of each case or several, and what is written of it: predictions, features (io section 3).

With several views the costs see the mean over the views of what they read: of probabilities, for a softmax (numerics
16.5). Cases are counted once, however many views they have.

Letters: N cases, K classes.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from convnet.checkpoint import add_costs
from convnet.data.batches import description_in, read_meta, write_file
from convnet.data.provider import Batch, Provider, batch_bounds, minibatches, split
from convnet.errors import ConvnetError, DataError, NumericalError, OptionError
from convnet.graph.graph import Graph
from convnet.graph.needs import label_index, needs_of, predicted_by
from convnet.layers import Layer
from convnet.net.diagnosis import has_bad_data
from convnet.net.net import Costs, Inputs, Net
from convnet.options import TEST, Options
from convnet.ranks.agreement import together
from convnet.texts import did_you_mean
from convnet.training.checks import check_batch
from convnet.training.dead import DeadUnits
from convnet.training.report import Report
from convnet.training.stopping import MustStop, Stopped, go_on, in_thread

_LOG = logging.getLogger("convnet")


@dataclass
class Tester:
    """Tests ``net`` on batches of ``provider``; writes outputs of ``layer`` to ``predictions``, as made by ``source``.

    ``report`` counts the cases of each class, which ``logreg`` tells; ``dead`` looks for units that are always 0.
    """

    net: Net
    provider: Provider
    multiview: bool = False
    logreg: Layer | None = None
    layer: str = ""
    predictions: Path | None = None
    source: str = ""
    must_stop: MustStop = go_on
    report: Report | None = None
    dead: DeadUnits | None = None
    is_broken: bool = field(default=False, init=False)  # whether a cost was NaN, and the data not to blame
    written: list[Path] = field(default_factory=list, init=False)  # files of predictions, each once
    _has_warned: bool = field(default=False, init=False)

    @classmethod
    def of(cls, net: Net, provider: Provider, options: Options, source: str, must_stop: MustStop = go_on) -> Self:
        """Return a tester as options say, which ends when ``must_stop`` says so.

        Raises ``OptionError`` for options that do not fit the net or the data.
        """
        cropper = provider.cropper
        # Views differ where pictures are cropped, so that there is somewhere to move.
        if options.multiview_test and (cropper is None or len(cropper.views) == 1 or cropper.slack == 0):
            raise OptionError(
                f"--multiview-test: the test data have one view of each case; they have several when pictures are cropped: "
                f"--inner-size N, --crop-border N (provider: {provider.name})"
            )
        reports = options.report and options.mode == TEST
        name, predictions = options.logreg_name, Path(options.test_out) if options.test_out else None
        layer = find_predictions(net.graph, name) if predictions else ""
        logreg = find_logreg(net.graph, name) if reports or (name and not predictions) else None
        report = Report(logreg, provider.names_at(label_index(logreg))) if logreg and reports else None
        dead = None if options.multiview_test or options.mode == TEST else DeadUnits(net)
        return cls(net, provider, bool(options.multiview_test), logreg, layer, predictions, source, must_stop, report, dead)

    def batch(self, number: int) -> tuple[Costs, int]:
        """Return sums of costs over one test batch, and its cases; writes and counts predictions if asked to.

        Raises ``Stopped`` where told to stop before the end.
        """
        batch = test_batch(self.net, self.provider, number, self.must_stop)
        counted = [source.name for source in self.logreg.sources] if self.logreg and self.report else []
        outputs, predictions = [], []
        for costs, cases in self._outputs(batch, number, [*counted, *[self.layer] * bool(self.layer)]):
            outputs.append((costs, cases))
            if self.layer:
                predictions.append(self.net.output(self.layer).T)  # y[n, k]
            if self.report:
                self.report.count(*map(self.net.output, counted))
        if self.predictions:
            together(self.net.communicator, lambda: self.write_predictions(number, np.concatenate(predictions)))
        return add_costs(outputs)

    def write_predictions(self, number: int, rows: np.ndarray) -> None:
        """Write predictions (N, K) of a test batch to the folder ``predictions``."""
        assert self.predictions is not None
        path = self.predictions / f"test_preds_{number}"
        if self.net.communicator.rank == 0:
            write_file(path, {"data": np.ascontiguousarray(rows, np.float32), "note": f"generated from {self.source}"})
        self.written += [path] * (path not in self.written)

    def _outputs(self, batch: Batch, number: int, keep: Sequence[str]) -> Iterator[tuple[Costs, int]]:
        """Yield the sums of costs over each minibatch, and its cases; raises ``Stopped``."""
        if not self.multiview:
            for inputs, next_inputs, cases in minibatches(batch, self.net.minibatch, self.net.cut):
                self._check_stop()
                costs = self.net.test(inputs, cases, keep, next_inputs, self.dead)
                if self.dead:
                    self.dead.count(cases)
                yield costs, cases
                self._warn_of_nan(costs, inputs, cases, number)
            return
        for start, stop in batch_bounds(batch.cases, self.net.minibatch):
            self._check_stop()
            takes = (partial(batch.minibatch, view=view) for view in range(batch.views))
            views = (self.net.cut(take, start, stop) for take in takes)
            costs = self.net.test_views(views, batch.views, stop - start, keep)
            yield costs, stop - start
            self._warn_of_nan(costs, self.net.cut(batch.minibatch, start, stop), stop - start, number)

    def _warn_of_nan(self, costs: Costs, inputs: Inputs, cases: int, number: int) -> None:
        """Say once why a cost is not a number; one that is infinite says itself that a label got probability 0."""
        nan = [name for name, values in costs.items() if any(map(math.isnan, values))]
        if nan and not self._has_warned:
            self._has_warned = True
            why = self.net.why_not_finite(inputs, cases, costs)
            self.is_broken = not any(self.net.communicator.all_gather(has_bad_data(self.net)))
            _LOG.warning("cost '%s' of test batch %d is not a number: %s", nan[0], number, why)

    def _check_stop(self) -> None:
        """Raise ``Stopped`` if told to stop."""
        if self.must_stop():
            raise Stopped


def test_batch(net: Net, provider: Provider, number: int, must_stop: MustStop = go_on) -> Batch:
    """Return a test batch, of which ranks have the pictures that they read; raises ``DataError``, ``Stopped``."""
    communicator = net.communicator

    def load() -> Batch:
        return provider.share(1, number, *net.cases_read()).settle(communicator.all_gather, net.group)

    batch = in_thread(load, must_stop) if communicator.size == 1 else together(communicator, load)
    check_batch(net.graph, split(batch, net.minibatch), f"{provider.where}: batch {number}", finite=False)
    return batch


def find_logreg(graph: Graph, name: str = "", flag: str = "--report") -> Layer:
    """Return the ``cost.logreg`` called ``name``, or the first, which ``flag`` needs; raises ``OptionError``."""
    layers = {layer.name: layer for layer in graph.declared}
    costs = [layer.name for layer in graph.costs if layer.type == "cost.logreg"]
    if not name and not costs:
        raise OptionError(f"{flag}: the net has no cost.logreg, so there are no predictions of classes")
    name = name or costs[0]
    if name not in layers:
        raise OptionError(f"--logreg-name: no layer '{name}' in the net" + did_you_mean(name, costs))
    if name not in costs:
        raise OptionError(f"--logreg-name: layer '{name}' of type {layers[name].type} is not a cost.logreg")
    return layers[name]


def find_predictions(graph: Graph, name: str = "") -> str:
    """Return the layer whose outputs are written: what the cost ``name`` judges, or the layer of that name.

    By default that of the first ``cost.logreg``, or of the first cost. Raises ``OptionError``.
    """
    costs = {cost.name: cost for cost in graph.costs}
    first = next((cost.name for cost in graph.costs if cost.type == "cost.logreg"), next(iter(costs), ""))
    if not first:
        raise OptionError("--test-out: the net has no cost, so there are no predictions; name a layer by --logreg-name")
    name = name or first
    if name in costs:
        return predicted_by(costs[name]).name
    if name not in graph.layers:
        raise OptionError(f"--logreg-name: no layer '{name}' in the net" + did_you_mean(name, graph.layers))
    return output_layer(graph, name, OptionError)


def output_layer(graph: Graph, name: str, error: type[ConvnetError] = ConvnetError) -> str:
    """Return the layer whose output is that of ``name``: its detached neuron, where it has one. Raises ``error``."""
    known = [other for other, layer in graph.layers.items() if not layer.is_cost]
    if name not in known:
        raise error(f"no layer '{name}' in the net" + (did_you_mean(name, known) if isinstance(name, str) else ""))
    return next((neuron.name for neuron in graph.neurons if neuron.detached_from == name), name)


def write_features(
    net: Net, provider: Provider, numbers: list[int], layer: str, folder: Path, source: str
) -> Iterator[tuple[Path, Costs, int]]:
    """Write what ``layer`` makes of batches as ``data_batch_N`` with a case in each row, and ``batches.meta``.

    Units are as in testing: none is dropped. Yields the path of each with the sums of costs over its cases, and these;
    raises ``ConvnetError``, also for a folder of other batches.
    """
    is_source = folder.resolve() == Path(provider.request.path or "/").resolve()
    if is_source or (description_in(folder) and "source_model" not in read_meta(folder)):
        raise DataError(f"--feature-path: {folder} holds other batches, which features would replace; name another folder")

    def write_on_one(path: Path, value: dict[str, Any]) -> None:
        together(net.communicator, lambda: write_file(path, value) if net.communicator.rank == 0 else None)

    name = output_layer(net.graph, layer, OptionError)
    needs = needs_of(net.graph, net.graph.data_dims)
    more = [index for index, need in needs.items() if index > 1 and need.kind in ("label", "value")]
    for number in numbers:
        rows: list[np.ndarray] = []
        outputs: list[tuple[Costs, int]] = []
        others: dict[str, list[np.ndarray]] = {"labels": []}
        batch, stop = test_batch(net, provider, number), 0
        for inputs, next_inputs, cases in minibatches(batch, net.minibatch, net.cut):
            start, stop = stop, stop + cases
            held = batch.minibatch(start, stop)
            outputs.append((net.test(inputs, cases, [name], next_inputs), cases))
            rows.append(net.output(name).T)
            if not np.isfinite(rows[-1]).all():
                costs = net.costs()
                why = net.why_not_finite(inputs, cases, costs)
                raise NumericalError(f"the outputs of '{name}' for batch {number} are not finite numbers: {why}")
            others["labels"].append(np.asarray(held[1]) if len(held) > 1 else np.zeros((1, cases), np.float32))
            for index in more:
                others.setdefault(f"labels{index}", []).append(np.asarray(held[index]))
        part = {"data": np.ascontiguousarray(np.concatenate(rows))}
        part |= {key: np.concatenate(matrices, axis=1) for key, matrices in others.items()}
        path = folder / f"data_batch_{number}"
        write_on_one(path, part)
        yield path, *add_costs(outputs)
    meta: dict[str, Any] = {"source_model": source, "num_vis": net.graph.layers[name].outputs}
    described = getattr(provider, "meta", {})
    meta |= {key: described[key] for key in ("batch_size",) if key in described}
    if provider.label_names:
        meta["label_names"] = provider.label_names  # which the labels are numbers of, whatever the folder's order
    meta |= {f"label_names{index}": names for index, names in provider.head_names.items() if names and index in more}
    write_on_one(folder / "batches.meta", meta)
