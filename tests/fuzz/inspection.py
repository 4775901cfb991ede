"""Targets: files of every kind that ``convnet inspect`` looks into, damaged in their bytes or in the values they hold."""

import io
import json
import random
from contextlib import suppress
from pathlib import Path
from unittest import mock

from convnet import pickles
from convnet.checkpoint import npz
from convnet.errors import ConvnetError
from convnet.inspection import inspect, show_batches, verify_batches
from convnet.pickles import Content
from fuzz.batches import JPEGS, Batches
from fuzz.checkpoints import FIXTURES, NET, RATES, saved
from fuzz.mutations import mutate_bytes, mutate_tree, slots
from fuzz.target import Target

LOG = b'{"line": "begin", "batches": 0, "seed": 1}\n{"line": "batch", "batches": 1, "epoch": 1, "batch": 1, "a.cost": 0.5}\n'
SUMS = b"0" * 64 + b"  data_batch_1\n" + b"f" * 64 + b"  batches.meta\n"
ROWS = b"batch,case,file,class\n1,0,a.jpg,cat\n1,1,b.jpg,dog; cat\n"


def look(path: Path) -> None:
    """Inspect a file; whatever is wrong with it, nothing may stumble over it."""
    found = inspect(path)
    assert not [what for what, _ in found.problems if what.startswith("it is damaged (")], found.problems
    assert list(found.lines()) and json.dumps(found.as_dict(), allow_nan=False)


class InspectedBytes(Target):
    """Damaged bytes in files of all kinds."""

    name = "inspected-bytes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pickled, arrays = io.BytesIO(), io.BytesIO()
        pickles.dump(saved(), pickled, checksum=True)
        npz.write(arrays, saved())
        self.known = {"1.2": pickled.getvalue(), "1.3": arrays.getvalue(), "a.jpg": JPEGS[0], "log.jsonl": LOG}
        self.known |= {"layers-x.cfg": NET.encode(), "layer-params-x.cfg": RATES.encode()}
        self.known |= {"SHA256SUMS": SUMS, "pictures.csv": ROWS}
        for i, value in enumerate(part for parts in Batches(folder).known for part in parts):
            file = io.BytesIO()
            pickles.dump(value, file)
            self.known[f"data_batch_{i}"] = file.getvalue()
        if FIXTURES.is_dir():
            self.known |= {path.name: path.read_bytes() for path in FIXTURES.glob("ckpt-*")}

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for name in self.known if clean else [rng.choice([*self.known])]:
            (self.folder / name).write_bytes(self.known[name] if clean else mutate_bytes(self.known[name], rng))
            look(self.folder / name)


class InspectedValues(Target):
    """Wrong values in checkpoints, batches and descriptions."""

    name = "inspected-values"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [saved(), *(part for parts in Batches(folder).known for part in parts)]
        if FIXTURES.is_dir():
            self.known += [pickles.load(path) for path in FIXTURES.glob("ckpt-*.pickle")]
        self.places = [slots(value) for value in self.known]
        self.path = folder / "file"
        self.path.write_bytes(b"\x80\x02")

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for which in range(len(self.known)) if clean else [rng.randrange(len(self.known))]:
            value = self.known[which]
            if not clean and self.places[which]:
                value = mutate_tree(value, rng, self.places[which])
            with mock.patch.object(pickles, "read", lambda _, value=value: Content(value, False, 0)):
                look(self.path)


class VerifiedBatches(Batches):
    """Wrong values in folders that are checked whole and shown."""

    name = "verified-batches"

    def read(self, values: list, rng: random.Random, options: dict) -> None:
        by_name = dict(zip(("batches.meta", "data_batch_1"), values, strict=True))
        for name in by_name:
            (self.folder / name).touch()
        with mock.patch.object(pickles, "load", lambda path: by_name[Path(path).name]):
            found = verify_batches(self.folder)
            assert list(found.lines()) and json.dumps(found.as_dict(), allow_nan=False)
            with suppress(ConvnetError):
                show_batches(self.folder)
