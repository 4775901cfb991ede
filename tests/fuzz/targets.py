"""What is fuzzed: each target mutates something genuine and gives it to the readers and to what comes behind them."""

import io
import random
import shutil
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from convnet import pickles
from convnet.api.inputs import Preprocessor
from convnet.backends.cpu import Cpu
from convnet.checkpoint import Position, load, pack, restore_streams
from convnet.checkpoint.layer_dicts import stored_net
from convnet.cli import run
from convnet.data.images import color_axes
from convnet.data.pictures import decode
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.data.random import synthesize
from convnet.drawing.curves import Curves
from convnet.drawing.filters import filters_of, normalise
from convnet.errors import CheckpointError, ConvnetError, LayerFileError, NumericalError
from convnet.graph.analysis import layer_table
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import TARGETS as DIALECTS
from convnet.graph.writer import write_files
from convnet.language.files import read_text, shipped_folder
from convnet.layers.examples import CHAIN, CLASSES, DIMS, EXAMPLES, PARAMS
from convnet.net.dry_run import blank_inputs
from convnet.net.memory_check import check_memory
from convnet.net.net import Net
from convnet.options import Options
from convnet.pickles import Content
from convnet.training.costs import Outputs
from fuzz.mutations import mutate_bytes, mutate_text, mutate_tree, slots

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
BE = Cpu(threads=1)
NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=1
filters=2
filterSize=3
initW=0.1
neuron=relu
[fc]
type=fc
inputs=conv1
outputs=3
initW=0.1
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""
RATES = "[DEFAULT]\nepsW=dexp[base=0.01;tgtFactor=10;numSteps=3]\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0\n"
RATES += "superEps=0.01\n[conv1]\n[fc]\n[logprob]\ncoeff=1\n"


class Target:
    """Something to mutate and to read; ``case`` does so once."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def case(self, rng: random.Random, clean: bool = False) -> None:
        raise NotImplementedError


def saved() -> dict:
    """A checkpoint of a net that has made two of three minibatches between updates."""
    files = LayerFiles(NET, "net.cfg", RATES, "params.cfg")
    graph = build_graph(files, {0: 25, 1: 1, 2: 3}, 3)
    net = Net(graph, BE, 4, 1, None, 3)
    inputs = [np.ones((25, 4), np.float32), np.array([[0, 1, 2, 0]], np.float32), np.zeros((3, 4), np.float32)]
    costs = [net.train(inputs, 4) for _ in range(2)]
    position = Position(1, 2, 1, 2, costs[1], 4, 1, [(costs[0], 4)], [(costs[0], 4)], [6], [1])
    data = {"mean": np.zeros((1, 5, 5), np.float32), "side": 5, "label_names": ["a", "b", "c"]}
    return pack(net, files, position, Options.of({"mini": 4, "train_range": [1, 2], "test_freq": 1}), data)


def use(checkpoint) -> None:
    """Everything that is done with a checkpoint: shown, drawn, gone on with."""
    position = checkpoint.position()
    Options.of({}, checkpoint.options).check()
    outputs = Outputs.of_stored(checkpoint.layers)
    for costs, cases in position.train_outputs + position.test_outputs:
        outputs.shown(costs, cases)
    for name in position.train_outputs[0][0] if position.train_outputs else ():
        with suppress(ConvnetError):
            Curves.of(checkpoint, name, 0, True)
    for layer in checkpoint.layers.values():
        with suppress(ConvnetError):
            normalise(filters_of(layer, 0, 1))
    files = checkpoint.files("file")
    graph = build_graph(files, checkpoint.data_dims, checkpoint.classes, checkpoint.label_tree, checkpoint.generation)
    layer_table(graph)
    if sum(layer.outputs for layer in graph.layers.values()) > 10**6 or graph.parameters() > 10**6:
        return  # larger than anything it has arrays for
    check_memory(graph, [BE], 2, training=False)
    with checkpoint.blamed():
        net = Net(graph, BE, 2, 1, checkpoint.layers)
        restore_streams(net, checkpoint)
    with suppress(NumericalError):
        net.test(blank_inputs(graph, 2), 2)
    with suppress(NumericalError):
        net.train(blank_inputs(graph, 2), 2)
    preprocessor = Preprocessor.of(graph, checkpoint)
    with suppress(ConvnetError):
        preprocessor.matrix(np.zeros((1, preprocessor.size, preprocessor.size, preprocessor.channels), np.uint8))


class CheckpointBytes(Target):
    """A checkpoint of this program: no mutation may go unseen."""

    name = "checkpoint-bytes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        file = io.BytesIO()
        pickles.dump(saved(), file, checksum=True)
        self.data = file.getvalue()
        self.path = folder / "1.2"

    def case(self, rng: random.Random, clean: bool = False) -> None:
        data = self.data if clean else mutate_bytes(self.data, rng)
        self.path.write_bytes(data)
        if data == self.data:
            use(load(self.path))
            return
        try:
            load(self.path)
        except CheckpointError:
            return
        raise AssertionError("a damaged checkpoint was read")


class OldCheckpointBytes(CheckpointBytes):
    """A checkpoint of an earlier version of this program, without a checksum."""

    name = "old-checkpoint-bytes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        value = saved()
        value["model_state"]["convnet"]["version"] = 1
        file = io.BytesIO()
        pickles.dump(value, file)
        self.data = file.getvalue()

    def case(self, rng: random.Random, clean: bool = False) -> None:
        self.path.write_bytes(self.data if clean else mutate_bytes(self.data, rng))
        use(load(self.path))


class CheckpointTree(Target):
    """Wrong values somewhere in a checkpoint whose checksum is right."""

    name = "checkpoint-tree"

    def values(self) -> list:
        file = io.BytesIO()
        pickles.dump(saved(), file)
        return [pickles.loads(file.getvalue())]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [(value, slots(value)) for value in self.values()]

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for value, places in self.known if clean else [rng.choice(self.known)]:
            content = Content(value if clean else mutate_tree(value, rng, places), True, 0)
            with mock.patch.object(pickles, "read", lambda _, content=content: content):
                use(load(self.folder / "1.2"))


class Runs(CheckpointTree):
    """``convnet run`` from a checkpoint with wrong values."""

    name = "runs"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        random = np.random.RandomState(0)
        for number in (1, 2, 3):
            part = {"data": random.randint(0, 256, (25, 5)).astype(np.uint8), "labels": [0, 1, 2, 0, 1]}
            with (folder / f"data_batch_{number}").open("wb") as file:
                pickles.dump(part, file)
        with (folder / "batches.meta").open("wb") as file:
            pickles.dump({"label_names": ["a", "b", "c"], "num_vis": 25, "data_mean": np.ones(25)}, file)
        (folder / "net.cfg").write_text(NET)
        (folder / "params.cfg").write_text(RATES)

    def case(self, rng: random.Random, clean: bool = False) -> None:
        value, places = self.known[0]
        content = Content(value if clean else mutate_tree(value, rng, places), True, 0)
        file = self.folder / "run" / "1.2"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        options = ["--load-file", str(file.parent), "--data-path", str(self.folder), "--backend", "cpu", "--threads", "1"]
        mode = rng.choice(
            (["--max-batches", "1", "--epochs", "3", "--test-freq", "1"], ["--test-only"], ["--max-batches", "1"])
        )
        said = io.StringIO()
        with mock.patch.object(pickles, "read", lambda _: content), redirect_stdout(said), redirect_stderr(said):
            status = run.main([*options, *mode])
        shutil.rmtree(file.parent)
        assert not clean or status == 0, said.getvalue()


class OriginalTree(CheckpointTree):
    """Wrong values somewhere in the originals' checkpoints, and in bare layers."""

    name = "original-tree"

    def values(self) -> list:
        values = [pickles.load(FIXTURES / f"ckpt-{year}.pickle") for year in (2011, 2012, 2014)]
        return [*values, values[0]["model_state"]["layers"], values[2]["model_state"]["layers"]]


class OriginalBytes(Target):
    """Damaged bytes in the originals' files."""

    name = "original-bytes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        names = ("ckpt-2011.pickle", "ckpt-2011-zip.bin", "ckpt-2012.pickle", "ckpt-2014.pickle")
        self.known = [(FIXTURES / name).read_bytes() for name in names]
        self.path = folder / "1.2"

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for data in self.known if clean else [mutate_bytes(rng.choice(self.known), rng)]:
            self.path.write_bytes(data)
            use(load(self.path))


def encoded(kind: str, mode: str = "RGB", side: int = 4) -> bytes:
    """A small picture in a format."""
    pixels = np.random.RandomState(0).randint(0, 256, (side, side, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


JPEGS = [encoded("JPEG"), encoded("JPEG", "L"), encoded("JPEG")]


class Batches(Target):
    """Wrong values or bytes in a batch or its description."""

    name = "batches"
    options = [{}, {"inner_size": 2}, {"crop_border": 1}, {"scalar_mean": 100.0}, {"multiview": True, "inner_size": 2}]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pixels = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8)
        meta = {"label_names": ["a", "b", "c"], "num_vis": 48, "data_mean": np.ones((48, 1), np.float32), "num_colors": 3}
        pca = {"color_pca": color_axes(pixels.T.reshape(-1, 3).astype(float)), "label_offset": 0, "batch_size": 6}
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


class Pictures(Target):
    """Damaged pictures of every format."""

    name = "pictures"
    kinds = [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"),
             ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F"), ("WEBP", "RGB"), ("PPM", "RGB"), ("PPM", "L")]  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = []
        for kind, mode in self.kinds:
            with suppress(KeyError, OSError, ValueError):
                self.known.append(encoded(kind, mode, 9))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        data = rng.choice(self.known)
        picture = decode(io.BytesIO(data if clean else mutate_bytes(data, rng)), 8, rng.random())
        assert picture is None or picture.shape == (8, 8, 3)


PIECES = ["", "0", "-1", "1", "3", "7", "2.5", "10000000000", "1e999", "nan", "text", "1,2", "1,2,", "[", "]", "dexp[",
          "%", "%(x)s", "é", "\x00", "\ufeff", "9" * 30, "true", '"', "'''", "a.b = 1", ";", "#", "\r", "\t", "[DEFAULT]",
          "[x]", "fc", "data", "relu", "tanh[1e308,1e308]", "fc[99999999999]", "fc[0]", "linear[base=1;tgtFactor=0]",
          "initw.makew(x)"]  # fmt: skip


class LayerTexts(Target):
    """Accidents in layer files: of examples of every type of layer, and of shipped files."""

    name = "layer-files"
    ending = ".cfg"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [(CHAIN + definition, PARAMS + (params or "")) for definition, params in EXAMPLES.values()]
        shipped = shipped_folder("layers-cfg")
        for definition in ("layers-digits.cfg", "layers-cifar10-13pct.cfg"):
            params = definition.replace("layers", "layer-params", 1)
            self.known.append((read_text(shipped / definition), read_text(shipped / params)))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        pair = list(rng.choice(self.known))
        if not clean:
            wrong = rng.randrange(2)
            pair[wrong] = mutate_text(pair[wrong], rng, PIECES)
            if rng.random() < 0.1:
                pair[wrong] = mutate_bytes(pair[wrong].encode(), rng).decode("utf-8", "replace")
        files = LayerFiles(pair[0], f"net{self.ending}", rng.choice((pair[1], pair[1], None)), f"params{self.ending}")
        dialect = rng.choice(("auto", "2011", "2012", "2014"))
        try:
            builder = parse(files, dialect, rng.random() < 0.2)
            graph = infer_data(builder).graph if rng.random() < 0.5 else builder.shape(DIMS, CLASSES, None)
        except LayerFileError as error:
            assert all(problem.render(color=True) for problem in error.problems)
            return
        assert layer_table(graph) and stored_net(graph)
        assert write_files(parse(files, dialect), rng.choice(list(DIALECTS))).definition


class TomlTexts(LayerTexts):
    """Accidents in layer files written as TOML."""

    name = "toml"
    ending = ".toml"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [self.converted(*pair) for pair in self.known]
        self.known = [pair for pair in self.known if pair]

    def converted(self, definition: str, params: str):
        try:
            written = write_files(parse(LayerFiles(definition, "d.cfg", params, "p.cfg")), "toml")
        except LayerFileError:
            return None
        return written.definition, written.params or ""


class Trained(Target):
    """Layer files of accidents whose nets are small enough make one step on random data."""

    name = "steps"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [(NET, RATES)]
        for definition, params in EXAMPLES.values():
            self.known.append((CHAIN + definition, PARAMS + (params or "")))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        definition, params = self.known[0] if clean else rng.choice(self.known)
        if not clean:
            definition, params = mutate_text(definition, rng, PIECES[:12]), mutate_text(params, rng, PIECES[:12])
        fitted = synthesize(parse(LayerFiles(definition, "net.cfg", params, "params.cfg")))
        graph = fitted.graph
        if sum(layer.outputs for layer in graph.layers.values()) > 10**5 or graph.parameters() > 10**5:
            return
        if any("initw" in str(getattr(layer, "initWFunc", "")) for layer in graph.layers.values()):
            return
        with suppress(NumericalError):
            Net(graph, BE, 2, 1).train(fitted.matrices(2), 2)


_ALL = [
    CheckpointBytes, OldCheckpointBytes, CheckpointTree, OriginalTree, OriginalBytes, Batches, BatchBytes, Pictures, Runs,
    LayerTexts, TomlTexts, Trained,
]  # fmt: skip
TARGETS: dict[str, type[Target]] = {t.name: t for t in _ALL if FIXTURES.is_dir() or not t.name.startswith("original")}
