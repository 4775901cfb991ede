"""local: like conv, with filters of its own at every position (numerics section 2).

Letters: C channels, k filterSize, F all filters, M modulesX, N cases.
"""

from typing import Any

from convnet.generation import Generation
from convnet.layers.conv import Conv, Windowed


class Local(Windowed):
    """Like conv, with separate filters at every position."""

    type = "local"
    title = "locally-connected"
    folds_gradient = True

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return (self.modulesX**2, *self.filter_shape(i), self.num_filters)  # w[m, c, ky, kx, f]

    def bias_shape(self) -> tuple[int, int]:
        return self.outputs, 1

    def stored(self, generation: Generation) -> dict[str, Any]:
        """Add the keys of conv to a layer that was one: the originals left them in its dict."""
        left = (key for key in Conv.keys if key not in self.keys and key.name in vars(self) and generation in key.read_by)
        return super().stored(generation) | {key.name: getattr(self, key.name) for key in left}
