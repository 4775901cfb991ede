"""What all verbs share: the parser, error handling, and how mistakes and warnings are printed."""

import argparse
import contextlib
import errno
import logging
import os
import platform
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, TextIO

from convnet import __version__
from convnet.cli.environment import idle_variables
from convnet.cli.output import clean_output
from convnet.errors import MOST_PROBLEMS, BackendError, ConvnetError, LayerFileError, OptionError, reason_of
from convnet.interrupts import INTERRUPTED
from convnet.language.diagnostics import Problem
from convnet.options import BY_NAME, NATURAL, Kind, Option, whole_numbers
from convnet.storage import check_folder, write_atomically
from convnet.texts import message_lines, nearest, shell_quoted

_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF}
DEFINITION = "layer definition file, the name of a shipped one, or a checkpoint"
MISSING = "is missing; see --help"
_DIMS = whole_numbers(1, "150528,1")


class Parser(argparse.ArgumentParser):
    """The command line of a verb. Its mistakes are ``OptionError``s of one line; unambiguous prefixes are accepted."""

    def __init__(self, prog: str, description: str, example: str = "", **settings: Any) -> None:
        settings |= {"epilog": f"example: {prog} {example}".rstrip(), "formatter_class": _Help}
        super().__init__(prog=prog, description=description, **settings)
        self.color = False  # of Python 3.14: what is printed is cleaned of codes
        self.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse arguments, by default the process's; raises ``OptionError``."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        # argparse would first complain of what is missing, which may be what is misspelt.
        if faults := [fault for word in takewhile("--".__ne__, words) if (fault := self._fault(word))]:
            raise OptionError("; ".join(faults))
        args, others = self.parse_known_args(words)
        if others:
            kinds = ("unknown option" if word.startswith("-") else "unexpected argument" for word in others)
            faults = [f"{kind} '{word}'" for kind, word in zip(kinds, others, strict=True)]
            takes = "--layer-def" in self._option_string_actions and not vars(args).get("layer_def")
            if takes and others[0].endswith((".cfg", ".toml")):
                faults[0] += f"; write --layer-def {shell_quoted(others[0])}"
            raise OptionError("; ".join(faults))
        return args

    def _fault(self, word: str) -> str:
        """Return what is wrong with a word of the command line that can only be an option, or ``''``."""
        if word.startswith("-f="):
            return f"{word}: write '-f {word[3:]}' or '--load-file={word[3:]}'"
        flag, known = word.split("=")[0], self._option_string_actions
        if not flag.startswith("--") or " " in flag or any(name.startswith(flag) for name in known):
            return ""
        shown = [name[2:] for name, action in known.items() if name[:2] == "--" and action.help != argparse.SUPPRESS]
        hint = nearest(flag[2:], shown)
        return f"unknown option '{flag}'; " + (f"did you mean '--{hint}'?" if hint else "see --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; raises ``OSError``, which argparse passes over."""
        print(message, end="", file=file or sys.stdout)

    def error(self, message: str) -> NoReturn:
        _, _, names = message.partition("arguments are required: ")
        missing = MISSING.replace("is", "are", 1) if "," in names else MISSING
        raise OptionError(f"{names} {missing} ({self.epilog})" if names else message.removeprefix("argument "))

    def add_value(self, flag: str, kind: Kind, help_text: str, default: Any = None, **more: Any) -> None:
        """Add an option of this verb alone; a ``default`` that says something is shown, an empty text is ``None``.

        ``more`` are settings of ``add_argument``.
        """
        self.add_argument(flag, default=_unless_empty(default), **(_settings(kind, help_text, default) | more))

    def add_run_options(self, *names: str) -> None:
        """Add options of a run by name, with their defaults."""
        for name in names:
            add_option(self, BY_NAME[name], default=_unless_empty(BY_NAME[name].default))

    def add_definition(self, **settings: Any) -> None:
        """Add the arguments that name layer files; ``settings`` are of the definition's."""
        self.add_argument("definition", metavar="DEF", help=DEFINITION, **settings)
        self.add_argument("params", metavar="PARAMS", nargs="?", help=BY_NAME["layer_params"].help)

    def add_data_sizes(self) -> None:
        """Add the options of verbs that shape a graph without data."""
        self.add_value("--data-dims", _DIMS, "values per case of each data matrix, such as 150528,1")
        self.add_value("--num-classes", NATURAL, "classes of the data")
        self.add_mini()
        self.add_run_options("dialect", "strict")

    def add_mini(self) -> None:
        """Add --mini, whose default is what the layer files say; see ``mini_of``."""
        option = BY_NAME["mini"]
        help_text = f"{option.help} [what the layer files say, else {option.default}]"
        add_option(self, option, default=None, help=help_text)


def mini_of(args: argparse.Namespace, section: Mapping[str, Any]) -> int:
    """Return the minibatch of --mini, else of ``section``, the ``[run]`` of a net, else the default of runs."""
    return int(args.mini or section.get("mini", BY_NAME["mini"].default))


class _Help(argparse.HelpFormatter):
    """Keep lines, and examples whole, which are there to be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # noqa: ARG002 (there is none)
        lines = text.splitlines()
        return "\n".join(line if line.startswith("example: ") else textwrap.fill(line, width) for line in lines)


class _Version(argparse.Action):
    """Print the version, which takes a moment to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(version_text())
        parser.exit()


def version_text() -> str:
    """Return ``convnet 0.1.0 (Python 3.13.1, NumPy 2.2.0)``."""
    return f"convnet {__version__} (Python {platform.python_version()}, NumPy {version_of('numpy')})"


def version_of(package: str) -> str:
    """Return the version of an installed package, or that there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def add_option(target: argparse._ActionsContainer, option: Option, **settings: Any) -> None:
    """Add an option of a run to a parser or a group of one; ``settings`` of ``add_argument`` replace the option's."""
    flags = (*option.aliases, option.flag)
    target.add_argument(*flags, **(_settings(option.kind, option.help, option.default) | settings))


def _unless_empty(default: Any) -> Any:
    """Return a default, ``None`` for an empty text: argparse reads texts as if they were given, and refused."""
    return None if default == "" else default


def _settings(kind: Kind, help_text: str, default: Any) -> dict[str, Any]:
    shown = f" [{default}]" if default and "[" not in help_text else ""
    switch = {} if kind.alone is None else {"nargs": "?", "const": kind.alone}
    return {"type": kind, "metavar": kind.metavar, "help": help_text + shown, **switch}


def run_verb(
    act: Callable[[argparse.Namespace], int], parser: Parser, arguments: Sequence[str] | None, failure: int = 0
) -> int:
    """Return the exit status of a verb. Expected errors are printed on standard error, without a traceback.

    ``act`` does the work for the parsed ``arguments``. ``failure`` replaces the statuses of errors.
    """

    def read_and_act() -> int:
        args = parser.read(arguments)
        for line in idle_variables(os.environ):
            say(f"convnet: warning: {line}")
        return act(args)

    return framed(read_and_act, failure)


def framed(act: Callable[[], int], failure: int = 0) -> int:
    """Return what ``act`` does; print its expected errors on standard error, and return their status or ``failure``."""
    logger = logging.getLogger("convnet")
    if not any(isinstance(handler, _WarningHandler) for handler in logger.handlers):
        logger.addHandler(_WarningHandler())
        logger.propagate = False
        logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"PIL\b")  # pictures that are left out are named, with reasons
    with clean_output():
        return _status_of(act, failure)


def _status_of(act: Callable[[], int], failure: int) -> int:
    try:
        try:
            return act()
        finally:
            sys.stdout.flush()  # so that a message follows what was printed
    except ConvnetError as error:
        print_error(error)
        return failure or error.exit_code
    except MemoryError:
        print_error(ConvnetError("out of memory; lower --mini"))
        return failure or 1
    except RuntimeError as error:
        if "new thread" not in str(error):  # it has no class of its own
            raise
        print_error(ConvnetError("no more threads can be started here; lower --threads"))
        return failure or 1
    except KeyboardInterrupt:
        print_error(ConvnetError(INTERRUPTED))
        return 130
    except BrokenPipeError:  # the reader of the output, such as ``head``, has closed it
        _close(sys.stdout)
        return failure or 1
    except OSError as error:
        print_error(ConvnetError(_os_error_text(error)))
        return failure or 1


def _os_error_text(error: OSError) -> str:
    """Return ``PATH: reason`` of an error of the system, and see that the end of the process does not meet it again."""
    where, reason = error.filename, reason_of(error)
    try:
        sys.stdout.flush()
        cannot_write = where is None and error.errno in _OF_WRITING  # files that are written have their names
    except OSError:
        cannot_write = True
    if cannot_write:
        _close(sys.stdout)
        where = where or "standard output"
    if where is None:
        try:
            Path.cwd()
        except OSError:
            where = "the current folder"
    return f"{os.fsdecode(where)}: {reason}" if isinstance(where, str | bytes | os.PathLike) else reason


def _close(stream: TextIO) -> None:
    """Send to nowhere what a standard stream cannot take, which Python tries once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def print_error(error: ConvnetError) -> None:
    """Print what went wrong on standard error."""
    if isinstance(error, LayerFileError):
        print_problems(error.problems)
    else:
        text = str(error) if isinstance(error, BackendError) else message_lines(str(error))
        say(f"convnet: {text}")


def say(text: str, is_clean: bool = False) -> None:
    """Print a line on standard error, if it takes one; ``is_clean``: with codes for the terminal."""
    write = getattr(sys.stderr, "control", sys.stderr.write) if is_clean else sys.stderr.write
    try:
        write(text + "\n")
        sys.stderr.flush()
    except OSError:
        _close(sys.stderr)


def print_problems(problems: Iterable[Problem]) -> None:
    """Print problems of layer files on standard error, in colour where that is a terminal."""
    # NO_COLOR: no-color.org
    colored = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    problems = list(problems)
    for problem in problems[:MOST_PROBLEMS]:
        say(problem.render(colored), is_clean=True)
    if len(problems) > MOST_PROBLEMS:
        say(f"convnet: and {len(problems) - MOST_PROBLEMS:,} more like these")


class _WarningHandler(logging.Handler):
    """Prints warnings of the library on standard error, whatever ``sys.stderr`` is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"convnet: {record.levelname.lower()}: {message_lines(record.getMessage())}")


def terminal_width() -> int:
    """Return the columns of the terminal; where the output goes elsewhere, such as to a file, as many as one likes."""
    return shutil.get_terminal_size((1 << 16, 24)).columns


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole or not at all; raises ``OSError`` with its name."""
    check_folder(Path(path))
    write_atomically(Path(path), lambda file: file.write(text.encode("utf-8", "replace")))
