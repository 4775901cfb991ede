"""The table of ops: what a backend can do, in formulas. Three backends implement it: reference, cpu, cuda.

Arrays are the backend's own (``Array``): C-ordered, resident where it computes, with ``shape``, ``reshape`` and slices
of the first axis. Activations are (features, N) or seen as maps (C, H, W, N), cases innermost, as in 2012 (numerics 1.1).
Ops may return before they are done; ``download`` and ``sync`` wait. No op copies to or from the host unless it says so.

The contract of every op that takes ``scale_targets``:

    out = scale_targets * out + scale_output * result

and ``scale_targets == 0`` never reads ``out``, whose old contents may be NaN (numerics 2.5).

Letters: C channels, H, W height and width, N cases, F filters, M output side, G groups, k filter side, K inputs of fc.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from convnet.backends.host import host_memory
from convnet.backends.philox import Key

Array = Any  # a backend's own array


class Backend(ABC):
    """Base of all backends. Subclasses implement every abstract method; families of ops follow the layer files."""

    name = ""

    # -- memory -------------------------------------------------------------------------------------------------

    @abstractmethod
    def empty(self, shape: Sequence[int]) -> Array:
        """A new float array with arbitrary contents."""

    @abstractmethod
    def upload(self, values: np.ndarray) -> Array:
        """A new array with the contents of a host array."""

    @abstractmethod
    def copy_in(self, values: np.ndarray, out: Array) -> None:
        """Fill ``out`` from a host array of the same shape."""

    def prefetch(self, values: np.ndarray) -> Any:
        """Begin to bring a host array, of bytes or floats, to where ops run, beside the ops issued so far.

        What is returned stands for ``values`` in one call of ``copy_in`` or ``pack_images``; they must not change before.
        """
        return values

    @abstractmethod
    def download(self, array: Array) -> np.ndarray:
        """A host copy of an array; waits for the ops that write it."""

    def fetch(self, array: Array) -> Callable[[], np.ndarray]:
        """Begin to copy an array to the host, as the ops issued so far leave it; calling what is returned waits for it."""
        values = self.download(array)
        return lambda: values

    def copy_from(self, other: Backend, x: Array, out: Array) -> None:
        """out = x, an array of ``other`` of the same shape; waits only where it has to go through the host."""
        self.copy_in(other.download(x), out)

    @abstractmethod
    def cost_vector(self, length: int) -> Array:
        """A float64 vector for the sums that a cost makes."""

    @abstractmethod
    def connections(self, channels: Sequence[int]) -> Array:
        """randSparse's connections as the conv and local ops take them (``conns``)."""

    def zeros(self, shape: Sequence[int]) -> Array:
        """A new array of zeros."""
        out = self.empty(shape)
        self.fill(out, 0.0)
        return out

    def sync(self) -> None:
        """Wait until every op issued so far is done."""

    # -- capturing: ops issued once, then again and again as a whole, where ``captures`` is true ------------------

    @property
    def captures(self) -> bool:
        """Whether ``capturing`` works."""
        return False

    def capturing(self) -> AbstractContextManager[list[Any]]:
        """Inside, ops are kept instead of done; afterwards the list holds one thing for ``replay``.

        Arrays must stay where they are. Random ops take keys of step 0; ``count_step`` adds the step to them.
        """
        raise NotImplementedError(self.name)

    def replay(self, captured: Any) -> None:
        """Issue what was captured."""
        raise NotImplementedError(self.name)

    def count_step(self, step: int) -> None:
        """Let the random ops of what was captured draw the numbers of ``step`` from now on."""
        raise NotImplementedError(self.name)

    def prepare(self, run: Callable[[Backend], None]) -> None:
        """Get ready for what ``run`` asks of a backend: where kernels are compiled, all of them at once.

        ``run`` is called with a backend that only notes its ops, and holds no values.
        """

    def memory(self) -> tuple[int, int] | None:
        """(free, total) bytes for arrays, where that is known: of this machine, unless a device has its own."""
        return host_memory()

    def describe(self) -> str:
        """What runs the ops, for the banner: ``CPU (2 threads, AVX-512)``."""
        return self.name

    # -- general ------------------------------------------------------------------------------------------------

    @abstractmethod
    def fill(self, out: Array, value: float) -> None:
        """out = value."""

    @abstractmethod
    def add(self, x: Array, out: Array, scale_targets: float = 0.0, scale_output: float = 1.0) -> None:
        """out = scale_targets * out + scale_output * x; ``x`` and ``out`` may be one array."""

    @abstractmethod
    def add_bias(self, out: Array, biases: Array) -> None:
        """out[r, j] += biases[r]."""

    @abstractmethod
    def sum_rows(self, x: Array, out: Array, scale_targets: float = 0.0, scale_output: float = 1.0) -> None:
        """result[r] = sum_j x[r, j]."""

    @abstractmethod
    def all_finite(self, x: Array) -> bool:
        """Whether ``x`` holds neither NaN nor infinity; waits."""

    # -- conv and local (numerics section 2) ----------------------------------------------------------------------
    # images[c, y, x, n]; out and grad[f, my, mx, n]; filters[c, ky, kx, f], or [m, c, ky, kx, f] for local.
    # Window (my, mx) starts at (-padding + my*stride, -padding + mx*stride); taps outside the image count as zero.
    # Group q reads channels q*Cf .. (q+1)*Cf, or conns[q*Cf + j] where given, and makes filters q*F/G .. (q+1)*F/G.

    def add_biases(self, out: Array, biases: Array | None) -> None:
        """``add_bias`` on maps: one bias per map, or one per output; none if there are none."""
        if biases is not None:
            self.add_bias(out.reshape(biases.size, -1), biases)

    @abstractmethod
    def conv_forward(
        self, images: Array, filters: Array, out: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None, biases: Array | None = None,
    ) -> None:  # fmt: skip
        """result[f, my, mx, n] = sum over c, ky, kx of filters * images at the tap.

        ``biases``, one per filter or one per output, are added to the blended result.
        """

    @abstractmethod
    def conv_input_grad(
        self, grad: Array, filters: Array, into: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None,
    ) -> None:  # fmt: skip
        """The transpose of ``conv_forward``: what ``grad`` means for every pixel of the images."""

    @abstractmethod
    def conv_weight_grad(
        self, images: Array, grad: Array, into: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None,
    ) -> None:  # fmt: skip
        """result[c, ky, kx, f] = sum over my, mx, n of images at the tap * grad[f, my, mx, n]."""

    @abstractmethod
    def local_forward(
        self, images: Array, filters: Array, out: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None, biases: Array | None = None,
    ) -> None:  # fmt: skip
        """As ``conv_forward``, with the filters of each window."""

    @abstractmethod
    def local_input_grad(
        self, grad: Array, filters: Array, into: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None,
    ) -> None:  # fmt: skip
        """The transpose of ``local_forward``."""

    @abstractmethod
    def local_weight_grad(
        self, images: Array, grad: Array, into: Array, scale_targets: float = 0.0, scale_output: float = 1.0,
        *, padding: int, stride: int, groups: int = 1, conns: Array | None = None,
    ) -> None:  # fmt: skip
        """result[m, c, ky, kx, f] = sum over n of images at the tap * grad[f, m, n]."""

    # -- fc (numerics section 4): x[k, n], out and grad[f, n], weights[f, k]; ``parts`` independent blocks ---------

    @abstractmethod
    def fc_forward(
        self, x: Array, weights: Array, out: Array, scale_targets: float = 0.0, scale_output: float = 1.0, *, parts: int = 1
    ) -> None:
        """result[f, n] = sum_k weights[f, k] * x[k, n], over the k of f's own block."""

    @abstractmethod
    def fc_input_grad(
        self,
        grad: Array,
        weights: Array,
        into: Array,
        scale_targets: float = 0.0,
        scale_output: float = 1.0,
        *,
        parts: int = 1,
    ) -> None:
        """result[k, n] = sum_f weights[f, k] * grad[f, n]."""

    @abstractmethod
    def fc_weight_grad(
        self, x: Array, grad: Array, into: Array, scale_targets: float = 0.0, scale_output: float = 1.0, *, parts: int = 1
    ) -> None:
        """result[f, k] = sum_n grad[f, n] * x[k, n]."""

    @abstractmethod
    def tree_forward(self, offsets: Array, effective: Array, parents: Sequence[int], top_down: Sequence[int]) -> None:
        """effective[v] = sum of offsets over the path from the root to v."""

    @abstractmethod
    def tree_backward(self, grad: Array, parents: Sequence[int], top_down: Sequence[int], leaves: int) -> None:
        """grad[v] of inner nodes = sum over their children, in place; rows below ``leaves`` are given."""

    @abstractmethod
    def tree_update(
        self, weights: Array, increments: Array, grad: Array, leaves_below: Sequence[int], momentum: float, rate: float,
        decay: float,
    ) -> None:  # fmt: skip
        """As ``update`` row by row, with rate / sz and decay / sz for a node with sz leaves below it (numerics 4.5)."""

    # -- pool (numerics section 8): windows [start + o*stride, start + o*stride + size) clipped to the image ----------

    @abstractmethod
    def pool_max_forward(self, images: Array, out: Array, by_magnitude: bool, *, size: int, start: int, stride: int) -> None:
        """The largest value of each window; ``by_magnitude``: the value of largest magnitude, the later one on a tie."""

    @abstractmethod
    def pool_avg_forward(self, images: Array, out: Array, undivided: bool, *, size: int, start: int, stride: int) -> None:
        """The sum of each window over its number of pixels inside the image; ``undivided``: the sum."""

    @abstractmethod
    def pool_rand_forward(self, images: Array, out: Array, key: Key, *, size: int, start: int, stride: int) -> None:
        """A member of each window, with probability proportional to its positive part; any, where none is positive."""

    @abstractmethod
    def pool_max_input_grad(
        self, images: Array, out: Array, grad: Array, into: Array, scale_targets: float = 0.0,
        *, size: int, start: int, stride: int,
    ) -> None:  # fmt: skip
        """result(pixel) = sum of grad over windows that cover it and whose output equals it: ties all get the gradient."""

    @abstractmethod
    def pool_avg_input_grad(
        self, grad: Array, into: Array, undivided: bool, scale_targets: float = 0.0, *, size: int, start: int, stride: int
    ) -> None:
        """result(pixel) = sum of grad / pixels over windows that cover it."""

    @abstractmethod
    def cmpool_forward(self, images: Array, out: Array, *, size: int, start: int, stride: int) -> None:
        """out[j] = largest of channels start + j*stride .. + size, clipped."""

    @abstractmethod
    def cmpool_input_grad(
        self, images: Array, out: Array, grad: Array, into: Array, scale_targets: float = 0.0,
        *, size: int, start: int, stride: int,
    ) -> None:  # fmt: skip
        """As ``pool_max_input_grad``, across channels."""

    # -- norm (numerics section 9): d = min_div + scale * sum of squares in the window, out = x * d^-power -----------

    @abstractmethod
    def cmrnorm_forward(
        self, images: Array, out: Array, *, size: int, scale: float, power: float, min_div: float, blocked: bool
    ) -> None:
        """The window lies across channels: [c - size//2, c - size//2 + size), or c's block of ``size``."""

    @abstractmethod
    def cmrnorm_input_grad(
        self, images: Array, grad: Array, into: Array, scale_targets: float = 0.0,
        *, size: int, scale: float, power: float, min_div: float, blocked: bool,
    ) -> None:  # fmt: skip
        """g * d^-power + x * sum over windows q that hold this place of -2 * power * scale * g(q) * out(q) / d(q)."""

    @abstractmethod
    def rnorm_forward(self, images: Array, out: Array, *, size: int, scale: float, power: float, min_div: float) -> None:
        """The window is a square of the same map, clipped to the image."""

    @abstractmethod
    def rnorm_input_grad(
        self, images: Array, grad: Array, into: Array, scale_targets: float = 0.0,
        *, size: int, scale: float, power: float, min_div: float,
    ) -> None:  # fmt: skip
        """As ``cmrnorm_input_grad``."""

    @abstractmethod
    def cnorm_forward(self, images: Array, out: Array, *, size: int, scale: float, power: float, min_div: float) -> None:
        """As ``rnorm_forward`` with squares of m = x - mean of x's own window; the numerator stays x."""

    @abstractmethod
    def cnorm_input_grad(
        self, images: Array, grad: Array, into: Array, scale_targets: float = 0.0,
        *, size: int, scale: float, power: float, min_div: float,
    ) -> None:  # fmt: skip
        """The originals' approximation: as ``rnorm_input_grad`` with m for x before the sum (numerics 9.5)."""

    # -- neuron (numerics section 7), softmax (6), dropout (10), eltwise (5) -----------------------------------------

    @abstractmethod
    def neuron_forward(self, kind: str, a: float, b: float, x: Array, out: Array) -> None:
        """out = f(x); ``x`` and ``out`` may be one array."""

    @abstractmethod
    def neuron_input_grad(
        self, kind: str, a: float, b: float, x: Array, y: Array, grad: Array, into: Array, scale_targets: float = 0.0
    ) -> None:
        """result = grad * f'; reads ``x`` or ``y`` only where the table of neurons says so. ``into`` may be ``grad``."""

    @abstractmethod
    def nrelu_forward(self, x: Array, out: Array, key: Key) -> None:
        """out = max(0, y + y * N(0, 1)) with y = max(0, x)."""

    @abstractmethod
    def softmax_forward(self, x: Array, out: Array) -> None:
        """out[j, n] = exp(x[j, n] - max_j) / sum_j."""

    @abstractmethod
    def softmax_input_grad(self, y: Array, grad: Array, into: Array, scale_targets: float = 0.0) -> None:
        """result[i, n] = y_i * (grad_i - sum_j grad_j y_j)."""

    @abstractmethod
    def dropout(self, x: Array, out: Array, keep: float, gain: float, key: Key, scale_targets: float = 0.0) -> None:
        """result = gain * x where the key's uniform number at this position is below ``keep``, else 0."""

    @abstractmethod
    def eltmax_forward(self, x: Array, out: Array) -> None:
        """out = max(out, x)."""

    @abstractmethod
    def eltmax_input_grad(self, x: Array, y: Array, grad: Array, into: Array, scale_targets: float = 0.0) -> None:
        """result = grad where x == y, else 0."""

    # -- cost (numerics section 12): labels (1, N) or targets (K, N), predictions (K, N); costs hold sums over cases ----

    @abstractmethod
    def logreg_cost(self, labels: Array, probs: Array, costs: Array, topk: int) -> None:
        """costs = [-sum log p_label, top-1 errors, top-k errors], ties shared (numerics 12.1)."""

    @abstractmethod
    def logreg_input_grad(self, labels: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0) -> None:
        """result[j] = coeff * [j == label] / p_label."""

    @abstractmethod
    def logreg_fused_grad(self, labels: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0) -> None:
        """Through the softmax: result[j] = coeff * ([j == label] - p_j)."""

    @abstractmethod
    def crossent_cost(self, targets: Array, probs: Array, costs: Array) -> None:
        """costs = [-sum t * log p (log of nothing counts as -50), errors]."""

    @abstractmethod
    def crossent_input_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """result = coeff * t / p."""

    @abstractmethod
    def crossent_fused_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """Through the softmax: result = coeff * (t - p * sum_j t_j)."""

    @abstractmethod
    def crossent2_cost(self, targets: Array, probs: Array, costs: Array) -> None:
        """costs = [-sum of t log y + (1-t) log(1-y)]."""

    @abstractmethod
    def crossent2_input_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """result = coeff * (t/y - (1-t)/(1-y))."""

    @abstractmethod
    def crossent2_fused_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """Through the logistic: result = coeff * (t - y)."""

    @abstractmethod
    def bce_cost(self, targets: Array, probs: Array, costs: Array, *, pos_weight: float) -> None:
        """costs = [-sum of w t log y + (1-t) log(1-y), wrong outputs / K, top-1 errors]."""

    @abstractmethod
    def bce_input_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0, *, pos_weight: float
    ) -> None:
        """result = coeff * (w t/y + (t-1)/(1-y))."""

    @abstractmethod
    def bce_fused_grad(
        self, targets: Array, probs: Array, into: Array, coeff: float, scale_targets: float = 0.0, *, pos_weight: float
    ) -> None:
        """Through the logistic: result = coeff * (w t (1-y) + (t-1) y)."""

    @abstractmethod
    def dce_cost(self, targets: Array, probs: Array, costs: Array, *, pos_weight: float) -> None:
        """costs = bce's first two, then per class: declared positive (y > .5), positive, truly positive."""

    @abstractmethod
    def sum2_cost(self, x: Array, costs: Array) -> None:
        """costs = [sum x^2]."""

    @abstractmethod
    def gsum2_cost(self, gates: Array, x: Array, costs: Array) -> None:
        """costs = [sum gate_n * x^2]."""

    @abstractmethod
    def gsum2_gate_grad(self, gates: Array, x: Array, into: Array, coeff: float, scale_targets: float = 0.0) -> None:
        """result[n] = -coeff * sum_i x[i, n]^2."""

    @abstractmethod
    def gsum2_input_grad(self, gates: Array, x: Array, into: Array, coeff: float, scale_targets: float = 0.0) -> None:
        """result = -2 * coeff * gate_n * x."""

    @abstractmethod
    def rflickr_cost(self, targets: Array, predictions: Array, costs: Array) -> None:
        """costs = [sum log(1 + (y-t)^2)]."""

    @abstractmethod
    def rflickr_input_grad(
        self, targets: Array, predictions: Array, into: Array, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """result = -coeff * 2 (y-t) / (1 + (y-t)^2)."""

    @abstractmethod
    def tica_cost(self, images: Array, reciprocals: Array, costs: Array, size: int) -> None:
        """reciprocals = 1 / (0.001 + sqrt(sum of squares in the window)); costs = [their sum]."""

    @abstractmethod
    def tica_input_grad(
        self, images: Array, reciprocals: Array, into: Array, size: int, coeff: float, scale_targets: float = 0.0
    ) -> None:
        """result(p) = -coeff * x(p) * sum of reciprocals over windows that hold p."""

    @abstractmethod
    def msm_cost(self, labels: Array, energies: Array, costs: Array, *, set_size: int) -> None:
        """costs = [-sum log P(label in the set), top-1 errors, top-set_size errors], errors by energies."""

    @abstractmethod
    def msm_input_grad(
        self, labels: Array, energies: Array, into: Array, coeff: float, scale_targets: float = 0.0, *, set_size: int
    ) -> None:
        """result_i = coeff * (P(i in set | label in set) - P(i in set))."""

    # -- image (numerics section 11) -----------------------------------------------------------------------------

    @abstractmethod
    def blur(self, images: Array, out: Array, taps: Sequence[float], scale_targets: float = 0.0) -> None:
        """Separable filter along both axes, zeros outside. Its own transpose."""

    @abstractmethod
    def nailbed_forward(self, images: Array, out: Array, start: int, stride: int) -> None:
        """out[c, oy, ox] = images[c, start + oy*stride, start + ox*stride]."""

    @abstractmethod
    def nailbed_input_grad(self, grad: Array, into: Array, start: int, stride: int, scale_targets: float = 0.0) -> None:
        """Scatters ``grad`` to the pixels that were picked, zero elsewhere."""

    @abstractmethod
    def resize(self, images: Array, out: Array, scale: float) -> None:
        """Bilinear: source = o*scale + (0.5*S - 0.5*T*scale), clamped to [0, S - 1.01]."""

    @abstractmethod
    def crop(self, images: Array, out: Array, top: int, left: int) -> None:
        """The part of the images that starts at (top, left)."""

    @abstractmethod
    def mirror(self, images: Array, out: Array, scale_targets: float = 0.0) -> None:
        """result[c, y, x] = images[c, y, W-1-x]. Its own transpose."""

    @abstractmethod
    def rgb2yuv(self, images: Array, out: Array) -> None:
        """Three channels to luminance and two differences."""

    @abstractmethod
    def rgb2lab(self, images: Array, out: Array, center: bool) -> None:
        """Three channels in [0, 1] to L, a, b; ``center`` takes 50 off L."""

    @abstractmethod
    def pack_images(self, pixels: np.ndarray, crop: Any, out: Array) -> None:
        """Host bytes (N, H, W, C) to float maps (C, S, S, N): crop, mirror, subtract the mean, shift colours, scale.

        ``crop`` is a ``convnet.data.images.Crops``. Copies to the device.
        """

    # -- weights (numerics section 13) -----------------------------------------------------------------------------

    @abstractmethod
    def update(
        self, weights: Array, increments: Array, grad: Array | None, momentum: float, rate: float, decay: float
    ) -> None:
        """increments = momentum * increments + rate * grad - decay * weights; weights += increments.

        Without ``grad`` the increments already hold the first two terms, and ``momentum`` and ``rate`` are not used.
        """

    @abstractmethod
    def super_update(
        self, weights: Array, increments: Array, grad: Array, mean: Array, square: Array, momentum: float, rate: float,
        decay: float, epsilon: float,
    ) -> None:  # fmt: skip
        """2012's experimental update, normalised by running moments of the gradient (numerics 13.8)."""

    @abstractmethod
    def limit_norm(self, weights: Array, limit: float, hard: bool) -> None:
        """weights (outer, K, inner): columns over K longer than ``limit`` are scaled to it; ``hard``: all non-zero ones."""

    @abstractmethod
    def limit_contrast(self, weights: Array, least: float, most: float) -> None:
        """weights (outer, K, inner): scale columns whose sqrt(sum (w - mean)^2) / K leaves [least, most] (numerics 13.7)."""

    @abstractmethod
    def mean_magnitude(self, x: Array) -> float:
        """The mean of |x|, as printed after tests; waits."""
