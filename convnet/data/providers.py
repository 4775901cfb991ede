"""Data providers by name, those of installed packages too, and the one that fits a folder."""

from pathlib import Path
from typing import Any

from convnet.data.batches import find_batches, read_batch, read_meta
from convnet.data.demo import Demo
from convnet.data.matrices import CroppedMatrices, Matrices
from convnet.data.pictures import Pictures
from convnet.data.provider import Provider, Request
from convnet.data.random import Dummy, Synthetic
from convnet.errors import ConvnetError, DataError, did_you_mean, first_line

PROVIDERS: dict[str, type[Provider]] = {p.name: p for p in (Matrices, CroppedMatrices, Pictures, Demo)}
# Names of the 2012 release for the same kinds of files.
_ALIASES = {"inet-lr-cropped-jpeg": "image", "inet-lr-cropped": "cifar", "flatmem": "cifar"}
_GROUP = "convnet.providers"  # of entry points, by which a package that is installed brings providers


class UnknownProvider(DataError):
    """No provider has the name asked for."""


def provider_names() -> list[str]:
    """Return what --data-provider takes."""
    return [*PROVIDERS, "dummy", "dummy-cn-N", *sorted(_installed())]


def _installed() -> dict[str, Any]:
    from importlib.metadata import entry_points  # whose import takes as long as some verbs do in all

    return {point.name: point for point in entry_points(group=_GROUP)}


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
    where = f"data provider '{name}' ({points[name].value})"
    try:
        provider = points[name].load()(request)
    except ConvnetError:
        raise
    except Exception as error:
        raise DataError(f"{where} cannot be opened: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(provider, Provider):
        raise DataError(f"{where} is not a convnet.data.provider.Provider")
    if not getattr(provider, "numbers", None) or 0 not in provider.dims:
        raise DataError(f"{where} has no batches; it must set 'numbers', and 'dims' from 0 on")
    return provider


def _provider_for(folder: Path) -> str:
    """Return the name of the provider that reads the files of a folder."""
    named = str(read_meta(folder).get("dp_type", ""))
    if named in PROVIDERS:
        return named
    first = next(iter(find_batches(folder).values()))
    return "image" if isinstance(read_batch(first[0]).get("data"), list) else "cifar"
