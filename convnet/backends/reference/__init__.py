"""The oracle: every op in plain NumPy, in float32 or float64, as close to the formulas as NumPy allows."""

from __future__ import annotations

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.reference.common import store
from convnet.backends.reference.conv import ConvOps
from convnet.backends.reference.cost import CostOps
from convnet.backends.reference.fc import FcOps
from convnet.backends.reference.image import ImageOps
from convnet.backends.reference.neuron import NeuronOps
from convnet.backends.reference.norm import NormOps
from convnet.backends.reference.pool import PoolOps
from convnet.backends.reference.weights import WeightOps


class HostMemory(Backend):
    """Memory ops of the backends whose arrays are NumPy's."""

    dtype: np.dtype = np.dtype(np.float32)

    def empty(self, shape):
        return np.empty(tuple(shape), self.dtype)

    def upload(self, values):
        array = self.empty(values.shape)
        array[...] = values
        return array

    def copy_in(self, values, out):
        out[...] = values

    def download(self, array):
        return np.array(array)

    def copy_from(self, other, x, out):
        out[...] = x if isinstance(other, HostMemory) else other.download(x)

    def cost_vector(self, length):
        return np.zeros(length, np.float64)

    def connections(self, channels):
        return np.asarray(channels, np.int32)

    def fill(self, out, value):
        out[...] = value

    def all_finite(self, x):
        return bool(np.isfinite(x).all())


class Reference(ConvOps, FcOps, PoolOps, NormOps, NeuronOps, CostOps, ImageOps, WeightOps, HostMemory):
    """NumPy ops. ``dtype`` is float32, or float64 where it judges other backends and gradients."""

    name = "reference"

    def __init__(self, dtype: type | str = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def describe(self) -> str:
        return f"CPU (NumPy reference, {self.dtype})"

    def add(self, x, out, scale_targets=0.0, scale_output=1.0):
        store(out, x, scale_targets, scale_output)

    def add_bias(self, out, biases):
        out += biases[:, None]

    def sum_rows(self, x, out, scale_targets=0.0, scale_output=1.0):
        store(out, x.sum(axis=1), scale_targets, scale_output)
