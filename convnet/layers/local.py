"""local: like conv, with filters of its own at every position (numerics section 2).

Letters: C channels, k filterSize, F all filters, M modulesX, N cases.
"""

from convnet.layers.conv import Windowed


class Local(Windowed):
    """Like conv, with separate filters at every position."""

    type = "local"
    title = "locally-connected"
    folds_gradient = True

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return (self.modulesX**2, *self.filter_shape(i), self.num_filters)  # w[m, c, ky, kx, f]

    def bias_shape(self) -> tuple[int, int]:
        return self.outputs, 1
