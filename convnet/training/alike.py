"""What the ranks of a run must have in common: versions, layer files, options, data, and the checkpoint they go on from."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from convnet import __version__
from convnet.backends.base import Backend
from convnet.checkpoint import arithmetic_of
from convnet.data.provider import Provider, range_text
from convnet.net.net import Net
from convnet.options import BY_NAME
from convnet.ranks.agreement import agree, differences
from convnet.ranks.communicator import Communicator
from convnet.training.session import Session

# Options that may differ: where things lie on a machine, and what rank 0 alone does.
_PATHS = {"config", "data_path", "layer_def", "layer_params", "layer_path", "load_file", "save_file", "save_path"}
_OWN = _PATHS | {"feature_path", "gpu", "live", "report", "test_out", "threads", "verbose"}


def check_alike(session: Session) -> None:
    """Compare what ranks have read; raises ``OptionError`` on all of them, which names what differs, and where."""
    if session.communicator.size == 1:
        return
    files, checkpoint = session.files, session.checkpoint
    values: dict[str, Any] = {
        "convnet": __version__,
        "NumPy": np.__version__,
        "layer files": _digest(files.definition, files.params, files.changes),
        "checkpoint": _digest(Path(checkpoint.path).read_bytes()) if checkpoint else "none",
    }
    values |= {option.flag: getattr(session.options, name) for name, option in BY_NAME.items() if name not in _OWN}
    values |= _of_data("training data", session.train) | _of_data("test data", session.test)
    agree(session.communicator, values)


def check_backends(communicator: Communicator, be: Backend) -> None:
    """Compare what kinds of devices compute, which exchange arrays in different ways; raises ``OptionError``."""
    agree(communicator, {"backend": be.name})


def remarks_on_arithmetic(net: Net) -> list[str]:
    """Return a remark where ranks compute other last bits than others would."""
    lines = differences(net.communicator, {"arithmetic": arithmetic_of(net)})
    return [f"Other numbers of ranks come to other last bits: these differ in {line}." for line in lines]


def _of_data(what: str, data: Provider) -> dict[str, Any]:
    """Return what of some data shows that they are the same, without reading all of them."""
    files = getattr(data, "files", {})
    sizes = {number: [path.stat().st_size for path in paths] for number, paths in files.items()}
    described = [
        (key, value.tobytes() if isinstance(value, np.ndarray) else value) for key, value in data.description().items()
    ]
    return {
        what: f"{range_text(data.numbers)} of {data.name}",
        f"values per case of {what}": data.dims,
        f"classes of {what}": data.classes,
        f"sizes of files of {what}": _digest(sizes),
        f"description of {what}": _digest(described),
    }


def _digest(*values: Any) -> str:
    """Return what tells values from others."""
    digest = sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
