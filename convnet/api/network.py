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

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnet import options as declared
from convnet import pickles
from convnet.api.inputs import Arrays, Feeding, Images, Mean, label_matrices
from convnet.api.weights import LayerWeights, WeightsByLayer
from convnet.backends import make_backend
from convnet.checkpoint import find_latest, history_of, layer_files, pack, position_of, restore_streams, unpack_layers
from convnet.checkpoint import load as read_checkpoint
from convnet.checkpoint.definition import generation_of, stored_dims, stored_tree, written_files
from convnet.checkpoint.format import tree_of
from convnet.data.provider import Provider, Request, batch_bounds, minibatches
from convnet.data.providers import open_provider
from convnet.data.random import synthesize
from convnet.errors import CheckpointError, ConvnetError, DataError, did_you_mean
from convnet.graph.analysis import layer_table
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.layers.modes import Mode
from convnet.net.memory_check import check_memory
from convnet.net.net import Net
from convnet.storage import write_atomically
from convnet.training.costs import Costs, Outputs, add_costs
from convnet.training.trainer import Plan, Position


def load(path: str | Path, *, mean: Mean = None, minibatch: int = 128, backend: str = "auto", threads: int = 0) -> Network:
    """The net of a checkpoint of any generation: a file, or the newest in a folder. Nothing in it is executed.

    ``mean`` is what to subtract from pictures: an array, one number, or a folder with batches.meta; without it, that of
    the checkpoint, or of the data folder it names. Raises ``CheckpointError``.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> file = convnet.build("layers-digits.cfg", side=8).save(folder + "/1.1")
    >>> convnet.load(folder)
    <Network layers-digits.cfg: 1x8x8 in, 10 classes, 38,282 weights>
    """
    file, checkpoint, _ = find_latest(path, read_checkpoint)
    layers, own = unpack_layers(checkpoint), checkpoint["model_state"].get("convnet")
    if own:
        files, dims, classes, tree = layer_files(checkpoint), _numbered(own["data_dims"]), own["num_classes"], tree_of(own)
        dialect = pickles.text_of(own["dialect"])
    else:
        files, dims, classes, tree = written_files(layers, str(file)), stored_dims(layers), None, stored_tree(layers)
        dialect = generation_of(layers)
    graph = build_graph(files, dims, classes, tree, dialect)
    be = make_backend(backend, threads)
    check_memory(graph, [be], minibatch, training=False)
    net = Net(graph, be, minibatch, int((own or {}).get("seed", 0)), layers)
    restore_streams(net, checkpoint)
    position = Position.restored(history_of(checkpoint), position_of(checkpoint), 1)
    network = Network(net, files, Feeding.of(graph, checkpoint), position)
    if mean is not None:
        network.mean = mean
    return network


def build(
    definition: str | Path,
    params: str | Path | None = None,
    *,
    side: int = 0,
    classes: int = 0,
    seed: int = 0,
    minibatch: int = 128,
    backend: str = "auto",
    threads: int = 0,
    dialect: str = "auto",
) -> Network:
    """A net with fresh weights from layer files: paths, names of shipped files, or their text.

    ``side`` is that of the pictures it is for (by default 224 with 100 classes and more, else 32 or the next that fits).
    Raises ``LayerFileError`` with every mistake in the files.

    >>> convnet.build("layers-cifar10-26pct.cfg", backend="reference")
    <Network layers-cifar10-26pct.cfg: 3x32x32 in, 10 classes, 145,578 weights>
    """
    files = _files(definition, params)
    fitted = synthesize(parse(files, dialect), (side,) if side else (), classes)
    be = make_backend(backend, threads)
    check_memory(fitted.graph, [be], minibatch, training=False)
    net = Net(fitted.graph, be, minibatch, seed)
    return Network(net, files, Feeding.of(fitted.graph), Position())


class Network:
    """A net that runs: see the module. ``graph`` holds its layers, ``history`` the costs of every batch trained."""

    def __init__(self, net: Net, files: LayerFiles, feeding: Feeding, position: Position) -> None:
        self.net, self.files, self.feeding, self.position = net, files, feeding, position
        self.graph: Graph = net.graph
        self._outputs = Outputs.of(self.graph)

    def __repr__(self) -> str:
        feeding, name = self.feeding, Path(self.files.definition_path).name
        image = f"{feeding.channels}x{feeding.size}x{feeding.size}" if feeding.size else f"{feeding.features} values"
        return f"<Network {name}: {image} in, {self.classes} classes, {self.graph.parameters():,} weights>"

    def __str__(self) -> str:
        return layer_table(self.graph, self.net.minibatch)

    # -- running

    def predict(self, images: Images, ten_views: bool = False) -> np.ndarray:
        """The predictions that the first cost judges, (N, classes) float32: probabilities, for a softmax.

        ``ten_views`` takes the mean over the corners and the middle of each picture and their mirrors, as the paper did.
        Pictures have to be larger than the net wants for views to differ.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.predict(np.zeros((2, 8, 8, 1), np.uint8)).sum(axis=1)
        array([1., 1.], dtype=float32)
        """
        layer = self._predictions()
        if not ten_views:
            return self.features(images, layer)
        parts = [np.empty((0, self.classes), np.float32)]
        for some in self._minibatches(images):
            parts.append(np.mean([self._run(matrix, layer) for matrix in self.feeding.views(some)], axis=0))
        return np.concatenate(parts)

    def features(self, images: Images, layer: str) -> np.ndarray:
        """The outputs of ``layer``, (N, outputs) float32, as in testing: no unit is dropped.

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> net.features(np.zeros((2, 8, 8, 1), np.uint8), "fc64").shape
        (2, 64)
        """
        name = self._output_name(layer)
        parts = [np.empty((0, self.graph.layers[name].outputs), np.float32)]
        for some in self._minibatches(images):
            parts.append(self._run(self.feeding.matrix(some), name))
        return np.concatenate(parts)

    def test(self, images: Images | Provider, labels: Any = None) -> Costs:
        """What a run would print of these cases: ``{'logprob': [mean cost, error, top-k error]}``.

        ``images`` may also be a folder of batches, whose last batch is used. ``labels`` are class numbers (N,), or
        targets (rows, N).

        >>> net = convnet.build("layers-digits.cfg", side=8)
        >>> [round(value, 3) for value in net.test(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 3])["logprob"][:1]]
        [2.303]
        """
        provider = self._provider(images, labels, training=False)
        batch = provider.batch(1, provider.default_ranges()[1][0])
        outputs = []
        for inputs, next_inputs, cases in minibatches(batch, self.net.minibatch):
            outputs.append((self.net.test(inputs, cases, (), next_inputs), cases))
        return self._outputs.shown(*add_costs(outputs))

    def train(self, images: Images | Provider, labels: Any = None, epochs: int = 1) -> list[Costs]:
        """Train for ``epochs``; returns for each what a run would print of it, measured while training.

        Arguments as for ``test``; of a folder of batches all but the last are used. Pictures larger than the net's are cut
        and mirrored at random. The first pictures a net is trained on give the mean to subtract, unless one is set.
        Learning rates follow their schedules over these epochs.

        >>> net = convnet.build("layers-digits.cfg", side=8, minibatch=16)
        >>> images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 1), np.uint8)
        >>> costs = net.train(images, images[:, 0, 0, 0] // 26, epochs=2)
        >>> len(costs), list(costs[0])
        (2, ['logprob'])
        """
        if self.feeding.mean is None and not isinstance(images, Provider | str | Path):
            self.feeding.set_mean(images)
        provider = self._provider(images, labels, training=True)
        numbers = provider.default_ranges()[0]
        plan = Plan(numbers, [], epochs, 1)
        self.position.minibatches, self.position.costs, self.position.cases = 0, {}, 0
        return [self._epoch(provider, plan, epoch) for epoch in range(epochs)]

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
        return self.feeding.mean

    @mean.setter
    def mean(self, value: Mean) -> None:
        self.feeding.take_mean(value)

    @property
    def classes(self) -> int:
        """Number of predictions per image."""
        return self.graph.layers[self._predictions()].outputs

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, if the checkpoint or the data have any."""
        return self.feeding.label_names

    @property
    def history(self) -> list[Costs]:
        """What was printed of every batch trained so far, by this program or before."""
        return [self._outputs.shown(*pair) for pair in self.position.train_outputs]

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint that ``convnet.load`` and ``convnet run --load-file`` go on from; raises ``CheckpointError``.

        >>> import tempfile
        >>> file = net.save(tempfile.mkdtemp() + "/1.1")
        >>> convnet.load(file).graph.parameters() == net.graph.parameters()
        True
        """
        path, position = Path(path), self.position
        given = {
            "layer_def": self.files.definition_path,
            "layer_params": self.files.params_path,
            "mini": self.net.minibatch,
            "seed": self.net.seed,
        }
        value = pack(self.net, self.files, position.history(), position.own(), declared.complete(given), self._described())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: pickles.dump(value, file))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be saved: {error.strerror or error}") from None
        return path

    # -- inside

    def _epoch(self, provider: Provider, plan: Plan, epoch: int) -> Costs:
        position, outputs = self.position, []
        for at, number in enumerate(plan.train):
            batch = provider.batch(position.epoch + 1, number)
            progress = plan.progress(epoch * len(plan.train) + at)
            parts = []
            for inputs, next_inputs, cases in minibatches(batch, self.net.minibatch):
                parts.append((self.net.train(inputs, cases, progress, next_inputs), cases))
            outputs.append(add_costs(parts))
            position.batch, position.batches_done = number, position.batches_done + 1
        position.epoch += 1
        position.train_outputs += outputs
        return self._outputs.shown(*add_costs(outputs))

    def _provider(self, images: Images | Provider, labels: Any, training: bool) -> Provider:
        if isinstance(images, Provider):
            provider = images
        elif labels is None:
            provider = self._folder(Path(images), training)
        else:
            others = label_matrices(labels, self.graph.data_dims, self.classes)
            provider = Arrays(self.feeding, images, others, Request(training=training, seed=self.net.seed))
        for index, rows in self.graph.data_dims.items():
            if provider.dims.get(index) != rows:
                found = f"{provider.dims.get(index, 'no')} values per case"
                raise DataError(f"matrix {index} of {provider.where()} has {found}, the net needs {rows}")
        return provider

    def _folder(self, folder: Path, training: bool) -> Provider:
        request = Request(str(folder), inner_size=self.feeding.size, seed=self.net.seed, classes=self.classes)
        whole = open_provider("", request)
        if not training:
            return whole
        request.batches, request.training = whole.default_ranges()[0], True
        provider = open_provider("", request)
        if self.feeding.mean is None:
            self.feeding.take_description(provider.description())
        return provider

    def _run(self, matrix: np.ndarray, layer: str) -> np.ndarray:
        """The outputs of ``layer`` for one minibatch, (N, outputs)."""
        self.net.forward(self._with_blanks(matrix), matrix.shape[1], Mode.FEATURE, keep=[layer])
        return self.net.output(layer).T

    def _minibatches(self, images: Images) -> Iterator[Images]:
        """``images`` in portions that the net takes at once."""
        if isinstance(images, np.ndarray) and images.ndim == 2:
            for start, stop in batch_bounds(images.shape[1], self.net.minibatch):
                yield images[:, start:stop]
            return
        several = isinstance(images, Sequence) and not isinstance(images, str)
        several |= isinstance(images, np.ndarray) and (images.ndim == 4 or images.shape[-1] != self.feeding.channels)
        images = images if several else [images]
        for start, stop in batch_bounds(len(images), self.net.minibatch):
            yield images[start:stop]

    def _with_blanks(self, matrix: np.ndarray) -> list[np.ndarray]:
        """Zeros for labels, which predictions do not depend on."""
        dims = self.graph.data_dims
        blanks = [np.zeros((dims.get(i, 1), matrix.shape[1]), np.float32) for i in range(1, max(dims) + 1)]
        return [matrix, *blanks]

    def _predictions(self) -> str:
        cost = next(iter(self.graph.costs), None)
        if cost is None:
            return list(self.graph.layers)[-1]
        return cost.sources[-1].name

    def _output_name(self, layer: str) -> str:
        """The layer whose output is that of ``layer``: its neuron, where it has one."""
        known = [name for name, found in self.graph.layers.items() if not found.is_cost]
        if layer not in known:
            raise ConvnetError(f"the net has no layer '{layer}'" + did_you_mean(layer, known))
        behind = next((n.name for n in self.graph.neurons if n.detached_from == layer), None)
        return behind or layer

    def _described(self) -> dict[str, Any]:
        return self.feeding.description()


def _files(definition: str | Path, params: str | Path | None) -> LayerFiles:
    """Layer files from paths or from texts, which have several lines."""
    if "\n" in str(definition):
        text = str(params) if params is not None else None
        if text is not None and "\n" not in text:
            text = Path(text).read_text()
        return LayerFiles(str(definition), "definition", text, "parameters")
    return LayerFiles.open(definition, params)


def _numbered(dims: Mapping[Any, Any]) -> dict[int, int]:
    return {int(i): int(rows) for i, rows in dims.items()}
