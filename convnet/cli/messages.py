"""How mistakes and warnings reach a person: on standard error, in colour where that is a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from convnet.errors import ConvnetError, LayerFileError
from convnet.language.diagnostics import Problem


def colored(stream: TextIO) -> bool:
    """Whether to write colours: to a terminal that has them, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def tell_problems(problems: Iterable[Problem]) -> None:
    """Write problems of layer files."""
    for problem in problems:
        print(problem.render(colored(sys.stderr)), file=sys.stderr)


class _ToStandardError(logging.Handler):
    """Writes warnings of the library as the command line writes everything; to ``sys.stderr`` as it is then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"convnet: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def show_warnings() -> None:
    """Let the library's warnings (logger ``convnet``) be seen on standard error, once each."""
    logger = logging.getLogger("convnet")
    if not any(isinstance(handler, _ToStandardError) for handler in logger.handlers):
        logger.addHandler(_ToStandardError())
        logger.propagate = False


def tell(error: ConvnetError) -> int:
    """Write what went wrong; returns the exit status it ends in."""
    if isinstance(error, LayerFileError):
        tell_problems(error.problems)
    else:
        print(f"convnet: {error}", file=sys.stderr)
    return error.exit_code
