"""Which kind a file is, told by what is in it, and who looks into it; nothing in it is executed.

Time and memory are bounded by its size, and a file whose contents would not fit into memory is only looked at.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convnet import pickles
from convnet.backends.host import host_memory
from convnet.checkpoint import npz
from convnet.errors import ConvnetError, first_line, reason_of
from convnet.inspection.batch_files import found_batch, found_description, is_batch, is_description
from convnet.inspection.checkpoints import found_checkpoint, is_checkpoint
from convnet.inspection.folders import found_folder
from convnet.inspection.found import Found, arrays_in, key_text, settled
from convnet.inspection.other_files import found_other, found_picture
from convnet.inspection.texts import found_text
from convnet.pickles import Content, UnsafePickle
from convnet.pickles.rules import shown
from convnet.texts import bytes_text, counted

_BEGINNING = 4096
_ALWAYS = 64 << 20  # bytes of a file that is always read
_OF_PICKLES, _OF_TEXTS = 4, 16  # bytes that reading takes for each byte of others
_SHOWN = 50  # keys
_PACKED = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip"}
_TEXTS = b"(]}cSIFLVNKMGU"  # letters that pickles of protocol 0 and 1 begin with
_CONTROL = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})


def inspect(path: str | Path) -> Found:
    """Return what is known of a file or a folder; what is wrong, also that it cannot be read, is among its problems."""
    path = Path(path)
    found = Found(str(path), "unknown")
    try:
        if path.is_dir():
            inside = found_folder(found, path)
            if found.kind == "a batch in parts":
                _look_at_parts(found, inside)
            elif inside:
                _look_at_newest(found, inside[0])
        elif not path.exists():
            found.blame("there is no such file or folder", "check the path, and the folder that you are in")
        elif not path.is_file():
            found.blame("it is a device or a pipe, not a file", "write it to a file first")
        else:
            _look_at_file(found, path)
    except OSError as error:
        found.blame(f"it cannot be read: {reason_of(error)}", "see to it that you may read it")
    except MemoryError:
        found.blame("it is too large for the memory of this machine", "look at it on a larger one")
    except ConvnetError as error:
        found.blame(error, "mend that, or use another copy")
    except Exception as error:  # whatever a file makes a reader stumble over
        found.blame(f"it is damaged ({type(error).__name__}: {first_line(error)})", "use another copy")
    found.facts = settled(found.facts)
    return found


def _look_at_newest(found: Found, path: Path) -> None:
    """Add the newest checkpoint of a run to what was found of its folder."""
    newest = inspect(path)
    found.program, found.generation, found.container = newest.program, newest.generation, newest.container
    found.bytes, found.facts = newest.bytes, found.facts | newest.facts
    found.arrays, found.remarks = newest.arrays, found.remarks + newest.remarks
    found.problems += [(f"{path.name}: {problem}", advice) for problem, advice in newest.problems]


def _look_at_parts(found: Found, paths: list[Path]) -> None:
    """Add the cases of each part of a batch, and what is wrong in any."""
    parts = [inspect(path) for path in paths]
    found.bytes = sum(part.bytes for part in parts)
    sizes = [part.facts.get("cases") or 0 for part in parts]
    for_all = f"{counted(sizes[0], 'case')} but {counted(sum(sizes), 'label')};"  # which the first may have (io 5.2)
    parts[0].problems = [each for each in parts[0].problems if not each[0].startswith(for_all)]
    found.facts = {"cases": sum(sizes)}
    found.facts["parts"] = [
        {"part": path.name, "kind": part.kind, "bytes": part.bytes, "cases": part.facts.get("cases")}
        for path, part in zip(paths, parts, strict=True)
    ]
    for path, part in zip(paths, parts, strict=True):
        found.arrays += [replace(array, name=f"{path.name}: {array.name}") for array in part.arrays]
        found.problems += [(f"{path.name}: {problem}", advice) for problem, advice in part.problems]


def _look_at_file(found: Found, path: Path) -> None:
    found.bytes = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if not beginning:
        found.kind = "an empty file"
        found.blame("it holds nothing", "use another copy; it was cut off, or never written")
        return
    if found_picture(found, path, beginning):
        return
    if _is_text(beginning) and (not _fits(found, "a text", _OF_TEXTS) or found_text(found, beginning)):
        return
    if not _may_be_pickle(beginning):
        found_other(found, path, beginning)
    elif _fits(found, "a pickle or an archive", _OF_PICKLES):
        _look_at_pickle(found, path, beginning)


def _is_text(beginning: bytes) -> bool:
    """Return whether a file that begins so is a text, which has next to no control characters."""
    return 20 * sum(map(_CONTROL.count, beginning)) <= len(beginning)


def _may_be_pickle(beginning: bytes) -> bool:
    packed = any(beginning.startswith(mark) for mark in _PACKED)
    return packed or beginning[0] == 0x80 or beginning[0] in _TEXTS


def _fits(found: Found, kind: str, per_byte: int) -> bool:
    """Return whether there is memory to read a file, as far as that is known; else add that there is not."""
    memory = host_memory()
    if found.bytes <= _ALWAYS or memory is None or per_byte * found.bytes <= memory[0]:
        return True
    found.kind = kind
    found.blame(f"{bytes_text(found.bytes)} are more than fit into memory here", "look at it on a larger machine")
    return False


def _look_at_pickle(found: Found, path: Path, beginning: bytes) -> None:
    """Add what the object in a pickle is, which may be packed."""
    packed = next((word for mark, word in _PACKED.items() if beginning.startswith(mark)), "")
    is_ours = npz.is_npz(path)
    protocol = beginning[1] if beginning[0] == 0x80 and len(beginning) > 1 else "0 or 1"
    found.container = "npz" if is_ours else packed or f"pickle, protocol {protocol}"
    try:
        content = npz.read(path) if is_ours else pickles.read(path)
    except UnsafePickle as error:
        is_sure = packed or beginning[0] == 0x80  # others only begin like one
        found.container = found.container if is_sure else ""
        found_other(found, path, beginning, str(error).removeprefix(f"{path}: ") if is_sure else "")
        return
    _look_at_value(found, content)


def _look_at_value(found: Found, content: Content) -> None:
    value = content.value
    if is_checkpoint(value):
        found_checkpoint(found, content)
    elif is_batch(value):
        found_batch(found, value)
    elif is_description(value):
        found_description(found, value)
    else:
        _look_at_data(found, value)
    if content.excess and not is_checkpoint(value):  # of which it is a problem
        found.remarks.append(f"{counted(content.excess, 'byte')} too many stand behind its end, which nobody reads.")


def _look_at_data(found: Found, value: Any) -> None:
    """Add what plain data of no known kind are made of."""
    found.kind = "plain data of no kind that convnet reads"
    found.facts["object"] = shown(value)
    if isinstance(value, dict):
        keys = [*value.items()][:_SHOWN]
        found.facts["keys"] = [{"key": key_text(key), "value": shown(item)} for key, item in keys]
    found.arrays = arrays_in(value)
    found.blame("it is neither a checkpoint nor a batch nor a description", "docs/batches.md says what these hold")
