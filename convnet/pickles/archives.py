"""Files that were zipped or gzipped, as 2011's ``--zip-save`` did and users do; never unpacked beyond a limit (io 4.2)."""

import gzip
import io
import zipfile
import zlib
from typing import IO

from convnet.pickles.standins import UnsafePickle

# Deflate can make a file a thousand times as large. Batches and checkpoints shrink to a third at most; what is sparse
# (digits, momenta that are zero) to a tenth; a whole CIFAR batch, 31 MB, may be of one colour.
ALWAYS = 128 << 20
RATIO = 16
_PIECE = 1 << 20
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_MEMBERS = 1000  # in a zip, whose directory is read whole
DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, RuntimeError, NotImplementedError)


def is_zip(beginning: bytes) -> bool:
    """Return whether a file that begins so was zipped."""
    return beginning.startswith(_ZIP)


def unpack(data: bytes) -> bytes:
    """Return what an archive holds (of a zip the member ``data``, or the first), or ``data``; raises ``UnsafePickle``."""
    try:
        if is_zip(data):
            return _unzipped(data)
        if data.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                return _all_of(stream, len(data))
    except DAMAGE as error:
        raise UnsafePickle(f"a damaged archive: {error}") from None
    return data


def _unzipped(data: bytes) -> bytes:
    if data.count(b"PK\x01\x02") > _MEMBERS:
        raise UnsafePickle(f"an archive of more than {_MEMBERS} files")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if not names:
            raise UnsafePickle("an archive without files")
        member = archive.getinfo("data" if "data" in names else names[0])
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsafePickle("an archive that is packed in another way than zip's usual one")
        with archive.open(member) as stream:
            return _all_of(stream, len(data))


def _all_of(stream: IO[bytes] | gzip.GzipFile, packed: int) -> bytes:
    """Return all of a stream that was ``packed`` into so many bytes; raises ``UnsafePickle`` if it is too long."""
    limit = ALWAYS + RATIO * packed
    unpacked = bytearray()
    while piece := stream.read(_PIECE):
        unpacked += piece
        if len(unpacked) > limit:
            text = f"an archive of {packed:,} bytes that holds more than {limit >> 20:,} MiB; unpack it first"
            raise UnsafePickle(text)
    return bytes(unpacked)
