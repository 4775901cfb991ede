"""Several nets tested as one: the weighted mean of what they predict for the same cases (2012's avg-valid; io 8.1).

Each net reads the test batches as it was trained to, with its own crops and mean. The cost is the first net's
``cost.logreg``: its rules hold for the mean, and for what each net predicts alone. Letters: K classes, N cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convnet.backends.reference import Reference
from convnet.checkpoint import add_costs, find_latest, load
from convnet.errors import DataError, OptionError
from convnet.graph.needs import label_index
from convnet.layers import Layer
from convnet.net.net import Costs, Net
from convnet.texts import aligned, counted, path_text, printable, shortened
from convnet.training.costs import Outputs, value_text
from convnet.training.evaluator import Tester, find_logreg
from convnet.training.report import Report
from convnet.training.session import RunInputs, Session
from convnet.training.stopping import MustStop, go_on

# Of what is given for the first net, what holds for the others, too.
_SHARED = (
    *("data_provider", "inner_size", "crop_border", "picture_size", "scalar_mean", "multiview_test", "mini"),
    *("backend", "gpu", "math", "threads"),
)
_LETTERS = 40  # of a checkpoint's path in the table


class _Kept(Report):
    """Keeps labels and predictions as they come, where a report counts them."""

    def __init__(self, logreg: Layer, names: Sequence[str]) -> None:
        super().__init__(logreg, names)
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def count(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        self.parts.append((labels, predictions))

    def take(self) -> list[np.ndarray]:
        """Return labels (1, N) and predictions (K, N) since the last call."""
        parts, self.parts = self.parts, []
        return [np.concatenate(matrices, axis=1) for matrices in zip(*parts, strict=True)]


@dataclass
class Member:
    """One of the nets: where it is from, its weight in the mean, what tests it, and what it came to in each batch."""

    path: Path
    weight: float
    tester: Tester
    kept: _Kept
    outputs: list[tuple[Costs, int]] = field(default_factory=list)

    @classmethod
    def of(cls, session: Session, net: Net, name: str, weight: float, must_stop: MustStop) -> "Member":
        """Return the net of a session, judged by the cost ``name`` where it has that, else by its first."""
        graph = session.graph
        logreg = find_logreg(graph, name if name in [cost.name for cost in graph.costs] else "", "--average")
        kept = _Kept(logreg, session.test.names_at(label_index(logreg)))
        tester = Tester(net, session.test, bool(session.options.multiview_test), logreg, must_stop=must_stop, report=kept)
        assert session.checkpoint is not None
        return cls(session.checkpoint.path, weight, tester, kept)

    def predict(self, number: int) -> list[np.ndarray]:
        """Return labels (1, N) and predictions (K, N) of a test batch."""
        self.tester.batch(number)
        return self.kept.take()


@dataclass
class Averaging(Tester):
    """Tests the mean of what ``members`` predict; ``net`` and ``logreg`` are the first's, ``outputs`` the mean's costs."""

    members: list[Member] = field(default_factory=list)
    outputs: list[tuple[Costs, int]] = field(default_factory=list)

    def batch(self, number: int) -> tuple[Costs, int]:
        """Return sums of the cost of the mean over a test batch, and its cases; keep those of each net.

        Raises ``DataError`` where the nets were shown other cases.
        """
        found = [member.predict(number) for member in self.members]
        labels, total = found[0][0], sum(member.weight for member in self.members)
        mean = np.zeros(found[0][1].shape)
        for member, (others, predictions) in zip(self.members, found, strict=True):
            if not np.array_equal(others, labels):
                first = self.members[0].path
                raise DataError(f"--average: batch {number} has other cases for {member.path} than for {first}")
            member.outputs.append((self._costs(labels, predictions), labels.shape[1]))
            mean += member.weight / total * predictions
        if self.report:
            self.report.count(labels, mean)
        if self.predictions:
            self.write_predictions(number, mean.T)
        self.outputs.append((self._costs(labels, mean), labels.shape[1]))
        return self.outputs[-1]

    def _costs(self, labels: np.ndarray, predictions: np.ndarray) -> Costs:
        """Return the sums of the cost of predictions (K, N), in double precision."""
        cost = next(cost for cost in self.net.graph.costs if cost is self.logreg)
        be = Reference(np.float64)
        sums = be.cost_vector(cost.num_values)
        be.cost_forward(be.upload(labels), be.upload(predictions), sums, criterion=cost.criterion)
        return {cost.name: [float(value) for value in be.download(sums)]}

    def lines(self) -> list[str]:
        """Return a table of the nets, each with its weight and the numbers that it has alone, and of the mean."""
        names = [shortened(printable(path_text(member.path)), _LETTERS) for member in self.members]
        weights = [f"{member.weight:g}" for member in self.members]
        heads, rows = [""], []
        for name, weight, costs in zip(
            [*names, "the mean of all"], [*weights, ""], [*(m.outputs for m in self.members), self.outputs], strict=True
        ):
            [values] = Outputs.of(self.net.graph).named(*add_costs(costs)).values()
            heads = ["net", "weight", *values]
            rows.append([name, weight, *(value_text(what, value) for what, value in values.items())])
        return aligned([heads, *rows])


def averaging(session: Session, net: Net, must_stop: MustStop = go_on) -> tuple[Averaging, list[str]]:
    """Return what tests the net of a session together with those that its option ``average`` names, and remarks.

    Raises ``ConvnetError``, also for nets of other classes.
    """
    options, remarks = session.options, []
    weights = options.average_weights or [1.0] * (1 + len(options.average))
    members = [Member.of(session, net, options.logreg_name, weights[0], must_stop)]
    for path, weight in zip(options.average, weights[1:], strict=True):
        other = _open(path, session)
        backends, more = other.backends()
        members.append(Member.of(other, other.net(backends), options.logreg_name, weight, must_stop))
        remarks += [f"{members[-1].path}: {remark}" for remark in [*other.remarks, *more]]
        first, last = members[0], members[-1]
        check_same_classes(first.kept.names, last.kept.names, first.path, last.path)
    first = members[0]
    report = Report(find_logreg(session.graph, first.kept.cost), first.kept.names) if options.report else None
    predictions, source = Path(options.test_out) if options.test_out else None, ", ".join(str(m.path) for m in members)
    together = Averaging(
        net, session.test, logreg=first.tester.logreg, predictions=predictions, source=source, report=report, members=members
    )
    return together, remarks


def _open(path: str, first: Session) -> Session:
    """Open another checkpoint with the test batches of the first, and what was given for that."""
    options = first.options
    found, checkpoint, _ = find_latest(path, load)
    given = {name: getattr(options, name) for name in _SHARED if name in options.given}
    data = {"data_path": options.data_path} if options.data_path else {}
    given |= {"load_file": str(found), "test_only": 1, "test_range": first.plan.test, **data}
    try:
        session = Session(RunInputs(given, checkpoint, first.communicator))
        session.check_costs()
    except DataError as error:  # which speaks of the data, not of the net that is meant
        raise DataError(f"--average {path}: {error}") from None
    return session


def check_same_classes(ours: Sequence[str], theirs: Sequence[str], first: str | Path, other: str | Path) -> None:
    """Raise ``OptionError`` where two nets do not tell the same classes: by their names, as far as both have any."""
    if len(ours) != len(theirs):
        counts = f"{counted(len(theirs), 'class')}, {first} {len(ours)}"
        raise OptionError(f"--average: {other} tells {counts}; only predictions of the same classes have a mean")
    for k, (own, name) in enumerate(zip(ours, theirs, strict=True)):
        if own != name and str(k) not in (own, name):
            names = f"class {k} is '{printable(name)}' for {other} and '{printable(own)}' for {first}"
            raise OptionError(f"--average: {names}; only predictions of the same classes have a mean")
