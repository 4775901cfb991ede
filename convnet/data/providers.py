"""Data providers by name, those of installed packages too, and the one that fits a folder."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np

from convnet.data.batches import find_batches, read_batch, read_meta
from convnet.data.demo import Demo
from convnet.data.images import PictureMatrix
from convnet.data.matrices import CroppedMatrices, Matrices, TargetMatrices
from convnet.data.pictures import Pictures, TaggedPictures
from convnet.data.provider import Batch, Provider, Request
from convnet.data.random import Dummy, Synthetic
from convnet.data.schema import LABEL_KEYS, TAGS
from convnet.errors import ConvnetError, DataError, first_line
from convnet.texts import did_you_mean, listed

PROVIDERS: dict[str, type[Provider]] = {
    p.name: p for p in (Matrices, CroppedMatrices, Pictures, Demo, TargetMatrices, TaggedPictures)
}
# Names of the 2012 release for the same kinds of files.
_ALIASES = {"inet-lr-cropped-jpeg": "image", "inet-lr-cropped": "cifar", "inet-lr": "cifar"}
_GROUP = "convnet.providers"  # of entry points, by which a package that is installed brings providers


class UnknownProvider(DataError):
    """No provider has the name asked for."""


def provider_names() -> list[str]:
    """Return what --data-provider takes."""
    return [*PROVIDERS, "dummy", "dummy-cn-N", *sorted(_installed())]


def _installed() -> dict[str, list[Any]]:
    """Return the entry points of packages by name, but for names of our own, which stand for ours."""
    from importlib.metadata import entry_points  # whose import takes as long as some verbs do in all

    found: dict[str, list[Any]] = {}
    for point in entry_points(group=_GROUP):
        if point.name not in PROVIDERS and point.name not in _ALIASES and not point.name.startswith("dummy"):
            found.setdefault(point.name, []).append(point)
    return found


def open_provider(name: str, request: Request) -> Provider:
    """Open the provider called ``name``; without a name the one that fits ``request.path``, or the demonstration.

    Raises ``DataError`` for unknown names, missing or damaged files.
    """
    name = _ALIASES.get(name, name) or (_provider_for(Path(request.path)) if request.path else "demo")
    if name == "dummy" and request.builder:
        return Synthetic(request)
    if name.startswith("dummy"):
        return Dummy(request, name)
    if name not in PROVIDERS:
        return _open_installed(name, request)
    if name != "demo" and not request.path:
        raise DataError(f"--data-provider {name} needs --data-path, the folder with batches.meta")
    return PROVIDERS[name](request)


def _open_installed(name: str, request: Request) -> Provider:
    """Open a provider that an installed package brings; raises ``DataError``, whatever is wrong with it."""
    points = _installed()
    if name not in points:
        known = provider_names()
        raise UnknownProvider(f"no data provider '{name}'; there are {', '.join(known)}" + did_you_mean(name, known))
    values = listed(point.value for point in points[name])
    where = f"data provider '{name}' ({values})"
    if len(points[name]) > 1:
        raise DataError(f"{where} is brought by more than one package; uninstall all but one")
    try:
        provider = points[name][0].load()(request)
        if not isinstance(provider, Provider):
            raise DataError(f"{where} is not a convnet.data.provider.Provider")
        provider.numbers = [int(number) for number in provider.numbers]
        provider.dims = {int(index): int(rows) for index, rows in provider.dims.items()}
        provider.label_names = [str(name) for name in provider.label_names]
    except ConvnetError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{where} cannot be opened: {type(error).__name__}: {first_line(error)}") from error
    if not provider.numbers or 0 not in provider.dims:
        raise DataError(f"{where} has no batches; it must set 'numbers', and 'dims' from 0 on")
    vars(provider)["batch"] = partial(_checked_batch, provider.batch, provider.dims, where)
    vars(provider)["share"] = partial(Provider.share, provider)  # whatever class it builds on: what was checked
    return provider


def _checked_batch(load: Callable[[int, int], Batch], dims: Mapping[int, int], where: str, epoch: int, number: int) -> Batch:
    """Return a batch that a package's provider loads; raises ``DataError`` if it does not, or if ``dims`` say otherwise."""
    where = f"{where}: batch {number}"
    try:
        batch = load(epoch, number)
        matrices = batch.minibatch(0, batch.cases)
    except (ConvnetError, OSError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        place = extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {first_line(error)} ({Path(place.filename).name}:{place.lineno})"
        raise DataError(f"{where} cannot be loaded: {told}") from error
    if not batch.cases:
        raise DataError(f"{where} holds no cases")
    for index, rows in dims.items():
        matrix = matrices[index] if index < len(matrices) else None
        shape = matrix.shape if isinstance(matrix, np.ndarray) else "no array"
        if not isinstance(matrix, PictureMatrix) and shape != (rows, batch.cases):
            raise DataError(f"{where}: matrix {index} is {shape}; expected {(rows, batch.cases)}")
    return batch


def _provider_for(folder: Path) -> str:
    """Return the name of the provider that reads the files of a folder."""
    named = str(read_meta(folder).get("dp_type", ""))
    if named in PROVIDERS:
        return named
    first = next(iter(find_batches(folder).values()))
    part = read_batch(first[0])
    if isinstance(part.get("data"), list):
        return "flickr-ce-cropped" if TAGS in part and not any(key in part for key in LABEL_KEYS) else "image"
    return "cifar"
