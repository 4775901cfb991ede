"""The command ``convnet VERB``: one file per verb, imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from convnet.errors import did_you_mean

# verb: (module with main(arguments, prog), one line of help)
VERBS = {
    "run": ("convnet.run", "train, test, or go on training a network"),
    "explain": ("convnet.cli.explain", "say what every layer of a definition is, has and costs"),
    "diff": ("convnet.cli.diff", "say what changed in meaning from one definition to another"),
    "draw": ("convnet.cli.draw", "draw the graph of a definition as a picture"),
    "bench": ("convnet.cli.bench", "time a training step, layer by layer"),
    "kernels": ("convnet.cli.kernels", "show the CUDA kernels of a layer"),
    "doctor": ("convnet.cli.doctor", "say what this machine can run, and how to mend what is wrong"),
    "shownet": ("convnet.cli.shownet", "draw filters and learning curves of a checkpoint"),
    "convert": ("convnet.cli.convert", "translate layer files between their dialects and TOML"),
    "makebatches": ("convnet.cli.makebatches", "pack a folder of pictures, or the digits, into batches"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print("usage: convnet VERB [options]\n")
        for name, (_, help_text) in VERBS.items():
            print(f"  {name:<12} {help_text}")
        print("\n'convnet VERB --help' lists the options of a verb.")
        return 0
    if verb in ("-V", "--version", "version"):
        from convnet import __version__

        print(f"convnet {__version__}")
        return 0
    if verb not in VERBS:
        print(f"convnet: unknown verb '{verb}'" + did_you_mean(verb, VERBS), file=sys.stderr)
        print(f"there are: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(VERBS[verb][0])
    try:
        status = module.main(arguments[1:], prog=f"convnet {verb}")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, ``head`` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
