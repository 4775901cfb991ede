"""Data providers by name, and the one that fits a folder."""

from pathlib import Path

from convnet.data.batches import find_batches, read_batch, read_meta
from convnet.data.demo import Demo
from convnet.data.matrices import CroppedMatrices, Matrices
from convnet.data.pictures import Pictures
from convnet.data.provider import Provider, Request
from convnet.data.random import Dummy, Synthetic
from convnet.errors import DataError, did_you_mean

PROVIDERS: dict[str, type[Provider]] = {p.name: p for p in (Matrices, CroppedMatrices, Pictures, Demo)}
# Names of the 2012 release for the same kinds of files.
_ALIASES = {"inet-lr-cropped-jpeg": "image", "inet-lr-cropped": "cifar", "flatmem": "cifar"}


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
        known = [*PROVIDERS, "dummy", "dummy-cn-N"]
        raise DataError(f"no data provider '{name}'; there are {', '.join(known)}" + did_you_mean(name, known))
    if name != "demo" and not request.path:
        raise DataError(f"--data-provider {name} needs --data-path, the folder with batches.meta")
    return PROVIDERS[name](request)


def _provider_for(folder: Path) -> str:
    """Return the name of the provider that reads the files of a folder."""
    named = str(read_meta(folder).get("dp_type", ""))
    if named in PROVIDERS:
        return named
    first = next(iter(find_batches(folder).values()))
    return "image" if isinstance(read_batch(first[0]).get("data"), list) else "cifar"
