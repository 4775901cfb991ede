"""What of an edit of layer files can hold at once, while the net trains, and what cannot.

A key says itself whether it can (``Key.can_change``). A file holds as a whole or not at all: a checkpoint names one text,
from which its net is made again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from convnet.graph.diff import Difference, difference, value_changes
from convnet.graph.graph import Graph
from convnet.options import flag_of

_FOLLOWS = {"shape", "parameters"}  # from keys, which are told of


@dataclass(frozen=True)
class Tuning:
    """From a net to the same with other values: what ``changed``, and what of it is ``fixed``, in words.

    ``run`` has the options of ``[run]`` that it gives otherwise, by name, and ``options`` what to tell of each.
    ``is_single``: one file has the net and its parameters.
    """

    changed: list[str]
    fixed: list[str]
    run: dict[str, Any]
    options: dict[str, str]
    is_single: bool

    @property
    def is_meant(self) -> bool:
        """Whether anything means something else."""
        return bool(self.changed or self.fixed or self.options)


def tuning(old: Graph, new: Graph) -> Tuning:
    """Return what an edit changes from ``old`` to ``new``."""
    found = difference(old, new)
    run = {name: value for name, value in new.run.items() if name not in old.run or old.run[name] != value}
    # What is not given any more stays as a checkpoint has it.
    options = {name: f"[run] {flag_of(name)[2:]}: {old.run.get(name, 'none')} -> {value}" for name, value in run.items()}
    return Tuning(list(value_changes(old, new)), list(_fixed(found, old, new)), run, options, new.params is new.definition)


def _fixed(found: Difference, old: Graph, new: Graph) -> Iterator[str]:
    """Yield what changed that cannot while a net trains."""
    if new.generation != old.generation:
        yield f"files of {old.generation} -> of {new.generation}, by the spelling of their keys"
    free = {name: {key.name for key in new.layers[name].keys if key.can_change} | _FOLLOWS for name in found.changed}
    left = {name: {key: change for key, change in found.changed[name].items() if key not in free[name]} for name in free}
    yield from replace(found, changed=left, run={}).sentences()
