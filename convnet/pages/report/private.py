"""Texts of a run without its folders: a report is handed to others, whom home folders and machines' paths do not concern."""

import re
from collections.abc import Iterable
from typing import Any

from convnet.data.provider import range_text
from convnet.options import BY_NAME, Options

PATHS = tuple(name for name, option in BY_NAME.items() if option.kind.metavar in ("PATH", "FILE", "DIR"))
# An absolute path, or one from a home folder, up to its last name; not the rest of an address, nor ``images/s``.
_FOLDERS = re.compile(
    r"(?<![\w:/.~<\\-])(?:~\w*)?"
    r"(?:/(?:[^\s/'\"<>|]+/)*|[A-Za-z]:\\(?:[^\s\\'\"<>|]+\\)*)(?=[^\s/'\"<>|\\])"
)


def last_name(path: Any) -> str:
    """Return the last name of a path, of any system: ``cifar-10-batches-py`` of ``/home/alex/cifar-10-batches-py/``."""
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1] if path else ""


def without_folders(text: str, paths: Iterable[str] = ()) -> str:
    """Return a text in which paths are their last names; ``paths`` are known to be some, and may have blanks in them."""
    folders = {str(path).rstrip("/\\")[: -len(last_name(path))] for path in paths if path}
    for folder in sorted((folder for folder in folders if len(folder) > 1), key=len, reverse=True):
        text = re.sub(rf"(?<![\w:/.~\\-]){re.escape(folder)}", "", text)
    return _FOLDERS.sub("", text)


def paths_of(options: dict[str, Any]) -> list[str]:
    """Return the paths among options of a run."""
    return [str(options[name]) for name in PATHS if options.get(name)]


def option_rows(options: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (flag, value, what it is) of options that are known and not at their defaults, paths by their last names."""
    rows, defaults = [], Options()
    for name, option in BY_NAME.items():
        value = options.get(name)
        if name not in options or value == getattr(defaults, name) or value in (None, "", []):
            continue
        shown = last_name(value) if name in PATHS and value != option.kind.alone else _value_text(value)
        rows.append((option.flag, shown, option.description.rstrip("?")))
    return rows


def _value_text(value: Any) -> str:
    """Return the value of an option, which a log may have made anything; numbers of batches as ranges."""
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int)]
        return range_text(numbers) if len(numbers) == len(value) else ",".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
