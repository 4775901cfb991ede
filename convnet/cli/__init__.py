"""The command ``convnet VERB``: one file per verb, imported when it is asked for.

Little is imported before signals are answered: until then Python answers Ctrl-C, with a traceback.
"""

from __future__ import annotations

import os
import sys

from convnet.interrupts import StopRequest, end_program_on_signals
from convnet.ranks.started import started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# verb: one line of help; the module of that name has parser(prog) and main(arguments, prog)
VERBS = {
    "run": "train, test, or go on training a network",
    "predict": "say what is in pictures, by a checkpoint",
    "explain": "say what every layer of a net is, has and costs",
    "diff": "say what changed in meaning from one net to another",
    "draw": "draw the graph of a net as a picture",
    "bench": "time a training step, layer by layer",
    "plan": "work out what a step costs on many devices and machines",
    "kernels": "show the CUDA kernels of a layer",
    "doctor": "say what this machine can run, and how to mend what is wrong",
    "shownet": "draw filters, curves, predictions and maps of a checkpoint",
    "figure": "draw a figure of the paper with a net of one's own",
    "log": "show what a run printed, as a table, CSV or JSON",
    "report": "write a run as one page to hand on, with all its pictures",
    "watch": "show a run on a page, while it trains or afterwards",
    "convert": "translate layer files and checkpoints between generations",
    "inspect": "say what a file or folder is, whichever program wrote it",
    "makebatches": "pack a folder of pictures, or the digits, into batches",
    "batches": "check a folder of batches, or draw what is in it",
    "completion": "write what a shell needs to complete all this",
}
_GROUPS = {
    "train and use a net": ("makebatches", "batches", "run", "watch", "predict", "shownet", "figure", "log", "report"),
    "look at layer files and checkpoints": ("explain", "diff", "draw", "convert", "inspect"),
    "look at this machine": ("doctor", "bench", "plan", "kernels", "completion"),
}
_START = """convnet trains convolutional networks described in cuda-convnet layer files,
on processors and NVIDIA GPUs: the engine behind AlexNet (2012), in Python.

Begin with this, which needs no data and no graphics card:

  convnet run --layer-def layers-imagenet.cfg

usage: convnet VERB [options]
"""
_END = """'convnet VERB --help' lists the options of a verb, 'convnet --version' says
which version this is, and 'convnet explain --glossary' what the words mean.
README.md and the folder docs/ come with the sources."""


def main(arguments: Sequence[str] | None = None, prog: str = "", verb: str = "") -> int:
    """Run a verb, by default that of the process's arguments; return the exit status.

    Without ``arguments`` this process is a program of its own, whose signals and standard streams are taken care of.
    ``verb`` is one that the arguments do not name; ``prog`` what is typed to come here.
    """
    if arguments is not None:
        return _run_verb(list(arguments), prog, verb)
    rank, size = started()
    end_program_on_signals(is_quiet=rank > 0)
    fault = _open_streams()
    if fault:
        print(f"convnet: standard output: {fault}", file=sys.stderr)
        return 1
    if rank:  # which does as rank 0 in a run, and nothing elsewhere; what it alone meets is said where ranks end
        if (verb or sys.argv[1:2]) not in ("run", ["run"]):
            return 0
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    status = _run_verb(sys.argv[1:], prog, verb)
    # Nobody waits for data that are still being loaded; but MPICH takes a rank that leaves so for one that crashed.
    if StopRequest.latest and size == 1:
        try:
            sys.stdout.flush()
        finally:
            os._exit(status)
    return status


def _open_streams() -> str:
    """Give closed standard streams a place, which the next file would take; return what is wrong with the output."""
    import errno
    from pathlib import Path

    fault = "" if sys.stdout else os.strerror(errno.EBADF)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    return fault


def _run_verb(words: list[str], prog: str, verb: str) -> int:
    import importlib

    verb, others = (verb, words) if verb else ((words or ["help"])[0], words[1:])
    if verb == "help" and others and others[0] in VERBS:
        verb, others = others[0], ["--help"]
    if verb in VERBS:
        return importlib.import_module(f"convnet.cli.{verb}").main(others, prog=prog or f"convnet {verb}")
    from convnet.cli.common import framed

    return framed(lambda: _help(verb))


def _help(verb: str) -> int:
    """Say what the command can do, which version it is, or that it has no such verb."""
    from convnet.cli.common import version_text
    from convnet.errors import OptionError
    from convnet.texts import did_you_mean

    if verb in ("-h", "--help", "help"):
        print(_START)
        for title, names in _GROUPS.items():
            print("\n".join([f"{title}:", *(f"  {name:<12} {VERBS[name]}" for name in names), ""]))
        print(_END)
    elif verb in ("-V", "--version", "version"):
        print(version_text())
    else:
        hint = (
            did_you_mean("run" if verb in ("train", "test") else verb, [*VERBS, "--help", "--version"])
            or f"; there are {', '.join(VERBS)}"
        )
        raise OptionError(f"unknown verb '{verb}'{hint}")
    return 0
