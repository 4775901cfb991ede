"""Files of a batch folder: batches of every maker, descriptions, features and predictions (io section 5)."""

import io
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from convnet.data.batches import (
    bytes_of,
    checked_meta,
    checked_part,
    find_batches,
    label_names_of,
    made_for_testing,
    read_batch,
    read_meta,
    tree_of,
)
from convnet.data.decoding import format_of
from convnet.data.images import picture_shape
from convnet.data.labels import Labels, labels_of
from convnet.data.provider import check_counts, range_text
from convnet.data.schema import KEYS, LABEL_KEYS, TAGS, matrix_of_key
from convnet.errors import DataError
from convnet.inspection.found import Found, arrays_in, described, key_text
from convnet.pickles import text_of
from convnet.pickles.rules import shown
from convnet.texts import counted, listed, printable

_LOOKED_AT = 256  # pictures of a batch whose beginnings are read
_NAMED = 8
_NUMBERS, WRITER = "a batch of numbers, or features", "shownet or convnet run, with --write-features"
_MEND = "write it again, or leave it out of --train-range and --test-range"
_DESCRIBES = {*KEYS, "num_cases_per_batch", "img_size", "batch_size", "source_model"} - {"tree", "dp_type"}


def is_batch(value: Any) -> bool:
    """Return whether an object from a pickle looks like a batch, features or predictions."""
    if isinstance(value, tuple):
        return len(value) in (2, 3) and isinstance(value[0], list | tuple | np.ndarray)
    return isinstance(value, dict) and "data" in {text_of(key) for key in value if isinstance(key, str | bytes)}


def is_description(value: Any) -> bool:
    """Return whether an object from a pickle looks like ``batches.meta``."""
    return isinstance(value, dict) and bool(_DESCRIBES & {text_of(key) for key in value if isinstance(key, str | bytes)})


def found_batch(found: Found, value: Any) -> None:
    """Add what a batch holds: its cases, pictures or numbers, and labels."""
    keys = [key_text(key) for key in value] if isinstance(value, dict) else []
    found.kind, found.program, found.generation = _kind_of(value, keys)
    found.facts = {"keys": keys}
    if found.kind == _NUMBERS and (source := _source_beside(Path(found.path).parent)):
        found.kind, found.program, found.facts["source_model"] = "features", WRITER, source
    try:
        part = checked_part(value, Path(found.path))
    except DataError as error:
        found.blame(_unnamed(error, found), _MEND)
        found.arrays = arrays_in(value)
        return
    data = part["data"]
    cases = cases_of(part)
    found.facts["cases"] = cases
    if isinstance(data, list):
        _look_at_pictures(found, data)
    else:
        _look_at_matrix(found, data, cases)
    if not cases:
        found.blame("it holds no cases", _MEND)
        return
    if found.kind.startswith("predictions"):
        found.facts["note"] = shown(part["note"]) if "note" in part else None
        return
    for key in [key for key in part if (key in LABEL_KEYS or matrix_of_key(key)) and part[key] is not None]:
        _look_at_labels(found, part[key], key, cases)
    if TAGS in part:
        found.facts["tags"] = len({text_of(tag) for tags in part[TAGS] for tag in tags})


def _kind_of(value: Any, keys: list[str]) -> tuple[str, str, str]:
    """Return the kind of a batch, the program that wrote it and its generation, as far as they show."""
    if isinstance(value, tuple):
        return "a batch, a tuple", "a maker of the 2012 release", "2012"
    if "note" in keys:
        return "predictions", "", ""
    if {"batch_label", "filenames"} <= {*keys}:
        return "a batch of CIFAR", "", ""
    if "files" in keys:
        return "a batch", "convnet makebatches", ""
    data = value.get("data", value.get(b"data"))
    if isinstance(data, np.ndarray) and data.dtype.kind == "f":
        return _NUMBERS, "", ""
    return "a batch", "", ""


def _source_beside(folder: Path) -> str:
    """Return the checkpoint that features in a folder were made by, as its description says."""
    with suppress(DataError):
        return printable(text_of(read_meta(folder).get("source_model", "")))
    return ""


def cases_of(part: dict[str, Any]) -> int:
    """Return how many cases a part holds: of a matrix as many as it has labels, else its columns."""
    data = part["data"]
    if isinstance(data, list) or "note" in part:
        return len(data)
    stored = [part[key] for key in LABEL_KEYS if part.get(key) is not None]
    shapes = (each.shape if isinstance(each, np.ndarray) else (*np.shape(each[:1])[1:], len(each)) for each in stored)
    sizes = (size for shape in shapes for size in reversed(shape))
    return int(next((size for size in sizes if size in data.shape), data.shape[1]))


def _look_at_matrix(found: Found, data: np.ndarray, cases: int) -> None:
    in_rows = data.shape[0] == cases != data.shape[1]
    values = data.shape[1] if in_rows else data.shape[0]
    found.facts |= {"values_per_case": values, "cases_lie_in": "rows" if in_rows else "columns"}
    array = described("data", data)
    found.arrays.append(array)
    is_pixels = data.dtype == np.uint8 or (array.least is not None and array.least >= 0 and array.largest == 255)
    if is_pixels and (shape := picture_shape(values, {})):
        found.facts["pictures"] = f"{shape[1]} x {shape[1]} pixels, {counted(shape[0], 'channel')}"
    if array.not_finite:
        found.blame(f"'data' holds {array.not_finite:,} numbers that are not finite", _MEND)


def _look_at_pictures(found: Found, items: list[Any]) -> None:
    """Count formats and sizes of the first pictures, and name those that are none."""
    sizes: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    wrong = []
    for i, item in enumerate(items[:_LOOKED_AT]):
        try:
            kind, width, height = format_of(io.BytesIO(bytes_of(item)))
        except DataError as error:
            wrong.append(f"number {i} ({error})")
            continue
        formats[kind] += 1
        sizes[f"{width} x {height}"] += 1
    looked = min(len(items), _LOOKED_AT)
    found.facts |= {"formats": dict(formats), "sizes": dict(sizes.most_common(_NAMED)), "looked_at": looked}
    found.facts["picture_bytes"] = sum(map(len, items))
    if wrong:
        text = f"{len(wrong)} of {counted(looked, 'picture')} cannot be read: {listed(wrong, _NAMED)}"
        found.blame(f"{text}, counted from 0", "runs leave them out; make the batches again from whole pictures")


def held_in(stored: Any, key: str, path: object, cases: int, names: int = 0) -> Labels | np.ndarray:
    """Return what a key of labels holds: classes of so many ``cases`` or, unless these have ``names``, values as they lie.

    Raises ``DataError`` where it is neither, or of another number of cases.
    """
    try:
        labels = labels_of({"labels": stored}, path, cases, names)
    except DataError as error:
        with suppress(TypeError, ValueError, OverflowError):
            values = np.asarray(stored, np.float64)
            if values.ndim and values.size and not names:
                if cases in values.shape:
                    return values
                raise DataError(f"{path}: '{key}' of shape {values.shape} is not of {counted(cases, 'case')}") from None
        raise DataError(str(error).replace("'labels'", f"'{key}'")) from None
    check_counts(cases, len(labels), str(path) if key == "labels" else f"{path}: '{key}'")
    values = labels.values
    return values if not names and ((values < 0) | (values != np.floor(values))).any() else labels


def holds_values(folder: Path) -> bool:
    """Return whether the first batch of a folder has values for labels, as regressions need; raises ``DataError``."""
    names = label_names_of(read_meta(folder))
    path = next(iter(find_batches(folder).values()))[0]
    part = {} if names else read_batch(path)
    labels = part.get("labels")
    return labels is not None and not isinstance(held_in(labels, "labels", path, cases_of(part)), Labels)


def _look_at_labels(found: Found, stored: Any, key: str, cases: int) -> None:
    """Add how many classes labels are of, or the range of values."""
    try:
        held = held_in(stored, key, found.path, cases)
    except DataError as error:
        found.blame(_unnamed(error, found), _MEND)
        return
    found.facts[key] = _label_facts(held) if isinstance(held, Labels) else "values, not classes"
    if not isinstance(held, Labels):
        found.arrays.append(described(key, held))


def _label_facts(labels: Labels) -> dict[str, Any]:
    """Return what labels show: the least and the largest, how many different ones, and cases of none or several."""
    values, counts = labels.values, labels.counts
    facts: dict[str, Any] = {"different": len(np.unique(values))}
    facts |= {"least": int(values.min()), "largest": int(values.max())} if values.size else {}
    several = {"cases_with_several": int((counts > 1).sum()), "cases_without": int((counts == 0).sum())}
    return facts | {name: count for name, count in several.items() if count}


def found_description(found: Found, value: Any) -> None:
    """Add what ``batches.meta`` says."""
    found.kind = "a description of batches"
    found.facts = {"keys": [key_text(key) for key in value]}
    path = Path(found.path)
    try:
        meta = checked_meta(value, path)
        found.facts |= meta_facts(meta)
        found.facts["tree"] = tree_of(meta, len(label_names_of(meta)), path) is not None if meta.get("tree") else None
    except DataError as error:
        found.blame(_unnamed(error, found), "write it again; docs/batches.md says what each key holds")
    found.arrays = arrays_in(value)
    for array in found.arrays:
        if array.not_finite:
            found.blame(f"'{array.name}' holds {array.not_finite:,} numbers that are not finite", "compute it again")
    keys = {*found.facts["keys"]}
    if "source_model" in keys:
        found.kind, found.program = "a description of features", WRITER
    elif "test_batches" in keys:
        found.program = "convnet makebatches"
    elif "fine_label_names" in keys:
        found.kind = "a description of CIFAR-100"


def meta_facts(meta: dict[str, Any]) -> dict[str, Any]:
    """Return what a checked description says, in few words."""
    names = label_names_of(meta)
    facts: dict[str, Any] = {"classes": len(names) or None, "label_names": [printable(name) for name in names]}
    facts |= {key: meta[key] for key in ("num_vis", "num_colors", "img_size", "batch_size", "label_offset") if key in meta}
    are_numbers = "num_vis" not in meta or "source_model" in meta
    if shape := None if are_numbers else picture_shape(int(meta["num_vis"]), meta):
        facts["pictures"] = f"{shape[1]} x {shape[1]} pixels, {counted(shape[0], 'channel')}"
    if "test_batches" in meta:
        facts["test_batches"] = range_text(sorted(made_for_testing(meta)))
    for key in ("dp_type", "source_model"):
        if key in meta:
            facts[key] = printable(text_of(meta[key])) if isinstance(meta[key], str | bytes) else shown(meta[key])
    return facts | {"mean": meta.get("data_mean") is not None, "no_crop": bool(meta.get("no_crop")) or None}


def _unnamed(error: DataError, found: Found) -> str:
    """Return what an error says without the file, which is named above."""
    return str(error).removeprefix(f"{found.path}: ")
