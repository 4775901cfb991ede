"""conv and local: the host side of ``cuda/conv.cu``. It chooses tiles, grids, and how weight gradients are split.

Letters: C channels, H, W sides of the image, N cases, F filters, MY, MX sides of the output, G groups, CF channels and FG
filters of a group.
"""

from typing import Any

import numpy as np

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.device import Dim
from convnet.backends.cuda.launch import NEURON_NAMES, THREADS, Launcher, blocks_for, ceil_div, neuron_constants
from convnet.backends.cuda.tile_table import Choice, Products, table_for
from convnet.backends.cuda.tiles import Tile, tile_for, windows_per_part

_PASSES = ["FORWARD", "TRANSPOSE", "INPUT_GRAD", "WEIGHT_GRAD", "SPARSE_INPUT_GRAD", "ADD_PARTS", "ROUND"]
_NAMES = {"PASS": _PASSES, "NEURON": NEURON_NAMES, "SLOPE": NEURON_NAMES}
_TRANSPOSE_SIDE = 32  # of the squares in which weights are transposed


class ConvOps(Launcher, Backend):
    """conv_*."""

    _inverse: dict[tuple, tuple[Array, Array, Array]]

    def conv_forward(
        self, images: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        geometry: Geometry, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        shapes, (F, MY, MX, N), G = _shapes(images, weights, out, geometry), out.shape, geometry.groups
        FG, places = F // G, MY * MX * G
        tile = self._choice("FORWARD", shapes, FG, N, shapes["CF"] * shapes["SIZE"] ** 2, MY * MX).tile
        grid = (places * ceil_div(FG, tile.BM), ceil_div(N, tile.BN))
        each = 0 if biases is None else biases.size // F  # one per filter, or for each window of a filter
        shapes |= {"VECTOR_A": int(FG % 4 == 0), "BIASES": min(each, 2), **neuron_constants(activation)}
        if tile.tensor and not shapes["LOCAL"]:  # round the weights once, and not in every block that reads them
            rounded, count = self.device.empty((weights.size,)), weights.size
            self._plain("ROUND", "conv_round_filters", {}, (blocks_for(count),), (THREADS,), weights, rounded, count)
            weights = rounded
        self._product("FORWARD", shapes, tile, grid, images, weights, out, geometry.conns, biases, scale_targets)

    def conv_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        geometry: Geometry, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        shapes = _shapes(input_grad, weights, grad, geometry) | neuron_constants(slope=slope)
        (_, H, W, N), G = input_grad.shape, geometry.groups
        CF, F, count, y = shapes["CF"], shapes["F"], input_grad.size, slope.y if slope else None
        if geometry.conns is not None:
            lists = self._places(geometry.conns, len(input_grad))
            args = (grad, weights, input_grad, y, *lists, count, scale_targets)
            self._plain("SPARSE_INPUT_GRAD", "conv_sparse_input_grad", shapes, (blocks_for(count),), (THREADS,), *args)
            return

        # weights_t[f, ky, kx, c], so that the product reads rows of channels; rounded for tensor cores.
        weights_t, taps = self.device.empty((weights.size,)), weights.size // (CF * F)
        blocks = ceil_div(F, _TRANSPOSE_SIDE) * ceil_div(CF, _TRANSPOSE_SIDE) * taps
        sizes, block = {"CF": CF, "SIZE": shapes["SIZE"], "F": F, "TF32": int(self._tensor)}, (_TRANSPOSE_SIDE, 8)
        self._plain("TRANSPOSE", "conv_transpose_filters", sizes, (blocks,), block, weights, weights_t)

        tile = self._choice("INPUT_GRAD", shapes, CF, N, shapes["FG"] * shapes["SIZE"] ** 2, H * W).tile
        grid = (H * W * G * ceil_div(CF, tile.BM), ceil_div(N, tile.BN))
        shapes |= {"VECTOR_A": int(CF % 4 == 0)}
        self._product("INPUT_GRAD", shapes, tile, grid, grad, weights_t, input_grad, y, scale_targets)

    def conv_weight_grad(
        self, images: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *,
        geometry: Geometry,
    ) -> None:  # fmt: skip
        shapes, (F, MY, MX, N), G = _shapes(images, weight_grad, grad, geometry), grad.shape, geometry.groups
        rows, FG, windows = shapes["CF"] * shapes["SIZE"] ** 2, F // G, MY * MX
        tile, share = self._choice("WEIGHT_GRAD", shapes, rows, FG, N, windows)
        parts = ceil_div(windows, share)
        grid = (tile.blocks(rows, FG) * G * parts,)
        if shapes["LOCAL"] or parts == 1:
            args = (images, grad, weight_grad, geometry.conns, share, scale_targets, scale_output)
            self._product("WEIGHT_GRAD", shapes, tile, grid, *args)
            return

        # Few weights and many windows: sum parts of the windows in parallel, then add the sums.
        sums, count = self.device.empty((parts, weight_grad.size)), weight_grad.size
        self._product("WEIGHT_GRAD", shapes, tile, grid, images, grad, sums, geometry.conns, share, 0.0, 1.0)
        totals = (sums, weight_grad, parts, count, scale_targets, scale_output)
        self._plain("ADD_PARTS", "conv_add_parts", {}, (blocks_for(count),), (THREADS,), *totals)

    def _product(self, name: str, shapes: dict[str, int], tile: Tile, grid: Dim, *args: Any) -> None:
        """Launch the kernel of a pass, a matrix product by tiles."""
        kernel, tiles = f"conv_{name.lower()}", {"PASS": _PASSES.index(name), **tile.constants}
        self.run("conv", kernel, grid, (tile.threads,), *args, shapes=shapes, tiles=tiles, names=_NAMES, shared=tile.shared)

    def _plain(self, name: str, kernel: str, shapes: dict[str, int], grid: Dim, block: Dim, *args: Any) -> None:
        """Launch another kernel of a pass."""
        self.run("conv", kernel, grid, block, *args, shapes=shapes, tiles={"PASS": _PASSES.index(name)}, names=_NAMES)

    @property
    def _tensor(self) -> bool:
        return self.device.math == "tf32"

    def _choice(self, kind: str, shapes: dict[str, int], rows: int, columns: int, depth: int, places: int) -> Choice:
        """Choose how a pass is computed: as a table of this device says, else by the cost model."""
        device, G, LOCAL = self.device, shapes["G"], shapes["LOCAL"]
        products = Products(kind.lower(), device.math, rows, columns, depth, places, G)
        measured = None if LOCAL else table_for(device.tiled_for, device.multiprocessors).get(products)
        if measured:
            return measured
        k_major = kind == "WEIGHT_GRAD"
        count = 0 if k_major else places * G
        tile = tile_for(rows, columns, count, device.multiprocessors, tensor=self._tensor, k_major=k_major)
        if LOCAL or not k_major:
            return Choice(tile, 1)
        machine = device.multiprocessors, device.shared_memory
        return Choice(tile, windows_per_part(tile, rows, columns, G, places, depth, *machine))

    def _places(self, conns: Array, channels: int) -> tuple[Array, Array]:
        """Return where each channel's list of the indices into ``conns`` that name it starts, and the lists; cached."""
        key = (conns.pointer, conns.size, channels)
        if key not in self._inverse:
            host = self.device.download(conns)
            starts = np.searchsorted(np.sort(host), np.arange(channels + 1)).astype(np.int32)
            places = np.argsort(host, kind="stable").astype(np.int32)
            self._inverse[key] = self.device.upload(starts), self.device.upload(places), conns
        return self._inverse[key][:2]


def _shapes(images: Array, weights: Array, out: Array, geometry: Geometry) -> dict[str, int]:
    """Return the sizes of a convolution, as ``conv.cu`` calls them."""
    (_, H, W, N), (F, MY, MX, _), (Cf, k) = images.shape, out.shape, weights.shape[-4:-2]
    padding, stride, groups, conns = geometry
    sizes = {"H": H, "W": W, "N": N, "F": F, "MY": MY, "MX": MX, "SIZE": k, "CF": Cf, "G": groups, "PADDING": padding}
    kinds = {"STRIDE": stride, "LOCAL": int(len(weights.shape) == 5), "HAS_CONNS": int(conns is not None)}
    return {**sizes, **kinds, "FG": F // groups, "VECTOR_N": int(N % 4 == 0)}
