"""What the ranks of a run must have in common: versions, layer files, options, data, and the checkpoint they go on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from convnet import __version__
from convnet.backends.base import Backend
from convnet.checkpoint import Checkpoint, arithmetic_of
from convnet.data.provider import Provider, range_text
from convnet.graph.loading import LayerFiles
from convnet.net.net import Net
from convnet.options import BY_NAME, Options
from convnet.ranks.agreement import agree, differences
from convnet.ranks.communicator import Communicator

# Options that may differ: where things lie on a machine, and what rank 0 alone does.
_PATHS = {"config", "data_path", "layer_def", "layer_params", "layer_path", "load_file", "save_file", "save_path"}
_OWN = _PATHS | {"feature_path", "gpu", "live", "threads", "verbose"}
_WRITTEN = {"report", "test_out"}  # which rank 0 writes, with what all ranks find


def check_alike(communicator: Communicator, options: Options, files: LayerFiles, checkpoint: Checkpoint | None) -> None:
    """Compare what ranks were given and have read; raises ``OptionError`` on all of them that names what differs, and where.

    All ranks call this before anything else that they do together, which these decide.
    """
    if communicator.size == 1:
        return
    values: dict[str, Any] = {
        "convnet": __version__,
        "NumPy": np.__version__,
        "layer files": _digest(files.definition, files.params, files.changes),
        "checkpoint": _digest(Path(checkpoint.path).read_bytes()) if checkpoint else "none",
    }
    given = {option.flag: getattr(options, name) for name, option in BY_NAME.items() if name not in _OWN | _WRITTEN}
    where = {BY_NAME[name].flag: getattr(options, name) for name in _WRITTEN}
    written = {flag: "-" if path == "-" else "a path" if path else "nothing" for flag, path in where.items()}
    agree(communicator, values | given | written)


def check_same_data(communicator: Communicator, train: Provider, test: Provider) -> None:
    """Compare which data ranks have opened, before they survey them together; raises as ``check_alike`` does."""
    if communicator.size > 1:
        agree(communicator, _of_data("training data", train) | _of_data("test data", test))


def check_same_descriptions(communicator: Communicator, train: Provider, test: Provider) -> None:
    """Compare means and classes, which ranks find here together where no file has them; raises as ``check_alike`` does."""
    if train.request.ranks:
        both = {"training data": train, "test data": test}
        agree(communicator, {f"description of {what}": _digest(*_plain(data.description())) for what, data in both.items()})


def check_backends(communicator: Communicator, be: Backend) -> None:
    """Compare what kinds of devices compute, which exchange arrays in different ways; raises ``OptionError``."""
    agree(communicator, {"backend": be.name})


def remarks_on_arithmetic(net: Net) -> list[str]:
    """Return a remark where ranks compute other last bits than others would."""
    lines = differences(net.communicator, {"arithmetic": arithmetic_of(net)})
    return [f"Other numbers of ranks come to other last bits: these differ in {line}." for line in lines]


def _of_data(what: str, data: Provider) -> dict[str, Any]:
    """Return what of some data shows that they are the same, without reading them."""
    files = getattr(data, "files", {})
    sizes = {number: [path.stat().st_size for path in paths] for number, paths in files.items()}
    return {
        what: f"{range_text(data.numbers)} of {data.name}",
        f"values per case of {what}": data.dims,
        f"classes of {what}": data.classes,
        f"sizes of files of {what}": _digest(sizes),
    }


def _plain(description: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a description says, with all of each array, which ``repr`` would shorten."""
    for key, value in description.items():
        yield key, value.tobytes() if isinstance(value, np.ndarray) else value


def _digest(*values: Any) -> str:
    """Return what tells values from others."""
    digest = sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
