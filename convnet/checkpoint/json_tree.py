"""The tree of a checkpoint as one JSON text and named arrays, and back: nothing that a pickle of 2012 says is lost.

What JSON has no word for is an object with one key that begins with ``$``:

    {"$array": NAME}           an array, which is kept under its name; the same name twice is one array
    {"$shared": NAME}          what ``"shared"`` has under that name: a container that is there more than once
    {"$tuple": [...]}          {"$dict": [[KEY, VALUE], ...]}  keys that are no texts, or begin with $
    {"$bytes": TEXT}           Latin-1
    {"$text": TEXT}            a text that was no bytes of Python 2
    {"$float": "nan"}          inf and -inf too
    {"$int": HEX}              too long for decimal digits
    {"$class": NAME}           {"$object": NAME, "attributes": {...}}  of the options of the originals (io 4.7)

Names say where in the tree things lie, such as ``layers/conv1/weights/0``. Texts are UTF-8 here; those of a tree ``as_read``
from a pickle have a byte of it in each character (``convnet.pickles.text_of``).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convnet.errors import ConvnetError
from convnet.pickles import LegacyObject, UnsafePickle, text_of
from convnet.pickles.standins import KNOWN
from convnet.texts import shortened

_CLASSES = {kind.legacy_class: kind for kind in KNOWN.values() if isinstance(kind, type)}
_NUMBERED = range(-(2**64), 2**64)  # whole numbers that are written as such
KINDS = "biufS"  # of arrays
CONTAINERS = (list, tuple, dict, LegacyObject)
_ROOT = "model_state"  # which names leave out


def to_json(value: Any, as_read: bool = False) -> tuple[str, dict[str, np.ndarray]]:
    """Return the text of a tree of plain data, and its arrays by name; raises ``ConvnetError`` for anything else."""
    names = _Names(value)
    encoder = _Encoder(names, as_read)
    shared = {name: encoder.inside(container) for name, container in names.shared.values()}
    text = json.dumps({"shared": shared, "checkpoint": encoder.encode(value)}, allow_nan=False)
    return text, dict(names.arrays.values())


def from_json(text: str, array: Callable[[str], np.ndarray], as_read: bool = True) -> Any:
    """Return the tree of a text; ``array`` returns those of a name, once each. Raises ``UnsafePickle``."""
    try:
        whole = json.loads(text, parse_constant=_no_constant)
        return _Decoder(whole["shared"], array, as_read).decode(whole["checkpoint"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UnsafePickle(f"damaged: its text is not that of a checkpoint ({type(error).__name__})") from None


class _Names:
    """Names for the arrays of a tree, and for its containers that are there more than once, by identity."""

    def __init__(self, root: Any) -> None:
        self.arrays: dict[int, tuple[str, np.ndarray]] = {}
        self.shared: dict[int, tuple[str, Any]] = {}
        self._taken: set[str] = set()
        self._places: dict[int, tuple[int, Any]] = {id(root): (0, "")}
        level = [root]
        while level:  # by levels, so that a layer is met among the layers before it is among the inputs of another
            below = []
            for container in level:
                for key, item in items_of(container):
                    if isinstance(item, np.ndarray) and id(item) not in self.arrays:
                        self.arrays[id(item)] = self._name(id(container), key), item
                    elif isinstance(item, CONTAINERS) and id(item) not in self._places:
                        self._places[id(item)] = id(container), key
                        below.append(item)
                    elif isinstance(item, CONTAINERS) and id(item) not in self.shared and _holds_anything(item):
                        self.shared[id(item)] = self._name(*self._places[id(item)]), item
            level = below

    def _name(self, parent: int, key: Any) -> str:
        """Return a name of its own for what lies under ``key``, of which no file system makes another place."""
        pieces = [key]
        while parent:
            parent, key = self._places[parent]
            pieces.append(key)
        words = [_word(piece) for piece in reversed(pieces[:-1]) if piece != _ROOT]
        name, number = "/".join(words), 1
        while (taken := name if number == 1 else f"{name}~{number}").lower() in self._taken:
            number += 1
        self._taken.add(taken.lower())
        return taken


def _holds_anything(container: Any) -> bool:
    """Return whether it matters that a container is there twice: there is only one empty tuple."""
    return container != ()


def _word(key: Any) -> str:
    """Return a part of a name: letters, digits, and what else no system takes for a command or a folder."""
    word = re.sub(r"[^\w.+-]", lambda match: f"%{ord(match[0]):02x}", text_of(key)[:80])
    return word.replace(".", "%2e", 1) if word.startswith(".") else word or "%"


def items_of(container: Any) -> Any:
    """Return (key, item) of all that a container holds; layers in lists have their names for keys."""
    if isinstance(container, LegacyObject):
        return vars(container).items()
    if isinstance(container, dict):
        return container.items()
    if isinstance(container, list | tuple):
        return ((item["name"] if _is_layer(item) else place, item) for place, item in enumerate(container))
    return ()


def _is_layer(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and "type" in item


def plain_copy(value: Any, as_read: bool = True) -> Any:
    """Return a copy of a tree ``as_read``, with its arrays, whose texts are what they say; raises ``ConvnetError``."""
    text, arrays = to_json(value, as_read)
    return from_json(text, arrays.__getitem__, as_read=False)


class _Encoder:
    def __init__(self, names: _Names, as_read: bool) -> None:
        self.names, self.as_read = names, as_read

    def encode(self, value: Any) -> Any:
        """Return what stands for a value in the text."""
        if id(value) in self.names.shared:
            return {"$shared": self.names.shared[id(value)][0]}
        match value:
            case np.ndarray():
                if value.dtype.kind not in KINDS:
                    raise ConvnetError(f"arrays of {value.dtype} cannot be saved")
                return {"$array": self.names.arrays[id(value)][0]}
            case np.generic():
                return self.encode(value.item())
            case None | bool():
                return value
            case str():
                return self.text(value)
            case int():
                return value if value in _NUMBERED else {"$int": hex(value)}
            case float():
                return value if math.isfinite(value) else {"$float": repr(value)}
            case bytes():
                return {"$bytes": value.decode("latin1")}
            case type() if issubclass(value, LegacyObject):
                return {"$class": value.legacy_class}
        if isinstance(value, CONTAINERS):
            return self.inside(value)
        raise ConvnetError(f"a {type(value).__name__} cannot be saved")

    def text(self, value: str) -> Any:
        """Return a text, or what stands for one that no bytes of UTF-8 are."""
        if value.isascii():
            return value
        try:
            if self.as_read:
                return value.encode("latin1").decode("utf-8", "surrogateescape")
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return {"$text": value}
        return value

    def inside(self, container: Any) -> Any:
        """Return a container with all that it holds."""
        if isinstance(container, LegacyObject):
            return {"$object": container.legacy_class, "attributes": self.inside(vars(container))}
        if isinstance(container, dict):
            pairs = [(self.encode(key), self.encode(item)) for key, item in container.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
                return dict(pairs)
            return {"$dict": pairs}
        listed = [self.encode(item) for item in container]
        return listed if isinstance(container, list) else {"$tuple": listed}


class _Decoder:
    """Makes values of what stands in a text. Shared containers are there, empty, before any is filled, as they may hold
    each other in long chains and in circles."""

    def __init__(self, shared: Mapping[str, Any], array: Callable[[str], np.ndarray], as_read: bool) -> None:
        self.shared, self.array, self.as_read = shared, array, as_read
        self.arrays: dict[str, np.ndarray] = {}
        self.known = {name: self._empty(text) for name, text in shared.items() if _tag(text) != "$tuple"}
        for name, made in list(self.known.items()):
            self._fill(made, shared[name])

    def decode(self, text: Any) -> Any:
        """Return the value that stands in the text; raises what damaged text does."""
        if isinstance(text, str):
            return self.text(text)
        if not isinstance(text, list | dict):
            return text
        tag = _tag(text)
        content: Any = text[tag] if isinstance(text, dict) and tag else None
        match tag:
            case "" | "$dict" | "$object":
                made = self._empty(text)
                self._fill(made, text)
                return made
            case "$shared":
                if content not in self.known:
                    self.known[content] = self.decode(self.shared[content])
                return self.known[content]
            case "$tuple":
                return tuple(map(self.decode, content))
            case "$array":
                if content not in self.arrays:
                    self.arrays[content] = self.array(content)
                return self.arrays[content]
            case "$class":
                return _CLASSES[content]
            case "$bytes":
                return content.encode("latin1")
            case "$text":
                return str(content)
            case "$float":
                return float(content)
            case "$int":
                return int(content, 16)
        raise UnsafePickle(f"damaged: its text says {shortened(repr(tag), 40)}, which is no kind of value")

    def _empty(self, text: Any) -> Any:
        """Return the container that a text stands for, without what it holds."""
        if isinstance(text, list):
            return []
        return _CLASSES[text["$object"]]() if _tag(text) == "$object" else {}

    def _fill(self, made: Any, text: Any) -> None:
        match _tag(text):
            case "$object":
                self._fill(vars(made), text["attributes"])
            case "$dict":
                made.update((self.decode(key), self.decode(item)) for key, item in text["$dict"])
            case _ if isinstance(made, list):
                made.extend(map(self.decode, text))
            case _:
                made.update((self.text(key), self.decode(item)) for key, item in text.items())

    def text(self, value: str) -> str:
        """Return a text as it is, or as it is read from a pickle."""
        if value.isascii() or not self.as_read:
            return value
        return value.encode("utf-8", "surrogateescape").decode("latin1")


def _tag(text: Any) -> str:
    """Return the key that begins with ``$`` of a value that JSON has no word for, else ``''``."""
    first = next(iter(text), "") if isinstance(text, dict) else ""
    return first if first.startswith("$") else ""


def _no_constant(word: str) -> Any:
    raise ValueError(word)
