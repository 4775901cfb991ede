"""What a folder of batches is made of: ``SHA256SUMS``, which ``sha256sum -c`` reads too, and ``pictures.csv``.

The first has a line for each file, ``HEX  NAME``; the second says in which batch every picture went, and as which case.
"""

import csv
import hashlib
import io
import re
from pathlib import Path

from convnet.errors import DataError, reason_of
from convnet.storage import write_atomically

SUMS, PICTURES, SKIPPED = "SHA256SUMS", "pictures.csv", "skipped.txt"
HEAD = ("batch", "case", "file", "class")
_NAME = r"data_batch_\d{1,18}(?:/data_batch_\d{1,18}\.\d{1,18})?|batches\.meta|pictures\.csv|skipped\.txt"
_LINE = re.compile(rf"([0-9a-f]{{64}}) [ *]({_NAME})", re.ASCII)
_MOST = 64 << 20  # bytes of a manifest


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write the manifest of ``folder``: ``sums`` by the paths of files in it; raises ``OSError``."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    write_atomically(folder / SUMS, lambda file: file.write(text.encode("ascii")))


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sums in the manifest of ``folder`` by the paths of its files; none where there is no manifest.

    Raises ``DataError`` naming the first line that makebatches did not write: no name leads out of the folder.
    """
    path = folder / SUMS
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _MOST:
            raise DataError(f"{path}: too large for a list of batches")
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from None
    sums = {}
    for number, line in enumerate(lines, 1):
        if not (match := _LINE.fullmatch(line)):
            raise DataError(f"{path}:{number}: '{line:.80}' is not a SHA-256 and the name of a batch")
        sums[match[2]] = match[1]
    return sums


def rows_text(rows: list[tuple[object, ...]]) -> bytes:
    """Return rows of ``pictures.csv``."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
