"""The oracle: every op in plain NumPy, in float32 or float64, as close to the formulas as NumPy allows."""

from collections.abc import Sequence

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.host import blas_text
from convnet.backends.reference.common import Array, store
from convnet.backends.reference.conv import ConvOps
from convnet.backends.reference.cost import CostOps
from convnet.backends.reference.fc import FcOps
from convnet.backends.reference.image import ImageOps
from convnet.backends.reference.neuron import NeuronOps
from convnet.backends.reference.norm import NormOps
from convnet.backends.reference.pool import PoolOps
from convnet.backends.reference.weights import WeightOps


class Reference(ConvOps, FcOps, PoolOps, NormOps, NeuronOps, CostOps, ImageOps, WeightOps):
    """NumPy ops. ``dtype`` is float32, or float64 where it judges other backends and gradients."""

    name = "reference"
    dtype: np.dtype = np.dtype(np.float32)

    def __init__(self, dtype: type | str = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def describe(self) -> str:
        return f"CPU (NumPy reference, {self.dtype})"

    def arithmetic(self) -> str:
        return f"the reference backend ({self.dtype}, {blas_text()})"

    def empty(self, shape: Sequence[int]) -> Array:
        return np.empty(tuple(shape), self.dtype)

    def upload(self, values: np.ndarray) -> Array:
        array = self.empty(values.shape)
        array[...] = values
        return array

    def copy_in(self, values: np.ndarray, out: Array) -> None:
        out[...] = values

    def download(self, array: Array) -> np.ndarray:
        return np.array(array)

    def copy_from(self, other: Backend, x: Array, out: Array) -> None:
        out[...] = x if isinstance(other, Reference) else other.download(x)

    def cost_vector(self, length: int) -> Array:
        return np.zeros(length, np.float64)

    def connections(self, channels: Sequence[int]) -> Array:
        return np.asarray(channels, np.int32)

    def fill(self, out: Array, value: float) -> None:
        out[...] = value

    def add(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        store(out, x, scale_targets, scale_output)

    def add_bias(self, out: Array, biases: Array) -> None:
        out += biases[:, None]

    def sum_rows(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        store(out, x.sum(axis=1), scale_targets, scale_output)

    def all_finite(self, x: Array) -> bool:
        return bool(np.isfinite(x).all())
