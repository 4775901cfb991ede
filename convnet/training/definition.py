"""Which layer files a run reads: those that its options name, or its checkpoint's with parameters read anew (io 1.5)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint
from convnet.errors import ConvnetError, LayerFileError, OptionError
from convnet.graph.builder import Builder
from convnet.graph.diff import difference
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.tuning import Tuning, tuning
from convnet.language.files import find, params_beside, read_text
from convnet.options import Options
from convnet.texts import listed


def layer_files(options: Options, checkpoint: Checkpoint | None) -> tuple[LayerFiles, list[str]]:
    """Return layer files and remarks: those of the options, or of the checkpoint with parameters read anew.

    Raises ``OptionError`` for a --layer-def beside a checkpoint that is another net than the checkpoint's.
    """
    prefix = options.layer_path
    if checkpoint is None or (not checkpoint.has_files and options.layer_def):
        return LayerFiles.open(options.layer_def, options.layer_params or None, prefix), []
    files, remarks = checkpoint.files(), []
    if options.layer_params and "layer_params" in options.given:
        path = find(options.layer_params, prefix)
        files = replace(files, params=read_text(path), params_path=str(path))
    elif checkpoint.has_files and _differs(files.params_path, files.params):
        before, files = files, replace(files, params=read_text(Path(files.params_path)))
        if _is_meant(_tuning(checkpoint, before, files, options.dialect)):
            remarks.append(_CHANGED.format(files.params_path, _VALUES))
    if "layer_def" in options.given:
        named = find(options.layer_def, prefix)
        _check_same_net(files, named, options, checkpoint)
        beside = params_beside(named)
        if beside and "layer_params" not in options.given and read_text(beside) != files.params:
            remarks.append(f"Parameters are those of {files.params_path or 'the checkpoint'}; {beside} is not read.")
    elif checkpoint.has_files and _differs(files.definition_path, files.definition):
        now = replace(files, definition=read_text(Path(files.definition_path)))
        found = _tuning(checkpoint, files, now, options.dialect) if files.params is None else None
        if found and found.is_single and not found.fixed:  # which holds the parameters, too
            files = now
            remarks += [_CHANGED.format(files.definition_path, _VALUES)] if _is_meant(found) else []
        else:
            remarks.insert(0, _CHANGED.format(files.definition_path, _NET))
    return files, remarks


def run_section(builder: Builder, files: LayerFiles, options: Options, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Return the options of ``[run]`` that hold over a checkpoint's: of files named now, or what has changed in its own."""
    section, before = builder.graph.run, checkpoint.files() if checkpoint and checkpoint.has_files else None
    if before is None or "layer_params" in options.given:
        return section
    old = parse(before, options.dialect).graph.run if before.params != files.params else section
    return {name: value for name, value in section.items() if name not in old or old[name] != value}


def changes_since(checkpoint: Checkpoint, files: LayerFiles, options: Options) -> list[str]:
    """Return what is otherwise in ``files`` than in those of a checkpoint, in words."""
    found = _tuning(checkpoint, replace(checkpoint.files(), changes=files.changes), files, options.dialect)
    return [*found.changed, *found.options.values()] if found else []


_CHANGED = "{} has changed since the checkpoint was saved: {}."
_VALUES = "its new values hold from here on"
_NET = "architecture comes from the checkpoint; the file is not read"


def _tuning(checkpoint: Checkpoint, before: LayerFiles, now: LayerFiles, dialect: str) -> Tuning | None:
    """Return what changed from some files of a checkpoint's net to others; ``None`` where one of them has mistakes."""
    if (before.definition, before.params) == (now.definition, now.params):
        return None
    try:
        old, new = (build_graph(files, dialect=dialect, **checkpoint.sizes) for files in (before, now))
    except ConvnetError:
        return None
    return tuning(old, new)


def _is_meant(found: Tuning | None) -> bool:
    """Return whether files differ by more than comments and the like; those with mistakes do."""
    return found is None or found.is_meant


def _differs(path: str, text: str | None) -> bool:
    """Return whether there is a file at ``path`` that holds another text than a checkpoint had of it."""
    return text is not None and Path(path).is_file() and read_text(Path(path)) != text


def _check_same_net(files: LayerFiles, named: Path, options: Options, checkpoint: Checkpoint) -> None:
    """Raise ``OptionError`` if the file ``named`` beside a checkpoint means another net, which would not be trained."""
    text = read_text(named)
    if text == files.definition:
        return

    def graph(files: LayerFiles) -> Graph:
        return build_graph(files, dialect=options.dialect, **checkpoint.sizes)

    advice = (
        "leave --layer-def out to go on with the checkpoint's net, or begin anew with it: without --load-file, and with a "
        "--save-file of its own if any"
    )
    try:
        found = difference(graph(files), graph(replace(files, definition=text, definition_path=str(named))))
    except LayerFileError as error:
        first = str(error.problems[0]).splitlines()[0]
        raise OptionError(f"--layer-def {named} does not fit the checkpoint ({first}); {advice}") from None
    if not found.same:
        what = listed(found.sentences(), 3)
        raise OptionError(f"--layer-def {named} is another net than the checkpoint's ({what}); {advice}")
