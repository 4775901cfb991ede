"""Which arrays and sizes each op takes, declared once; checked before any backend computes, so that C and CUDA need not.

``OPS`` gives the axes of every array as letters: one letter stands for one length throughout an op, a digit for itself.
``SAME`` arrays have one shape, of any rank. ``guard`` puts the check before the ops of a class.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

from convnet.errors import ArrayError

Values = Mapping[str, Any]  # the arguments of an op by name
Sizes = Mapping[str, int]  # lengths by letter
Rule = Callable[[Values, Sizes], str]  # returns what is wrong, or ``''``

SAME = "*"
MOST = 1 << 29  # kernels count the axes of arrays, and the places of a map, in 32 bits, with room for windows beyond


class Op(NamedTuple):
    """The axes of an op's arrays by argument, and what else has to hold."""

    arrays: dict[str, str]
    rule: Rule = lambda values, sizes: ""  # noqa: ARG005

    def check(self, name: str, values: Values) -> None:
        """Raise ``ArrayError`` unless arrays and sizes fit each other; an array that is ``None`` is left out."""
        sizes: dict[str, int] = {}
        same = None
        for argument, axes in self.arrays.items():
            array = values.get(argument)
            if array is None:
                continue
            shape = getattr(array, "shape", None)
            if not isinstance(shape, tuple):
                raise ArrayError(f"{name}: '{argument}' is a {type(array).__name__}; expected an array")
            if axes == SAME:
                fits, same = same is None or shape == same, shape
            else:
                fits = len(shape) == len(axes)
                for axis, length in zip(axes, shape, strict=False):
                    if axis.isdigit():
                        fits &= length == int(axis)
                    else:
                        fits &= sizes.setdefault(axis, length) == length and 0 < length <= MOST
            if not fits:
                raise ArrayError(self._message(name, values, f"'{argument}' does not fit"))
        if (slope := values.get("slope")) and slope.y.shape != values["input_grad"].shape:
            raise ArrayError(self._message(name, values, f"the neuron's outputs {slope.y.shape} do not fit"))
        if fault := _places(sizes) or self.rule(values, sizes):
            raise ArrayError(self._message(name, values, fault))

    def _message(self, name: str, values: Values, fault: str) -> str:
        found = ", ".join(f"{key} {tuple(values[key].shape)}" for key in self.arrays if values.get(key) is not None)
        letters = ", ".join(f"{key} ({', '.join(axes)})" for key, axes in self.arrays.items() if axes != SAME)
        wanted = f"{letters}, each length from 1 to {MOST:,}" if letters else "arrays of one shape"
        return f"{name}: {fault}: {found}; expected {wanted}"


# -- rules


def _places(sizes: Sizes) -> str:
    """Return what is wrong where the places of a map are too many to count."""
    for y, x in ("HW", "YX", "SS"):
        if sizes.get(y, 1) * sizes.get(x, 1) > MOST:
            return f"maps of {sizes[y]}x{sizes[x]} are too large"
    return ""


def _conv(weights: str) -> Rule:
    """Return the rule of a convolution whose weights have this name."""

    def rule(values: Values, sizes: Sizes) -> str:
        padding, stride, groups, conns = values["geometry"]
        shape, F = values[weights].shape, sizes["F"]
        places = (sizes["Y"] * sizes["X"],) if len(shape) == 5 else ()
        slots, k = shape[-4:-2] if len(shape) >= 4 else (0, 0)
        if groups < 1 or stride < 1 or F % groups or slots < 1 or k < 1 or shape != (*places, slots, k, k, F):
            return f"'{weights}' {shape} does not fit {groups} groups with stride {stride}"
        if max(groups * slots, F) * k * k > MOST or _reach(-padding, stride, k, sizes):
            return "filters or windows are too large"
        return _connections(conns, groups * slots, sizes["C"]) or _biases(values.get("biases"), sizes)

    return rule


def _connections(conns: Any, slots: int, channels: int) -> str:
    if conns is None:
        return "" if slots == channels else f"groups read {slots} of {channels} channels"
    least, greatest = (conns.min(), conns.max()) if hasattr(conns, "min") else conns.span
    if conns.size == slots and least >= 0 and greatest < channels:
        return ""
    return f"connections must name one of {channels} channels for each of {slots} slots"


def _biases(biases: Any, sizes: Sizes) -> str:
    wanted = sizes["F"], sizes["F"] * sizes.get("Y", 1) * sizes.get("X", 1)
    fit = biases is None or biases.shape in {(count,) for count in wanted}
    return "" if fit else f"biases {biases.shape} for {sizes['F']} filters"


def _reach(start: int, stride: int, size: int, sizes: Sizes) -> bool:
    """Whether windows begin or end further away than 32 bits count."""
    return abs(start) + max(sizes["Y"], sizes["X"]) * stride + size > MOST


def _window(values: Values, sizes: Sizes) -> str:
    size, start, stride = values["window"]
    if size < 1 or stride < 1 or _reach(start, stride, size, sizes):
        return f"windows of {size} every {stride} from {start} are not possible"
    return ""


def _random_window(values: Values, sizes: Sizes) -> str:
    return _window(values, sizes) or _cases_of_key(values, sizes)


def _cases_of_key(values: Values, _: Sizes) -> str:
    key, cases = values["key"], values["out"].shape[-1]
    inside = 0 <= key.first <= (key.pitch or cases) - cases and key.pitch <= MOST
    return "" if inside else f"a minibatch of {key.pitch or cases} cases has no {cases} from case {key.first} on"


def _channel_window(values: Values, sizes: Sizes) -> str:
    size, start, stride = values["window"]
    last = start + (sizes["O"] - 1) * stride
    if size < 1 or stride < 1 or start + size <= 0 or last >= sizes["C"]:
        return f"{sizes['O']} windows of {size} channels every {stride} from {start} leave the {sizes['C']} channels"
    return ""


def _response(values: Values, _: Sizes) -> str:
    size = values["response"].size
    return "" if 1 <= size <= MOST else f"a window of {size} is not possible"


def _fc(values: Values, sizes: Sizes) -> str:
    parts = values.get("parts", 1)
    if parts < 1 or sizes["K"] % parts or sizes["F"] % parts or sizes["P"] * parts != sizes["F"]:
        return f"they do not fit in {parts} parts"
    return _biases(values.get("biases"), sizes)


_LABELS, _GATES = ("logreg", "logreg_fused", "msm"), ("gsum2",)
_VALUES = {"logreg": 3, "msm": 3, "crossent": 2, "sum2": 1, "gsum2": 1, "rflickr": 1}  # that a cost makes


def _cost(values: Values, sizes: Sizes) -> str:
    kind, targets, criterion = values["criterion"].kind, values.get("targets"), values["criterion"]
    rows = 1 if kind in _LABELS + _GATES else sizes["K"]
    if kind != "sum2" and (targets is None or tuple(targets.shape) != (rows, sizes["N"])):
        return f"{kind} needs 'targets' ({rows}, {sizes['N']})"
    if criterion.topk < 1 or (kind == "msm" and not 1 <= criterion.set_size <= sizes["K"]):
        return f"topk={criterion.topk} or set_size={criterion.set_size} is not possible"
    costs = values.get("costs")
    if costs is None:
        return ""
    wanted = {_VALUES[kind]} if kind in _VALUES else {2 + 3 * sizes["K"]} if kind == "dce" else {1, 2, 3}
    return "" if costs.shape in {(count,) for count in wanted} else f"'costs' of {kind} has shape {costs.shape}"


def _taps(values: Values, _: Sizes) -> str:
    return "" if 1 <= len(values["taps"]) <= MOST else "no taps"


def _nails(values: Values, sizes: Sizes) -> str:
    start, stride = values["start"], values["stride"]
    ends = (start + (sizes[o] - 1) * stride < sizes[side] for o, side in ("YH", "XW"))
    return "" if start >= 0 and stride >= 1 and all(ends) else f"places every {stride} from {start} leave the images"


def _scale(values: Values, _: Sizes) -> str:
    scale = values["scale"]
    return "" if math.isfinite(scale) and 0 < scale <= MOST else f"scale {scale} is not possible"


def _part(values: Values, sizes: Sizes) -> str:
    top, left = values["top"], values["left"]
    inside = 0 <= top <= sizes["H"] - sizes["Y"] and 0 <= left <= sizes["W"] - sizes["X"]
    return "" if inside else f"the part at {top}, {left} leaves the images"


def _crops(values: Values, sizes: Sizes) -> str:
    crops, pixels, (N, C, S) = values["crops"], values["pixels"], (sizes["N"], sizes["C"], sizes["S"])
    if str(pixels.dtype) != "uint8":
        return f"pixels are {pixels.dtype}, not bytes"
    shapes = {"tops": (N,), "lefts": (N,), "flips": (N,), "shifts": (N, C), "mean": (C, S, S)}
    for name, shape in shapes.items():
        if getattr(crops, name).shape != shape:
            return f"{name} of crops has shape {getattr(crops, name).shape}, not {shape}"
    for name, side in (("tops", sizes["H"]), ("lefts", sizes["W"])):
        places = getattr(crops, name)
        if places.min() < 0 or places.max() > side - S:
            return f"crops of side {S} at {name} from {places.min()} to {places.max()} leave pictures of {side}"
    return ""


def _tree(nodes: str) -> Rule:
    """Return the rule of sums along a tree whose lists of nodes have these names."""

    def rule(values: Values, sizes: Sizes) -> str:
        for name in nodes.split():
            numbers = values[name]
            if len(numbers) != sizes["V"] or min(numbers) < 0 or max(numbers) >= sizes["V"]:
                return f"'{name}' must name {sizes['V']} nodes"
        return ""

    return rule


def _leaves(values: Values, sizes: Sizes) -> str:
    leaves = values["leaves_below"]
    return "" if len(leaves) == sizes["V"] and min(leaves) > 0 else f"'leaves_below' must have {sizes['V']} numbers from 1"


def _moments(values: Values, _: Sizes) -> str:
    wanted = values["weights"].shape
    return "" if all(moment.shape == wanted for moment in values["moments"]) else "'moments' do not fit"


# -- the table

_MAPS, _OUT = "CHWN", "CYXN"


def _all_same(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, SAME)


OPS: dict[str, Op] = {
    "copy_in": Op(_all_same("values", "out")),
    "copy_from": Op(_all_same("x", "out")),
    "add": Op(_all_same("x", "out")),
    "add_bias": Op({"out": "RN", "biases": "R"}),
    "sum_rows": Op({"x": "RN", "out": "R"}),
    "conv_forward": Op({"images": _MAPS, "out": "FYXN"}, _conv("weights")),
    "conv_input_grad": Op({"input_grad": _MAPS, "grad": "FYXN"}, _conv("weights")),
    "conv_weight_grad": Op({"images": _MAPS, "grad": "FYXN"}, _conv("weight_grad")),
    "fc_forward": Op({"x": "KN", "weights": "PK", "out": "FN"}, _fc),
    "fc_input_grad": Op({"input_grad": "KN", "weights": "PK", "grad": "FN"}, _fc),
    "fc_weight_grad": Op({"x": "KN", "weight_grad": "PK", "grad": "FN"}, _fc),
    "tree_forward": Op({"offsets": "VK", "effective": "VK"}, _tree("parents top_down")),
    "tree_backward": Op({"grad": "VK"}, _tree("parents top_down")),
    "tree_update": Op({"weights": "VK", "increments": "VK", "grad": "VK"}, _leaves),
    "pool_forward": Op({"images": _MAPS, "out": _OUT}, _window),
    "pool_rand_forward": Op({"images": _MAPS, "out": _OUT}, _random_window),
    "pool_max_input_grad": Op({"images": _MAPS, "input_grad": _MAPS, "out": _OUT, "grad": _OUT}, _window),
    "pool_avg_input_grad": Op({"input_grad": _MAPS, "grad": _OUT}, _window),
    "cmpool_forward": Op({"images": _MAPS, "out": "OHWN"}, _channel_window),
    "cmpool_input_grad": Op({"images": _MAPS, "input_grad": _MAPS, "out": "OHWN", "grad": "OHWN"}, _channel_window),
    "norm_forward": Op(dict.fromkeys(("images", "out"), _MAPS), _response),
    "norm_input_grad": Op(dict.fromkeys(("images", "grad", "input_grad"), _MAPS), _response),
    "neuron_forward": Op(_all_same("x", "out")),
    "neuron_input_grad": Op(_all_same("x", "y", "grad", "input_grad")),
    "nrelu_forward": Op(_all_same("x", "out"), _cases_of_key),
    "softmax_forward": Op(dict.fromkeys(("x", "out"), "RN")),
    "softmax_input_grad": Op(dict.fromkeys(("y", "grad", "input_grad"), "RN")),
    "dropout": Op(_all_same("x", "out"), _cases_of_key),
    "eltmax_forward": Op(_all_same("x", "out")),
    "eltmax_input_grad": Op(_all_same("x", "y", "grad", "input_grad")),
    "cost_forward": Op({"predictions": "KN"}, _cost),
    "cost_input_grad": Op({"predictions": "KN", "input_grad": "KN"}, _cost),
    "gsum2_gate_grad": Op({"x": "KN", "gate_grad": "1N"}),
    "tica_cost": Op({"images": "CSSN", "reciprocals": "CSSN", "costs": "1"}),
    "tica_input_grad": Op(dict.fromkeys(("images", "reciprocals", "input_grad"), "CSSN")),
    "blur": Op(dict.fromkeys(("images", "out"), _MAPS), _taps),
    "nailbed_forward": Op({"images": _MAPS, "out": _OUT}, _nails),
    "nailbed_input_grad": Op({"input_grad": _MAPS, "grad": _OUT}, _nails),
    "resize": Op({"images": _MAPS, "out": _OUT}, _scale),
    "crop": Op({"images": _MAPS, "out": _OUT}, _part),
    "mirror": Op(dict.fromkeys(("images", "out"), _MAPS)),
    "rgb2yuv": Op(dict.fromkeys(("images", "out"), "3HWN")),
    "rgb2lab": Op(dict.fromkeys(("images", "out"), "3HWN")),
    "pack_images": Op({"pixels": "NHWC", "out": "CSSN"}, _crops),
    "update": Op(_all_same("weights", "increments", "grad")),
    "super_update": Op(_all_same("weights", "increments", "grad"), _moments),
    "limit_norm": Op({"weights": "OKI"}),
    "limit_contrast": Op({"weights": "OKI"}),
}


def guard(cls: type, table: type) -> None:
    """Put the check of ``OPS`` before every op that ``cls`` implements, once; ``table`` declares the ops' arguments."""
    for name, op in OPS.items():
        method = getattr(cls, name, None)
        declared = getattr(table, name)
        if method is None or method is declared or hasattr(method, "is_guarded"):
            continue
        names = list(inspect.signature(declared).parameters)[1:]
        setattr(cls, name, _guarded(name, op, names, method))


def _guarded(name: str, op: Op, names: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Any, *args: Any, **given: Any) -> Any:
        op.check(name, {**dict(zip(names, args, strict=False)), **given})
        return method(self, *args, **given)

    checked.is_guarded = True  # type: ignore[attr-defined]
    return checked
