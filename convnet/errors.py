"""Every failure that a person can cause or mend is one of these; its text says what to do.

The library raises, the command line prints ``str(error)`` on standard error and leaves with ``exit_code``.
"""

from __future__ import annotations


class ConvnetError(Exception):
    """Base of all errors meant for the user's eyes. ``exit_code`` is the process status it ends in."""

    exit_code = 1


class OptionError(ConvnetError):
    """A command-line option is unknown, missing, malformed or contradicts another."""

    exit_code = 2


class LayerFileError(ConvnetError):
    """A layer file has mistakes. ``problems`` lists all of them, in file order, with their places."""

    def __init__(self, problems: list) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class DataError(ConvnetError):
    """A batch, a folder of images or their description is missing, damaged or does not fit the net."""


class CheckpointError(ConvnetError):
    """A checkpoint cannot be read (damaged, unsafe, of another net) or cannot be written."""


class BackendError(ConvnetError):
    """The backend asked for cannot run here; the text says what is missing and what to install."""


class NumericalError(ConvnetError):
    """A cost or a layer's output stopped being a finite number."""


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
