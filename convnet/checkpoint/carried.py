"""What becomes of this project's part of a checkpoint when a program of the originals has trained on and saved it again.

They carry it along as it was. Its streams and its position are those of an earlier batch then; its layer files hold as long
as the layers are still those that they made.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convnet.checkpoint.layer_dicts import LEARNED
from convnet.pickles import text_of

_LEFT_OUT = {*LEARNED, "inputLayers"}  # what is learned, and what lies elsewhere


def digest_of(layers: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of what layer dicts say, without what is learned and in whichever order."""
    plain = sorted((_plain(text_of(layer.get("name")), layer) for layer in layers), key=lambda pair: pair[0])
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def _plain(name: str, layer: Mapping[str, Any]) -> tuple[str, Any]:
    return name, {str(key): _value(value) for key, value in layer.items() if key not in _LEFT_OUT}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return {text_of(key): _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, np.ndarray):
        return _value(value.tolist())
    return text_of(value) if isinstance(value, str | bytes) else value.item() if isinstance(value, np.generic) else value
