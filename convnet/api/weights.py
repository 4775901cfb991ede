"""Weights of a running net as NumPy arrays, by layer: what ``Network.weights`` gives."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convnet.api.arguments import numbers
from convnet.errors import DataError, OptionError
from convnet.layers.weighted import WeightLayer
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.texts import counted, did_you_mean


class NoSuchLayer(OptionError, KeyError):
    """A layer that is not there, or has no weights."""

    __str__ = Exception.__str__  # a ``KeyError`` shows its text in quotes


class NoSuchMatrix(OptionError, IndexError):
    """An input that a layer does not have."""


class LayerWeights(Sequence[np.ndarray]):
    """The weights of one layer: a sequence of matrices, one per input, and ``biases``. What is read is a copy."""

    def __init__(self, net: Net, layer: WeightLayer) -> None:
        self._net, self._layer, self._node = net, layer, net.nodes[layer.name]

    def __repr__(self) -> str:
        shapes = ", ".join(str(matrix.shape) for matrix in self)
        return f"<weights {shapes} and biases {self.biases.shape} of '{self._layer.name}'>"

    def __len__(self) -> int:
        return len(self._node.weights)

    def __getitem__(self, i: Any) -> Any:
        weights = self._state()["weights"]
        return weights[i] if isinstance(i, slice) else weights[self._index(i)]

    def __setitem__(self, i: int, value: np.ndarray) -> None:
        i, layer = self._index(i), self._layer
        matrix = self._checked(value, layer.weight_shape(i))
        ordered = matrix.T if layer.order == "F" else matrix
        self._node.be.copy_in(np.ascontiguousarray(ordered).reshape(layer.kernel_shape(i)), self._node.weights[i].value)

    @property
    def biases(self) -> np.ndarray:
        """The biases, in their shape of checkpoints."""
        return self._state()["biases"]

    @biases.setter
    def biases(self, value: np.ndarray) -> None:
        biases = self._checked(value, self._layer.bias_shape())
        self._node.be.copy_in(biases.reshape(-1), self._node.biases.value)

    def _state(self) -> dict[str, Any]:
        return collect_state(self._net, [self._layer.name])[self._layer.name]

    def _checked(self, value: Any, shape: tuple[int, int]) -> np.ndarray:
        array = numbers(f"weights of layer '{self._layer.name}'", value)
        if array.shape != shape:
            raise DataError(f"layer '{self._layer.name}' needs shape {shape}, not {array.shape}")
        return array.astype(np.float32)

    def _index(self, i: Any) -> int:
        """Return which matrix ``i`` is, counted from the end if negative; raises ``NoSuchMatrix``."""
        if isinstance(i, int | np.integer) and -len(self) <= i < len(self):
            return int(i) % len(self)
        raise NoSuchMatrix(
            f"layer '{self._layer.name}' has {counted(len(self), 'matrix')}, one for each input; there is no {i!r}"
        )


class WeightsByLayer(Mapping[str, LayerWeights]):
    """The layers that have weights, by name."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._layers = {layer.name: layer for layer in net.graph.layers.values() if isinstance(layer, WeightLayer)}

    def __getitem__(self, name: str) -> LayerWeights:
        if name not in self._layers:
            hint = did_you_mean(name, self._layers) if isinstance(name, str) else ""
            raise NoSuchLayer(f"no layer '{name}' with weights{hint}")
        return LayerWeights(self._net, self._layers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return "\n".join(repr(self[name]) for name in self)
