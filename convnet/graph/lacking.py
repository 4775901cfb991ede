"""Parameters that layers must have and do not: said once where [DEFAULT] should give them to several, else per layer."""

from collections.abc import Iterable

from convnet.errors import one_of
from convnet.graph.analysis import listed
from convnet.language.diagnostics import Problems
from convnet.language.ini import Document
from convnet.language.reader import Reader


def report_lacking(lacking: Iterable[tuple[Reader, str]], params: Document, problems: Problems) -> None:
    """Report what each ``Reader`` found missing in ``params``; beside it, the type of its layer."""
    alike: dict[tuple[str, ...], list[tuple[Reader, str]]] = {}
    for reader, kind in lacking:
        alike.setdefault(tuple(key.name for key in reader.missing), []).append((reader, kind))
    for names, layers in alike.items():
        if len(layers) > 1 and params.defaults and params.defaults.entries:
            readers = listed([f"'{reader.name}'" for reader, _ in layers])
            text = f"no {one_of(names)} here, nor in the section of layers {readers}"
            problems.error(params.defaults.place, text, expected=", ".join(f"{name}=..." for name in names))
            continue
        for reader, kind in layers:
            _report_layer(reader, kind, params, problems)


def _report_layer(reader: Reader, kind: str, params: Document, problems: Problems) -> None:
    section, name = params.sections.get(reader.name), reader.name
    if section is None:
        text = f"layer '{name}' of type {kind} needs a section [{name}] in {params.path}"
        expected = f"{one_of([key.name for key in reader.missing])} there"
        problems.error(reader.place, text, expected=expected, about=name)
        return
    for key in reader.missing:
        text = f"layer '{name}': key '{key.name}' is missing"
        problems.error(section.place, text, expected=f"{key.name}={key.kind.word}", about=name)
