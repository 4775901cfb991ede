"""The pictures of a batch that one rank reads; which are left out, since they cannot be decoded, all ranks agree on.

What is drawn for a batch is drawn for all its cases on every rank: only decoding, which takes long, is shared out. A picture
that one rank cannot decode moves all that follow, so that a rank may have to decode some more. Where ranks of a group read
the same pictures, each is decoded by one of them, which sends the others its bytes.

Letters: N pictures of a batch, n of them left; S side, C channels; R ranks of a group.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convnet.data.images import PictureBatch
from convnet.data.provider import AllGather, Batch, BatchShare, Group, Own, Wanted, all_cases, alone
from convnet.data.targets import Targets
from convnet.errors import DataError
from convnet.texts import listed

if TYPE_CHECKING:
    from convnet.data.pictures import Pictures

_NAMED = 8  # of the pictures that cannot be decoded
_AT_ONCE = 2 << 20  # bytes of pictures that are copied for each rank to send them; measured: 8 MB take up to twice as long


@dataclass(frozen=True)
class Decoded:
    """Pictures (N, S, S, C) in the order of their files, which of them were ``tried``, (N,), and what belongs to each."""

    pixels: np.ndarray
    tried: np.ndarray
    targets: Targets

    def has(self, wanted: Wanted) -> bool:
        """Return whether all cases that are wanted were tried."""
        return bool(self.tried[wanted(len(self.tried))].all())


class PictureShare(BatchShare):
    """Batch ``number``, of which those pictures are decoded that a rank wants, while others may be left out yet.

    From ``random`` comes where long pictures are cut, in the middle without it, and then all that is drawn for those that
    are left. Of the pictures wanted it decodes its ``own``, ``None``: all. Raises ``DataError``.
    """

    def __init__(
        self,
        provider: Pictures,
        number: int,
        random: np.random.Generator | None = None,
        wanted: Wanted = all_cases,
        own: Own | None = None,
    ) -> None:
        self.provider, self.number, self.random, self.wanted = provider, number, random, wanted
        self.own = own or (lambda numbers: numbers)
        self.failed: dict[int, str] = {}  # why pictures that were tried cannot be decoded, by their numbers in the files
        kept = provider.kept.get(number)
        kept = kept if kept and kept.has(wanted) else None
        self.is_kept = kept is not None
        self.strings, targets = ([], kept.targets) if kept else provider.stored(number)
        self.where = str(provider.files[number][0])
        provider.check_unchanged()
        count = len(targets)
        # Drawn for pictures that are kept, too, so that the numbers that follow are the same.
        self.offsets = random.random(count) if random and provider.request.training else np.full(count, 0.5)
        self.decoded = kept or self._begin(targets)

    def settle(self, all_gather: AllGather, group: Group | None = None) -> Batch:
        assert self.random
        pictures, targets = self.pictures(all_gather, group)
        if not self.is_kept and len(pictures) == len(self.offsets):
            self.provider.keep(self.number, self.decoded, self.strings)
        self.strings = []  # which take much memory
        rows = self.provider.target_rows(targets, self.random, self.where)
        crops = self.provider.cropper.crops(len(pictures), self.random, self.provider.color_pca)
        return PictureBatch(pictures, rows, crops)

    def pictures(self, all_gather: AllGather, group: Group | None = None) -> tuple[np.ndarray, Targets]:
        """Return the pictures (n, S, S, C) that are left, those decoded that are wanted, and what belongs to each.

        Raises ``DataError`` if none is.
        """
        failed, untried = self._agreed(all_gather)
        if failed or untried is not None:  # the same on all ranks
            if self.is_kept:  # not as it is now
                self.strings, self.is_kept = self.provider.stored(self.number)[0], False
                self.decoded = self._begin(self.decoded.targets)
            if untried is not None:
                self._decode(untried)
            failed, _ = self._agreed(all_gather)  # also that no rank has failed, before those of a group wait for each other
        count = len(self.offsets)
        if failed:
            named = [f"number {i} ({failed[i]})" for i in sorted(failed)]
            said = f"{len(failed)} of {count} pictures cannot be decoded and are left out"
            self.provider.tell(f"{self.where}: {said}: {listed(named, _NAMED)}, counted from 0")
            if len(failed) == count:
                raise DataError(f"{self.where}: none of its {count} pictures can be decoded")
        left = [i for i in range(count) if i not in failed]
        self._complete(np.array(left)[self.wanted(len(left))], group)
        return self._moved(left) if failed else (self.decoded.pixels, self.decoded.targets)

    def _begin(self, targets: Targets) -> Decoded:
        """Decode what is wanted of this rank, if all pictures are left."""
        count = len(targets)
        self.decoded = Decoded(self.provider.room_for(count, self.where), np.zeros(count, bool), targets)
        self._decode(self.own(np.flatnonzero(self.wanted(count))))
        return self.decoded

    def _decode(self, numbers: np.ndarray) -> None:
        left = iter(numbers.tolist())  # whose ``next`` only one thread at a time can be in

        def decode(_: int) -> None:
            for i in left:
                try:
                    self.provider.decode(self.strings[i], self.offsets[i], self.decoded.pixels[i])
                except DataError as error:
                    self.failed[i] = str(error)

        threads = self.provider.request.threads
        with ThreadPoolExecutor(threads) as workers:
            list(workers.map(decode, range(threads)))
        self.decoded.tried[numbers] = True

    def _agreed(self, all_gather: AllGather) -> tuple[dict[int, str], np.ndarray | None]:
        """Return why pictures failed on any rank, by number, and which this rank has to try of those that none has.

        ``None`` where every picture was tried. Others are of cases that no rank reads, such as those before the one that a
        run goes on from.
        """
        tried = self.decoded.tried.tobytes()
        told = all_gather((tried, dict(self.failed)))
        different = list(dict.fromkeys(bits for bits, _ in told))
        if len({len(bits) for bits in different}) > 1:
            counts = listed(str(len(bits)) for bits in different)
            raise DataError(f"{self.where}: the ranks find {counts} pictures in it; expected the same file on all")
        untried = np.flatnonzero(~np.any([np.frombuffer(bits, bool) for bits in different], axis=0))
        failed = {i: reason for _, others in told for i, reason in others.items()}
        return failed, untried[different.index(tried) :: len(different)] if len(untried) else None

    def _complete(self, numbers: np.ndarray, group: Group | None) -> None:
        """See to it that this rank has the pictures ``numbers``, which it wants: decode what no rank of its group has."""
        gather = group.all_gather if group else alone
        wanted = np.zeros(len(self.offsets), bool)
        wanted[numbers] = True
        held, lacking = self._of_group(gather, wanted)
        if (nowhere := lacking & ~held.any(axis=0)).any():  # which is the same on all its ranks
            self._decode(_taking_turns(nowhere, group.rank if group else 0))
            held, lacking = self._of_group(gather, wanted)
        if (nowhere := lacking & ~held.any(axis=0)).any():
            i = int(nowhere.any(axis=0).argmax())
            reason = next(filter(None, gather(self.failed.get(i))))
            raise DataError(f"{self.where}: number {i} ({reason}) can be decoded on another rank only")
        if group:
            _exchange(self.decoded.pixels, held, lacking, group)
        self.decoded.tried[numbers] = True

    def _of_group(self, gather: AllGather, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, (R, N) bool each, which pictures the ranks of the group have, and which they lack that they want."""
        held = self.decoded.tried.copy()
        held[list(self.failed)] = False
        told = np.frombuffer(b"".join(gather(held.tobytes() + wanted.tobytes())), bool).reshape(-1, 2, len(wanted))
        return told[:, 0], told[:, 1] & ~told[:, 0]

    def _moved(self, left: list[int]) -> tuple[np.ndarray, Targets]:
        """Return pictures and targets of the numbers that are ``left``, one behind the other."""
        pixels, tried = self.decoded.pixels, self.decoded.tried
        for place, i in enumerate(left):  # not a copy of them all
            if tried[i]:
                pixels[place] = pixels[i]
        return pixels[: len(left)], self.decoded.targets.of(left)


def _taking_turns(nowhere: np.ndarray, rank: int) -> np.ndarray:
    """Return which pictures ``rank`` decodes, by number, of those that ranks lack, (R, N) bool: one of them each."""
    turn = np.cumsum(nowhere.any(axis=0)) % np.maximum(nowhere.sum(axis=0), 1)
    return np.flatnonzero(nowhere[rank] & (turn == nowhere[:rank].sum(axis=0)))


def _exchange(pixels: np.ndarray, held: np.ndarray, lacking: np.ndarray, group: Group) -> None:
    """Fill the ``pixels`` (N, S, S, C) of pictures that this rank lacks, each from the first rank that has it.

    Which ranks have a picture, and which lack it, is (R, N) bool.
    """
    source = held.argmax(axis=0)
    ways = [[np.flatnonzero(lacks & (source == r)) for lacks in lacking] for r in range(group.size)]  # from r to each rank
    given, taken = ways[group.rank], [of[group.rank] for of in ways]
    each = max(_AT_ONCE // pixels[0].nbytes, 1)
    for start in range(0, max(len(numbers) for way in ways for numbers in way), each):
        part = slice(start, start + each)
        arrived = [np.empty((len(numbers[part]), *pixels.shape[1:]), np.uint8) for numbers in taken]
        group.exchange([pixels[numbers[part]] for numbers in given], arrived).wait()
        for numbers, pictures in zip(taken, arrived, strict=True):
            pixels[numbers[part]] = pictures
