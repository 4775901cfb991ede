"""Finds and reads layer files: a path first, then the files that ship with the package.

With only a definition, its parameters are the file beside it that replaces ``layers`` by ``layer-params`` in the name.
"""

from pathlib import Path

from convnet.errors import LayerFileError, reason_of
from convnet.language.diagnostics import Place, Problem, Problems
from convnet.language.ini import Document, read_ini
from convnet.language.toml import read_toml
from convnet.texts import nearest

# What files begin with that are given in place of a layer file.
_CHECKPOINT = "a checkpoint or a batch"
_PICKLES = (*(bytes([0x80, protocol]) for protocol in range(2, 6)), b"(dp", b"(lp", b"}q", b"]q", b"PK\x03\x04", b"\x1f\x8b")
_OTHERS = dict.fromkeys(_PICKLES, _CHECKPOINT) | {
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"GIF8": "a picture", b"RIFF": "a picture", b"BM": "a picture",
    b"II*\0": "a picture", b"MM\0*": "a picture", b"\xff\xfe": "a text in UTF-16", b"\xfe\xff": "a text in UTF-16",
}  # fmt: skip
_ADVICE = {_CHECKPOINT: "the files of its net; 'convnet run' and 'convnet shownet' read it with --load-file"}
_LOOKED_AT = 4096
_CONTROL = [bytes([code]) for code in range(32) if code not in b"\t\n\v\f\r\x1b"]  # of which texts have next to none

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """Return the folder ``layers-cfg`` or ``cuda``: beside the package in a checkout, inside it when installed."""
    installed = _PACKAGE / name.replace("-", "_")
    return installed if installed.is_dir() else _PACKAGE.parent / name


def find(name: str | Path, prefix: str = "") -> Path:
    """Return the file that ``name`` means: as a path below ``prefix``, else, in no folder or in theirs, a shipped one.

    Raises ``LayerFileError`` naming the nearest shipped file.
    """
    path = Path(prefix, name)
    shipped = shipped_folder("layers-cfg")
    may_be_shipped = path.parent in (Path(), Path("layers-cfg"))
    for candidate in (path, shipped / path.name) if may_be_shipped else (path,):
        if candidate.is_file() or candidate.is_fifo():  # such as a shell's <(...)
            return candidate
    what = "a folder, not a layer file" if path.is_dir() else "no such layer file"
    if not may_be_shipped and (shipped / path.name).is_file():
        what += f"; the shipped one is called {path.name}, without a folder"
        raise LayerFileError([Problem(Place(str(path)), what)])
    known = sorted(p.name for p in shipped.glob("layers-*"))
    raise LayerFileError([Problem(Place(str(path)), what, nearest=nearest(path.name, known))])


def is_checkpoint(path: Path) -> bool:
    """Return whether ``path`` is a folder, or a file that begins as checkpoints of any generation do."""
    try:
        if not path.is_file():  # nothing is taken out of a pipe
            return path.is_dir()
        with path.open("rb") as file:
            return file.read(4).startswith(_PICKLES)
    except (OSError, ValueError):  # told of by whoever reads it
        return False


def params_beside(definition: Path) -> Path | None:
    """Return the parameter file that belongs to ``definition`` by name, or ``None`` if there is none."""
    name = definition.name
    beside = definition.with_name(name.replace("layers", "layer-params", 1))
    return beside if name.startswith("layers") and beside.is_file() else None


def read_text(path: Path) -> str:
    """Return the text of a file: UTF-8, or Latin-1 where it is not.

    Raises ``LayerFileError`` if it cannot be read, or is no text, of which every line would be a mistake.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayerFileError([Problem(Place(str(path)), f"cannot be read: {reason_of(error)}")]) from None
    if kind := next((kind for beginning, kind in _OTHERS.items() if data.startswith(beginning)), ""):
        raise LayerFileError([Problem(Place(str(path)), f"{kind}, not a layer file", _ADVICE.get(kind, ""))])
    beginning = data[:_LOOKED_AT]
    if 20 * sum(map(beginning.count, _CONTROL)) > len(beginning):
        raise LayerFileError([Problem(Place(str(path)), "not a text, so not a layer file", "a text in UTF-8")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_document(text: str, path: str, problems: Problems) -> Document:
    """Split an INI or, by its name, a TOML text into sections; problems are added to ``problems``."""
    text = text.removeprefix("\ufeff")  # with which some editors begin files
    return read_toml(text, path, problems) if path.endswith(".toml") else read_ini(text, path, problems)
