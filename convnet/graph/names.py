"""Names that are not what they mean, of sections and keys: reported once, instead of what follows from them.

A misspelt header is read as meant. That it is wrong, and not a line that refers to it, is told by the other file, or by
several such lines. Of a header that stands twice the second may have been meant for another layer.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from convnet.graph.graph import Graph
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document, Section
from convnet.language.keys import REQUIRED
from convnet.layers import LAYER_TYPES
from convnet.texts import counted, really_near

_COMPARED = 10_000  # pairs of names; where more do not fit, it is not a letter that is wrong
_FEW = 2  # layers without parameters that may be due to misspelt headers; more are a file of another net


def mend_names(definition: Document, params: Document | None, problems: Problems) -> None:
    """Report misspelt headers of both files, and rename their sections."""
    learning = params if params is not definition else None
    _mend_definition(definition, learning, problems)
    if learning:
        _mend_params(definition, learning, problems)


def report_causes(graph: Graph, problems: Problems) -> None:
    """Leave out mistakes of layers that may come of what is a warning elsewhere, which becomes an error then.

    That is a section that stands twice, read as one; and a key that no layer reads but one like it.
    """
    params = graph.params if graph.params is not graph.definition else None
    lacking = {name for name in graph.layers if params and name not in params.sections}
    for document, others in ((graph.definition, set()), (params, lacking)):
        if document is None or not document.repeated:
            continue
        unknown = {name for name, layer in graph.layers.items() if not graph.layers.keys() >= set(layer.inputs)}
        if _leave_out(problems, _downstream(graph, {*document.repeated, *others, *unknown})):
            headers = set(document.repeated.values())
            repeated = document.repeated
            problems.items[:] = [p for p in problems.items if p.place not in headers and p.about not in repeated]
            for name, place in document.repeated.items():
                text = f"[{name}] stands above already; both are read as one section, and that does not make a net"
                problems.error(place, text, expected="another name", about=name)
            return
    misspelt = {p for p in problems.items if p.severity == "warning" and p.about and p.nearest}
    if misspelt and _leave_out(problems, _downstream(graph, {problem.about for problem in misspelt})):
        problems.items[:] = [replace(p, severity="error") if p in misspelt else p for p in problems.items]


def _downstream(graph: Graph, names: set[str]) -> set[str]:
    """Return ``names`` and all layers that depend on these."""
    found = set(names)
    for layer in graph.layers.values():
        if not found.isdisjoint(layer.inputs):
            found.add(layer.name)
    return found


def _leave_out(problems: Problems, names: set[str]) -> bool:
    """Leave out the errors of layers called ``names``; return whether there were any."""
    kept = [problem for problem in problems.items if problem.severity != "error" or problem.about not in names]
    found = len(kept) < len(problems.items)
    problems.items[:] = kept
    return found


def _mend_definition(definition: Document, params: Document | None, problems: Problems) -> None:
    read = Counter(_inputs(definition))
    in_params = params.sections if params else {}
    missing = [name for name in read if name not in definition.sections and (name in in_params or read[name] > 1)]
    spare = [name for name in definition.sections if name not in read and name not in in_params]
    for wanted in missing if len(missing) * len(spare) <= _COMPARED else ():
        found = really_near(wanted, spare)
        if not found:
            continue
        readers = f"{counted(read[wanted], 'layer')} that read{'s' * (read[wanted] == 1)} '{wanted}'"
        beside = f"and {params.path} has parameters for it" if params and wanted in in_params else "and no other"
        text = f"nothing reads '{found}'; there {'are' if read[wanted] != 1 else 'is'} {readers}, {beside}"
        problems.error(definition.sections[found].place, text, nearest=wanted)
        _rename(definition, found, wanted)
        spare.remove(found)


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
