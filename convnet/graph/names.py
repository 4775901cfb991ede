"""Headers that name another layer than they mean: reported once, and read as meant, so that nothing follows from them.

That a header is wrong, and not a line that refers to it, is told by the other file, or by several such lines.
"""

from collections import Counter
from collections.abc import Iterable

from convnet.errors import really_near
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document, Section
from convnet.language.keys import REQUIRED
from convnet.layers import LAYER_TYPES


_FEW = 2  # layers without parameters that may be due to misspelt headers; more are a file of another net


def mend_names(definition: Document, params: Document | None, problems: Problems) -> None:
    """Report misspelt headers of both files, and rename their sections."""
    learning = params if params is not definition else None
    _mend_definition(definition, learning, problems)
    if learning:
        _mend_params(definition, learning, problems)


def _mend_definition(definition: Document, params: Document | None, problems: Problems) -> None:
    read = Counter(_inputs(definition))
    in_params = params.sections if params else {}
    for wanted in [name for name in read if name not in definition.sections]:
        if wanted not in in_params and read[wanted] < 2:
            continue
        spare = [name for name in definition.sections if name not in read and name not in in_params]
        found = really_near(wanted, spare)
        if not found:
            continue
        readers = f"{read[wanted]} layer{'s' * (read[wanted] != 1)} that read{'s' * (read[wanted] == 1)} '{wanted}'"
        beside = f"and {params.path} has parameters for it" if params and wanted in in_params else "and no other"
        text = f"nothing reads '{found}'; there {'are' if read[wanted] != 1 else 'is'} {readers}, {beside}"
        problems.error(definition.sections[found].place, text, nearest=wanted)
        _rename(definition, found, wanted)


def _mend_params(definition: Document, params: Document, problems: Problems) -> None:
    orphans = [name for name in params.sections if name not in definition.sections]
    lacking = [name for name in definition.sections if name not in params.sections and _lacks(definition, params, name)]
    for name in orphans if len(lacking) <= _FEW else ():
        if meant := really_near(name, lacking):
            text = f"parameters for '{name}', which is not a layer of {definition.path}; layer '{meant}' has none"
            problems.error(params.sections[name].place, text, nearest=meant)
            _rename(params, name, meant)
            lacking.remove(meant)


def _inputs(definition: Document) -> Iterable[str]:
    """Return the names that layers read, as often as they do."""
    for section in definition.sections.values():
        entry = section.entries.get("inputs")
        value = entry.raw if entry else ""
        yield from value if isinstance(value, list) else (piece.strip() for piece in str(value).split(",") if piece.strip())


def _lacks(definition: Document, params: Document, name: str) -> bool:
    """Return whether the layer has keys that its section of the parameters must give, and nothing else does."""
    entry = definition.entry(name, "type")
    layer_class = LAYER_TYPES.get(str(entry.raw).strip()) if entry else None
    required = [key for key in layer_class.keys if key.home == "params" and key.default is REQUIRED] if layer_class else []
    given = [
        document.entry(name, spelling) for document in (definition, params) for key in required for spelling in key.spellings
    ]
    return len([entry for entry in given if entry]) < len(required)


def _rename(document: Document, name: str, meant: str) -> None:
    sections: dict[str, Section] = {}
    for old, section in document.sections.items():
        sections[meant if old == name else old] = section
    document.sections = sections
