"""Files that this program neither wrote nor reads as nets or batches: pictures, and what the first bytes tell of others."""

import zipfile
from contextlib import suppress
from pathlib import Path

from convnet.data.decoding import format_of
from convnet.errors import DataError
from convnet.inspection.found import Found
from convnet.texts import printable

_SHOWN = 16  # bytes, and names in archives
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6")
_EXPORT = "write its arrays as a dict of NumPy arrays, or take them over in Python (docs/python.md)"
_UNPACK = "unpack it, and look at what is in it"
_PLAIN = "it is none of the files that convnet reads"
# (where, bytes or one of several, what a file with them there is, what to do)
_KNOWN: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (0, b"\x93NUMPY", "an array of NumPy's (.npy)", "put it into a batch: docs/batches.md, 'Write your own'"),
    (0, b"\x89HDF", "HDF5, as Keras and MATLAB 7.3 write", _EXPORT),
    (0, b"MATLAB 5.0", "a MATLAB file of level 5", _EXPORT),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x7fELF", "a program", _PLAIN),
    (0, b"%PDF", "a PDF", _PLAIN),
    (0, b"SQLite format 3", "an SQLite database", _PLAIN),
    (0, (b"\xff\xfe", b"\xfe\xff"), "a text in UTF-16", "save it as UTF-8"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, which stands for another file", "fetch that file: git lfs pull"),
    (0, (b"<!DOCTYPE", b"<html"), "a page of HTML, such as one of a server without the file", "download it again"),
)


def found_picture(found: Found, path: Path, beginning: bytes) -> bool:
    """Add the format and size of a picture; return whether the file is one."""
    if not beginning.startswith(_PICTURES):
        return False
    try:
        kind, width, height = format_of(path)
    except DataError as error:
        if not beginning.startswith(_PICTURES[:3]):  # the others are short, and may begin anything
            return False
        found.kind = "a picture"
        found.blame(error, "use another copy; makebatches leaves it out and names it")
        return True
    found.kind, found.container = "a picture", kind
    found.facts = {"width": width, "height": height}
    return True


def found_other(found: Found, path: Path, beginning: bytes, fault: str = "") -> None:
    """Add what the first bytes of a file are like; ``fault`` is why it is not what it seems to be, a pickle."""
    found.facts["first_bytes"] = beginning[:_SHOWN].hex(" ")
    readable = beginning[:_SHOWN].decode("ascii", "replace").replace("\ufffd", ".")
    found.facts["as_text"] = "".join(char if char.isprintable() else "." for char in readable)
    found.kind, advice = _kind_of(beginning)
    if beginning.startswith(b"PK\x03\x04"):
        with suppress(OSError, zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            found.facts["holds"] = [printable(name) for name in names[:_SHOWN]]
            if any(name.endswith("data.pkl") for name in names):
                found.kind, advice = "a file of PyTorch", _EXPORT
            elif names and all(name.endswith(".npy") for name in names):
                found.kind, advice = "arrays of NumPy's (.npz)", "put them into a batch: docs/batches.md, 'Write your own'"
    if fault and found.kind == "a pickle":
        found.blame(fault, "use another copy; nothing that it names was executed")
    elif fault and advice == _UNPACK:
        found.blame(f"it holds neither a checkpoint nor a batch: {fault}", f"{_UNPACK}, or use another copy")
    else:
        found.blame(f"it is {found.kind}", advice)


def _kind_of(beginning: bytes) -> tuple[str, str]:
    """Return what a file that begins so is, and what to do with it."""
    for place, mark, what, advice in _KNOWN:
        if beginning[place:].startswith(mark):
            return what, advice
    text = beginning.decode("utf-8", "ignore")
    if beginning[:1] == b"\x80":
        return "a pickle", "use another copy"
    if text and all(char.isprintable() or char.isspace() for char in text):
        return "a text", "layer files have sections in brackets with type=...: docs/layer-files.md"
    return "of no kind that convnet knows", "use another copy, or tell with which program it was written"
