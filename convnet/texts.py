"""Words for people: names from files that are safe to show, counts with their nouns, cut texts, and nearest names."""

import difflib
import os
import re
import shlex
import string
import unicodedata
from collections.abc import Iterable, Sequence

TIMES = "\N{MULTIPLICATION SIGN}"
_LONGEST = 200  # letters of a word that are compared with names


def printable(text: str) -> str:
    r"""Return text in which whatever a terminal obeys or hides is written out: ``\x1b``, ``\u202e``, ``\udcff``.

    These are control and format characters (of direction, of width), line separators, surrogates, and what Unicode leaves
    unassigned. For names and texts from files, before they are shown.
    """
    return text if text.isprintable() else "".join(char if _is_shown(char) else _escaped(char) for char in text)


def printable_lines(text: str) -> str:
    """Return ``printable`` text that keeps its lines."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def message_lines(text: str) -> str:
    """Return a message as it is printed: further lines of it are indented, so that no name in it begins a line."""
    return re.sub(r"\n(?!    )", r"\\n", text)


def shell_quoted(word: str) -> str:
    r"""Return a word of a command that is printed to be copied, as a shell reads it back: ``'x;rm -rf ~'``, ``$'a\x1b'``."""
    if word == printable(word):
        return shlex.quote(word)
    try:
        data = os.fsencode(word)
    except UnicodeEncodeError:  # no file has such a name
        return shlex.quote(printable(word))
    return "$'" + "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in data) + "'"


_PLAIN = set(b" !#$%&()*+,-./:;<=>?@[]^_`{|}~") | set(map(ord, string.ascii_letters + string.digits))


def _is_shown(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Find the known name most like ``word``, or ``''`` if none reaches ``likeness``, of 0 to 1.

    After a prefix that some names have, as in ``cost.logreg``, only what follows it is compared.
    """
    folded = {name.lower(): name for name in known}
    word = word[:_LONGEST].lower()
    prefix = word[: word.find(".") + 1]
    tails = {name.removeprefix(prefix): name for name in folded if name.startswith(prefix)}
    if not tails:
        prefix, tails = "", {name: name for name in folded}
    matches = difflib.get_close_matches(word.removeprefix(prefix), tails, n=1, cutoff=likeness)
    return folded[tails[matches[0]]] if matches else ""


def really_near(word: str, known: Iterable[str]) -> str:
    """Find the known name that ``word`` misspells in a letter for every three or four, or cuts a prefix off; else ``''``.

    Stricter than ``nearest``: for names of which another would lead astray.
    """
    known = list(known)
    allowed = {name: max(1, min(len(word), len(name)) // 3) for name in known}
    # Words of other lengths are not looked at, of which one from a file may be as long as the file.
    close = [name for name in known if name and abs(len(word) - len(name)) <= allowed[name]]
    found = {name: _slips(word.lower(), name.lower()) for name in close}
    best = min(found, key=lambda name: found[name] / len(name), default="")
    if best and found[best] <= allowed[best]:
        return best
    return next((name for name in known if name.lower().endswith("." + word.lower())), "") if word else ""


def _slips(word: str, name: str) -> int:
    """Return how many letters to add, drop, change or swap with the next make one word the other."""
    before: list[int] = []
    row = list(range(len(name) + 1))
    for i, letter in enumerate(word, 1):
        before, above, row = row, before, [i]
        for j, other in enumerate(name, 1):
            slips = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == name[j - 2] and word[i - 2] == other:
                slips = min(slips, above[j - 2] + 1)
            row.append(slips)
    return row[-1]


def one_of(names: Iterable[str]) -> str:
    """Write a list of choices as a person does: ``a, b or c``."""
    names = list(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as seen from the current folder, if it lies in that and does not look like an option then."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the current folder is gone, or on another drive
        return str(path)
    return str(path) if relative.startswith((os.pardir, "-")) or not os.path.lexists(path) else relative


def counted(number: int, noun: str) -> str:
    """Write ``1 picture``, ``1,024 pictures``, ``3 classes``, ``4 matrices``."""
    ending = "ices" if noun[-2:] == "ix" else "es" if noun.endswith(("ss", "tch")) else "s"
    return f"{number:,} {noun if number == 1 else noun.removesuffix('ix') + ending}"


def bytes_text(count: float) -> str:
    """Write a number of bytes as a person does: ``1.2 GB``, ``488 MB``, ``40.0 kB``."""
    size, unit = next(((count / 1e3**n, unit) for n, unit in ((3, "GB"), (2, "MB")) if count >= 1e3**n), (count / 1e3, "kB"))
    return f"{size:,.1f} {unit}" if size < 100 else f"{size:,.0f} {unit}"


def time_text(seconds: float) -> str:
    """Return ``7 s``, ``3 min 20 s``, ``2 h 5 min`` or ``4 days 3 h``."""
    units = ("day", 86400), ("h", 3600), ("min", 60), ("s", 1)
    whole = max(1, round(seconds))
    for i, (name, size) in enumerate(units):
        if whole >= size:
            count, rest = divmod(whole, size)
            lesser = units[i + 1] if i + 1 < len(units) else None
            more = f" {rest // lesser[1]} {lesser[0]}" if lesser and rest >= lesser[1] else ""
            return f"{count} {name}{'s' * (name == 'day' and count > 1)}{more}"
    return ""


def listed(names: Iterable[object], most: int = 16) -> str:
    """Write names one behind the other, of very many the first: ``a, b and 3 more``."""
    words = list(map(str, names))
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def grouped(lines: Iterable[str]) -> list[str]:
    """Return lines, as one those that differ in their first word alone: ``a x`` and ``b x`` become ``a, b x``."""
    firsts: dict[str, list[str]] = {}
    for line in lines:
        first, _, rest = line.partition(" ")
        firsts.setdefault(rest, []).append(first)
    return [f"{', '.join(words)} {rest}".rstrip() for rest, words in firsts.items()]


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def leading(text: str, most: int) -> str:
    """Return as much of a text as ``most`` columns hold."""
    text = text[:most]  # no letter takes less than one
    while columns_of(text) > most:
        text = text[:-1]
    return text


def shortened(text: str, most: int) -> str:
    """Return a text of at most ``most`` columns, one or more: the middle of a wider one is cut out, ``conv…neuron``."""
    end = (most - 1) // 2
    return text if columns_of(text) <= most else f"{leading(text, most - 1 - end)}…{leading(text[::-1], end)[::-1]}"


def fitted(text: str, width: int) -> str:
    """Return a text of one row in at most ``width`` columns; what is too much is cut off."""
    text = printable_lines(text).replace("\n", " ")
    return text if columns_of(text) <= width else f"{leading(text, width - 1)}…"


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return rows of cells as lines, the first ``left`` columns flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return ``; did you mean 'conv1'?`` for the end of a message, or ``''`` if no known name is like ``word``."""
    hint = nearest(word, known, likeness)
    return f"; did you mean '{hint}'?" if hint else ""


def times(text: str) -> str:
    """Return text such as ``96x55x55`` with multiplication signs."""
    return re.sub(r"(?<=\d)x(?=\d)", TIMES, text)
