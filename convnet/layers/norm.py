"""Response normalisation: cmrnorm across maps, rnorm within a map, cnorm within a map around its local mean.

Formulas: numerics section 9. y = x * (minDiv + scale' * sum of squares in the window) ^ -pow, where scale' is the
file's scale divided by the number of values in the window. Letters: C channels, S side of the image, N cases.
"""

from typing import Any

from convnet.backends.arguments import Response
from convnet.generation import G2012, GENERATIONS, SINCE_2012, Generation
from convnet.language.keys import one
from convnet.language.values import BOOL, FLOAT, Int
from convnet.layers.base import MapLayer
from convnet.layers.node import LayerNode


class Norm(MapLayer):
    """What the three normalisations share. Their type is the kind of the op; backward starts from the input alone."""

    wants_params = GENERATIONS
    uses_acts = False
    multiplies_slope = True
    across = False  # whether the window lies across maps

    size = one(Int(min=1), "side of the window, in pixels or maps", aliases=("sizeX",))
    blocked = one(BOOL, "windows are fixed blocks of maps (cmrnorm only)", False)
    scale = one(FLOAT, "weight of the sum of squares; divided by the values in the window", home="params")
    pow = one(FLOAT, "exponent of the denominator", home="params")
    minDiv = one(FLOAT, "constant of the denominator", 1.0, "params", SINCE_2012)

    def shape_maps(self, side: int) -> None:
        check = self.check
        smallest, largest = (2, self.channels) if self.across else (1, side)
        if not smallest <= self.size <= largest:
            check.error("size", f"a window of {self.size} is not within {smallest} to {largest}")
        if self.blocked and not self.across:
            check.warn("blocked", "blocked has a meaning only in cmrnorm")
        if self.across and self.channels % 16:
            check.limit("channels", f"the originals' kernels want a multiple of 16 channels, not {self.channels}")
        elif self.channels > 3 and self.channels % 4:
            wanted = "at most 3 channels or a multiple of 4"
            check.limit("channels", f"the originals' kernels want {wanted}, not {self.channels}")
        self.shape_like(self.channels, side)

    @property
    def scaled(self) -> float:
        """The scale that the formula uses: the file's, divided by the values in a window (numerics 9.0)."""
        return self.scale / (self.size if self.across else self.size**2)

    def response(self) -> Response:
        return Response(self.size, self.scaled, self.pow, self.minDiv, self.blocked)

    def forward(self, node: LayerNode) -> None:
        node.be.norm_forward(self.type, *self.images(node), response=self.response())

    def backward(self, node: LayerNode) -> None:
        images, slope = node.image(0, self.channels), node.slope(0, self.channels)
        node.be.norm_input_grad(self.type, images, *self.gradients(node), response=self.response(), slope=slope)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation) | {"scale": self.scaled}
        if generation == G2012 and not self.across:
            stored.pop("minDiv")  # 2012 read it for cmrnorm only
        return stored


class CrossMapNorm(Norm):
    """Divides every value by the energy of neighbouring maps at its pixel."""

    type = "cmrnorm"
    title = "cross-map response-normalization"
    across = True


class ResponseNorm(Norm):
    """Divides every value by the energy of neighbouring pixels in its map."""

    type = "rnorm"
    title = "response-normalization"


class ContrastNorm(Norm):
    """Divides every value by the local contrast of its map; the gradient is the originals' approximation."""

    type = "cnorm"
    title = "contrast-normalization"
    stored_flags = "acts own"
    approximate = "local means count as constants"
