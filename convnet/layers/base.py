"""What every layer type declares and does.

A layer has a typed value for each key, under the originals' name for it, and no arrays; those belong to the ``Node`` that
a net makes for it. Letters: C channels, S side of a square image, N cases, F filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from convnet.backends.arguments import Activation, Array
from convnet.generation import G2011, G2012, GENERATIONS, SINCE_2012, Generation
from convnet.language.diagnostics import Place, Problems
from convnet.language.keys import Key, keys_of, one
from convnet.language.neurons import NEURON, Neuron
from convnet.language.values import DEVICES, NAMES, Choice, Float, Int, NumClasses
from convnet.layers.label_tree import LabelTree
from convnet.layers.node import LayerNode
from convnet.texts import counted

_NAMED = 3  # layers that one message names
QUANT = Choice("default", "half", fold=True)


@dataclass(frozen=True)
class DataShape:
    """What shapes depend on besides the files: features by ``dataIdx``, and the classes and tree of labels, if known.

    ``where`` names the data in messages, if they have a name. ``heads`` has the classes of labels by ``dataIdx``, where
    these are not ``classes``.
    """

    dims: Mapping[int, int] = field(default_factory=dict)
    classes: int | None = None
    tree: LabelTree | None = None
    where: str = ""
    heads: Mapping[int, int] = field(default_factory=dict)

    def classes_at(self, layer: Layer) -> int | None:
        """Return how many classes the labels in the matrix of a data layer are of, if it is known."""
        return self.heads.get(getattr(layer, "dataIdx", None) or 0, self.classes)

    def count_text(self, layer: Layer) -> str:
        """Say how many classes the labels in the matrix of a data layer are of."""
        have, index = f"{self.where} has" if self.where else "the data have", getattr(layer, "dataIdx", 0)
        which = f" in matrix {index}" if index in self.heads else ""
        return f"{have} {counted(self.classes_at(layer) or 0, 'class')}{which}"


@dataclass
class Check:
    """Reports problems of one layer while its shape is worked out, at the place of the key they concern."""

    name: str
    places: Mapping[str, Place]
    header: Place
    problems: Problems
    data: DataShape = DataShape()
    failed: bool = False

    def error(self, key: str, message: str, expected: str = "", nearest: str = "") -> None:
        self.failed = True
        text = f"layer '{self.name}': {message}"
        self.problems.error(self.place(key), text, expected=expected, nearest=nearest, about=self.name)

    def warn(self, key: str, message: str) -> None:
        self.problems.warn(self.place(key), f"layer '{self.name}': {message}")

    def limit(self, key: str, message: str) -> None:
        """Report a limit that only the originals' kernels had: an error with ``--strict``, else accepted."""
        if self.problems.strict:
            self.error(key, message)

    def place(self, key: str) -> Place:
        return self.places.get(key, self.header)


class Layer:
    """Base of all layer types. The graph makes layers from typed values and wires them before it calls ``shape``.

    The first paragraph of a type's docstring describes it on the reference page.
    """

    type: ClassVar[str] = ""
    title: str = ""  # the word in "Initialized ... layer"
    read_by: ClassVar[tuple[Generation, ...]] = GENERATIONS
    keys: ClassVar[tuple[Key, ...]]  # all that the type reads, those of its base classes included
    key_ranks: ClassVar[tuple[int, int]] = (-1, 9)  # order of this class's keys: of the definition, of the parameters
    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1
    is_cost: ClassVar[bool] = False
    placed: ClassVar[bool] = True  # whether the "Initialized" line says on which device
    keeps_maps: ClassVar[bool] = True  # whether the output is maps where the input is
    gradient: ClassVar[bool] = True  # whether backward exists
    computes: ClassVar[bool] = True  # whether any published program says what the layer computes
    varies: ClassVar[bool] = False  # whether forward depends on more, from step to step, than the contents of its inputs
    sized_by: ClassVar[str] = ""  # the key that says how many outputs or maps there are, where the inputs do not
    also_sized_by: ClassVar[str] = ""  # another key that multiplies it
    joins: ClassVar[bool] = False  # whether the outputs are those of the inputs end to end
    elementwise: ClassVar[bool] = False  # whether forward and backward may run in place
    wants_params: tuple[Generation, ...] = ()  # the generations that demand a section of parameters
    uses_acts: bool = True  # whether backward reads the layer's own outputs
    uses_inputs: bool = True  # whether backward reads its inputs
    function: str = ""  # "softmax", or the type of neuron that the layer applies
    fuses: ClassVar[str] = ""  # the function below a cost whose gradient joins the cost's in one formula
    stored_flags: str = "acts inputs own"  # usesActs, usesInputs, forceOwnActs as the originals set them
    multiplies_slope: ClassVar[bool] = False  # whether backward can multiply its inputs' gradients by a neuron's derivative
    approximate: str = ""  # why backward is not the exact gradient, where the originals' is not

    inputs = one(NAMES, "the layers this one reads, in order; they must stand earlier in the file")
    neuron: Neuron | None = one(NEURON, "a function applied to every output", None)
    gpu = one(
        DEVICES,
        "the logical device that the layer runs on, an index into --gpu; several numbers are replicas, each with a part of "
        "the cases; several logical devices may be one real one",
        [],
        read_by=SINCE_2012,
    )
    dropout = one(Float(min=0, max=1), "probability of dropping an output (2011 fork)", 0.0, "params", (G2011,))
    quantF = one(QUANT, "precision of activations sent between devices", "default", "params", (G2012,))
    quantB = one(QUANT, "precision of gradients sent between devices", "default", "params", (G2012,))

    outputs: int = 0
    maps: tuple[int, int] | None = None  # (C, S) where the output is C square maps of side S
    detached_from: str = ""  # the layer whose ``neuron=`` became this one

    def __init_subclass__(cls) -> None:
        cls.keys = keys_of(cls)

    def __init__(self, name: str, values: Mapping[str, Any], check: Check) -> None:
        self.name, self.check = name, check
        self.sources: list[Layer] = []
        self.consumers: list[Layer] = []
        vars(self).update(values)
        self.words = {key: value for key, value in values.items() if _has_word(value)}

    @property
    def num_inputs(self) -> list[int]:
        """Features of each input (``numInputs`` of the originals)."""
        return [source.outputs for source in self.sources]

    @property
    def written_name(self) -> str:
        """The layer's name in the file, where a detached neuron is called as the layer that it was part of."""
        return self.detached_from or self.name

    @property
    def is_shaped(self) -> bool:
        """Whether the number of outputs is known, worked out or given by the file, and nothing is wrong with the layer."""
        return not self.check.failed and self.outputs > 0

    def as_written(self, key: Key) -> Any:
        """Return the value of a key as the files have it, with ``NumClasses`` where they say num_classes."""
        return self.words.get(key.name, getattr(self, key.name))

    def take_classes(self, classes: int | None) -> None:
        """Put the number of classes of the data where the files say num_classes; report if there is none."""
        for name, value in self.words.items():
            if not classes:
                text = f"{name}={NumClasses.word}, but nothing says how many classes there are"
                self.check.error(name, text, expected="a number, or data with classes")
                continue
            several = [classes if isinstance(item, NumClasses) else item for item in _listed(value)]
            setattr(self, name, several if isinstance(value, list) else several[0])

    @property
    def learns(self) -> bool:
        """Whether the layer itself has weights with a positive learning rate (numerics 26.2)."""
        return False

    def shape(self) -> None:
        """Work out ``outputs`` and ``maps`` from the inputs; report what does not fit. Default: same as the input."""
        self.outputs = self.num_inputs[0]
        self.maps = self.sources[0].maps if self.keeps_maps else None

    def sizes_in_file(self) -> list[int]:
        """Return the values of the key ``sized_by`` as the files have them: ``shape`` may put others in their place."""
        return _listed(getattr(self, self.sized_by))

    def shape_like(self, channels: int, side: int) -> None:
        """Set the output to ``channels`` square maps."""
        self.maps = (channels, side)
        self.outputs = channels * side * side

    def image_side(self, channels: int, index: int = 0) -> int | None:
        """Return S of input ``index`` seen as ``channels`` square maps, or ``None`` after reporting that it is not."""
        features = self.sources[index].outputs
        side = math.isqrt(features // channels) if channels > 0 else 0
        if side and side * side * channels == features:
            return side
        source = self.sources[index]
        if maps := _seen_maps(source):
            has = (
                f"input '{source.written_name}' has {counted(maps[0], 'map')} of {maps[1]}x{maps[1]}{written_sizes(source)}"
            )
            self.check.error("channels", f"channels={channels}, but {has}", expected=f"channels={maps[0]}")
            return None
        fitting = [c for c in range(1, min(features, 4097)) if features % c == 0]  # 1x1 maps are left out
        square = [str(c) for c in fitting if math.isqrt(features // c) ** 2 * c == features][:6]
        size = counted(features, "value")
        text = f"input '{source.written_name}' has {size}, which are not {channels} square maps"
        hint = f"a number of channels such as {', '.join(square)}" if square else ""
        self.check.error("channels", text, expected=hint)
        return None

    def macs(self) -> int:
        """Return the multiply-adds of one forward pass of one case."""
        return 0

    def windows(self) -> list[tuple[int, int] | None]:
        """Return (size, stride) of what an output sees of each input, for receptive fields; ``None``: it sees everything."""
        return [(1, 1)] * len(self.sources)

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Return where the first window begins on input ``i``, (down, right); ``None``: pixels do not stay in order."""
        return 0, 0

    def in_place(self) -> tuple[bool, bool]:
        """Return whether outputs, and the gradient of the input, may lie in the buffer of the only input (numerics 3.4)."""
        if not self.elementwise or self.dropout or len(self.sources) != 1:
            return False, False
        source = self.sources[0]
        alone = len(source.consumers) == 1 and not source.dropout and source.gpu == self.gpu
        return alone and not (source.uses_acts or self.uses_inputs), alone

    @property
    def fused_cost(self) -> Layer | None:
        """The only consumer, if it is a cost whose gradient goes through this layer in one formula (numerics 7.4)."""
        reader = self.consumers[0] if len(self.consumers) == 1 else None
        fused = reader and reader.fuses and reader.fuses == self.function and reader.sources[-1] is self
        return reader if fused else None

    @property
    def activation(self) -> Activation | None:
        """The function of one value that is all the layer does, where it has no parameters: ops beside it may include it."""
        return None

    def can_include(self, activation: Activation, training: bool) -> bool:  # noqa: ARG002
        """Whether ``forward`` can store ``activation`` of its output, and ``backward`` (``training``) still work."""
        return False

    def size_text(self) -> str:
        """Return ``17x17 16-channel output`` or ``10 outputs``, as the originals print it."""
        if self.maps:
            return f"{self.maps[1]}x{self.maps[1]} {self.maps[0]}-channel output"
        return f"{self.outputs} outputs"

    def stored_uses(self, generation: Generation) -> list[str]:  # noqa: ARG002
        """Return which of acts, inputs and own a generation says of the layer: usesActs, usesInputs, forceOwnActs."""
        return self.stored_flags.split()

    def stored(self, generation: Generation) -> dict[str, Any]:
        """Return own keys as a generation stores them in a checkpoint (io 4.5); subclasses add what they derive."""
        foreign = generation not in self.read_by
        own = [key for key in self.keys if key not in Layer.keys]
        return {key.name: getattr(self, key.name) for key in own if foreign or generation in key.read_by}

    def prefetch(self, node: LayerNode) -> None:
        """Begin to bring what the coming pass will want of the data, if anything."""

    def forward(self, node: LayerNode) -> None:
        """Compute ``node.out`` from ``node.x``."""
        raise NotImplementedError(self.type)

    def backward(self, node: LayerNode) -> None:
        """From ``node.grad``, gradients of minus the cost, add to weights' gradients and inputs' gradients."""
        raise NotImplementedError(self.type)

    def fused_backward(self, node: LayerNode, input_grad: Array, scale_targets: float) -> None:
        """Add the gradient of this cost and the layer below it to that of the layer's input."""
        raise NotImplementedError(self.type)


Layer.keys = keys_of(Layer)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _has_word(value: Any) -> bool:
    return any(isinstance(item, NumClasses) for item in _listed(value))


def parts_of(layer: Layer, alike: bool = False) -> list[Layer]:
    """Return the layers whose keys ``sized_by`` decide on the outputs of ``layer``, several where they are joined.

    ``alike``: also those that must have as many outputs as others, since they are added to them.
    """
    parts: dict[Layer, None] = {}
    seen, waiting = {layer}, [layer]
    while waiting:
        layer = waiting.pop()
        if layer.sized_by or not layer.sources:
            parts[layer] = None
            continue
        below = [source for source in (layer.sources if layer.joins or alike else layer.sources[:1]) if source not in seen]
        seen.update(below)
        waiting += reversed(below)
    return list(parts)


def written_sizes(layer: Layer) -> str:
    """Return `` (filters=32 of 'conv2' at FILE:LINE)``: what makes the outputs of a layer as many as they are, or ``''``."""
    notes = []
    keys = [(part, key) for part in parts_of(layer)[:_NAMED] for key in (part.sized_by, part.also_sized_by)]
    for part, key in keys:
        if place := part.check.places.get(key):
            values = part.sizes_in_file() if key == part.sized_by else _listed(getattr(part, key))
            text = ",".join(map(str, dict.fromkeys(values)))
            notes.append(f"{key}={text} of '{part.name}' at {place.file}:{place.line}")
    return f" ({', '.join(notes)})" if notes else ""


def _seen_maps(layer: Layer) -> tuple[int, int] | None:
    """Return (C, S) of the maps that a layer makes, or leaves as they are."""
    while layer.maps is None and len(layer.sources) == 1 and not layer.sized_by:
        if layer.outputs != layer.sources[0].outputs:
            return None
        layer = layer.sources[0]
    return layer.maps


def approximation(layers: Iterable[Layer]) -> str:
    """Return ``behind 'norm1' (cnorm), where ...`` of the first of ``layers`` that passes on an approximation, or ``''``."""
    layer = next((layer for layer in layers if layer.approximate), None)
    return f"behind '{layer.name}' ({layer.type}), where {layer.approximate}" if layer else ""


class MapLayer(Layer):
    """A layer that reads its only input as ``channels`` square maps."""

    channels = one(Int(min=1), "maps of the input image")
    imgSize: int = 0  # S of the input

    def shape(self) -> None:
        self.imgSize = self.image_side(self.channels) or 0
        if self.imgSize:
            self.shape_maps(self.imgSize)

    def shape_maps(self, side: int) -> None:
        """Work out the shape of the output from maps of ``side``; report what does not fit."""
        raise NotImplementedError(self.type)

    def images(self, node: LayerNode) -> tuple[Array, Array]:
        """Return input and output as maps, of which there are as many."""
        return node.image(0, self.channels), node.out_image(self.channels)

    def gradients(self, node: LayerNode) -> tuple[Array, Array, float]:
        """Return the gradients at the output and at the input as maps, and ``scale_targets`` of the latter."""
        return node.grad_image(self.channels), *node.image_input_grad(0, self.channels)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"imgSize": self.imgSize, "imgPixels": self.imgSize**2}
