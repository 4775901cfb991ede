"""Pickles of the originals and of this project: read without executing anything, written as Python 2 wrote them."""

from convnet.pickles.plain import dump_plain
from convnet.pickles.reader import Content, has_checksum, load, loads, path_of, read, text_of
from convnet.pickles.standins import LegacyObject, UnsafePickle, legacy_class
from convnet.pickles.writer import dump

__all__ = [
    "Content",
    "LegacyObject",
    "UnsafePickle",
    "dump",
    "dump_plain",
    "has_checksum",
    "legacy_class",
    "load",
    "loads",
    "path_of",
    "read",
    "text_of",
]
