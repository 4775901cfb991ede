"""What becomes of this project's part of a checkpoint when a program of the originals has trained on and saved it again.

They carry it along as it was. Its streams and its position are those of an earlier batch then; its layer files hold as long
as the layers are still those that they made.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convnet.checkpoint.json_tree import CONTAINERS, items_of
from convnet.checkpoint.layer_dicts import LEARNED
from convnet.pickles import text_of

_LEVELS, _PARTS = 20, 1_000_000
_LEFT_OUT = {*LEARNED, "inputLayers"}  # what is learned, and what lies elsewhere


def digest_of(layers: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of what layer dicts say, without what is learned and in whichever order.

    It is empty where they say more than any net does: such as layers of a mutilated file that hold each other.
    """
    plain = {text_of(layer.get("name")): {key: layer[key] for key in layer.keys() - _LEFT_OUT} for layer in layers}
    if not _is_small(plain):
        return ""
    return hashlib.sha256(json.dumps(_value(plain), sort_keys=True).encode()).hexdigest()


def _is_small(value: Any) -> bool:
    """Return whether a tree has few levels and parts, each counted as often as it is met."""
    waiting, met = [(value, 0)], 0
    while waiting:
        one, level = waiting.pop()
        met += 1
        if level > _LEVELS or met > _PARTS:
            return False
        if isinstance(one, CONTAINERS):
            waiting += [(part, level + 1) for pair in items_of(one) for part in pair]
    return True


def _value(value: Any) -> Any:
    match value:
        case dict():
            return {text_of(key): _value(item) for key, item in value.items()}
        case list() | tuple():
            return [_value(item) for item in value]
        case np.ndarray():
            return [*value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
        case str() | bytes():
            return text_of(value)
        case np.generic():
            return value.item()
        case None | bool() | int() | float():
            return value
    return type(value).__name__
