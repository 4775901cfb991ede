"""Whether training would change anything, and which files may hold the parameters that are missing."""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

from convnet.errors import LayerFileError, OptionError
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles
from convnet.language.diagnostics import Problems
from convnet.language.files import read_document, read_text
from convnet.language.ini import Document
from convnet.layers.weighted import WeightLayer
from convnet.texts import one_of

_MAX_FILES, _MAX_BYTES, _SHOWN = 500, 1 << 18, 3
_KIND_OF_FILE = re.compile(r"layers?|param(eter)?s?|def(inition)?s?|net(work)?|config|cfg|[-_. ]")
_RATES = {"epsw", "epsb"}


def check_learning(graph: Graph, files: LayerFiles) -> None:
    """Raise ``OptionError`` if no weight of the net would change in training; it names likely parameter files."""
    name = files.definition_path
    weighted = [layer for layer in graph.declared if isinstance(layer, WeightLayer)]
    if not weighted:
        raise OptionError(f"{name} has no layer with weights, so there is nothing to train; --test-only tests it")
    if not any(map(_changes, weighted)):
        if graph.params is None:
            raise OptionError(
                f"{name} has weights but no parameters, so that every learning rate is 0 and training would change nothing; "
                f"name the parameter file: --layer-params FILE (params= in Python){_likely(name, weighted)}"
            )
        raise OptionError(
            f"every learning rate is 0 in {files.params_path or name}, so that training would change nothing; give a layer "
            "an epsW above 0, or test the net with --test-only"
        )
    if not any(cost.learns for cost in graph.costs):
        raise OptionError(
            f"every cost has coeff=0 in {files.params_path or name}, so that nothing would be learned; give one a coeff "
            "other than 0, or test the net with --test-only"
        )


def _changes(layer: WeightLayer) -> bool:
    """Return whether weights or biases of its own change; those that it shares change by their owner's rates."""
    own = [rate for rate, owner in zip(layer.epsW, layer.owners, strict=False) if owner is None]
    return layer.epsB.base > 0 or any(rate.base > 0 for rate in own)


def _likely(definition: str, layers: Iterable[WeightLayer]) -> str:
    path = Path(definition)  # of a text in memory, only a name
    found = [str(path) for path in likely_params(path, [layer.name for layer in layers])] if path.is_file() else []
    return f"; likely {one_of(found)}" if found else ""


def likely_params(definition: Path, layers: list[str]) -> list[Path]:
    """Return up to three files near ``definition`` that give rates to most of its ``layers``, the likeliest first.

    Those come last that name layers which it lacks. Files that fit alike are ordered by the likeness of their names. Near
    are its folder, the folders in that, and those beside it whose names speak of parameters.
    """
    own, scores = _read(definition), []
    declared = set(own.sections) if own else set(layers)
    for path in islice(_near(definition), _MAX_FILES):
        document = _read(path)
        if document and (share := _share(document, layers)):
            alike = SequenceMatcher(None, _net_words(path), _net_words(definition)).ratio()
            foreign = document.sections.keys() - declared - {"run"}
            scores.append((bool(foreign), -share, -alike, -len(document.sections.keys() & declared), str(path)))
    return [Path(path) for *_, path in sorted(scores)[:_SHOWN]]


def _net_words(path: Path) -> str:
    """Return the part of a file's name that tells its net from others."""
    return _KIND_OF_FILE.sub("", path.stem.lower())


def _near(definition: Path) -> Iterator[Path]:
    """Yield the files that may hold parameters."""
    folder = definition.parent
    try:
        beside = [path for path in folder.absolute().parent.iterdir() if "param" in path.name.lower()]
        inside = sorted(folder.iterdir())
    except OSError:
        return
    folders = [path for path in inside + sorted(beside) if path.is_dir() and not path.is_symlink()]
    for path in [*inside, *(path for other in folders for path in _entries(other))]:
        if path != definition and path.is_file() and not path.name.startswith("."):
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> Document | None:
    """Return the sections of a small text file, or ``None``; none of the files around a definition is to blame for it."""
    try:
        if path.stat().st_size > _MAX_BYTES or "\x00" in (text := read_text(path)):
            return None
    except (OSError, LayerFileError):
        return None
    document = read_document(text, str(path), Problems())
    return document if document.sections or document.defaults else None


def _share(document: Document, layers: list[str]) -> float:
    """Return the share of ``layers`` to which a parameter file gives rates; 0 for a file that defines layers."""
    if any("type" in section.entries for section in document.sections.values()):
        return 0.0
    if document.defaults and _RATES & document.defaults.entries.keys():
        return 1.0
    given = [name for name in layers if name in document.sections and _RATES & document.sections[name].entries.keys()]
    return len(given) / len(layers)
