"""Targets: batches and their description."""

import io
import random
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from convnet import pickles
from convnet.data.images import color_axes
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import ConvnetError
from convnet.graph.infer import needed_data
from convnet.graph.loading import LayerFiles, parse
from fuzz.mutations import mutate_bytes, mutate_tree, slots
from fuzz.target import BE, Target


def encoded(kind: str, mode: str = "RGB", side: int = 4) -> bytes:
    """A small picture in a format."""
    pixels = np.random.RandomState(0).randint(0, 256, (side, side, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


DATA = "".join(f"[m{i}]\ntype=data\ndataIdx={i}\n" for i in range(4)) + "[fc]\ntype=fc\ninputs=m0\noutputs={0}\ninitW=1\n"
HEAD = "[p]\ntype=softmax\ninputs=fc\n[a]\ntype=cost.logreg\ninputs=m1,p\n[b]\ntype=cost.logreg\ninputs=m2,p\n"
VALUES = "[d]\ntype=eltsum\ninputs=fc,m1\n[s]\ntype=cost.sum2\ninputs=d\n[e]\ntype=cost.bce\ninputs=m2,fc\n"
NETS = [DATA.format(outputs) + rest for outputs in (2, 3, "num_classes") for rest in (HEAD, VALUES)]
JPEGS = [encoded("JPEG"), encoded("JPEG", "L"), encoded("JPEG")]


class Batches(Target):
    """Wrong values or bytes in a batch or its description."""

    name = "batches"
    options = [{}, {"inner_size": 2}, {"crop_border": 1}, {"scalar_mean": 100.0}, {"multiview": True, "inner_size": 2}]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pixels = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8)
        meta = {"label_names": ["a", "b", "c"], "num_vis": 48, "data_mean": np.ones((48, 1), np.float32), "num_colors": 3}
        pca = {
            "color_pca": color_axes(np.cov(pixels.T.reshape(-1, 3).astype(float), rowvar=False)),
            "label_offset": 0,
            "batch_size": 6,
        }
        tree = {"tree": {3: [0, 4], 4: [1, 2]}, "all_wnids": {"gproot": 3}, "dp_type": "cifar"}
        rows = {"data": np.ascontiguousarray(pixels.T), "labels": [0, 1, 2, 0, 1, 2], "filenames": ["x"] * 6}
        floats = {"data": pixels[:7].astype(np.float32) / 3, "labels": [0.0, 1.0, 2.0, 1.0, 0.0, 1.0]}
        lists = {"data": pixels, "labels": [[0], [1], [2], [0, 1], [], [2]]}
        self.known = [
            (meta | tree, {"data": pixels, "labels": [0, 1, 2, 0, 1, 2]}),
            ({"label_names": ["a", "b", "c"]}, rows),
            ({}, floats),
            (meta, {"data": pixels, "labels": np.array([[0, 1, 2, 0, 1, 2]])}),
            (meta, lists),
            ({"fine_label_names": ["a", "b", "c"]}, {"data": rows["data"], "fine_labels": np.array([0, 1, 2, 0, 1, 2])}),
            (meta | pca, {"data": JPEGS, "labels": [[0], [1, 2], [2]]}),
            (meta | pca, (JPEGS, [(4, 4)] * 3, [("n1", 0), ("n2", 1), ("n3", None)])),
            (meta, (JPEGS, [0, 1, 2], ["n1", "n2", "n3"])),
            (meta | {"freq_to_id": {"sea": 0, "sky": 2}}, (JPEGS, [(4, 4)] * 3, [["Sea"], [], ["s k y", "x"]])),
            (meta | {"no_crop": True}, {"data": JPEGS, "labels": [0, 1, 2]}),
            ({"num_vis": 16, "num_colors": 1}, {"data": JPEGS, "labels": [[0], [2], [1]]}),
            (meta | {"data_mean": 99.5}, {"data": rows["data"], "labels": np.array([[1, 1, 0]] * 6)}),
            (meta | {"label_names2": ["x", "y"]}, {"data": pixels, "labels": [0, 1, 2] * 2, "labels2": [0, 1, 1] * 2}),
        ]
        self.of_nets = [  # which only nets that read them can
            (meta, {"data": pixels, "labels": np.arange(12.0).reshape(2, 6) / 7, "labels2": [[0.5, 1]] * 6}),
            (meta, {"data": JPEGS, "labels": [[0.5, 2.5]] * 3, "labels2": [[1, 0], [0, 1], [2, 1]]}),
            (meta, {"data": pixels, "labels": [np.ones((1, 6)), np.zeros((2, 6))]}),
        ]
        self.places = [(slots(meta), slots(part)) for meta, part in self.known]

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for which in range(len(self.known)) if clean else [rng.randrange(len(self.known))]:
            values = list(self.known[which])
            if not clean:
                wrong = rng.randrange(2)
                places = self.places[which][wrong]
                values[wrong] = mutate_tree(values[wrong], rng, places) if places else rng.choice(([], 3, {"num_vis": 5}))
            self.read(values, rng, {} if clean else rng.choice(self.options))

    def read(self, values: list, rng: random.Random, options: dict) -> None:
        by_name = dict(zip(("batches.meta", "data_batch_1"), values, strict=True))
        with mock.patch.object(pickles, "load", lambda path: by_name[Path(path).name]):
            for name in by_name:
                (self.folder / name).touch()
            use_batches(self.folder, rng, options)


class Targets(Batches):
    """Wrong values in a batch, read for nets that need labels of several matrices, or real values."""

    name = "targets"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known += self.of_nets
        self.places = [(slots(meta), slots(part)) for meta, part in self.known]
        self.needs = [needed_data(parse(LayerFiles(text, "net.cfg"))) for text in NETS]

    def read(self, values: list, rng: random.Random, options: dict) -> None:
        with suppress(ConvnetError):  # what is there need not be what is needed
            super().read(values, rng, options | {"needs": rng.choice(self.needs)})


def use_batches(folder: Path, rng: random.Random, options: dict) -> None:
    """Load a batch for training or testing, and pack its matrices."""
    request = Request(str(folder), batches=[1], training=rng.random() < 0.5, seed=rng.randrange(9), **options)
    request.color_noise = rng.choice((0.0, 0.1))
    request.classes = rng.choice((0, 3))
    name = rng.choice(("", "", "cifar", "image", "cifar-cropped"))
    with suppress(*([ConvnetError] if name else [])):  # another provider than that of the files may refuse them
        provider = open_provider(name, request)
        provider.description()
        batch = provider.batch(1, provider.numbers[0])
        for view in range(batch.views):
            for matrix in batch.minibatch(0, batch.cases, view):
                if not isinstance(matrix, np.ndarray):
                    C, S = matrix.crops.mean.shape[:2]
                    matrix.fill(BE, out := BE.empty((C * S * S, batch.cases)))
                    provider.images(BE.download(out))


class BatchBytes(Batches):
    """Damaged bytes in a batch or its description."""

    name = "batch-bytes"

    def read(self, values: list, rng: random.Random, options: dict) -> None:
        for name, value in zip(("batches.meta", "data_batch_1"), values, strict=True):
            with (self.folder / name).open("wb") as file:
                pickles.dump(value, file)
        use_batches(self.folder, rng, options)

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for which in range(len(self.known)) if clean else [rng.randrange(len(self.known))]:
            values = [self.dumped(value) for value in self.known[which]]
            if not clean:
                wrong = rng.randrange(2)
                values[wrong] = mutate_bytes(values[wrong], rng)
            for name, data in zip(("batches.meta", "data_batch_1"), values, strict=True):
                (self.folder / name).write_bytes(data)
            use_batches(self.folder, rng, {} if clean else rng.choice(self.options))

    @staticmethod
    def dumped(value) -> bytes:
        file = io.BytesIO()
        pickles.dump(value, file)
        return file.getvalue()
