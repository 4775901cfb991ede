"""``convnet run`` and ``python -m convnet.run``: from options to a training run. Little else lives here.

convnet run --layer-def layers-imagenet.cfg                      train on the demonstration set
convnet run --layer-def net.cfg --data-path DIR --epochs 10      train on one's own data
convnet run --load-file CHECKPOINT                               go on
convnet run --load-file CHECKPOINT --test-only                   test and leave
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from convnet import options as declared
from convnet.backends.base import Backend
from convnet.cli.check_grads import check_grads
from convnet.cli.messages import show_warnings, tell, tell_problems
from convnet.errors import ConvnetError
from convnet.generation import COMPAT
from convnet.graph.graph import Graph
from convnet.training.costs import Outputs
from convnet.training.log import Printer
from convnet.training.run import Run
from convnet.training.session import RunInputs, Session


def main(arguments: Sequence[str] | None = None, prog: str = "convnet run") -> int:
    """Run with command-line arguments; returns the exit status, having printed one clear line for any error."""
    show_warnings()
    try:
        return run(sys.argv[1:] if arguments is None else arguments, prog)
    except ConvnetError as error:
        sys.stdout.flush()
        print(file=sys.stderr)
        return tell(error)
    except MemoryError:
        print("\nconvnet: out of memory; lower --mini", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nconvnet: stopped at once; the last checkpoint is untouched", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def run(arguments: Sequence[str], prog: str = "convnet run") -> int:
    """As ``main``, raising ``ConvnetError``."""
    inputs = RunInputs.open(declared.parse(arguments, prog))
    if inputs.options.check_grads:
        return check_grads(inputs, Printer())
    session = Session.open(inputs)
    tell_problems(session.graph.warnings)
    session.check_costs()
    printer = Printer(Outputs.of(session.graph), COMPAT[session.options.compat])
    if session.checkpoint is None:
        printer.layers(session.graph)
    for line in session.apply_edits():
        printer.line(line)
    backends, remarks = session.backends()
    printer.importing(backends[0].name)
    work = Run(session, session.net(backends), printer)
    printer.banner(session.options, _machine(backends), session.folder.path)
    for remark in [*session.remarks, *remarks]:
        printer.line(remark)
    if session.options.write_features:
        for path in session.write_features(work.net):
            printer.line(f"Wrote feature file {path}")
    elif session.options.test_only:
        work.test_once()
    elif saved := work.run():
        _say_next(printer, saved, session.graph)
    return 0


def _machine(backends: list[Backend]) -> str:
    """What runs the ops, each device once."""
    return ", ".join(be.describe() for be in dict.fromkeys(backends))


def _say_next(printer: Printer, path: Path, graph: Graph) -> None:
    """What to try next."""
    printer.line(f"Go on with:       convnet run --load-file {path.parent}")
    filters = next((layer.name for layer in graph.declared if layer.type in ("conv", "local")), None)
    if filters and filters[-1] == "a" and filters[:-1] + "b" in graph.layers:
        filters = filters[:-1]  # both towers in one picture
    if filters:
        command = "python tools/shownet.py" if Path("tools/shownet.py").is_file() else "convnet shownet"
        printer.line(f"See its filters:  {command} --load-file {path} --show-filters {filters} --out filters.png")
