"""The opcodes of pickles: every one that holds data, and none that imports or calls."""

import struct
from collections.abc import Callable
from typing import Any, NoReturn

from convnet.pickles.machine import Machine
from convnet.pickles.standins import UnsafePickle

_STOP = ord(".")

# What opcodes cost in bytes of memory, found by measuring; the rest cost a place on the stack and the time to run them.
_STEP = 24
_COSTS = {
    "(": 56,
    "]": 96,
    "}": 240,
    "l": 96,
    "d": 240,
    "\x8f": 232,
    "p": 136,
    "q": 136,
    "r": 136,
    "\x94": 136,
} | dict.fromkeys("FGIJKLMSTUVXBC\x8a\x8b\x8c\x8d\x8e\x96\x85\x86\x87tRoib\x81", 72)
COSTS = [_COSTS.get(chr(code), _STEP) for code in range(256)]


def run(data: bytes, budget: int) -> tuple[Any, int]:
    """Return the object that a pickle describes, which may take ``budget`` bytes, and its end; raises ``UnsafePickle``."""
    machine = Machine(data, budget)
    try:
        while (code := data[machine.position]) != _STOP:
            machine.position += 1
            machine.left -= COSTS[code]
            if machine.left < 0:
                machine.charge(0)
            STEPS[code](machine)
        machine.position += 1
        return machine.plain(machine.stack.pop()), machine.position
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error, Warning):
        text = f"not a readable pickle: at byte {machine.position} it makes no sense"
        raise UnsafePickle(text) from None


def _refuse(text: str) -> Callable[[Machine], NoReturn]:
    def step(_: Machine) -> NoReturn:
        raise UnsafePickle(text)

    return step


def _unknown(machine: Machine) -> NoReturn:
    raise UnsafePickle(f"not a readable pickle: byte {machine.position - 1} is no opcode")


def _discard_class_arguments(machine: Machine) -> None:
    items = machine.popped()
    machine.instance(items[0])


def _named_instance(machine: Machine) -> None:
    machine.push_named_line()
    kind = machine.stack.pop()
    machine.popped()
    machine.instance(kind)


def _new_object(machine: Machine) -> None:
    machine.stack.pop()
    machine.instance(machine.stack.pop())


def _dictionary(machine: Machine) -> None:
    machine.push(machine.pairs(machine.popped()))


_TABLE: dict[str, Callable[[Machine], Any]] = {
    "\x80": lambda m: m.take(1),  # the protocol; whatever it says, the opcodes are the same
    "\x95": lambda m: m.take(8) and None,  # frames are for readers that look ahead
    "(": lambda m: m.marks.append(len(m.stack)),
    "0": lambda m: m.stack.pop(),
    "1": lambda m: m.popped(),
    "2": lambda m: m.push(m.stack[-1]),
    # Numbers and the like
    "N": lambda m: m.push(None),
    "\x88": lambda m: m.push(True),
    "\x89": lambda m: m.push(False),
    "I": Machine.push_decimal,
    "L": Machine.push_decimal,
    "J": lambda m: m.push(m.number("<i")),
    "K": lambda m: m.push(m.number("<B")),
    "M": lambda m: m.push(m.number("<H")),
    "\x8a": lambda m: m.push_number(m.number("<B")),
    "\x8b": lambda m: m.push_number(m.number("<i")),
    "F": lambda m: m.push(float(m.line())),
    "G": lambda m: m.push(m.number(">d")),
    # Texts and bytes
    "S": lambda m: m.push_escaped(is_unicode=False),
    "V": lambda m: m.push_escaped(is_unicode=True),
    "U": lambda m: m.push_text(m.number("<B")),
    "T": lambda m: m.push_text(m.number("<i")),
    "X": lambda m: m.push_unicode(m.number("<I")),
    "\x8c": lambda m: m.push_unicode(m.number("<B")),
    "\x8d": lambda m: m.push_unicode(m.number("<Q")),
    "C": lambda m: m.push_bytes(m.number("<B")),
    "B": lambda m: m.push_bytes(m.number("<I")),
    "\x8e": lambda m: m.push_bytes(m.number("<Q")),
    "\x96": lambda m: m.push_bytes(m.number("<Q")),
    # The memo
    "p": lambda m: m.put(int(m.line())),
    "q": lambda m: m.put(m.number("<B")),
    "r": lambda m: m.put(m.number("<I")),
    "\x94": lambda m: m.put(len(m.memo)),
    "g": lambda m: m.push(m.memo[int(m.line())]),
    "h": lambda m: m.push(m.memo[m.number("<B")]),
    "j": lambda m: m.push(m.memo[m.number("<I")]),
    # Containers
    ")": lambda m: m.push(()),
    "t": lambda m: m.make_tuple(m.popped()),
    "\x85": lambda m: m.make_tuple(m.last(1)),
    "\x86": lambda m: m.make_tuple(m.last(2)),
    "\x87": lambda m: m.make_tuple(m.last(3)),
    "]": lambda m: m.push([]),
    "l": lambda m: m.push(m.plain_items(m.popped())),
    "a": lambda m: m.extend([m.stack.pop()]),
    "e": lambda m: m.extend(m.popped()),
    "}": lambda m: m.push({}),
    "d": _dictionary,
    "s": lambda m: m.update(m.last(2)),
    "u": lambda m: m.update(m.popped()),
    "\x8f": lambda m: m.push(set()),
    "\x90": lambda m: m.add(m.popped()),
    "\x91": _refuse("it holds a frozenset, which is not plain data"),
    # Names and objects
    "c": Machine.push_named_line,
    "\x93": Machine.push_stacked_name,
    "R": Machine.reduce,
    "b": Machine.build,
    "o": _discard_class_arguments,
    "i": _named_instance,
    "\x81": _new_object,
    "\x92": _refuse("it makes an object with named arguments, which is not plain data"),
    "P": _refuse("it refers to objects outside the file"),
    "Q": _refuse("it refers to objects outside the file"),
    **dict.fromkeys("\x82\x83\x84", _refuse("it refers to an extension of the program that wrote it")),
    **dict.fromkeys("\x97\x98", _refuse("it refers to memory outside the file")),
}
STEPS = [_TABLE.get(chr(code), _unknown) for code in range(256)]
