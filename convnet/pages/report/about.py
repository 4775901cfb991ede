"""What a run was: its net, data, options, machine, and both layer files, with what was changed while it trained."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from convnet.pages.parts import Html, details, element, facts, file_text, html, joined, listing, section, table
from convnet.pages.report.material import Material
from convnet.pages.report.private import last_name, option_rows
from convnet.texts import counted, listed
from convnet.training.history import event_text
from convnet.training.records import Record

_CHANGE = re.compile(r"(\S+) (\w+)")  # ``conv1 epsW[0]: 0.001 -> 0.0005``
_SECTION, _KEY = re.compile(r"\s*\[([^]]*)\]"), re.compile(r"\s*(\w+)\s*[=:]")
_COMMAND = re.compile(r"^\s|convnet |--load-file |^What it says")
_EVENTS = 60  # that are listed


def about_section(material: Material) -> Html:
    """Return what the run was."""
    begin = material.history.begin
    rows = [
        *_net_facts(material),
        ("Data", _data_text(material)),
        ("Begun", time_of(begin)),
        ("Last line of its log", time_of(_last_record(material))),
        ("Seed", begin.get("seed", material.options.get("seed", ""))),
        ("Computed by", begin.get("device") or _arithmetic(material)),
        *_versions(begin),
        ("Run", material.run),
        ("Checkpoint", _checkpoint_text(material)),
    ]
    content = [facts((name, material.public(str(value))) for name, value in rows), state_of(material)]
    if options := option_rows(material.options):
        grid = table("Options of the run", ("option", "value", "what it is"), options, words=3)
        content.append(details("Options that were not at their defaults", grid))
    return section("about", "What it is", *content, *_files(material), _happened(material))


def state_of(material: Material) -> Html:
    """Return how the run ended, as far as it has, in a box."""
    history = material.history
    done = f"after {counted(int(history.done), 'batch')}"
    ending = history.ending or {"line": ""}
    if ending["line"] == "error":
        return _box("bad", "Ended by an error", f" {done}: {material.public(str(ending.get('text')))}")
    if ending["line"] == "stopped":
        return _box("warn", "Stopped", f" {done}, by {ending.get('by')}.")
    if ending["line"] == "end":
        return _box("good", "Ended", f" {done}.")
    if not material.has_log:
        return element("p", "There is no log of this run: this is from its checkpoint, which knows costs but no times.")
    return _box("warn", "No end", f" in its log, {done}: it was going on, or had been killed.")


def _box(kind: str, verdict: str, text: str) -> Html:
    return element("p", element("strong", verdict), text, class_=kind)


def time_of(record: Record) -> str:
    """Return when a line was written, in UTC: ``2026-11-28 00:09:31 UTC``."""
    seconds = record.get("time")
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e11:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _last_record(material: Material) -> Record:
    known = [*material.history.events, material.history.last]
    return max(known, key=lambda record: (record.get("batches", -1), time_of(record)), default={})


def _net_facts(material: Material) -> Iterator[tuple[str, str]]:
    graph = material.graph
    if graph is not None:
        yield "Net", f"{counted(len(graph.layers), 'layer')}, {counted(graph.parameters(), 'parameter')}"
        macs = sum(layer.macs() for layer in graph.declared)
        yield "Multiply-adds", f"{macs:,} for one case, on its way through the net"
        yield "Layer files", f"of {graph.generation}"


def _data_text(material: Material) -> str:
    begin, checkpoint = material.history.begin.get("data"), material.checkpoint
    known = begin if isinstance(begin, Mapping) else {}
    path = known.get("path") or material.options.get("data_path")
    provider = material.options.get("data_provider")
    classes = known.get("classes") or (checkpoint.classes if checkpoint else None)
    values = known.get("values") or (checkpoint.data_dims.get(0) if checkpoint else None)
    sizes = [counted(values, "value") + " a case"] if isinstance(values, int) else []
    sizes += [counted(classes, "class")] if isinstance(classes, int) else []
    name = last_name(path) or (str(provider) if provider else "")
    return ", ".join([name] * bool(name) + sizes)


def _arithmetic(material: Material) -> str:
    return str(material.checkpoint.own.get("arithmetic", "")) if material.checkpoint else ""


def _versions(begin: Record) -> list[tuple[str, str]]:
    versions = begin.get("versions")
    names = {"convnet": "convnet", "python": "Python", "numpy": "NumPy", "system": "System"}
    known = versions if isinstance(versions, Mapping) else {}
    return [(name, str(known.get(key, ""))) for key, name in names.items()]


def _checkpoint_text(material: Material) -> str:
    checkpoint = material.checkpoint
    if checkpoint is None:
        return "none was saved yet"
    position = checkpoint.position()
    by = "" if not checkpoint.is_original else f", written by a program of {checkpoint.written_as}"
    return f"{checkpoint.path.name}, after {counted(position.batches_done, 'batch')}{by}"


def _files(material: Material) -> list[Html]:
    """Return both layer files, to be opened."""
    files, checkpoint = material.files, material.checkpoint
    if files is None or checkpoint is None:
        return []
    events = (record for record in material.history.events if record["line"] == "change")
    lines = [record["text"] if isinstance(record.get("text"), list) else [record.get("text")] for record in events]
    written = "" if checkpoint.has_files else " (the checkpoint holds none: this was written from its layers)"
    texts = [("Layer definition", files.definition_path, html(files.definition))]
    if files.params is not None:
        texts.append(("Layer parameters", files.params_path, marked_text(files.params, map(str, chain(*lines)))))
    return [details(f"{what}: {last_name(path)}{written}", file_text(content, what)) for what, path, content in texts]


def marked_text(params: str, changes: Iterable[str]) -> Html:
    """Return a parameter file whose lines that were changed while it trained are marked.

    A key that a layer's section lacks is marked in ``[DEFAULT]``, where it has it from.
    """
    keys = {(match[1], match[2]) for text in changes if (match := _CHANGE.match(text))}
    lines = params.replace("\r\n", "\n").expandtabs().split("\n")
    places = list(_places(lines))
    own = keys.intersection(places)
    marked = own | {("DEFAULT", key) for _, key in keys - own}
    shown = [element("mark", line) if place in marked else html(line) for line, place in zip(lines, places, strict=True)]
    return joined(shown)


def _places(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the section and the key of every line, the key empty where it has none."""
    name = ""
    for line in lines:
        if found := _SECTION.match(line):
            name = found[1]
        key = _KEY.match(line)
        yield name, key[1] if key else ""


def _happened(material: Material) -> Html:
    """Return what happened to the run besides batches and tests."""
    said: list[str] = []
    for record in material.history.events:
        at, text = f"after {counted(int(record['batches']), 'batch')}", _event_text(record)
        said += [f"{at}: {material.public(text)}"] if text else []
    if not said:
        return Html("")
    more = [element("p", f"And {len(said) - _EVENTS:,} more.")] if len(said) > _EVENTS else []
    return details(f"What happened ({counted(len(said), 'event')})", listing(said[:_EVENTS]), *more)


def _event_text(record: Record) -> str:
    kind, text, said = record["line"], record.get("text"), event_text(record)
    if kind in ("begin", "resume"):
        source = said if kind == "resume" else ""
        remarks = listed(text, 10) if isinstance(text, list) else ""
        return ". ".join(part for part in (source, remarks) if part)
    if kind == "message":  # of which some are commands to go on with, for whoever sat before the terminal
        return "" if _COMMAND.search(said) else said
    if kind == "stopped":
        return said
    return f"{kind}: {said}" if kind in ("change", "warning", "error") else ""
