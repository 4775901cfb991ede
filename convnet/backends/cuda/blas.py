"""Products by cuBLAS, through nvmath's bindings."""

import ctypes
from typing import Any

from convnet.errors import BackendError, first_line

WORKSPACE = 32 << 20  # bytes for cuBLAS: what it takes on Hopper


def load_blas() -> Any:
    """nvmath's ``cublas``, with the library behind it; raises ``BackendError`` with what is missing and how to get it."""
    try:
        from nvmath.bindings import cublas

        cublas.get_property(0)  # bindings look for their library when they are first used
    except Exception as error:  # a missing library shows in several kinds of errors
        raise BackendError(f"cuBLAS is missing ({first_line(error)}); pip install '.[cuda]'") from None
    return cublas


class Blas:
    """cuBLAS in single precision, with the math mode said and not left to the environment.

    Every call wants the device's context to be current, and raises ``BackendError`` with cuBLAS's own word.
    """

    def __init__(self, stream: int, math: str, workspace: int) -> None:
        self.api = cublas = load_blas()
        self.handle = self._checked(cublas.create)
        self._checked(cublas.set_stream, stream)
        self._checked(cublas.set_workspace, workspace, WORKSPACE)  # its own would be allocated anew in a capture
        self._checked(cublas.set_math_mode, cublas.Math.TF32_TENSOR_OP_MATH if math == "tf32" else cublas.Math.PEDANTIC_MATH)

    def product(self, first: bool, second: bool, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
        """Column-major c = alpha * op(a) op(b) + beta * c."""
        one, other = ctypes.c_float(alpha), ctypes.c_float(beta)
        scales = ctypes.addressof(one), ctypes.addressof(other)
        try:
            self.api.sgemm(self.handle, int(first), int(second), m, n, k, scales[0], a, lda, b, ldb, scales[1], c, ldc)
        except self.api.cuBLASError as error:
            raise BackendError(f"cuBLAS: {first_line(error)}") from None

    def destroy(self) -> None:
        """Give the handle back."""
        self._checked(self.api.destroy)

    def _checked(self, call: Any, *args: Any) -> Any:
        handle = () if call is self.api.create else (self.handle,)
        try:
            return call(*handle, *args)
        except self.api.cuBLASError as error:
            raise BackendError(f"cuBLAS: {first_line(error)}") from None
