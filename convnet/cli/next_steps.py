"""What to do after a run: the commands that show what it has come to, the most telling first."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from convnet.checkpoint import load
from convnet.data.demo import Demo
from convnet.data.pictures import Pictures
from convnet.errors import ConvnetError
from convnet.net.net import Net
from convnet.texts import counted, path_text, printable, shell_quoted
from convnet.training.advice import advice_on
from convnet.training.history import History
from convnet.training.run import Run

_SHEET = "predictions.png"
_NOISE = 24  # batches after which filters show little yet


def next_steps(path: Path, work: Run) -> Iterator[str]:
    """Yield what to try with the checkpoint at ``path``; of the demonstration, draw what the net says of pictures."""
    from convnet.drawing.filters import first_filters

    graph, folder = work.session.graph, shell_quoted(path_text(path.parent))
    is_through = next(work.plan.schedule(work.position), None) is None
    is_demo = isinstance(work.session.test, Demo)
    shownet = "python tools/shownet.py" if Path("tools/shownet.py").is_file() else "convnet shownet"
    if is_demo and not work.stop:
        yield from _drawn(path, work)
    if isinstance(work.session.test, Pictures):
        yield f"Ask it yourself:  convnet predict {folder} PICTURE.jpg"
    if any(layer.type == "softmax" for layer in graph.layers.values()):
        yield f"See what it says: {shownet} --load-file {folder} --show-preds"
    if filters := first_filters({layer.name: layer.type for layer in graph.declared}):
        yield f"See its filters:  {shownet} --load-file {folder} --show-filters {shell_quoted(filters)}"
        if is_demo and work.position.batches_done <= _NOISE:
            yield f"                  (after {counted(work.position.batches_done, 'batch')} they are noise yet)"
    yield f"All as one page:  convnet report {folder}"
    yield (
        f"Go on with:       convnet run --load-file {folder}"
        + f" --epochs {2 * max(work.plan.epochs, work.position.epoch)}" * is_through
    )


def what_stands_out(log: Path) -> Iterator[str]:
    """Yield the gravest of what stands out in a run, in a line, and where the rest and the remedies are."""
    with suppress(ConvnetError):  # a disk that took no log, of which a warning has told
        for advice in advice_on(History.read(log)[0])[:1]:
            where = f"{printable(advice.where)}: " if advice.where else ""
            folder = shell_quoted(path_text(log.parent))
            yield f"What stands out:  {where}{printable(advice.text)} What to do: convnet log {folder}"


def _drawn(path: Path, work: Run) -> Iterator[str]:
    """Draw what the net at ``path`` says of pictures that it was not trained on, and yield where to see it."""
    from convnet.drawing.files import write_picture
    from convnet.drawing.prediction_scene import prediction_scene
    from convnet.drawing.samples import TestSet, predictions

    net, sheet = work.net, path.parent / _SHEET
    try:
        if net.layout.is_parallel:  # this process alone takes a net of its own
            net = Net(net.graph, net.be, net.minibatch, state=load(path).layers)
        write_picture(prediction_scene(predictions(TestSet(net, work.session.test, work.plan.test))), sheet, dots=1)
    except (ConvnetError, OSError) as error:
        yield f"No pictures of what it says: {error}"
    else:
        yield f"What it says of test pictures: {path_text(sheet)}"
