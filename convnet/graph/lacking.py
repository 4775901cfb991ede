"""Parameters that layers must have and do not: said once where [DEFAULT] should give them to several, else per layer."""

from collections.abc import Iterable, Sequence

from convnet.language.diagnostics import Problems
from convnet.language.ini import Document
from convnet.language.reader import Reader
from convnet.texts import listed, one_of

_FEW = 2  # layers without a section; of more, beside sections of other layers, the whole file is of another net


def report_lacking(lacking: Iterable[tuple[Reader, str]], declared: set[str], params: Document, problems: Problems) -> None:
    """Report what each ``Reader`` found missing in ``params``; beside it, the type of its layer."""
    lacking = list(lacking)
    without = [(reader, kind) for reader, kind in lacking if reader.name not in params.sections]
    others = [name for name in params.sections if name not in declared]
    if len(without) > _FEW and others:
        _report_other_net(without, others, params, problems)
        lacking = [(reader, kind) for reader, kind in lacking if reader.name in params.sections]
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


def _report_other_net(
    without: Sequence[tuple[Reader, str]], others: Sequence[str], params: Document, problems: Problems
) -> None:
    (first, kind), *rest = without
    names = listed([f"'{reader.name}'" for reader, _ in rest])
    text = f"layer '{first.name}' of type {kind} needs a section [{first.name}] in {params.path}, and so do {names}"
    has = listed([f"[{name}]" for name in others])
    problems.error(params.top(), text, expected=f"the parameters of this net; it has {has}, which are not its layers")


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
