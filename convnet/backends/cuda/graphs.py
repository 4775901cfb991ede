"""CUDA graphs through cuda-bindings: the work issued to a stream, captured as a whole. PyCUDA has no graphs (2026.1).

Both libraries work with the driver itself, so that a stream of PyCUDA's can be captured by its handle. Every call here
needs the device's context to be current.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convnet.backends.switches import is_off
from convnet.errors import BackendError, first_line

if TYPE_CHECKING:
    from convnet.backends.cuda.driver import CudaDevice

_DEPENDENCIES = 3  # among what ``cuStreamGetCaptureInfo`` returns: state, number, graph, dependencies, ...


class CudaGraph:
    """An executable graph, destroyed with its last reference."""

    def __init__(self, device: CudaDevice, handle: Any) -> None:
        self.device, self.handle = device, handle

    def __del__(self) -> None:
        self.device.drop(self.handle)


class Graphs:
    """The driver's calls for capture and launch, by ``api``. Raises ``BackendError`` with the driver's name of an error."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def begin(self, stream: int) -> None:
        # Relaxed: meanwhile the host may allocate memory and load kernels, which do not become part of the graph.
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._checked(self.api.cuStreamBeginCapture(stream, mode))

    def last(self, stream: int) -> list[Any]:
        """Return the nodes that the next node of the capture depends on."""
        return list(self._checked(self.api.cuStreamGetCaptureInfo(stream))[_DEPENDENCIES])

    def depend_on(self, stream: int, nodes: list[Any]) -> None:
        """Make the next node of the capture depend on ``nodes`` alone."""
        change = self.api.CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
        # Since CUDA 13 edges may have data; none are those of a plain dependency.
        edges = () if hasattr(self.api, "cuStreamUpdateCaptureDependencies_v2") else (None,)
        update = self.api.cuStreamUpdateCaptureDependencies
        self._checked(update(stream, nodes, *edges, len(nodes), change.value))

    def end(self, stream: int, retry: Callable[[Callable[[], Any]], Any]) -> Any:
        """End the capture and make an executable graph, for ``launch`` and ``destroy``."""
        (graph,) = self._checked(self.api.cuStreamEndCapture(stream))
        try:
            return retry(lambda: self._checked(self.api.cuGraphInstantiate(graph, 0))[0])
        finally:
            self.api.cuGraphDestroy(graph)

    def launch(self, handle: Any, stream: int) -> None:
        self._checked(self.api.cuGraphLaunch(handle, stream))

    def destroy(self, handle: Any) -> None:
        self.api.cuGraphExecDestroy(handle)

    def _checked(self, result: tuple) -> tuple:
        if result[0] != self.api.CUresult.CUDA_SUCCESS:
            raise BackendError(f"CUDA graphs: {result[0].name}")
        return result[1:]


def load_graphs() -> tuple[Any, str]:
    """Import cuda-bindings' driver module; else return ``None`` and why, ``""`` where CONVNET_GRAPHS is 0.

    Steps are issued op by op without: nvcc compiles where the bindings are missing.
    """
    if is_off("CONVNET_GRAPHS"):
        return None, ""
    try:
        from cuda.bindings import driver
    except Exception as error:  # bindings that do not fit the driver fail in several ways
        return None, f"cuda-bindings cannot be used ({first_line(error)}); pip install '.[cuda]'"
    return driver, ""
