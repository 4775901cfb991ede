"""Makes batches of pictures: of a folder per class, a ready split, a table, or the archives of ILSVRC-2012.

Pictures are resized so that the short side fits and cut square, shuffled with --seed, and spread over batches; the last
batches are for testing. A picture that cannot be read is left out and named in ``skipped.txt``. The same pictures and
options give the same bytes, on any number of processes, and whether or not the call was killed in between.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
import PIL

from convnet.data.batches import write_file
from convnet.data.decoding import UNREAD, WHITE, Look
from convnet.data.flattening import Color
from convnet.data.making.finish import check, summary, write_lists, write_meta
from convnet.data.making.ilsvrc import find_ilsvrc, is_ilsvrc
from convnet.data.making.manifest import PICTURES, SKIPPED, sum_of, write_sums
from convnet.data.making.picture_folder import find_pictures
from convnet.data.making.picture_list import LISTS, find_listed
from convnet.data.making.source import Source
from convnet.data.making.split import Order, set_aside
from convnet.data.making.unfinished import Progress
from convnet.data.making.workers import Packed, Recipe, Workers
from convnet.errors import DataError
from convnet.texts import counted, printable

TEST_SHARE = 0.1
_TEST = "test_part_"  # names of batches for testing until it is known how many others there are
_VERSION = 1  # of what is written


class More(TypedDict, total=False):
    """What else there is to say of batches; see ``convnet.cli.makebatches``. ``tell`` gets (pictures done, of all)."""

    background: Color
    gray: bool
    fit: str
    stratified: bool
    workers: int
    tell: Callable[[int, int], object]


class _Case(NamedTuple):
    """A picture that could be read, and its number in the source."""

    picture: int
    packed: Packed


def find_source(path: Path) -> Source:
    """Return the pictures that a folder, a table or the archives of ILSVRC-2012 hold; raises ``DataError``."""
    if is_ilsvrc(path):
        return find_ilsvrc(path)
    return find_listed(path) if path.suffix.lower() in LISTS and path.is_file() else find_pictures(path)


def pack_folder(
    source: Path,
    out: Path,
    size: int,
    batch_size: int | None,
    test_share: float | None,
    seed: int,
    say: Callable[[str], object],
    **more: Unpack[More],
) -> int:
    """Write the pictures of ``source`` as JPEG batches into the folder ``out``; returns the number of batches.

    ``batch_size`` ``None``: that of the source's layout. ``test_share`` ``None``: a tenth, or what the source sets aside;
    where it does, no other share can be given. ``say`` gets a line on each batch, and on what there is in all.
    Raises ``DataError`` if fewer than two pictures can be read, or those of fewer than two classes.
    """
    return _Maker(find_source(source), out, size, batch_size, say, more).make(test_share, seed)


class _Maker:
    """Reads pictures in order and writes a batch whenever there are enough of them."""

    def __init__(
        self, source: Source, out: Path, size: int, batch_size: int | None, say: Callable[[str], object], more: More
    ) -> None:
        self.source, self.out, self.size, self.say, self.more = source, out, size, say, more
        self.batch_size = batch_size or source.layout.batch_size
        self.file_size = source.layout.parts or self.batch_size
        self.per_batch = -(-self.batch_size // self.file_size)  # files
        self.tell = more.get("tell", lambda *_: None)
        self.fit, self.is_gray = more.get("fit", "crop"), more.get("gray", False)
        look = Look(mode="L" if self.is_gray else "RGB", background=more.get("background", WHITE), fit=self.fit)
        self.recipe = Recipe(size, look)

    def make(self, share: float | None, seed: int) -> int:
        """Write all batches and what belongs to them; return how many there are."""
        source, stratified = self.source, self.more.get("stratified", False)
        if source.is_test is not None and (share is not None or stratified):
            raise DataError("--test-share and --stratified: the source says itself which pictures are for testing")
        test_share = TEST_SHARE if share is None else share
        options = self.size, self.batch_size, test_share, seed, stratified, sorted(self.recipe.look.items())
        key = hashlib.sha256(repr((_VERSION, PIL.__version__, source.stamp, options)).encode()).hexdigest()
        channels = 1 if self.is_gray else 3
        self.progress = Progress.begin(self.out, key, len(source.classes), (self.size, self.size, channels))
        if self.progress.files:
            self.say(f"Going on after {counted(len(self.progress.files), 'file')} that an interrupted call has written.")
        self.order = self._order(test_share, seed, stratified)
        with Workers(self.recipe, self.more.get("workers", 1), len(source.names) - self.progress.looked_at) as workers:
            self._write_all(workers)
        check(source, self.progress)
        return self._finish()

    def _order(self, test_share: float, seed: int, stratified: bool) -> Order:
        """Return in which order pictures are read."""
        source, labels = self.source, [several[0] for several in self.source.labels]
        if source.is_test is None:
            unread = [i for i, name in enumerate(source.names) if Path(name).suffix.lower() in UNREAD]
            train, test = set_aside(labels, test_share, seed, unread, stratified)
        else:
            shuffled = np.random.RandomState(seed).permutation(len(labels))
            in_order = np.arange(len(labels)) if source.layout.tests_from else shuffled
            train, test = shuffled[~source.is_test[shuffled]].tolist(), in_order[source.is_test[in_order]].tolist()
        order = Order(train, test, labels, source.is_test is None, stratified)
        order.lost.update(self.progress.lost)
        return order

    def _write_all(self, workers: Workers) -> None:
        """Write the batches that are not written yet."""
        progress, before = self.progress, self.progress.looked_at  # which the rounds give again, in the same order
        cases: list[_Case] = []
        was_test = True
        for is_test, pictures in self.order.rounds():
            skipped = min(before, len(pictures))
            before -= skipped
            if was_test and not is_test:
                cases = self._write(True, cases)
            was_test = is_test
            places = (self.source.place(i) for i in pictures[skipped:])
            for picture, packed in zip(pictures[skipped:], workers.map(places, not is_test), strict=True):
                progress.looked_at += 1
                if isinstance(packed, Packed):
                    cases.append(self._counted(picture, packed))
                    if len(cases) == self._room(is_test):
                        cases = self._write(is_test, cases)
                else:
                    self._leave_out(picture, packed)
                self.tell(progress.looked_at, len(self.source.names))
        self._write(False, cases)

    def _counted(self, picture: int, packed: Packed) -> _Case:
        """Add a picture to train on to the sums, and return it without its pixels, which a batch need not keep."""
        if packed.pixels is not None and packed.products is not None:
            self.progress.total += packed.pixels.reshape(self.progress.total.shape)
            self.progress.products += packed.products
        return _Case(picture, Packed(packed.data))

    def _leave_out(self, picture: int, reason: str) -> None:
        place, name = self.source.place(picture), self.source.names[picture]
        where = place.path if place.size < 0 else f"{place.path}: {name}"
        self.order.lost.add(picture)
        self.progress.lost.append(picture)
        self.progress.reasons.append(printable(f"{where}: {reason}"))

    def _place_of(self, is_test: bool) -> tuple[int, int]:
        """Return which batch and part of it comes next, each counted from 0."""
        return divmod(self.progress.written[is_test], self.per_batch)

    def _room(self, is_test: bool) -> int:
        """Return how many pictures the next file holds."""
        return min(self.file_size, self.batch_size - self._place_of(is_test)[1] * self.file_size)

    def _name(self, is_test: bool, batch: int) -> str:
        """Return the name of a batch, for testing perhaps one that stands in for it until the others are counted."""
        layout = self.source.layout
        if not is_test:
            return f"data_batch_{layout.first + batch}"
        if not layout.tests_from:
            return f"{_TEST}{batch + 1}"
        before = layout.first + -(-len(self.order.train) // self.batch_size)
        return f"data_batch_{-(-before // layout.tests_from) * layout.tests_from + batch}"

    def _write(self, is_test: bool, cases: list[_Case]) -> list[_Case]:
        """Write a file of pictures, if there are any, and how far this has come; return no pictures."""
        if not cases:
            return cases
        source, progress, parts = self.source, self.progress, self.source.layout.parts
        batch, part = self._place_of(is_test)
        name = self._name(is_test, batch)
        labels = [list(source.labels[case.picture]) for case in cases]
        files = [printable(source.names[case.picture]) for case in cases]
        path = f"{name}/{name}.{part}" if parts else name
        write_file(self.out / path, {"data": [case.packed.data for case in cases], "labels": labels, "files": files})
        number, first = _number(name), part * parts
        classes = ("; ".join(printable(source.classes[label]) for label in several) for several in labels)
        progress.list_pictures([(number, first + i, *row) for i, row in enumerate(zip(files, classes, strict=True))])
        progress.files.append((path, sum_of(self.out / path)))
        progress.written[is_test] += 1
        progress.cases[is_test] += len(cases)
        np.add.at(progress.counts[int(is_test)], [label for several in labels for label in several], 1)
        progress.save()
        shown = f"batch {name.rpartition('_')[2]}" + (f", part {part}" if parts else "")
        self.say(f"{'test ' if is_test else ''}{shown}: {counted(len(cases), 'picture')}")
        return []

    def _finish(self) -> int:
        """Write what belongs to the batches, and give those for testing their names; return the number of batches."""
        progress, source = self.progress, self.source
        counts = (-(-files // self.per_batch) for files in progress.written)
        train, test = ([self._name(bool(i), batch) for batch in range(count)] for i, count in enumerate(counts))
        first = source.layout.first + len(train)  # of those for testing whose names stand in for others
        final = {name: f"data_batch_{first + i}" if name.startswith(_TEST) else name for i, name in enumerate(test)}
        numbers = [int(_number(name)) for name in (*train, *final.values())]
        write_meta(self.out, source, progress, {"batch_size": self.batch_size, "test_batches": numbers[len(train) :]})
        write_lists(self.out, progress, {_number(name): _number(new) for name, new in final.items()})
        sums = {final.get(name, name): digest for name, digest in progress.files}
        others = ("batches.meta", PICTURES, *((SKIPPED,) if progress.reasons else ()))
        in_order = sorted(sums, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        write_sums(self.out, {name: sums[name] for name in in_order} | {name: sum_of(self.out / name) for name in others})
        for name, new in final.items():
            (self.out / name).rename(self.out / new)
        progress.end()
        for line in (*source.remarks, *summary(source, progress)):
            self.say(printable(line))  # folders may have names of several lines
        trained, tested = _numbered(numbers[: len(train)]), _numbered(numbers[len(train) :])
        self.say(f"Train with {trained}, test with {tested}, as runs do by themselves.")
        return len(numbers)


def _number(name: str) -> str:
    """Return the number of a batch, or the name that stands in for one."""
    return name.removeprefix("data_batch_")


def _numbered(numbers: list[int]) -> str:
    """Return ``batch 8`` or ``batches 1 to 7``."""
    return f"batch {numbers[0]}" if len(numbers) == 1 else f"batches {numbers[0]} to {numbers[-1]}"
