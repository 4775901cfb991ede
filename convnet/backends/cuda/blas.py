"""Products by cuBLAS, through nvmath's bindings."""

import ctypes
from typing import Any

from convnet.backends.cuda.device import Product
from convnet.errors import BackendError, first_line

WORKSPACE = 32 << 20  # bytes for cuBLAS: what it takes on Hopper


def load_blas() -> Any:
    """Import nvmath's ``cublas`` and its library; raises ``BackendError`` with what is missing and how to get it."""
    try:
        from nvmath.bindings import cublas

        cublas.get_property(0)  # bindings look for their library when they are first used
    except Exception as error:  # a missing library shows in several kinds of errors
        raise BackendError(f"cuBLAS is missing ({first_line(error)}); pip install '.[cuda]'") from None
    return cublas


class Blas:
    """cuBLAS in single precision, with an explicit math mode that the environment cannot change.

    Every call needs the device's context to be current, and raises ``BackendError`` with cuBLAS's name of an error.
    """

    def __init__(self, stream: int, math: str, workspace: int) -> None:
        self.api = cublas = load_blas()
        self.handle = self._checked(cublas.create)
        self._checked(cublas.set_stream, self.handle, stream)
        self.workspace = 0
        self._use(workspace)  # its own would be allocated again in a capture
        mode = cublas.Math.TF32_TENSOR_OP_MATH if math == "tf32" else cublas.Math.PEDANTIC_MATH
        self._checked(cublas.set_math_mode, self.handle, mode)

    def _use(self, workspace: int) -> None:
        if workspace != self.workspace:
            self._checked(self.api.set_workspace, self.handle, workspace, WORKSPACE)
            self.workspace = workspace

    def product(self, p: Product, workspace: int) -> None:
        """Compute a product of row-major matrices: for cuBLAS, which is column-major, c = a b is c' = b' a'."""
        self._use(workspace)
        alpha, beta = ctypes.c_float(p.alpha), ctypes.c_float(p.beta)
        sizes, transposed = (p.N, p.M, p.K), (int(p.transpose_b), int(p.transpose_a))
        a, b, c = (array.pointer for array in (p.a, p.b, p.c))
        operands = ctypes.addressof(alpha), b, p.ldb, a, p.lda, ctypes.addressof(beta), c, p.ldc
        self._checked(self.api.sgemm, self.handle, *transposed, *sizes, *operands)

    def destroy(self) -> None:
        """Destroy the handle."""
        self._checked(self.api.destroy, self.handle)

    def _checked(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except self.api.cuBLASError as error:
            raise BackendError(f"cuBLAS: {first_line(error)}") from None
