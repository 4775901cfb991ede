"""Runs whose parameter file is edited while they train, or stand still."""

from support import SMALL_NET, SMALL_PARAMS

from convnet.cli import main
from convnet.texts import grouped
from convnet.training.history import History
from convnet.training.records import records_of
from convnet.training.run import Run

SLOWER = SMALL_PARAMS.replace("base=0.0004", "base=0.0001")
WITHOUT_MOMENTUM = SMALL_PARAMS.replace("momW=0.9", "momW=0")
RATES = [f"{name} epsW[0]: dexp[base=0.0004;tgtFactor=10;numSteps=3] -> dexp[base=0.0001;tgtFactor=10;numSteps=3]"
         for name in ("conv1", "fc")]  # fmt: skip
SHOWN = RATES[0].replace("conv1 ", "conv1, fc ")
PLAIN_NET = SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("inputs=drop", "inputs=pool1")
PLAIN = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.0004").replace("keep=0.8\n", "")


def params_of(net):
    return net.with_name("layer-params-small.cfg")


def words(net, save, *more):
    options = ["--layer-def", net, "--data-path", net.parent / "data", "--mini", 16, "--backend", "cpu", "--seed", 3]
    options += ["--train-range", "1-3", "--test-range", "4", "--epochs", 2, "--test-freq", 2, "--save-file", save]
    return [*map(str, options), *map(str, more)]


def train(net, save, *more):
    return main(["run", *words(net, save, *more)])


def edits(monkeypatch, *texts, done=2, path=None):
    """Have a run's parameter file edited after ``done`` batches, then after one more each."""
    original, waiting = Run.before_batch, list(texts)

    def edited(run):
        if waiting and run.position.batches_done >= done:
            file = path or run.edits.parameters._watched.path
            text = waiting.pop(0)
            text(file) if callable(text) else file.write_text(text)
        return original(run)

    monkeypatch.setattr(Run, "before_batch", edited)


def replaced(text):
    """What an editor does that writes a new file and renames it."""

    def edit(file):
        beside = file.with_name("new")
        beside.write_text(text)
        beside.replace(file)

    return edit


def marks_of(save):
    found = [(record["batches"], record["text"]) for record in records_of(save)[0] if record["line"] == "change"]
    marks = [(mark.at, mark.text) for mark in History.read(save)[0].marks if mark.kind == "change"]
    assert marks == [(at, "; ".join(grouped(text))) for at, text in found]
    return found


def told(capsys, *words):
    out = capsys.readouterr().out
    return [line for line in out.splitlines() if any(word in line for word in words)]
