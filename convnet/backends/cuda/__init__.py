"""The cuda backend: ops as kernels compiled for the layer at hand (``cuda/*.cu``), matrix products by cuBLAS.

Nothing here touches a device until a ``Cuda`` is made, and only ``driver.py``, with what it imports, calls PyCUDA.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.compile import compile_all
from convnet.backends.cuda.conv import ConvOps
from convnet.backends.cuda.cost import CostOps
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.eltwise import EltwiseOps
from convnet.backends.cuda.fc import FcOps
from convnet.backends.cuda.image import ImageOps
from convnet.backends.cuda.neuron import NeuronOps
from convnet.backends.cuda.norm import NormOps
from convnet.backends.cuda.pool import PoolOps
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.weights import WeightOps
from convnet.backends.philox import step_words


class Cuda(ConvOps, FcOps, PoolOps, NormOps, NeuronOps, CostOps, ImageOps, WeightOps, EltwiseOps):
    """Every op over one ``Device``."""

    name = "cuda"
    includes_neurons = True

    def __init__(self, device: Device) -> None:
        self.device, self.captures, self.why_no_capture = device, device.captures, device.why_no_capture
        self._sources, self._integers, self._inverse, self._cached_floats = {}, {}, {}, {}
        self._step: DeviceArray | None = None

    def prepare(self, run: Callable[[Backend], None]) -> None:
        if self.device.capability:
            recorder = Recorder.like(self.device)
            run(Cuda(recorder))
            compile_all(recorder.sources, self.device.capability)

    @contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        if self._step is None:
            self.count_step(0)
        self.now = self._step
        try:
            with self.device.capturing() as captured:
                yield captured
        finally:
            self.now = None

    @property
    def runs_branches(self) -> bool:
        return self.device.runs_branches

    @runs_branches.setter
    def runs_branches(self, value: bool) -> None:
        self.device.runs_branches = value

    def replay(self, captured: Any) -> None:
        self.device.replay(captured)

    def count_step(self, step: int) -> None:
        words = np.array(step_words(step), np.uint32)
        if self._step is None:
            self._step = self.device.empty(words.shape, words.dtype)
        self.device.copy_in(words, self._step)

    def memory(self) -> tuple[int, int] | None:
        return self.device.memory()

    def trim(self) -> None:
        self.device.trim_pool()

    def describe(self) -> str:
        return self.device.name

    def arithmetic(self) -> str:
        return f"the cuda backend ({self.device.name}, {self.device.math})"
