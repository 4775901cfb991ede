"""Finds and reads layer files: a path first, then the files that ship with the package.

With only a definition, its parameters are the file beside it that replaces ``layers`` by ``layer-params`` in the name.
"""

from __future__ import annotations

from pathlib import Path

from convnet.errors import LayerFileError, nearest
from convnet.language.diagnostics import Place, Problem, Problems
from convnet.language.ini import Document, read_ini
from convnet.language.toml import read_toml

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """The folder ``layers-cfg`` or ``cuda``: beside the package in a checkout, inside it when installed."""
    installed = _PACKAGE / name.replace("-", "_")
    return installed if installed.is_dir() else _PACKAGE.parent / name


def find(name: str | Path, prefix: str = "") -> Path:
    """The file that ``name`` means: as a path (below ``prefix`` if given), else a shipped file of that name.

    Raises ``LayerFileError`` naming the nearest shipped file.
    """
    path = Path(prefix, name)
    shipped = shipped_folder("layers-cfg")
    for candidate in (path, shipped / path.name):
        if candidate.is_file() or candidate.is_fifo():  # a shell's <(...) is no file
            return candidate
    known = sorted(p.name for p in shipped.glob("layers-*")) if shipped.is_dir() else []
    what = "a folder, not a layer file" if path.is_dir() else "no such layer file"
    problem = Problem(Place(str(path)), what, nearest=nearest(path.name, known))
    raise LayerFileError([problem])


def params_beside(definition: Path) -> Path | None:
    """The parameter file that belongs to ``definition`` by name, or ``None`` if there is none."""
    name = definition.name
    swapped = name.replace("layers", "layer-params", 1) if name.startswith("layers") else None
    beside = definition.with_name(swapped) if swapped else None
    return beside if beside and beside.is_file() else None


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or Latin-1 where it is not. Raises ``LayerFileError`` if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayerFileError([Problem(Place(str(path)), f"cannot be read: {error.strerror}")]) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_document(text: str, path: str, problems: Problems) -> Document:
    """Sections of an INI or, by its name, a TOML text; problems are added to ``problems``."""
    return read_toml(text, path, problems) if path.endswith(".toml") else read_ini(text, path, problems)
