"""Response normalisation: cmrnorm across maps, rnorm within a map, cnorm within a map around its local mean.

Formulas: numerics section 9. y = x * (minDiv + scale' * sum of squares in the window) ^ -pow, where scale' is the
file's scale divided by the number of values in the window. Letters: C channels, S side of the image, N cases.
"""

from __future__ import annotations

from typing import Any

from convnet.backends.arguments import Response
from convnet.generation import G2012, G2014, GENERATIONS, Generation
from convnet.language.keys import Key
from convnet.language.values import BOOL, FLOAT, INT
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class Norm(Layer):
    """What the three normalisations share. Their type is the kind of the op; backward starts from the input alone."""

    keys = (
        Key("channels", INT, "maps of the input image", least=1),
        Key("size", INT, "side of the window, in pixels or maps", least=1, aliases=("sizeX",)),
        Key("blocked", BOOL, "windows are fixed blocks of maps (cmrnorm only)", False),
        Key("scale", FLOAT, "weight of the sum of squares; divided by the values in the window", home="params"),
        Key("pow", FLOAT, "exponent of the denominator", home="params"),
        Key("minDiv", FLOAT, "constant of the denominator", 1.0, "params", read_by=(G2012, G2014)),
    )
    wants_params = GENERATIONS
    uses_acts = False
    across = False  # whether the window lies across maps

    channels: int
    size: int
    blocked: bool
    scale: float
    pow: float
    minDiv: float
    imgSize: int = 0

    def shape(self, check: Check) -> None:
        side = self.image_side(check, self.channels)
        if side is None:
            return
        self.imgSize = side
        least, most = (2, self.channels) if self.across else (1, side)
        if not least <= self.size <= most:
            check.error("size", f"a window of {self.size} is not within {least} to {most}")
        if self.blocked and not self.across:
            check.warn("blocked", "blocked has a meaning only in cmrnorm")
        if self.across and self.channels % 16:
            check.limit("channels", f"the originals' kernels want a multiple of 16 channels, not {self.channels}")
        elif self.channels > 3 and self.channels % 4:
            check.limit(
                "channels", f"the originals' kernels want at most 3 channels or a multiple of 4, not {self.channels}"
            )
        self.shape_like(self.channels, side)

    @property
    def scaled(self) -> float:
        """The scale that the formula uses: the file's, divided by the values in a window (numerics 9.0)."""
        return self.scale / (self.size if self.across else self.size**2)

    def window(self) -> tuple[int, int] | None:
        return (1, 1) if self.across else (self.size, 1)

    def response(self) -> Response:
        return Response(self.size, self.scaled, self.pow, self.minDiv, self.blocked)

    def forward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.channels)
        node.be.norm_forward(self.type, images, out, response=self.response())

    def backward(self, node: LayerNode) -> None:
        images, grad = node.image(0, self.channels), node.grad_image(self.channels)
        input_grad = node.image_input_grad(0, self.channels)
        node.be.norm_input_grad(self.type, images, grad, *input_grad, response=self.response())

    def stored(self, generation: Generation) -> dict[str, Any]:
        derived = {"scale": self.scaled, "imgSize": self.imgSize, "imgPixels": self.imgSize**2}
        stored = super().stored(generation) | derived
        if generation == G2012 and not self.across:
            stored.pop("minDiv")  # 2012 read it for cmrnorm only
        return stored


class CrossMapNorm(Norm):
    """Divides by the energy of neighbouring maps at the same pixel: the paper's response normalisation."""

    type = "cmrnorm"
    title = "cross-map response-normalization"
    summary = "Divides every value by the energy of neighbouring maps at its pixel."
    across = True


class ResponseNorm(Norm):
    """Divides by the energy of neighbouring pixels of the same map."""

    type = "rnorm"
    title = "response-normalization"
    summary = "Divides every value by the energy of neighbouring pixels in its map."


class ContrastNorm(Norm):
    """As rnorm, with the energy taken around each pixel's local mean. Its gradient is an approximation (numerics 9.5)."""

    type = "cnorm"
    title = "contrast-normalization"
    stored_flags = "acts own"
    approximate = "local means count as constants"
    summary = "Divides every value by the local contrast of its map; the gradient is the originals' approximation."
