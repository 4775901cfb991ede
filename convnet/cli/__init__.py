"""The command ``convnet VERB``: one file per verb, imported when it is asked for."""

import importlib
import sys
from collections.abc import Sequence

from convnet import __version__
from convnet.cli.common import print_error
from convnet.cli.output import clean_output
from convnet.errors import OptionError, did_you_mean

# verb: one line of help; the module of that name has main(arguments, prog)
VERBS = {
    "run": "train, test, or go on training a network",
    "explain": "say what every layer of a definition is, has and costs",
    "diff": "say what changed in meaning from one definition to another",
    "draw": "draw the graph of a definition as a picture",
    "bench": "time a training step, layer by layer",
    "kernels": "show the CUDA kernels of a layer",
    "doctor": "say what this machine can run, and how to mend what is wrong",
    "shownet": "draw filters, learning curves, predictions and maps of a checkpoint",
    "convert": "translate layer files between their dialects and TOML",
    "makebatches": "pack a folder of pictures, or the digits, into batches",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit status."""
    verb, *others = list(sys.argv[1:] if arguments is None else arguments) or ["help"]
    if verb in ("-h", "--help", "help"):
        print("usage: convnet VERB [options]\n")
        print("\n".join(f"  {name:<12} {text}" for name, text in VERBS.items()))
        print("\n'convnet VERB --help' lists the options of a verb.")
    elif verb in ("-V", "--version", "version"):
        print(f"convnet {__version__}")
    elif verb in VERBS:
        return importlib.import_module(f"convnet.cli.{verb}").main(others, prog=f"convnet {verb}")
    else:
        hint = did_you_mean(verb, [*VERBS, "--help", "--version"]) or f"; there are {', '.join(VERBS)}"
        with clean_output():
            print_error(OptionError(f"unknown verb '{verb}'{hint}"))
        return OptionError.exit_code
    return 0
