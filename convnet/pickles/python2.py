"""In which order Python 2.7 went through a dict of names: the originals numbered and printed layers in it.

It depends on nothing but the names, and on the order in which they were put in.
"""

from collections.abc import Iterable

_WORD = 2**64 - 1


def dict_order(names: Iterable[str]) -> list[str]:
    """Return different ``names`` in the order in which a dict has them that got one after the other (CPython, 64 bits)."""
    slots: list[str | None] = [None] * 8
    for used, name in enumerate(names, 1):
        _put(slots, name)
        if 3 * used >= 2 * len(slots):
            room = used * (2 if used > 50000 else 4)
            old, slots = slots, [None] * max(8, 1 << room.bit_length())
            for kept in old:
                if kept is not None:
                    _put(slots, kept)
    return [name for name in slots if name is not None]


def _put(slots: list[str | None], name: str) -> None:
    perturb = place = _hash(name.encode("utf-8", "surrogateescape"))
    while slots[place % len(slots)] is not None:
        place = place * 5 + perturb + 1
        perturb >>= 5
    slots[place % len(slots)] = name


def _hash(name: bytes) -> int:
    """Return the hash of a string of Python 2, as a number of 64 bits without a sign."""
    value = name[0] << 7 if name else 0
    for byte in name:
        value = (1000003 * value ^ byte) & _WORD
    value ^= len(name)
    return value - (value == _WORD)  # no hash is -1
