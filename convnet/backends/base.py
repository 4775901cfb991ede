"""The table of ops: what a backend can do, in formulas. Three backends implement it: reference, cpu, cuda.

Arrays are the backend's own (``Array``): C-ordered, resident where it computes, with ``shape``, ``reshape`` and slices
of the first axis. Activations are (features, N) or seen as maps (C, H, W, N), cases innermost, as in 2012 (numerics 1.1).
Ops may return before they are done; ``download`` and ``sync`` wait. No op copies to or from the host unless it says so.

An op takes its kind, if there are several; then its arrays, the one it writes last; then, by name, sizes and constants.
The contract of every op that takes ``scale_targets``, and with it ``scale_output`` or 1:

    out = scale_targets * out + scale_output * result

and ``scale_targets == 0`` never reads ``out``, whose old contents may be NaN (numerics 2.5). Some ops include the neuron
that stands beside them, if it has no parameters: with ``activation`` they store f of what they would have stored; with
``slope`` their result is multiplied by the derivative of the neuron below.

Letters: C channels, H, W height and width, N cases, F filters, M output side, G groups, k filter side, K inputs of fc.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from convnet.backends.arguments import Activation, Array, Criterion, Geometry, Rates, Response, Slope, Window
from convnet.backends.checks import guard
from convnet.backends.host import host_memory
from convnet.backends.philox import Key


class Backend(ABC):
    """Base of all backends. Subclasses implement every abstract method; families of ops follow the layer files."""

    name = ""
    is_remote = False  # whether it is a device of another rank, which computes nothing here

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        guard(cls, Backend)

    # -- memory -------------------------------------------------------------------------------------------------

    @abstractmethod
    def empty(self, shape: Sequence[int]) -> Array:
        """Return a new float array with arbitrary contents."""

    @abstractmethod
    def upload(self, values: np.ndarray) -> Array:
        """Return a new array with the contents of a host array."""

    @abstractmethod
    def copy_in(self, values: np.ndarray, out: Array) -> None:
        """Fill ``out`` from a host array of the same shape."""

    def prefetch(self, values: np.ndarray) -> Any:
        """Begin to copy a host array of bytes or floats to where ops run, beside the ops issued so far.

        The result replaces ``values`` in one call of ``copy_in`` or ``pack_images``; until then they must not change.
        """
        return values

    @abstractmethod
    def download(self, array: Array) -> np.ndarray:
        """Return a host copy of an array; waits for the ops that write it."""

    def fetch(self, array: Array) -> Callable[[], np.ndarray]:
        """Begin to copy an array to the host, as the ops issued so far leave it; call the result for the copy."""
        values = self.download(array)
        return lambda: values

    def copy_from(self, other: Backend, x: Array, out: Array) -> None:
        """out = x, an array of the same shape on ``other``; waits only where it has to go through the host."""
        self.copy_in(other.download(x), out)

    def deliver(self, be: Backend, x: Array, out: Array) -> Callable[[], None]:
        """Begin ``be.copy_from(self, x, out)``; call the result before ops that are issued then read ``out``."""
        be.copy_from(self, x, out)
        return lambda: None

    @abstractmethod
    def cost_vector(self, length: int) -> Array:
        """Return a float64 vector for a cost's sums."""

    @abstractmethod
    def connections(self, channels: Sequence[int]) -> Array:
        """Return randSparse's connections as ``Geometry.conns`` holds them."""

    def zeros(self, shape: Sequence[int]) -> Array:
        """Return a new array of zeros."""
        out = self.empty(shape)
        self.fill(out, 0.0)
        return out

    def sync(self) -> None:
        """Wait until every op issued so far is done."""

    def multiply_add(self, rounds: int) -> float:  # noqa: ARG002
        """Multiply and add ``rounds`` times in registers alone; returns the operations done, 0 without such a kernel."""
        return 0.0

    def conv_method(self, op: str, images: Array, weights: Array, out: Array, *, geometry: Geometry) -> str:  # noqa: ARG002
        """Name what computes ``op``, one of ``conv_*``, with arrays of these shapes, where there is a choice; else ``""``.

        A name that begins with ``winograd`` is of a method with fewer multiplications than there are products.
        """
        return ""

    # -- capturing: ops recorded once, then replayed as a whole, where ``captures`` is true -----------------------

    captures = False  # whether ``capturing`` works
    why_no_capture = ""  # why not, where something is wrong
    runs_branches = False  # whether captured ops that share no arrays may run at the same time

    def capturing(self) -> AbstractContextManager[list[Any]]:
        """Record the ops issued inside instead of running them; afterwards the list holds one item for ``replay``.

        Arrays must stay where they are. Random ops take keys of step 0; ``count_step`` adds the step to them.
        """
        raise NotImplementedError(self.name)

    def replay(self, captured: Any) -> None:
        """Issue the recorded ops."""
        raise NotImplementedError(self.name)

    def count_step(self, step: int) -> None:
        """Let recorded random ops draw the numbers of ``step`` from now on."""
        raise NotImplementedError(self.name)

    def prepare(self, run: Callable[[Backend], None]) -> None:
        """Compile the kernels of all ops that ``run`` asks for, where a backend has any to compile.

        ``run`` is called with a backend that records its ops and holds no values.
        """

    def memory(self) -> tuple[int, int] | None:
        """Return (free, total) bytes for arrays, where known: of this machine, unless a device has its own."""
        return host_memory()

    def trim(self) -> None:
        """Return memory that no array uses, where it is kept for later ones."""

    def describe(self) -> str:
        """Say what runs the ops, for the banner: ``CPU (2 threads, avx512 kernels)``."""
        return self.name

    def arithmetic(self) -> str:
        """Say what the last bits of results depend on: ``the cpu backend (avx2 kernels, float32)``."""
        return f"the {self.name} backend"

    # -- general ------------------------------------------------------------------------------------------------

    @abstractmethod
    def fill(self, out: Array, value: float) -> None:
        """out = value."""

    @abstractmethod
    def add(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        """Blend: result = x; ``x`` and ``out`` may be one array."""

    @abstractmethod
    def add_bias(self, out: Array, biases: Array) -> None:
        """out[r, j] += biases[r]."""

    @abstractmethod
    def sum_rows(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        """result[r] = sum_j x[r, j]."""

    @abstractmethod
    def all_finite(self, x: Array) -> bool:
        """Whether ``x`` holds neither NaN nor infinity; waits."""

    # -- neurons that ops beside them include: ``activation`` and ``slope`` --------------------------------------

    includes_neurons = False  # whether that saves time: whether nets should ask for it

    def activate(self, out: Array, activation: Activation | None) -> None:
        """out = f(out), if there is a function."""
        if activation is not None:
            self.neuron_forward(out, out, activation=activation)

    @contextmanager
    def multiplied(self, input_grad: Array, scale_targets: float, slope: Slope | None) -> Iterator[tuple[Array, float]]:
        """Yield (target, its scale_targets) for an op; afterwards multiply what it made by ``slope``, if there is one."""
        if slope is None:
            yield input_grad, scale_targets
            return
        target = self.empty(input_grad.shape) if scale_targets else input_grad
        yield target, 0.0
        self.neuron_input_grad(slope.y, slope.y, target, input_grad, scale_targets, activation=slope.activation)

    # -- conv and local (numerics section 2) ----------------------------------------------------------------------
    # images[c, y, x, n]; out and grad[f, my, mx, n]; weights[c, ky, kx, f]. Weights of rank 5 are local's, a kernel for
    # each window m = my*M + mx: weights[m, c, ky, kx, f].
    # Window (my, mx) starts at (-padding + my*stride, -padding + mx*stride); taps outside the image count as zero.
    # Group q reads channels q*Cf .. (q+1)*Cf, or conns[q*Cf + j] if not None, and computes filters q*F/G .. (q+1)*F/G.

    def add_biases(self, out: Array, biases: Array | None) -> None:
        """``add_bias`` on maps: one bias per map, or one per output; none if there are none."""
        if biases is not None:
            self.add_bias(out.reshape(biases.size, -1), biases)

    @abstractmethod
    def conv_forward(
        self, images: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        geometry: Geometry, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        """result[f, my, mx, n] = sum over c, ky, kx of weights * images at the tap.

        ``biases``, one per filter or one per output, are added to the blended result, before ``activation``.
        """

    @abstractmethod
    def conv_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        geometry: Geometry, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        """Transpose ``conv_forward``: result[c, y, x, n] = sum over f and the taps that lie on (y, x) of weights * grad."""

    @abstractmethod
    def conv_weight_grad(
        self, images: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *,
        geometry: Geometry,
    ) -> None:  # fmt: skip
        """result[c, ky, kx, f] = sum over my, mx, n of images at the tap * grad[f, my, mx, n]; local: over n alone."""

    # -- fc (numerics section 4): x[k, n], out and grad[f, n], weights[f, k]; ``parts`` independent blocks ---------

    @abstractmethod
    def fc_forward(
        self, x: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        parts: int = 1, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        """result[f, n] = sum_k weights[f, k] * x[k, n], over the k of f's own block; ``biases`` as in ``conv_forward``."""

    @abstractmethod
    def fc_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        parts: int = 1, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        """result[k, n] = sum_f weights[f, k] * grad[f, n]."""

    @abstractmethod
    def fc_weight_grad(
        self, x: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *, parts: int = 1
    ) -> None:
        """result[f, k] = sum_n grad[f, n] * x[k, n]."""

    @abstractmethod
    def tree_forward(self, offsets: Array, effective: Array, parents: Sequence[int], top_down: Sequence[int]) -> None:
        """effective[v] = sum of offsets over the path from the root to v."""

    @abstractmethod
    def tree_backward(self, grad: Array, parents: Sequence[int], top_down: Sequence[int], leaves: int) -> None:
        """grad[v] of inner nodes = sum over their children, in place; rows below ``leaves`` are inputs."""

    @abstractmethod
    def tree_update(
        self, weights: Array, increments: Array, grad: Array, *, leaves_below: Sequence[int], rates: Rates
    ) -> None:
        """As ``update`` row by row, with rate / sz and decay / sz for a node with sz leaves below it (numerics 4.5)."""

    # -- pool (numerics section 8): windows [start + o*stride, start + o*stride + size) clipped to the image ----------

    @abstractmethod
    def pool_forward(
        self, kind: str, images: Array, out: Array, *, window: Window, activation: Activation | None = None
    ) -> None:
        """Reduce each window of each map.

        max     the largest value
        maxabs  the value of the largest magnitude, the later one on a tie
        avg     the sum over the number of pixels inside the image
        sum     the sum
        """

    @abstractmethod
    def pool_rand_forward(self, images: Array, out: Array, *, window: Window, key: Key) -> None:
        """Pick a member of each window, with probability proportional to its positive part; any, where none is positive."""

    @abstractmethod
    def pool_max_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        """result(pixel) = sum of grad over windows that cover it and whose output equals it: ties all get the gradient.

        After ``pool_forward`` with relu, windows whose output became 0 must have a gradient of 0.
        """

    @abstractmethod
    def pool_avg_input_grad(
        self, kind: str, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        """result(pixel) = sum over windows that cover it of grad / pixels of the window (avg), or of grad (sum)."""

    @abstractmethod
    def cmpool_forward(self, images: Array, out: Array, *, window: Window) -> None:
        """out[j] = largest of channels start + j*stride .. + size, clipped."""

    @abstractmethod
    def cmpool_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, window: Window
    ) -> None:
        """As ``pool_max_input_grad``, across channels."""

    # -- norm (numerics section 9): d = min_div + scale * sum of squares in the window, out = x * d^-power -----------

    @abstractmethod
    def norm_forward(self, kind: str, images: Array, out: Array, *, response: Response) -> None:
        """Divide every value by the energy of its window.

        cmrnorm  the window lies across channels: [c - size//2, c - size//2 + size), or c's block of ``size``
        rnorm    a square of the same map, clipped to the image
        cnorm    as rnorm with squares of m = x - mean of x's own window; the numerator stays x
        """

    @abstractmethod
    def norm_input_grad(
        self, kind: str, images: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        response: Response, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        """Backpropagate; u sums over the windows q that hold this place (numerics 9.4).

            result = grad * d^-power + x * sum of u(q),  u(q) = -2 * power * scale * grad(q) * out(q) / d(q)

        cnorm has m for the x before the sum, the originals' approximation (numerics 9.5).
        """

    # -- neuron (numerics section 7), softmax (6), dropout (10), eltwise (5) -----------------------------------------

    @abstractmethod
    def neuron_forward(self, x: Array, out: Array, *, activation: Activation) -> None:
        """out = f(x), f one of ``arguments.NEURONS``; ``x`` and ``out`` may be one array."""

    @abstractmethod
    def neuron_input_grad(
        self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, activation: Activation
    ) -> None:
        """Multiply: result = grad * f'. Reads x or y as the table of neurons says; ``input_grad`` may be ``grad``."""

    @abstractmethod
    def nrelu_forward(self, x: Array, out: Array, *, key: Key) -> None:
        """out = max(0, y + y * N(0, 1)) with y = max(0, x)."""

    @abstractmethod
    def softmax_forward(self, x: Array, out: Array) -> None:
        """out[j, n] = exp(x[j, n] - max_j) / sum_j."""

    @abstractmethod
    def softmax_input_grad(self, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        """result[i, n] = y_i * (grad_i - sum_j grad_j y_j)."""

    @abstractmethod
    def dropout(self, x: Array, out: Array, scale_targets: float = 0, *, keep: float, gain: float, key: Key) -> None:
        """Mask: result = gain * x where the key's uniform number at this position is below ``keep``, else 0."""

    @abstractmethod
    def eltmax_forward(self, x: Array, out: Array) -> None:
        """out = max(out, x)."""

    @abstractmethod
    def eltmax_input_grad(self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        """Mask: result = grad where x == y, else 0."""

    # -- cost (numerics section 12): labels (1, N) or targets t (K, N), predictions y (K, N); costs are sums over cases --

    @abstractmethod
    def cost_forward(self, targets: Array | None, predictions: Array, costs: Array, *, criterion: Criterion) -> None:
        """Fill ``costs`` with the values of one of these, with w = ``pos_weight``.

        logreg    -sum log y_label, top-1 errors, top-k errors, ties shared (numerics 12.1)
        crossent  -sum t * log y (log of nothing counts as -50), errors
        bce       -sum of w t log y + (1-t) log(1-y), wrong outputs / K, top-1 errors: as many as ``costs`` holds
        dce       bce's first two, then per class: declared positive (y > .5), positive, truly positive
        sum2      sum y^2
        gsum2     sum gate_n * y^2; ``targets`` are the gates
        rflickr   sum log(1 + (y-t)^2)
        msm       -sum log P(label in the set), top-1 errors, top-set_size errors; y are energies
        """

    @abstractmethod
    def cost_input_grad(
        self, targets: Array, predictions: Array, input_grad: Array, scale_targets: float = 0, *, criterion: Criterion
    ) -> None:
        """Differentiate minus the cost by y: result = coeff times one of these, with w = ``pos_weight``.

        logreg          [j == label] / y_label
        logreg_fused    [j == label] - y_j                     through the softmax
        crossent        t / y
        crossent_fused  t - y * sum_j t_j                      through the softmax
        bce             w t/y + (t-1)/(1-y)
        bce_fused       w t (1-y) + (t-1) y                    through the logistic
        gsum2           -2 * gate_n * y
        rflickr         -2 (y-t) / (1 + (y-t)^2)
        msm             P(j in the set | label in the set) - P(j in the set)
        """

    @abstractmethod
    def gsum2_gate_grad(self, x: Array, gate_grad: Array, scale_targets: float = 0, *, coeff: float) -> None:
        """result[n] = -coeff * sum_i x[i, n]^2."""

    @abstractmethod
    def tica_cost(self, images: Array, reciprocals: Array, costs: Array, *, size: int) -> None:
        """reciprocals = 1 / (0.001 + sqrt(sum of squares in the window)); costs = [their sum]."""

    @abstractmethod
    def tica_input_grad(
        self, images: Array, reciprocals: Array, input_grad: Array, scale_targets: float = 0, *, size: int, coeff: float
    ) -> None:
        """result(p) = -coeff * x(p) * sum of reciprocals over windows that hold p."""

    # -- image (numerics section 11) -----------------------------------------------------------------------------

    @abstractmethod
    def blur(self, images: Array, out: Array, scale_targets: float = 0, *, taps: Sequence[float]) -> None:
        """Filter separably along both axes, zeros outside. Its own transpose."""

    @abstractmethod
    def nailbed_forward(self, images: Array, out: Array, *, start: int, stride: int) -> None:
        """out[c, oy, ox] = images[c, start + oy*stride, start + ox*stride]."""

    @abstractmethod
    def nailbed_input_grad(
        self, grad: Array, input_grad: Array, scale_targets: float = 0, *, start: int, stride: int
    ) -> None:
        """Scatter: result = ``grad`` at the pixels that were picked, zero elsewhere."""

    @abstractmethod
    def resize(self, images: Array, out: Array, scale: float) -> None:
        """Bilinear: source = o*scale + (0.5*S - 0.5*T*scale), clamped to [0, S - 1.01]."""

    @abstractmethod
    def crop(self, images: Array, out: Array, top: int, left: int) -> None:
        """out = the part of the images that starts at (top, left)."""

    @abstractmethod
    def mirror(self, images: Array, out: Array, scale_targets: float = 0) -> None:
        """result[c, y, x] = images[c, y, W-1-x]. Its own transpose."""

    @abstractmethod
    def rgb2yuv(self, images: Array, out: Array) -> None:
        """Three channels to luminance and two differences."""

    @abstractmethod
    def rgb2lab(self, images: Array, out: Array, center: bool) -> None:
        """Three channels in [0, 1] to L, a, b; ``center`` takes 50 off L."""

    @abstractmethod
    def pack_images(self, pixels: Any, crops: Any, out: Array) -> None:
        """out[c, y, x, n] = (pixels[n, top + y, left + x, c] - mean[c, y, x] + shift[n, c]) * gain; a flipped case reads
        x from the right.

        ``pixels`` are host bytes (N, H, W, C) or what ``prefetch`` made of them, ``crops`` a ``convnet.data.images.Crops``.
        """

    # -- weights (numerics section 13) -----------------------------------------------------------------------------

    @abstractmethod
    def update(self, weights: Array, increments: Array, grad: Array | None, *, rates: Rates) -> None:
        """increments = momentum * increments + rate * grad - decay * weights; weights += increments.

        Without ``grad`` the increments already hold the first two terms, and only the decay is used.
        """

    @abstractmethod
    def super_update(
        self, weights: Array, increments: Array, grad: Array, moments: tuple[Array, Array], *, rates: Rates, epsilon: float
    ) -> None:
        """Update as 2012's experiment did, by running moments of the gradient and of its square (numerics 13.8)."""

    @abstractmethod
    def limit_norm(self, weights: Array, limit: float, hard: bool) -> None:
        """weights (outer, K, inner): columns over K longer than ``limit`` are scaled to it; ``hard``: all non-zero ones."""

    @abstractmethod
    def limit_contrast(self, weights: Array, low: float, high: float) -> None:
        """weights (outer, K, inner): scale columns whose sqrt(sum (w - mean)^2) / K leaves [low, high] (numerics 13.7)."""

    @abstractmethod
    def mean_magnitude(self, x: Array) -> float:
        """Return the mean of |x|, as printed after tests; waits."""
