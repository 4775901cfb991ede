"""What every layer type declares and does.

A layer class says, in one place: the keys it reads, its rule for shapes and its checks (while a graph is built),
and what forward and backward are in terms of backend ops (while a net runs). It holds typed values under the
originals' own key names and no arrays; those belong to the ``Node`` that a net makes for each layer.

Letters: C channels, S side of a square image, N cases, F filters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from convnet.generation import G2011, G2012, G2014, GENERATIONS, Generation
from convnet.language.diagnostics import Place, Problems
from convnet.language.keys import NAMES, Key
from convnet.language.neurons import NEURON
from convnet.language.values import FLOAT, Choice, Int

if TYPE_CHECKING:
    from convnet.backends.arguments import Array
    from convnet.layers.label_tree import LabelTree
    from convnet.layers.node import LayerNode


class GpuList(Int):
    """Logical devices: one number (2012), or several (2014's replicas)."""

    word = "a device number, or several separated by commas"

    def parse(self, text: str) -> list[int]:  # type: ignore[override]
        return [super(GpuList, self).parse(piece) for piece in text.split(",")]

    def native(self, value: object) -> list[int]:  # type: ignore[override]
        items = value if isinstance(value, list) else [value]
        return [super(GpuList, self).native(item) for item in items]

    def write(self, value: object) -> str:
        return ",".join(str(item) for item in value)  # type: ignore[union-attr]


INPUTS = Key("inputs", NAMES, "the layers this one reads, in order; they must stand earlier in the file")
NEURON_KEY = Key("neuron", NEURON, "a function applied to every output", default=None)
GPU = Key(
    "gpu",
    GpuList(),
    "the logical device(s) that the layer runs on: an index into --gpu; several logical devices may be one real one",
    default=None,
    read_by=(G2012, G2014),
)
QUANT = Choice("default", "half", fold=True)
FORK_KEYS = (
    Key("dropout", FLOAT, "probability of dropping an output (2011 fork)", 0.0, "params", least=0, most=1, read_by=(G2011,)),
    Key("quantF", QUANT, "precision of activations sent between devices", "default", "params", read_by=(G2012,)),
    Key("quantB", QUANT, "precision of gradients sent between devices", "default", "params", read_by=(G2012,)),
)


class Check:
    """Reports problems of one layer while its shape is worked out, at the place of the key they concern."""

    def __init__(self, layer: Layer, places: dict[str, Place], header: Place, problems: Problems) -> None:
        self.layer, self.places, self.header, self.problems = layer, places, header, problems
        self.classes: int | None = None
        self.data_dims: dict[int, int] = {}
        self.tree: LabelTree | None = None
        self.failed = False

    def error(self, key: str, message: str, expected: str = "") -> None:
        self.failed = True
        self.problems.error(self.place(key), f"layer '{self.layer.name}': {message}", expected=expected)

    def warn(self, key: str, message: str, expected: str = "") -> None:
        self.problems.warn(self.place(key), f"layer '{self.layer.name}': {message}", expected=expected)

    def limit(self, key: str, message: str) -> None:
        """A limit that only the originals' kernels had: reported with ``--strict``, else accepted."""
        if self.problems.strict:
            self.error(key, message)

    def place(self, key: str) -> Place:
        return self.places.get(key, self.header)


class Layer:
    """Base of all layer types. Subclasses are made by the graph from typed values and wired before ``shape``."""

    type: ClassVar[str] = ""
    title: ClassVar[str] = ""  # the word in "Initialized ... layer"
    summary: ClassVar[str] = ""  # one sentence for the reference page
    read_by: ClassVar[tuple[Generation, ...]] = GENERATIONS
    keys: ClassVar[tuple[Key, ...]] = ()
    least_inputs: ClassVar[int] = 1
    most_inputs: ClassVar[int | None] = 1
    takes_neuron: ClassVar[bool] = True
    is_cost: ClassVar[bool] = False
    placed: ClassVar[bool] = True  # whether the "Initialized" line says on which device
    gradient: ClassVar[bool] = True  # whether backward exists
    approximate: ClassVar[str] = ""  # why backward is no exact gradient, where the originals' is none
    uses_acts: ClassVar[bool] = True  # whether backward reads the layer's own outputs
    uses_inputs: ClassVar[bool] = True  # whether backward reads its inputs
    computes: ClassVar[bool] = True  # whether any published program says what the layer computes
    stored_flags: ClassVar[str] = "acts inputs own"  # usesActs, usesInputs, forceOwnActs as the originals set them
    varies: ClassVar[bool] = False  # whether forward depends on more, from step to step, than the contents of its inputs
    elementwise: ClassVar[bool] = False  # whether forward and backward may run in place
    wants_params: ClassVar[tuple[Generation, ...]] = ()  # the generations that demand a section of parameters

    # Set while the graph is wired.
    inputs: list[str]
    sources: list[Layer]
    consumers: list[Layer]
    outputs: int = 0
    maps: tuple[int, int] | None = None  # (C, S) where the output is C square maps of side S
    gpu: list[int]
    dropout: float = 0.0
    detached_from: str = ""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name = name
        self.values = values
        self.inputs = []
        self.sources, self.consumers = [], []
        self.__dict__.update(values)

    @classmethod
    def all_keys(cls) -> tuple[Key, ...]:
        """Every key that a layer of this type may have, common ones first."""
        common = (INPUTS,) if cls.most_inputs != 0 else ()
        neuron = (NEURON_KEY,) if cls.takes_neuron else ()
        device = (GPU,) if cls.most_inputs != 0 else ()
        return (*common, *neuron, *device, *cls.keys, *FORK_KEYS)

    @property
    def num_inputs(self) -> list[int]:
        """Features of each input (``numInputs`` of the originals)."""
        return [source.outputs for source in self.sources]

    @property
    def learns(self) -> bool:
        """Whether the layer itself has weights with a positive learning rate (numerics 26.2)."""
        return False

    def shape(self, check: Check) -> None:
        """Work out ``outputs`` and ``maps`` from the inputs; report what does not fit. Default: same as the input."""
        self.outputs = self.num_inputs[0]
        self.maps = self.sources[0].maps

    def shape_like(self, channels: int, side: int) -> None:
        """Set the output to ``channels`` square maps."""
        self.maps = (channels, side)
        self.outputs = channels * side * side

    def image_side(self, check: Check, channels: int, index: int = 0, key: str = "channels") -> int | None:
        """S of input ``index`` seen as ``channels`` square maps, or ``None`` after reporting that it is none."""
        features = self.num_inputs[index]
        side = math.isqrt(features // channels) if channels > 0 else 0
        if side * side * channels != features or side == 0:
            source = self.sources[index].name
            text = f"input '{source}' has {features} values, which are not {channels} square maps"
            check.error(key, text, expected=_square_hint(features))
            return None
        return side

    def macs(self) -> int:
        """Multiply-adds of one forward pass of one case."""
        return 0

    def window(self) -> tuple[int, int] | None:
        """(size, stride) of the window each output sees, for the receptive field; ``None`` if it sees everything."""
        return 1, 1

    def in_place(self) -> tuple[bool, bool]:
        """Whether outputs, and the gradient of the input, may lie in the buffer of the only input (numerics 3.4)."""
        if not self.elementwise or self.dropout or len(self.sources) != 1:
            return False, False
        source = self.sources[0]
        alone = len(source.consumers) == 1 and not source.dropout and source.gpu == self.gpu
        return alone and not (source.uses_acts or self.uses_inputs), alone

    def size_text(self) -> str:
        """``17x17 16-channel output`` or ``10 outputs``, as the originals print it."""
        if self.maps:
            return f"{self.maps[1]}x{self.maps[1]} {self.maps[0]}-channel output"
        return f"{self.outputs} outputs"

    def describe(self) -> str:
        """The title in the ``Initialized`` line, which some types make from a key."""
        return self.title

    def stored(self, generation: Generation) -> dict[str, Any]:
        """Own keys as a generation stores them in a checkpoint (io 4.5); subclasses add what they derive."""
        foreign = generation not in self.read_by
        return {key.name: self.values[key.name] for key in self.keys if foreign or generation in key.read_by}

    def prefetch(self, node: LayerNode) -> None:
        """Begin to bring what the coming pass will want of the data, if anything."""

    def forward(self, node: LayerNode) -> None:
        """Compute ``node.out`` from ``node.x``."""
        raise NotImplementedError(self.type)

    def backward(self, node: LayerNode) -> None:
        """From ``node.grad``, gradients of minus the cost, add to weights' gradients and inputs' gradients."""
        raise NotImplementedError(self.type)

    @property
    def fused_cost(self) -> Layer | None:
        """The only consumer, if it is a cost whose gradient joins this layer's in one formula."""
        return self.consumers[0] if len(self.consumers) == 1 and self.consumers[0].fuses(self) else None

    def fuses(self, below: Layer) -> bool:
        """Whether the gradient goes through ``below`` in one formula; then ``below`` calls ``fused_backward``."""
        return False

    def fused_backward(self, node: LayerNode, input_grad: Array, scale_targets: float) -> None:
        """Add the gradient of this cost and the layer below it to the gradient of what lies below that."""
        raise NotImplementedError(self.type)


def _square_hint(features: int) -> str:
    fitting = [
        c for c in range(1, min(features, 4096) + 1) if features % c == 0 and math.isqrt(features // c) ** 2 * c == features
    ]
    shown = [str(c) for c in fitting if features // c > 1][:6]
    return f"a number of channels such as {', '.join(shown)}" if shown else ""
