"""Accidents: of bytes, of texts, and of values somewhere in a tree of plain data."""

import random
from typing import Any

import numpy as np

from convnet.pickles import LegacyObject

DEEP: list[Any] = []
for _ in range(150):
    DEEP = [DEEP]

JUNK = [
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, -(2**31), 2**63, 2**64, 10**40, 0.0, -0.5, 1.5, 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "-1", "99999999999999999999", "nan", "1e999", "a,b", "[",
    "%", "é", "\x00", "x\n[evil]\ntype=fc\n", "relu", "const", "..", "/", "\x1b[31m", b"", b"\xff\xfe", [], [None], [[]],
    [0], [1, 2], ["x"], [["x"], [1]], [1.5, None], [float("nan")], {}, {"x": 1}, {1: 2}, {"type": "const", "params": {}},
    {"type": "dexp", "params": {"base": "x"}}, {"type": 3, "params": 4}, (), (1, 2), (1, 2, 3), (None, None), {1, 2}, DEEP,
    [10**30], {"layers": []}, np.zeros(0), np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32), np.ones((2, 2, 2)),
    np.array(5.0), np.full((4, 4), np.nan), np.array([1, 2, 3]), np.array([None, "x"], object), np.array(["a", "b"]),
    np.array([b"a"]), np.array([True, False]), np.ones(3, np.float16), np.ones((4, 1), ">f4"), np.array([[2**63 - 1]]),
]  # fmt: skip


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """``data`` with one to eight bytes changed, a piece lost, doubled or moved, or its end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        match rng.randrange(9):
            case 0 | 1 | 2 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 3 | 4 if at < len(out):
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, ord("."), ord("b"), ord("R"), rng.randrange(256)))
            case 5:
                del out[at : at + size]
            case 6:
                out[at:at] = out[at : at + size]
            case 7:
                source = rng.randrange(len(out) + 1)
                out[at : at + size] = out[source : source + size]
            case 8:
                out[at:at] = rng.randbytes(size) if rng.random() < 0.5 else b"\xff" * rng.choice((1, 2, 4, 8))
    if rng.random() < 0.05:
        del out[rng.randrange(len(out) + 1) :]
    return bytes(out)


def mutate_text(text: str, rng: random.Random, pieces: list[str]) -> str:
    """``text`` with one to four of its lines lost, doubled, moved, or changed by a piece."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        key, mark, _ = lines[at].partition("=")
        match rng.randrange(10):
            case 0 if len(lines) > 1:
                del lines[at]
            case 7:
                lines[at] = rng.choice(("\t", " ")) + lines[at]
            case 8 if mark:
                cut = rng.randrange(len(key) + 1)
                lines[at] = key[:cut] + rng.choice(("", "x", " ")) + key[cut + 1 :] + lines[at][len(key) :]
            case 9:
                lines = _as_a_whole(lines, at, rng)
            case 1:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            case 2 | 3 | 4 if mark:
                lines[at] = f"{key}={rng.choice(pieces)}"
            case 5:
                cut = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + rng.choice(pieces) + lines[at][cut + rng.randrange(3) :]
            case _:
                other = lines[rng.randrange(len(lines))]
                lines[at] = f"{key}={other.partition('=')[2]}" if mark else other
    return "\n".join(lines)


def _as_a_whole(lines: list[str], at: int, rng: random.Random) -> list[str]:
    """A file cut off, or saved by another editor."""
    match rng.randrange(3):
        case 0:
            return [*lines[:at], lines[at][: rng.randrange(len(lines[at]) + 1)]]
        case 1:
            return [line + "\r" for line in lines]
        case _:
            return ["\ufeff" + lines[0], *lines[1:]]


def slots(value: Any, path: tuple = (), found: list[tuple] | None = None) -> list[tuple]:
    """The places of all values below ``value``, as keys one behind the other; of long lists the first and the last."""
    found = [] if found is None else found
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = [*enumerate(value)][:3] + [*enumerate(value)][3:][-1:]
    elif isinstance(value, LegacyObject):
        items = vars(value).items()
    for key, item in items:
        found.append((*path, key))
        if len(path) < 9:
            slots(item, (*path, key), found)
    return found


def mutate_tree(value: Any, rng: random.Random, places: list[tuple]) -> Any:
    """``value`` with one to three accidents at ``places``; what it shares with the original is not changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(value, rng.choice(places), rng)
    return value


def _changed(value: Any, path: tuple, rng: random.Random) -> Any:
    if not path:
        return _other(value, rng)
    key, rest = path[0], path[1:]
    if isinstance(value, LegacyObject):
        copied: Any = type(value)()
        vars(copied).update(vars(value))
        items = vars(copied)
    elif isinstance(value, dict):
        items = copied = dict(value)
    elif isinstance(value, list | tuple):
        items = copied = list(value)
    else:
        return value  # an accident before has changed what was here
    is_list = isinstance(items, list)
    if (is_list and not (isinstance(key, int) and key < len(items))) or (not is_list and key not in items):
        return value
    if not rest and rng.random() < 0.15:
        del items[key]
    elif not rest and rng.random() < 0.1:
        junk = rng.choice(JUNK)
        if is_list:
            items.insert(key, junk)
        else:
            items[rng.choice(("x", "weights", "inputs", 3))] = junk
    else:
        items[key] = _changed(items[key], rest, rng)
    return tuple(copied) if isinstance(value, tuple) else copied


def _other(value: Any, rng: random.Random) -> Any:
    """Another value in the place of ``value``: junk, or one like it."""
    if rng.random() < 0.6:
        return rng.choice(JUNK)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 1000, float(value), str(value), [value]))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice(("", "x", "\n", "é", ",", "[", "0")) + value[at + 1 :]
    if isinstance(value, list | tuple):
        return rng.choice((value[1:], [*value, *value], [*value][::-1], dict(enumerate(value)), list(value[:1])))
    if isinstance(value, np.ndarray) and value.size and value.ndim:
        flat = value.reshape(-1)
        bad = value.astype(np.float64) if value.dtype.kind in "biuf" else np.zeros(value.shape)
        bad.reshape(-1)[rng.randrange(value.size)] = rng.choice((np.nan, np.inf, 1e300))
        return rng.choice(
            (value.T, flat, flat[:-1], value[None], bad.astype(">f8"), value.astype("U8"), bad, value.tolist(), value[:0])
        )
    return rng.choice(JUNK)
