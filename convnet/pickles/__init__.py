"""Pickles of the originals and of this project: read without executing anything, written as Python 2 wrote them."""

from convnet.pickles.reader import LegacyObject, UnsafePickle, load, loads, path_of, text_of
from convnet.pickles.writer import dump

__all__ = ["LegacyObject", "UnsafePickle", "dump", "load", "loads", "path_of", "text_of"]
