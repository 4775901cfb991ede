"""Files of text: layer files of every dialect, logs of runs, and the lists that lie beside batches."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

from convnet.data.making.manifest import HEAD, SKIPPED, SUMS, read_sums
from convnet.errors import ConvnetError, LayerFileError
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.inspection.found import Found
from convnet.language.diagnostics import Problem, Problems
from convnet.language.files import read_document, read_text
from convnet.language.ini import Document
from convnet.layers import LAYER_TYPES
from convnet.options import BY_NAME
from convnet.texts import counted, did_you_mean, listed, printable, shell_quoted
from convnet.training.log import KEYS, NAME
from convnet.training.records import read_log

LONGEST = 16 << 20  # bytes of a layer file
_MOST = 20  # problems of layer files that are told
_BATCH = re.compile(r"(\d+\.-?\d+)(?: \([\d.]+%\))?\.\.\. ?(.{0,200})", re.ASCII)  # as all generations print
_SHOWN = ("batches", "epoch", "batch")


def found_text(found: Found, beginning: bytes) -> bool:
    """Add what a text says, if it is of a kind that is known; return whether it is."""
    path = Path(found.path)
    first = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")
    if first.startswith(b"{"):
        return _found_log(found, path, first)
    if look := _LISTS.get(path.name) or (_look_at_pictures if beginning.startswith(",".join(HEAD).encode()) else None):
        found.program = "convnet makebatches"
        look(found, path)
        return True
    return found.bytes <= LONGEST and (_found_layers(found, path) or _found_printed(found, path))


def _found_log(found: Found, path: Path, first: bytes) -> bool:
    """Add what a run wrote down, of which every line is JSON."""
    if path.name != NAME and b'"line"' not in first.splitlines()[0]:
        return False
    found.kind, found.program = "the log of a run", "convnet run"
    try:
        records = read_log(path)
    except ConvnetError as error:
        found.blame(error, "cut the file off before that line, or use the checkpoint: 'convnet log CHECKPOINT'")
        return True
    found.facts = {"lines": dict(Counter(record["line"] for record in records))}
    for name in ("batch", "test"):
        last = next((record for record in reversed(records) if record["line"] == name), None)
        if last:
            costs = {key: value for key, value in last.items() if key not in KEYS}
            found.facts[f"last_{name}"] = {key: last[key] for key in _SHOWN if key in last} | costs
    begin = next((record for record in records if record["line"] == "begin"), {})
    found.facts |= {key: begin[key] for key in ("net", "parameters", "seed", "versions") if key in begin}
    found.remarks += [f"warning: {record.get('text')}" for record in records if record["line"] == "warning"][:_MOST]
    for record in records:
        if record["line"] == "error":
            found.blame(f"the run ended in an error: {record.get('text')}", "mend that and go on with --load-file")
    return True


def _found_printed(found: Found, path: Path) -> bool:
    """Add how far a run came by what it printed, this program or an original."""
    with path.open(encoding="latin1") as file:
        batches = [match for line in file if (match := _BATCH.match(line))]
    if not batches:
        return False
    found.kind = "what a run printed"
    found.facts = {"batches": len(batches), "last_batch": batches[-1][1], "last_costs": batches[-1][2].strip()}
    return True


def _look_at_sums(found: Found, path: Path) -> None:
    """Add what a manifest names, and which of it is not there."""
    found.kind = "the manifest of a folder of batches"
    try:
        sums = read_sums(path.parent)
    except ConvnetError as error:
        found.blame(error, "make the batches again, or remove the manifest")
        return
    missing = [name for name in sums if not (path.parent / name).is_file()]
    found.facts = {"files": len(sums), "missing": missing}
    found.remarks.append(f"What compares the files with it: convnet batches verify {shell_quoted(str(path.parent))}")
    if missing:
        found.blame(f"{counted(len(missing), 'file')} missing: {listed(missing, 8)}", "make the batches again")


def _look_at_pictures(found: Found, path: Path) -> None:
    """Add how many pictures went into how many batches."""
    found.kind, columns = "a list of the pictures in batches", (Counter[str](), Counter[str]())
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                for name, counts in zip(("batch", "class"), columns, strict=True):
                    counts[str(row.get(name))] += 1
    except csv.Error as error:
        found.blame(f"it is no table: {error}", "make the batches again")
    batches, classes = columns
    found.facts = {"pictures": batches.total(), "batches": len(batches), "classes": len(classes)}


def _look_at_skipped(found: Found, path: Path) -> None:
    """Add how many pictures were left out."""
    found.kind = "a list of pictures that were left out"
    with path.open("rb") as file:
        found.facts["pictures"] = sum(1 for line in file if line.strip())


_LISTS = {SUMS: _look_at_sums, SKIPPED: _look_at_skipped}


def _found_layers(found: Found, path: Path) -> bool:
    """Add what a layer file says: a definition with the parameters beside it, or parameters alone."""
    problems = Problems(False, files=[str(path)])
    try:
        document = read_document(read_text(path), str(path), problems)
    except LayerFileError:
        return False
    keys = {key for section in document.sections.values() for key in section.entries}
    known = {spelling.lower() for kind in LAYER_TYPES.values() for key in kind.keys for spelling in key.spellings}
    if "type" in keys:
        found.container = "TOML" if document.native else "INI"
        _found_definition(found, path, document)
        return True
    if not known & keys or not document.sections:
        return path.suffix == ".toml" and _blamed(found, "a text in TOML", problems.errors)
    found.kind, found.container = "layer parameters", "TOML" if document.native else "INI"
    found.facts = {"sections": [printable(name) for name in document.sections], "keys": sorted(keys)}
    found.remarks.append("What is in it is checked with its definition: 'convnet explain DEF PARAMS'.")
    for name, section in document.sections.items():
        options = {key for key in section.entries if key.replace("-", "_") in BY_NAME} if name == "run" else set()
        for key in sorted(section.entries.keys() - known - options):
            hint = did_you_mean(key, BY_NAME if name == "run" else known)
            found.remarks.append(printable(f"[{name}] has '{key}', which no type of layer has{hint}"))
    _blamed(found, found.kind, problems.errors)
    return True


def _found_definition(found: Found, path: Path, document: Document) -> None:
    found.kind = "a layer definition"
    files = LayerFiles.open(path)
    facts: dict[str, Any] = {"parameter_file": files.params_path or ("in the same file" if document.native else None)}
    found.facts = facts
    if not files.params and not document.native:
        found.remarks.append("There are no parameters beside it, such as layer-params-X.cfg beside layers-X.cfg.")
    try:
        builder = parse(files)
        found.generation = str(builder.graph.generation)
        inferred = infer_data(builder)
    except LayerFileError as error:
        facts["sections"] = [printable(name) for name in document.sections]
        _blamed(found, found.kind, error.problems)
        return
    graph = inferred.graph
    found.remarks += [str(problem).replace("\n", " ") for problem in graph.warnings][:_MOST] + inferred.notes
    facts["data_dims"] = {str(index): rows for index, rows in inferred.dims.items()}
    facts["parameters"] = graph.parameters()
    facts["layers"] = [
        {"name": each.name, "type": each.type, "inputs": [source.name for source in each.sources], "outputs": each.outputs}
        for each in graph.declared
    ]


def _blamed(found: Found, kind: str, problems: list[Problem]) -> bool:
    """Add problems of layer files; return whether there were any."""
    found.kind = kind if problems else found.kind
    found.remarks += [problem.render() for problem in problems if problem.severity != "error"][:_MOST]
    problems = [problem for problem in problems if problem.severity == "error"]
    for problem in problems[:_MOST]:
        found.blame(problem, "mend the line")
    if len(problems) > _MOST:
        found.blame(f"and {len(problems) - _MOST:,} more of the kind", "'convnet explain' names them all")
    return bool(problems)
