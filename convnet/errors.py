"""Every failure that a person can cause or mend is one of these; its text says what to do.

The library raises, the command line prints ``str(error)`` on standard error and leaves with ``exit_code``.
"""

from convnet.texts import printable_lines

MOST_PROBLEMS = 200  # of layer files that are shown


class ConvnetError(Exception):
    """Base of all errors shown to users. ``exit_code`` is the process status it ends in."""

    exit_code = 1
    is_agreed = False  # whether all ranks of a run raise it, so that one says it and all leave
    is_sudden = False  # whether one met it while others were elsewhere, so that they can do nothing together any more

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable_lines(one) if isinstance(one, str) else one for one in arguments))


class OptionError(ConvnetError):
    """A command-line option is unknown, missing, malformed or contradicts another."""

    exit_code = 2


class LayerFileError(ConvnetError):
    """A layer file has mistakes. ``problems`` lists all of them, in file order, with their places."""

    def __init__(self, problems: list) -> None:
        self.problems = problems
        shown = [str(problem) for problem in problems[:MOST_PROBLEMS]]
        more = [f"and {len(problems) - MOST_PROBLEMS:,} more"] if len(problems) > MOST_PROBLEMS else []
        super().__init__("\n".join([*shown, *more]))


class DataError(ConvnetError):
    """A batch, a folder of images or their description is missing, damaged or does not fit the net."""


class CheckpointError(ConvnetError):
    """A checkpoint cannot be read (damaged, unsafe, of another net) or cannot be written."""


class BackendError(ConvnetError):
    """The backend asked for cannot run here; the text says what is missing and what to install."""


class ArrayError(ConvnetError, ValueError):
    """Arrays or sizes that an op was given do not fit each other, or are larger than kernels can count."""


class NumericalError(ConvnetError):
    """A cost or a layer's output stopped being a finite number."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason_of(error: OSError) -> str:
    """Return what an error of the system says, without the file that it names."""
    return error.strerror or first_line(error)
