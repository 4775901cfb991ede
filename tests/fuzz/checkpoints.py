"""Targets: pickles, and checkpoints with all that is done with them."""

import io
import random
import shutil
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import numpy as np
from nets import DATA, cost_of

from convnet import pickles
from convnet.api.inputs import Preprocessor
from convnet.checkpoint import Position, format_for, load, pack, restore_streams
from convnet.cli import main, run
from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.filters import filters_of, normalise
from convnet.errors import CheckpointError, ConvnetError, NumericalError
from convnet.graph.glossary import glossary, words_of
from convnet.graph.loading import LayerFiles, build_graph
from convnet.graph.table import layer_table
from convnet.net.dry_run import blank_inputs
from convnet.net.memory_check import check_memory
from convnet.net.net import Net
from convnet.options import Options
from convnet.pickles import Content, UnsafePickle
from convnet.training.costs import Outputs
from convnet.training.history import History
from fuzz.mutations import mutate_bytes, mutate_tree, slots
from fuzz.target import BE, Target

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
NET = f"""{DATA}[conv1]
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
{cost_of("fc")}"""
RATES = "[DEFAULT]\nepsW=dexp[base=0.01;tgtFactor=10;numSteps=3]\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0\n"
RATES += "superEps=0.01\n[conv1]\n[fc]\n[logprob]\ncoeff=1\n"


def saved() -> dict:
    """A checkpoint of a net that has made two of three minibatches between updates."""
    files = LayerFiles(NET, "net.cfg", RATES, "params.cfg")
    graph = build_graph(files, {0: 25, 1: 1, 2: 3}, 3)
    net = Net(graph, BE, 4, 1, None, 3)
    inputs = [np.ones((25, 4), np.float32), np.array([[0, 1, 2, 0]], np.float32), np.zeros((3, 4), np.float32)]
    costs = [net.train(inputs, 4) for _ in range(2)]
    under_way = {"minibatches": 2, "costs": costs[1], "cases": 4, "at_epoch": 1, "at_batch": 3}
    tests = {"tests_done": 1, "test_outputs": [(costs[0], 4)], "test_batches": [6], "tests_at": [1]}
    position = Position(1, 2, 1, **under_way, train_outputs=[(costs[0], 4)], **tests)
    data = {"mean": np.zeros((1, 5, 5), np.float32), "side": 5, "label_names": ["a", "b", "c"]}
    options = Options.of({"mini": 4, "train_range": [1, 2], "test_freq": 1})
    return pack(net, files, position, options, format_for(options.checkpoint_format, graph), data)


def use(checkpoint) -> None:
    """Everything that is done with a checkpoint: shown, drawn, gone on with."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main(["explain", str(checkpoint.path)]) in (0, 1)
    position = checkpoint.position()
    Options.of({}, checkpoint.options).check()
    outputs = Outputs.of_stored(checkpoint.layers)
    for costs, cases in position.train_outputs + position.test_outputs:
        outputs.shown(costs, cases)
    history, _ = History.of_checkpoint(checkpoint)
    for cost in history.costs:
        curve_scene([history], cost)
    for layer in checkpoint.layers.values():
        with suppress(ConvnetError):
            normalise(filters_of(layer, 0, 1))
    files = checkpoint.files("file")
    graph = build_graph(files, checkpoint.data_dims, checkpoint.classes, checkpoint.label_tree, checkpoint.generation)
    assert layer_table(graph) and glossary(words_of(graph), 40)
    if sum(layer.outputs for layer in graph.layers.values()) > 10**6 or graph.parameters() > 10**6:
        return  # larger than anything it has arrays for
    check_memory(graph, [BE], 2, training=False)
    with checkpoint.named_in_errors():
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


class Pickles(Target):
    """Programs of opcodes at random, most of them pieces of real files."""

    name = "pickles"
    pieces = [
        b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"coptions\nOption\n",
        b"c_codecs\nencode\n", b"c__builtin__\nset\n", b"ccollections\nOrderedDict\n", b"cnumpy.core.multiarray\nscalar\n",
        b"cnumpy._core.numeric\n_frombuffer\n", b"c__builtin__\nbytes\n", b"ioptions\nOption\n", b"U\x02f4", b"U\x02O8",
        b"U\x02U1", b"U\x01<", b"K\x00", b"K\x01", b"(K\x01t", b"U\x08AAAAAAAA", b"T\x00\x02\x00\x00" + b"z" * 512,
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", b"(K\x00tU\x01btR", b"X\x01\0\0\0a",
        b")R", b"\x85R", b"\x86R", b"tR", b"}U\x01aK\x01s", b"]K\x01a",
        b"G\x7f\xf0\0\0\0\0\0\0", b"S'a'\n", b"Va\n", b"I01\n", b"L5L\n",
        b"F1.5\n", b"p2\n", b"g2\n", b"q\x00", b"q\x01", b"h\x00", b"h\x01",
        *(bytes([opcode]) for opcode in b"N(uesobt012\x81\x85\x86\x8f\x90\x94"),
    ]  # fmt: skip

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for _ in range(1 if clean else 20):
            program = b"N" if clean else b"".join(rng.choices(self.pieces, k=rng.randrange(1, 40)))
            with suppress(UnsafePickle):
                pickles.loads(b"\x80\x02" + program + (b"" if rng.random() < 0.1 else b"."))
