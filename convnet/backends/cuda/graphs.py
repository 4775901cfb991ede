"""CUDA graphs: what is issued to a stream kept as a whole, through cuda-bindings, for PyCUDA knows none (2026.1).

Both work with the driver itself, so that a stream of PyCUDA's can be captured by its handle. Every call here wants the
device's context to be current.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from convnet.errors import BackendError

if TYPE_CHECKING:
    from convnet.backends.cuda.driver import Driver


class CudaGraph:
    """A captured piece of work that can be launched; given back when nobody holds it."""

    def __init__(self, device: Driver, handle: Any) -> None:
        self.device, self.handle = device, handle

    def __del__(self) -> None:
        self.device.drop(self.handle)


class Graphs:
    """The calls of the driver that capture and launch. Raises ``BackendError`` with the driver's own word."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self.api = driver

    def begin(self, stream: int) -> None:
        # Relaxed: the host may allocate memory and load kernels meanwhile, which are not part of what is captured.
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._checked(self.api.cuStreamBeginCapture(stream, mode))

    def end(self, stream: int) -> Any:
        """The graph of what was issued to the stream, for ``instantiate`` and ``forget``."""
        return self._checked(self.api.cuStreamEndCapture(stream))[0]

    def instantiate(self, graph: Any) -> Any:
        """What can be launched."""
        return self._checked(self.api.cuGraphInstantiate(graph, 0))[0]

    def forget(self, graph: Any) -> None:
        """Give back what ``end`` gave."""
        self.api.cuGraphDestroy(graph)

    def launch(self, handle: Any, stream: int) -> None:
        self._checked(self.api.cuGraphLaunch(handle, stream))

    def destroy(self, handle: Any) -> None:
        self.api.cuGraphExecDestroy(handle)

    def _checked(self, result: tuple) -> tuple:
        if result[0] != self.api.CUresult.CUDA_SUCCESS:
            raise BackendError(f"CUDA graphs: {result[0].name}")
        return result[1:]


def find_graphs() -> Graphs | None:
    """``None`` without cuda-bindings, which nvcc does without, and where CONVNET_GRAPHS is 0."""
    if os.environ.get("CONVNET_GRAPHS") == "0":
        return None
    try:
        return Graphs()
    except Exception:  # bindings that do not fit the driver fail in several ways; steps go op by op without them
        return None
