"""What a run changed in a net after its layer files were written; kept in checkpoints beside the files' texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Changes:
    """``local`` names conv layers that became local, ``unshared`` (layer, input) the matrices that no longer follow
    ``weightSource`` (``convnet.net.surgery``)."""

    local: tuple[str, ...] = ()
    unshared: tuple[tuple[str, int], ...] = ()

    def __or__(self, other: Changes) -> Changes:
        return Changes((*self.local, *other.local), (*self.unshared, *other.unshared))


NO_CHANGES = Changes()
