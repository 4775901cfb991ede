"""Calls of every op with random shapes and sizes: right ones, and the same with one of them wrong.

Run as a program it compares the cpu backend with the reference over some, for the tests that build it with sanitizers.
"""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from convnet.backends.arguments import (
    NEURONS,
    Activation,
    Criterion,
    Geometry,
    Rates,
    Response,
    Slope,
    Window,
)
from convnet.backends.base import Backend
from convnet.backends.checks import OPS
from convnet.backends.philox import Key
from convnet.errors import ArrayError

SIZES = (1, 1, 2, 3, 5, 8)
CASES = (1, 2, 5, 16, 31, 64, 65, 130)
# Those that ops include have no parameters; before them, outputs give the slope.
NEURONS_AFTER = (None, Activation("relu"), Activation("logistic"), Activation("square"))
NEURONS_BEFORE = (Activation("relu"), Activation("logistic"))
METHODS = (b"", b"direct", b"narrow", b"Winograd F(2x2,3x3)", b"Winograd F(4x4,3x3)", b"Winograd F(4x4,5x5)")  # of cpu


class Call(NamedTuple):
    """An op with host arrays and other arguments by name; ``out`` names the array that it writes last."""

    op: str
    given: dict[str, Any]
    out: str


class Maker:
    """Draws right calls: ``make(op)``."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def one(self, *choices: Any) -> Any:
        return choices[self.random.randint(len(choices))]

    def array(self, *shape: int) -> np.ndarray:
        return self.random.randn(*shape).astype(np.float32)

    def make(self, op: str) -> Call:
        family = next(name for name in sorted(dir(self), reverse=True) if name[:1] == "_" and op.startswith(name[1:]))
        return getattr(self, family)(op)

    def _scales(self, op: str, given: dict[str, Any], out: str) -> Call:
        return Call(op, given | {"scale_targets": self.one(0.0, 1.0, 0.5)}, out)

    def _maps(self) -> tuple[int, int, int, int]:
        return self.one(*SIZES), self.one(*SIZES, 9), self.one(*SIZES, 9), self.one(*CASES)

    def _key(self, cases: int) -> Key:
        first, behind = self.one((0, 0), (0, 0), (0, 5), (3, 0), (64, 31))
        return Key(1, 2, 3, 4, self.one(0, cases) if first + behind == 0 else first + cases + behind, first)

    # -- families, by the beginning of an op's name

    def _conv(self, op: str) -> Call:
        groups, slots, per_group, k = self.one(1, 1, 2, 3), self.one(*SIZES), self.one(*SIZES, 17, 33), self.one(1, 2, 3, 5)
        stride, padding = self.one(1, 1, 2, 3), self.one(0, 0, 1, 2, -1)
        _, H, W, N = self._maps()
        Y, X = (max(1, 1 + (side + 2 * padding - k) // stride) for side in (H, W))
        conns = self.random.randint(0, groups * slots, groups * slots).astype(np.int32) if self.one(0, 0, 1) else None
        F, windows = groups * per_group, (Y * X,) if self.one(0, 0, 1) else ()
        images, weights, out = (
            self.array(groups * slots, H, W, N),
            self.array(*windows, slots, k, k, F),
            self.array(F, Y, X, N),
        )
        given: dict[str, Any] = {"geometry": Geometry(padding, stride, groups, conns)}
        if op == "conv_forward":
            given |= {"images": images, "weights": weights, "out": out}
            if self.one(0, 1):
                given |= {"biases": self.array(self.one(F, F * Y * X)), "activation": self.one(*NEURONS_AFTER)}
            return self._scales(op, given, "out")
        if op == "conv_weight_grad":
            return self._scales(op, given | {"images": images, "grad": out, "weight_grad": weights}, "weight_grad")
        slope = Slope(self.one(*NEURONS_BEFORE), self.array(*images.shape)) if self.one(0, 1) else None
        given |= {"grad": out, "weights": weights, "input_grad": images, "slope": slope}
        return self._scales(op, given, "input_grad")

    def _fc(self, op: str) -> Call:
        parts, K, F, N = self.one(1, 1, 2, 3), self.one(*SIZES, 40), self.one(*SIZES, 40), self.one(*CASES)
        x, w, out = self.array(parts * K, N), self.array(F, parts * K), self.array(parts * F, N)
        names = {"fc_forward": ("x", "weights", "out"), "fc_input_grad": ("input_grad", "weights", "grad")}
        arrays = dict(zip(names.get(op, ("x", "weight_grad", "grad")), (x, w, out), strict=True))
        written = {"fc_forward": "out", "fc_input_grad": "input_grad", "fc_weight_grad": "weight_grad"}[op]
        given: dict[str, Any] = arrays | {"parts": parts}
        if op == "fc_forward" and self.one(0, 1):
            given |= {"biases": self.array(parts * F), "activation": self.one(*NEURONS_AFTER)}
        if op == "fc_input_grad" and self.one(0, 1):
            given["slope"] = Slope(self.one(*NEURONS_BEFORE), self.array(parts * K, N))
        return self._scales(op, given, written)

    def _pool(self, op: str) -> Call:
        C, H, W, N = self._maps()
        window = Window(self.one(1, 2, 3, 4), self.one(0, 0, -1, 1), self.one(1, 2, 3))
        Y, X = (1 + max(0, math.ceil((side - window.start - window.size) / window.stride)) for side in (H, W))
        images, out = self.array(C, H, W, N), self.array(C, Y, X, N)
        if op == "pool_rand_forward":
            return Call(op, {"images": images, "out": out, "window": window, "key": self._key(N)}, "out")
        kind = self.one("max", "maxabs", "avg", "sum")
        if op == "pool_forward":
            return Call(op, {"kind": kind, "images": images, "out": out, "window": window}, "out")
        slope = Slope(self.one(*NEURONS_BEFORE), images) if self.one(0, 1) else None
        given: dict[str, Any] = {"grad": self.array(C, Y, X, N), "input_grad": self.array(C, H, W, N)}
        given |= {"window": window, "slope": slope}
        if op == "pool_avg_input_grad":
            return self._scales(op, given | {"kind": self.one("avg", "sum")}, "input_grad")
        return self._scales(op, given | {"images": images, "out": out}, "input_grad")

    def _cmpool(self, op: str) -> Call:
        C, H, W, N = self._maps()
        window = Window(self.one(*range(1, C + 1)), self.one(0, 0, -1) if C > 1 else 0, self.one(1, 2))
        window = window._replace(size=max(window.size, 1 - window.start))
        O = 1 + max(0, math.ceil((C - window.start - window.size) / window.stride))
        if window.start + (O - 1) * window.stride >= C:
            O -= 1
        given: dict[str, Any] = {"images": self.array(C, H, W, N), "out": self.array(O, H, W, N), "window": window}
        if op == "cmpool_forward":
            return Call(op, given, "out")
        return self._scales(op, given | {"grad": self.array(O, H, W, N), "input_grad": self.array(C, H, W, N)}, "input_grad")

    def _norm(self, op: str) -> Call:
        shape, kind = self._maps(), self.one("cmrnorm", "rnorm", "cnorm")
        response = Response(
            self.one(1, 2, 3, 5, 20), 0.01, self.one(0.75, 0.5, 1.3), 1.0, kind == "cmrnorm" and bool(self.one(0, 1))
        )
        given: dict[str, Any] = {"kind": kind, "images": self.array(*shape), "response": response}
        if op == "norm_forward":
            return Call(op, given | {"out": self.array(*shape)}, "out")
        slope = Slope(self.one(*NEURONS_BEFORE), given["images"]) if self.one(0, 1) else None
        given |= {"grad": self.array(*shape), "input_grad": self.array(*shape), "slope": slope}
        return self._scales(op, given, "input_grad")

    def _same(self, op: str, names: str, *shape: int, **others: Any) -> Call:
        arrays = {name: self.array(*(shape or self._maps())) for name in names.split()[:1]}
        first = next(iter(arrays.values()))
        arrays |= {name: self.array(*first.shape) for name in names.split()[1:]}
        return Call(op, arrays | others, names.split()[-1])

    def _neuron(self, op: str) -> Call:
        activation = Activation(self.one(*NEURONS), 1.5, 0.7)
        if op == "neuron_forward":
            call = self._same(op, "x out", activation=activation)
        else:
            call = self._same(op, "x y grad input_grad", activation=activation)
            call = self._scales(op, call.given, "input_grad")
        for name in ("x", "y"):
            if name in call.given:
                call.given[name] = np.abs(call.given[name]) + 0.1
        return call

    def _nrelu(self, op: str) -> Call:
        call = self._same(op, "x out")
        return call._replace(given=call.given | {"key": self._key(call.given["x"].shape[-1])})

    def _softmax(self, op: str) -> Call:
        names, shape = "x out" if op == "softmax_forward" else "y grad input_grad", (self.one(*SIZES, 40), self.one(*CASES))
        call = self._same(op, names, *shape)
        return call if op == "softmax_forward" else self._scales(op, call.given, call.out)

    def _dropout(self, op: str) -> Call:
        given = self._same(op, "x out", keep=0.5, gain=2.0).given
        return self._scales(op, given | {"key": self._key(given["x"].shape[-1])}, "out")

    def _eltmax(self, op: str) -> Call:
        return self._same(op, "x out" if op == "eltmax_forward" else "x y grad input_grad")

    def _add(self, op: str) -> Call:
        if op == "add_bias":
            rows = self.one(*SIZES, 70)
            return Call(op, {"out": self.array(rows, self.one(*CASES)), "biases": self.array(rows)}, "out")
        return self._scales(op, self._same(op, "x out").given, "out")

    def _copy(self, op: str) -> Call:
        return self._same(op, "values out")

    def _sum_rows(self, op: str) -> Call:
        rows = self.one(*SIZES, 70)
        given = {"x": self.array(rows, self.one(*CASES, 5000)), "out": self.array(rows)}
        return self._scales(op, given, "out")

    def _tree(self, op: str) -> Call:
        V, K = self.one(2, 5, 9), self.one(*SIZES)
        parents = [0, *(int(self.random.randint(0, v)) for v in range(1, V))]
        shape = (V, K)
        if op == "tree_forward":
            return self._same(op, "offsets effective", *shape, parents=parents, top_down=list(range(V)))
        if op == "tree_backward":
            return self._same(op, "grad", *shape, parents=parents, top_down=list(range(V)), leaves=V)
        return self._same(op, "grad increments weights", *shape, leaves_below=[1] * V, rates=Rates(0.9, 0.1, 0.01))

    def _cost(self, op: str) -> Call:
        kinds = ["logreg", "crossent", "bce", "rflickr", "msm", "gsum2"]
        kinds += ["logreg_fused", "crossent_fused", "bce_fused"] if op == "cost_input_grad" else ["sum2", "dce"]
        kind, K, N = self.one(*kinds), self.one(2, 3, 9, 200), self.one(*CASES)
        labels = self.random.randint(0, K, (1, N)).astype(np.float32)
        if self.one(0, 0, 1) and kind != "msm":
            labels[0, 0] = self.one(-1, K, 1e30, -1e30, np.nan, np.inf)
        targets = labels if kind in ("logreg", "logreg_fused", "msm") else self.random.rand(K, N).astype(np.float32).round()
        targets = self.array(1, N) if kind == "gsum2" else targets
        predictions = (self.random.rand(K, N) * 0.8 + 0.1).astype(np.float32)
        given: dict[str, Any] = {"targets": targets, "predictions": predictions}
        given["criterion"] = Criterion(kind, 0.5, min(2, K), 1.5, min(2, K))
        if op == "cost_input_grad":
            return self._scales(op, given | {"input_grad": self.array(K, N)}, "input_grad")
        count = {"logreg": 3, "msm": 3, "crossent": 2, "bce": 3, "dce": 2 + 3 * K}.get(kind, 1)
        return Call(op, given | {"costs": np.zeros(count)}, "costs")

    def _gsum2(self, op: str) -> Call:
        K, N = self.one(*SIZES), self.one(*CASES)
        return self._scales(op, {"x": self.array(K, N), "gate_grad": self.array(1, N), "coeff": 0.3}, "gate_grad")

    def _tica(self, op: str) -> Call:
        C, S, _, N = self._maps()
        given: dict[str, Any] = {
            "images": self.array(C, S, S, N),
            "reciprocals": np.abs(self.array(C, S, S, N)) + 1,
            "size": 3,
        }
        if op == "tica_cost":
            return Call(op, given | {"costs": np.zeros(1)}, "costs")
        return self._scales(op, given | {"input_grad": self.array(C, S, S, N), "coeff": 0.4}, "input_grad")

    def _blur(self, op: str) -> Call:
        return self._scales(
            op, self._same(op, "images out", taps=self.random.rand(self.one(1, 2, 3, 5, 9)).tolist()).given, "out"
        )

    def _nailbed(self, op: str) -> Call:
        C, H, W, N = self._maps()
        start, stride = self.one(0, 0, min(1, H - 1, W - 1)), self.one(1, 2, 3)
        Y, X = (1 + (side - 1 - start) // stride for side in (H, W))
        big, small, how = self.array(C, H, W, N), self.array(C, Y, X, N), {"start": start, "stride": stride}
        if op == "nailbed_forward":
            return Call(op, {"images": big, "out": small, **how}, "out")
        return self._scales(op, {"grad": small, "input_grad": big, **how}, "input_grad")

    def _resize(self, op: str) -> Call:
        C, H, W, N = self._maps()
        images, out = self.array(C, H, W, N), self.array(C, self.one(*SIZES), self.one(*SIZES), N)
        return Call(op, {"images": images, "out": out, "scale": self.one(0.3, 0.7, 1.0, 1.4, 3.0)}, "out")

    def _crop(self, op: str) -> Call:
        C, H, W, N = self._maps()
        top, left = self.random.randint(0, H), self.random.randint(0, W)
        out = self.array(C, self.random.randint(1, H - top + 1), self.random.randint(1, W - left + 1), N)
        return Call(op, {"images": self.array(C, H, W, N), "out": out, "top": top, "left": left}, "out")

    def _mirror(self, op: str) -> Call:
        return self._scales(op, self._same(op, "images out").given, "out")

    def _rgb2(self, op: str) -> Call:
        _, H, W, N = self._maps()
        call = self._same(op, "images out", 3, H, W, N)
        call.given["images"] = np.abs(call.given["images"])
        return Call(op, call.given | ({"center": True} if op == "rgb2lab" else {}), "out")

    def _pack(self, op: str) -> Call:
        (C, H, W, N), slack = self._maps(), self.one(0, 1, 3)
        S = max(1, min(H, W) - slack)
        crops = SimpleNamespace(
            tops=self.random.randint(0, H - S + 1, N),
            lefts=self.random.randint(0, W - S + 1, N),
            flips=self.random.randint(0, 2, N).astype(np.uint8),
            mean=self.array(C, S, S),
            shifts=self.array(N, C),
            gain=0.5,
        )
        pixels = self.random.randint(0, 256, (C, H, W, N)).astype(np.uint8).transpose(3, 1, 2, 0)
        return Call(op, {"pixels": pixels, "crops": crops, "out": self.array(C, S, S, N)}, "out")

    def _update(self, op: str) -> Call:
        call = self._same(op, "grad increments weights", rates=Rates(0.9, 0.1, self.one(0.0, 0.01)))
        return call._replace(given=call.given | ({"grad": None} if self.one(0, 0, 1) else {}))

    def _super_update(self, op: str) -> Call:
        call = self._same(op, "grad increments weights", rates=Rates(0.9, 0.1, 0.01), epsilon=9.0)
        moments = tuple(np.abs(self.array(*call.given["grad"].shape)) for _ in range(2))
        return call._replace(given=call.given | {"moments": moments})

    def _limit(self, op: str) -> Call:
        weights = self.array(self.one(*SIZES), self.one(*SIZES, 30), self.one(*SIZES, 30))
        how = {"limit": 0.8, "hard": bool(self.one(0, 1))} if op == "limit_norm" else {"low": 0.05, "high": 0.2}
        return Call(op, {"weights": weights, **how}, "weights")


def spoil(call: Call, random: np.random.RandomState) -> tuple[Call, str]:
    """The same call with one array of another shape, or one size changed; and what was changed."""
    given = dict(call.given)
    names = [name for name, value in given.items() if isinstance(value, np.ndarray | Geometry | Window | Response)]
    names += [
        name
        for name in ("crops", "top", "left", "start", "stride", "parts", "scale", "parents", "criterion")
        if name in given
    ]
    name = names[random.randint(len(names))]
    value = given[name]
    if isinstance(value, np.ndarray):
        given[name] = _other_shape(value, random)
    elif name == "crops":
        field = ("tops", "lefts", "mean", "shifts", "flips")[random.randint(5)]
        array = getattr(value, field)
        wrong = array + random.choice([-100, 100]) if field in ("tops", "lefts") else _other_shape(array, random)
        given[name] = SimpleNamespace(**{**vars(value), field: wrong})
    elif isinstance(value, tuple):
        field = value._fields[random.randint(3 if name != "criterion" else len(value))]
        if isinstance(getattr(value, field), int):
            given[name] = value._replace(**{field: int(random.choice([-(2**31), -7, 0, 7, 1000, 2**31 - 1, 2**40]))})
    elif name == "parents":
        given[name] = [*value[1:], int(random.choice([-1, 99]))]
    else:
        given[name] = type(value)(random.choice([-1000, -1, 0, 7, 1000]))
    return call._replace(given=given), name


def _other_shape(array: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    if random.randint(5) == 0:
        return array[None] if random.randint(2) else array.reshape(-1)
    shape = list(array.shape)
    axis = random.randint(len(shape))
    shape[axis] = max(0, shape[axis] + int(random.choice([-1, 1, 5, -shape[axis]])))
    return np.resize(array, shape).astype(array.dtype) if array.size else array


def perform(be: Backend, call: Call) -> np.ndarray | str:
    """What a call writes, or the message of the ``ArrayError`` that it raises."""

    def there(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray) and name == "costs":
            vector = be.cost_vector(value.size)
            return vector if value.ndim == 1 else vector.reshape(*value.shape)
        if isinstance(value, np.ndarray) and name not in ("pixels", "values", "taps"):
            return be.upload(value)
        if isinstance(value, Geometry) and value.conns is not None:
            return value._replace(conns=be.connections(value.conns))
        if isinstance(value, Slope):
            return value._replace(y=be.upload(value.y))
        return tuple(be.upload(part) for part in value) if name == "moments" else value

    given = {name: there(name, value) for name, value in call.given.items()}
    try:
        getattr(be, call.op)(**given)
    except ArrayError as error:
        return str(error)
    return be.download(given[call.out])


def compare(call: Call, expected: np.ndarray | str, found: np.ndarray | str, what: str) -> None:
    if isinstance(expected, str) or isinstance(found, str):
        assert expected == found, (call, expected, found)
    else:
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-3)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * scale, err_msg=what)


def main(count: int, seed: int, kernels: str) -> None:
    """Compare, every convolution by each method, and print how many calls were made and how many refused."""
    from convnet.backends.cpu import Cpu
    from convnet.backends.reference import Reference

    refused = 0
    be, oracle = Cpu(threads=2, kernels=kernels, math="fast"), Reference()
    assert be.multiply_add(100) > 0
    names = [op for op in OPS if op != "copy_from"]
    for number in range(count):
        random, op = np.random.RandomState(seed + number), names[number % len(names)]
        call = Maker(seed + number).make(op)
        if number // len(names) % 2:
            call, _ = spoil(call, random)
        with np.errstate(all="ignore"):
            expected = perform(oracle, call)
            for method in METHODS if op.startswith("conv") else METHODS[:1]:
                be.method = method or None
                compare(call, expected, perform(be, call), f"{op} {seed + number} {method!r}")
        refused += isinstance(expected, str)
    print(f"{be.instruction_set}: {count} calls, {refused} refused")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
