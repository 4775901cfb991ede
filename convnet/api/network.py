"""Nets in a program or a notebook: ``convnet.load`` and ``convnet.build`` give a ``Network``.

>>> import numpy as np
>>> import convnet
>>> net = convnet.build("layers-digits.cfg", side=8, seed=1)
>>> images = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 1), np.uint8)
>>> net.predict(images).shape
(5, 10)

Images are NumPy arrays (N, H, W, channels) of pixels 0 to 255, Pillow images, paths, or lists of these; larger ones are
cut in the middle, and the mean of the training pictures is subtracted. A matrix of floats (features, N) goes to the net
as it is. Results have one row per image. ``docs/python.md`` is a tour.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convnet.api.arguments import MOST_PIXELS, functions, numbers, path_of, whole_number, word
from convnet.api.gradients import cost_called, gradient, output_numbers
from convnet.api.inputs import Arrays, Images, Mean, Preprocessor
from convnet.api.labels import label_matrices
from convnet.api.notebook import Drawing, html_table
from convnet.api.progress import ProgressLine
from convnet.api.weights import LayerWeights, WeightsByLayer
from convnet.backends import MATH, NAMES, make_backend
from convnet.checkpoint import Foreign, Position, add_costs, find_latest, format_for, pack, restore_streams, write_checkpoint
from convnet.checkpoint import load as load_checkpoint
from convnet.data.adopt import adopt
from convnet.data.images import Matrix
from convnet.data.provider import Provider, Request, batch_bounds, class_names
from convnet.data.providers import open_provider
from convnet.data.random import synthesize
from convnet.drawing.picture import picture_of
from convnet.drawing.svg import svg
from convnet.errors import CheckpointError, ConvnetError, DataError, OptionError
from convnet.generation import GENERATIONS
from convnet.graph.graph import Graph
from convnet.graph.learning import check_learning
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.needs import label_index, predicted_by
from convnet.graph.table import layer_table
from convnet.language.files import find, read_text
from convnet.layers.base import written_sizes
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.net.dry_run import blank_inputs
from convnet.net.initial import draw_functions, initial_state
from convnet.net.memory_check import check_memory
from convnet.net.net import Costs, Net
from convnet.options import Options
from convnet.texts import counted, printable, printable_lines
from convnet.training.costs import Outputs
from convnet.training.evaluator import Tester, output_layer
from convnet.training.events import BatchEnd, Callback, Event
from convnet.training.plan import ScheduledBatch
from convnet.training.stopping import StopTraining
from convnet.training.trainer import Trainer

__all__ = ["Network", "StopTraining", "build", "load"]

_LOG = logging.getLogger("convnet")


def load(
    path: str | Path,
    *,
    mean: Mean = None,
    minibatch: int = 128,
    backend: str = "auto",
    threads: int = 0,
    math: str = "float32",
) -> Network:
    """Return the net of a checkpoint of any generation: a file, or the newest in a folder. Nothing in it is executed.

    ``mean`` is what to subtract from pictures: an array, one number, or a folder with batches.meta; without it, that of
    the checkpoint, or of the data folder it names. ``backend`` is "auto" (a GPU where one runs), "reference", "cpu" or
    "cuda"; ``threads`` are those of the processor, 0 for all; ``math`` is how products are computed, "float32", "exact",
    "fast" or "tf32" as for ``run --math``. Raises ``CheckpointError``.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> file = convnet.build("layers-digits.cfg", side=8).save(folder + "/1.1")
    >>> convnet.load(folder)
    <Network layers-digits.cfg: 1x8x8 in, 10 classes, 38,282 weights>
    """
    minibatch = whole_number("minibatch", minibatch, 1)
    file, checkpoint, remarks = find_latest(path_of("path", path, CheckpointError), load_checkpoint)
    for remark in remarks:
        _LOG.warning("%s", remark)
    files = checkpoint.files(str(file))
    graph = build_graph(files, dialect=checkpoint.generation, **checkpoint.sizes)
    with checkpoint.named_in_errors():
        net = _make_net(graph, minibatch, int(checkpoint.carried.get("seed", 0)), checkpoint.layers, backend, threads, math)
        restore_streams(net, checkpoint)
    network = Network(net, files, Preprocessor.of(graph, checkpoint), checkpoint.position())
    network._options, network._foreign = checkpoint.options, Foreign(checkpoint, graph)
    if mean is not None:
        network.mean = mean
    return network


def build(  # noqa: PLR0913
    definition: str | Path,
    params: str | Path | None = None,
    *,
    side: int = 0,
    features: int = 0,
    classes: int = 0,
    seed: int = 0,
    minibatch: int = 128,
    dialect: str = "auto",
    backend: str = "auto",
    threads: int = 0,
    math: str = "float32",
    allow_init_code: bool = False,
    init_funcs: str = "call",
) -> Network:
    """Return a net with fresh weights from layer files: paths, names of shipped files, or their text.

    ``side`` is that of the pictures it is for (by default what [run] says, else 224 with 100 classes and more, else 32 or
    the next that fits), ``features`` are the values of a case that is no picture, and ``classes`` is what num_classes
    stands for in the definition.
    ``backend``, ``threads`` and ``math`` as for ``load``. Functions for initial weights that lie beside the file are run
    only with ``allow_init_code``; with ``init_funcs="draw"`` none is called, and weights are drawn. Raises
    ``LayerFileError`` with every mistake in the files.

    >>> convnet.build("layers-cifar10-26pct.cfg", backend="reference")
    <Network layers-cifar10-26pct.cfg: 3x32x32 in, 10 classes, 145,578 weights>
    """
    minibatch, seed = whole_number("minibatch", minibatch, 1), whole_number("seed", seed)
    side, classes = whole_number("side", side or 0, 0, MOST_PIXELS), whole_number("classes", classes or 0, 0)
    features = whole_number("features", features or 0, 0)
    dialect = word("dialect", dialect, ("auto", *GENERATIONS))
    files = _layer_files(definition, params)
    graph = synthesize(parse(files, dialect), (side,) if side else (), classes, features).graph
    if word("init_funcs", init_funcs, ("call", "draw")) == "draw":
        for line in draw_functions(graph):
            _LOG.warning("%s", line)
    net = _make_net(graph, minibatch, seed, None, backend, threads, math, bool(allow_init_code))
    return Network(net, files, Preprocessor.of(graph), Position())


def _make_net(
    graph: Graph, minibatch: int, seed: int, state: Any, backend: str, threads: int, math: str, may_run_code: bool = False
) -> Net:
    number = whole_number("threads", threads, 0)
    be = make_backend(word("backend", backend, NAMES), number, math=word("math", math, MATH))
    check_memory(graph, [be], minibatch, training=False)
    return Net(graph, be, minibatch, seed, initial_state(graph, seed, may_run_code) if state is None else state)


def _layer_files(definition: str | Path, params: str | Path | None) -> LayerFiles:
    """Return layer files from paths or from texts, which have several lines."""
    is_text = isinstance(definition, str) and "\n" in definition
    if not isinstance(params, str) or ("\n" not in params and not (is_text and params == "")):  # a path, or None
        beside = path_of("params", params, OptionError) if params is not None else None
        if not is_text:
            return LayerFiles.open(path_of("definition", definition, OptionError), beside)
        path = find(beside) if beside else None
        return LayerFiles(str(definition), "definition", read_text(path) if path else None, str(path or "parameters"))
    if is_text:
        return LayerFiles(str(definition), "definition", params, "parameters")
    files = LayerFiles.open(path_of("definition", definition, OptionError))
    return replace(files, params=params, params_path="parameters")


class Network:
    """A net that runs, from ``convnet.load`` or ``convnet.build``.

    Images are arrays (N, H, W, channels) of pixels 0 to 255, Pillow images, paths, or lists of these. ``graph`` holds the
    layers, ``weights`` their numbers, ``history`` the costs of every batch trained, ``classes`` the names of what is told
    apart. ``print(net)`` is a table of the layers.
    """

    def __init__(self, net: Net, files: LayerFiles, preprocessor: Preprocessor, position: Position) -> None:
        self.net, self.files, self.preprocessor, self.position = net, files, preprocessor, position
        self.graph: Graph = net.graph
        self._outputs = Outputs.of(self.graph)
        self._options: dict[str, Any] = {}  # of the run that saved it
        self._foreign = Foreign()

    def __repr__(self) -> str:
        inputs, name = self.preprocessor, Path(self.files.definition_path).name
        image = f"{inputs.channels}x{inputs.size}x{inputs.size}" if inputs.size else f"{inputs.features} values"
        outputs = self.graph.layers[self.prediction_layer].outputs
        classes = counted(outputs, "output" if self.is_regression else "class")
        return f"<Network {printable(name)}: {image} in, {classes}, {self.graph.parameters():,} weights>"

    def __str__(self) -> str:
        return printable_lines(layer_table(self.graph, self.net.minibatch, shutil.get_terminal_size().columns))

    def _repr_html_(self) -> str:
        return html_table(self.graph, repr(self)[1:-1])

    def picture(self) -> Drawing:
        """Return the graph as a picture, which a notebook shows; its ``svg`` is what ``convnet draw`` writes.

        >>> net.picture().svg[:4]
        '<svg'
        """
        return Drawing(svg(picture_of(self.graph, Path(self.files.definition_path).stem, self.net.minibatch)))

    # -- running

    def predict(self, images: Images, ten_views: bool = False) -> np.ndarray:
        """Return what the first cost of a softmax reads, (N, classes) float32: probabilities; without one, the first cost.

        ``ten_views`` takes the mean over the corners and the middle of each picture and their mirrors, as the paper did.
        Pictures have to be larger than the net wants for views to differ.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.predict(np.zeros((2, 8, 8, 1), np.uint8)).sum(axis=1)
        array([1., 1.], dtype=float32)
        """
        layer = self.prediction_layer
        if not ten_views:
            return self.features(images, layer)
        self._check_pictures_suffice(layer)
        parts = [np.empty((0, self.graph.layers[layer].outputs), np.float32)]
        for some in self._minibatches(images):
            parts.append(np.mean([self._run(matrix, layer) for matrix in self.preprocessor.views(some)], axis=0))
        return np.concatenate(parts)

    def features(self, images: Images, layer: str) -> np.ndarray:
        """Return the outputs of ``layer``, (N, outputs) float32, as in testing: no unit is dropped.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.features(np.zeros((2, 8, 8, 1), np.uint8), "fc64").shape
        (2, 64)
        """
        name = output_layer(self.graph, layer)
        self._check_pictures_suffice(name)
        parts = [np.empty((0, self.graph.layers[name].outputs), np.float32)]
        parts += [self._run(self.preprocessor.packable(some), name) for some in self._minibatches(images)]
        return np.concatenate(parts)

    def input_gradient(self, images: Images, labels: Any = None, *, of: str = "", output: Any = None) -> np.ndarray:
        """Return by how much a cost or an output changes with each pixel: (N, side, side, channels), or (N, features).

        With ``labels``, as for ``test``, of the cost called ``of``. With ``output``, the number or the name of a class or
        one for each image, of that output of the layer ``of``. ``""`` is what ``predict`` returns, and its cost. Units are
        as in testing; of larger pictures it is the middle that the net sees. Raises ``ConvnetError`` where none arrives.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.input_gradient(np.zeros((2, 8, 8, 1), np.uint8), [3, 7]).shape
        (2, 8, 8, 1)
        >>> net.input_gradient(np.zeros((2, 8, 8, 1), np.uint8), of="fc10", output=3).shape
        (2, 8, 8, 1)
        """
        if labels is not None and output is not None:
            raise OptionError("give labels, for the gradient of a cost, or output, for that of a layer's output")
        matrices = [self.preprocessor.matrix(some) for some in self._minibatches(images)]
        cases = sum(matrix.shape[1] for matrix in matrices)
        if output is not None:
            layer = output_layer(self.graph, of or self.prediction_layer)
            self._check_pictures_suffice(layer)
            chosen = output_numbers(output, cases, self.graph.layers[layer].outputs, self.classes)
            found = gradient(self.net, layer, matrices, outputs=chosen)
        else:
            cost = cost_called(self.graph, of, self.prediction_layer)
            if labels is None:
                self._check_pictures_suffice(cost)
            others = [] if labels is None else label_matrices(labels, self.graph)
            for matrix in others:
                if matrix.shape[1] != cases:
                    raise DataError(f"{counted(cases, 'picture')} but {counted(matrix.shape[1], 'label')}")
            found = gradient(self.net, cost, matrices, others)
        C, S = self.preprocessor.channels, self.preprocessor.size
        return found.reshape(C, S, S, cases).transpose(3, 1, 2, 0) if S else found.T

    def test(self, images: Images | Provider, labels: Any = None) -> Costs:
        """Return what a run would print of these cases: ``{'logprob': [mean cost, error, top-k error]}``.

        ``images`` may also be a folder of batches, whose test batches are used: the last, if it names none. ``labels``
        are class numbers (N,), or targets (rows, N); where a net reads several matrices of them, a dict of these by the
        names of its data layers.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> [round(value, 3) for value in net.test(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 3])["logprob"][:1]]
        [2.303]
        """
        provider = self._provider(images, labels, training=False)
        tester = Tester(self.net, provider)
        return self._outputs.shown(*add_costs([tester.batch(number) for number in provider.default_ranges()[1]]))

    def train(
        self,
        images: Images | Provider,
        labels: Any = None,
        epochs: int = 1,
        *,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> list[Costs]:
        """Train for ``epochs``; returns for each what a run would print of it, measured while training.

        Arguments as for ``test``; of a folder of batches those for training are used. Pictures larger than the net's are cut
        and mirrored at random. The first pictures a net is trained on give the mean to subtract, unless one is set.
        Learning rates follow their schedules over these epochs.

        ``progress`` shows one line that renews itself. ``callbacks`` are called with each event of
        ``convnet.training.events``, such as ``BatchEnd``; one that raises ``convnet.StopTraining`` ends training there,
        and what was trained counts.

        >>> net = convnet.build("layers-digits.cfg", side=8, minibatch=16)
        >>> images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 1), np.uint8)
        >>> costs = net.train(images, images[:, 0, 0, 0] // 26, epochs=2)
        >>> len(costs), list(costs[0])
        (2, ['logprob'])
        """
        check_learning(self.graph, self.files)
        epochs = whole_number("epochs", epochs, 1)
        others = functions("callbacks", callbacks)
        before = replace(self.preprocessor)
        try:
            if before.mean is None and not isinstance(images, Provider | str | Path):
                self.preprocessor.fit_mean(images)
            provider = self._provider(images, labels, training=True)
        except ConvnetError:
            self.preprocessor = before  # nothing is learnt of data that do not fit
            raise
        numbers = provider.default_ranges()[0]
        first, size = self.position.epoch + 1, len(numbers)
        visits = epochs * size
        schedule = (ScheduledBatch(first + at // size, numbers[at % size], at / visits) for at in range(visits))
        done: list[tuple[Costs, int]] = []  # of every batch, which a position adds up when they are very many

        def collect(event: Event) -> None:
            if isinstance(event, BatchEnd):
                done.append((event.costs, event.cases))

        line = ProgressLine(self._outputs, visits, first, epochs)
        self.position.drop_batch()
        try:
            Trainer(self.net, provider, self.position, [collect, *([line] if progress else []), *others]).train(schedule)
        finally:
            line.close()
            self.position.drop_batch()
        return [self._outputs.shown(*add_costs(done[start : start + size])) for start in range(0, len(done), size)]

    # -- state

    @property
    def weights(self) -> Mapping[str, LayerWeights]:
        """Weights by layer name, as NumPy arrays in the shapes of checkpoints; assign to change them.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.weights["conv1"][0].shape, net.weights["conv1"].biases.shape
        ((9, 16), (16, 1))
        >>> net.weights["conv1"].biases = np.ones((16, 1))
        """
        return WeightsByLayer(self.net)

    @property
    def mean(self) -> np.ndarray | None:
        """What is subtracted from pictures, (channels, size, size); set an array, a number, or a folder of batches."""
        return self.preprocessor.mean

    @mean.setter
    def mean(self, value: Mean) -> None:
        self.preprocessor.set_mean(value)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, one for each column of ``predict``: those of the data, numbers where these name none.

        >>> convnet.build("layers-digits.cfg", side=8).classes[:3]
        ['0', '1', '2']
        """
        costs = [cost for cost in self.graph.costs if cost.sources[-1].name == self.prediction_layer]
        index = max(map(label_index, costs), default=1)
        known = self.preprocessor.label_names if index < 2 else self.preprocessor.head_names.get(str(index), [])
        return class_names(known, self.graph.layers[self.prediction_layer].outputs)

    @property
    def is_regression(self) -> bool:
        """Whether the net is compared with real values, and no cost is about classes."""
        kinds = {need.kind for need in self.preprocessor.needs.values()}
        return "value" in kinds and not kinds & {"label", "target"}

    @property
    def prediction_layer(self) -> str:
        """Name of the layer whose outputs ``predict`` returns; in a net without costs the last."""
        costs = self.graph.costs
        cost = next((cost for cost in costs if cost.sources[-1].type == "softmax"), next(iter(costs), None))
        return predicted_by(cost).name if cost else list(self.graph.layers)[-1]

    @property
    def history(self) -> list[Costs]:
        """What was printed of every batch trained so far, by this program or before.

        Of more than 65,536 batches the older ones are means over two, four, and so on.
        """
        return [self._outputs.shown(*pair) for pair in self.position.train_outputs]

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint that ``convnet.load`` and ``convnet run --load-file`` go on from; raises ``CheckpointError``.

        >>> import tempfile
        >>> file = net.save(tempfile.mkdtemp() + "/1.1")
        >>> convnet.load(file).graph.parameters() == net.graph.parameters()
        True
        """
        path = path_of("path", path, CheckpointError)
        options = {
            "layer_def": self.files.definition_path,
            "layer_params": self.files.params_path,
            "mini": self.net.minibatch,
            "seed": self.net.seed,
        }
        data, stored = self.preprocessor.metadata(), Options.of(options, self._options)
        form = format_for(stored.checkpoint_format, self.graph)
        value = pack(self.net, self.files, self.position, stored, form, data, foreign=self._foreign)
        write_checkpoint(path, value)
        return path

    # -- inside

    def _provider(self, images: Images | Provider, labels: Any, training: bool) -> Provider:
        needs = self.preprocessor.needs
        if isinstance(images, Provider):
            provider = images
        elif labels is None and isinstance(images, str | Path):
            request = self.preprocessor.request(str(images), seed=self.net.seed, classes=len(self.classes))
            provider = open_provider("", request)
            if training:
                provider = open_provider("", replace(request, batches=provider.default_ranges()[0], training=True))
                if self.preprocessor.mean is None and self.preprocessor.value_mean is None:
                    self.preprocessor.load_metadata(provider.description())
            for line in [*provider.problems, *adopt(provider, self.preprocessor.metadata())]:
                _LOG.warning(line)
        elif labels is None and max(needs, default=0):
            raise DataError("pictures need their labels beside them; only a folder of batches brings its own")
        else:
            others = [] if labels is None else label_matrices(labels, self.graph)
            provider = Arrays(self.preprocessor, images, others, Request(training=training, seed=self.net.seed))
        for index, need in needs.items():
            if provider.dims.get(index) != need.rows:
                has, wanted = provider.dims.get(index, "no"), f"the net needs {need.rows} for {need.where}"
                raise DataError(f"matrix {index} of {provider.where} has {has} values per case, {wanted}")
        self._check_classes(provider)
        return provider

    def _check_classes(self, provider: Provider) -> None:
        """Raise ``DataError`` for data of more or fewer classes than the net tells apart."""
        for cost in self.graph.costs:
            count, predicted = provider.heads.get(label_index(cost), provider.classes), cost.num_inputs[-1]
            if count and cost.first_input == "label" and predicted != count:
                text = f"{provider.where} has {counted(count, 'class')}, cost '{cost.name}' knows {predicted}"
                text += written_sizes(cost.sources[-1])
                raise DataError(f"{text}; outputs=num_classes, and convnet.build(..., classes={count}), would fit")

    def _run(self, matrix: Matrix, layer: str) -> np.ndarray:
        """Return outputs of ``layer`` for a minibatch, (N, outputs); for labels, of which they are independent, zeros."""
        cases = matrix.shape[1]
        self.net.forward([matrix, *blank_inputs(self.graph, cases)[1:]], cases, Mode.FEATURE, keep=[layer])
        return self.net.output(layer).T

    def _minibatches(self, images: Images) -> Iterator[Images]:
        """Yield ``images`` in minibatches."""
        if isinstance(images, np.ndarray) and images.ndim == 2:
            numbers("data", images)
            for start, stop in batch_bounds(images.shape[1], self.net.minibatch):
                yield images[:, start:stop]
            return
        several = isinstance(images, Sequence) and not isinstance(images, str)
        several |= isinstance(images, np.ndarray) and (images.ndim == 4 or images.shape[-1] != self.preprocessor.channels)
        images = images if several else [images]
        for start, stop in batch_bounds(len(images), self.net.minibatch):
            yield images[start:stop]

    def _check_pictures_suffice(self, layer: str) -> None:
        """Raise ``DataError`` if a layer's outputs depend on more than data matrix 0, the pictures."""
        needed = {layer}
        for other in reversed(self.graph.layers.values()):  # each after those that it reads
            if other.name in needed:
                needed.update(source.name for source in other.sources)
                if isinstance(other, Data) and other.dataIdx != 0:
                    raise DataError(
                        f"pictures alone do not make the outputs of '{layer}': they depend on data '{other.name}'"
                    )
