"""What a shell needs to complete verbs, options and names: written by shtab from the parsers of all verbs.

convnet completion bash > ~/.local/share/bash-completion/completions/convnet
convnet completion zsh > ~/.zfunc/_convnet                    in a folder of $fpath
convnet completion fish > ~/.config/fish/completions/convnet.fish
"""

import argparse
import shlex
from collections.abc import Sequence
from importlib import import_module

from convnet.cli import VERBS
from convnet.cli.common import Parser, run_verb
from convnet.errors import ConvnetError
from convnet.language.files import shipped_folder
from convnet.options import Kind, choice

_SHELLS = choice("bash", "zsh", "fish")
_DESCRIPTION = """Print a script by which a shell completes verbs, options and names of files.

It belongs into a file that the shell looks for:

  bash   ~/.local/share/bash-completion/completions/convnet
  zsh    _convnet in a folder of $fpath
  fish   ~/.config/fish/completions/convnet.fish"""
# What an argument is, by what stands for it in the help.
_DEFINITIONS, _FILES, _FOLDERS = ("DEF", "A", "B"), ("FILE", "PATH", "PNG", "PARAMS", "SOURCE", "RUN", "PICTURE"), ("DIR",)


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, _DESCRIPTION, "bash > ~/.local/share/bash-completion/completions/convnet")
    parser.add_argument("shell", type=_SHELLS, metavar="SHELL", help=f"{_SHELLS.name}: which is to complete")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet completion") -> int:
    """Print the script of a shell; return the exit status."""
    return run_verb(_completion, parser(prog), arguments)


def _completion(args: argparse.Namespace) -> int:
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """Return the script for a shell; raises ``ConvnetError`` without shtab."""
    try:
        import shtab
    except ImportError:
        raise ConvnetError("completion needs shtab: pip install shtab") from None
    whole = argparse.ArgumentParser("convnet", description="convolutional networks in cuda-convnet layer files")
    verbs = whole.add_subparsers(dest="verb")
    definitions = _layer_files()
    for name, text in VERBS.items():
        verb: Parser = import_module(f"convnet.cli.{name}").parser(f"convnet {name}")
        for action in verb._actions:
            metavars = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
            if isinstance(action.type, Kind) and action.type.words:
                action.choices = action.type.words
            elif action.dest == "layer_def" or any(word in _DEFINITIONS for word in metavars):
                action.complete = definitions  # type: ignore[attr-defined]
            elif any(word in _FILES for word in metavars):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif any(word in _FOLDERS for word in metavars):
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        verbs.add_parser(name, help=text, description=text, parents=[verb], add_help=False)
    return str(shtab.complete(whole, shell))


def _layer_files() -> dict[str, object]:
    """Return what completes a definition: the layer files that are shipped, and those that lie there."""
    name, files = "_convnet_layer_files", shipped_folder("layers-cfg").glob("layers-*")
    words = shlex.join(sorted(path.name for path in files))
    return {
        "bash": name,
        "zsh": name,
        "fish": f"({name})",
        "preamble": {
            "bash": f'{name}() {{\n  compgen -W "{words}" -- "$1"\n  compgen -f -- "$1"\n}}',
            "zsh": f"{name}() {{\n  compadd -- {words}\n  _files\n}}",
            "fish": f"function {name}\n  printf '%s\\n' {words}\n  __fish_complete_path (commandline -ct)\nend",
        },
    }
