"""``--check-grads``: every gradient of a definition against differences of its cost, a line each (io section 3).

convnet run --layer-def net.cfg --check-grads                          random data of the smallest size that fits
convnet run --layer-def net.cfg --check-grads --data-provider dummy-cn-192
convnet run --load-file CHECKPOINT --check-grads --compat 2012         the steps and the arithmetic of 2012
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet.backends import make_backend
from convnet.backends.base import Backend
from convnet.backends.reference import Reference
from convnet.cli.permission import may_run_code
from convnet.data.provider import Provider
from convnet.data.providers import open_provider
from convnet.errors import OptionError
from convnet.generation import Generation
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.layers.weighted import WeightLayer
from convnet.net.gradcheck import COMPAT_TOLERANCE, TOLERANCE, GradientCheck, Step, check_gradients, original_step
from convnet.net.initial import draw_functions, initial_state
from convnet.net.net import Net
from convnet.net.node import Inputs
from convnet.texts import counted
from convnet.training.lines import Lines
from convnet.training.screen import Screen
from convnet.training.session import RunInputs

_CASES = 4  # unless --mini says otherwise
_STEP = 1e-6  # of differences in float64


def check_grads(inputs: RunInputs, lines: Lines | Screen) -> int:
    """Check and print; return the exit status, 1 if any gradient is wrong. Raises ``ConvnetError``."""
    options, checkpoint = inputs.options, inputs.checkpoint
    for remark in inputs.remarks:
        lines.line(remark)
    provider = _provider(inputs)
    graph = _graph(inputs, provider)
    batch = provider.batch(1, provider.default_ranges()[1][0])
    cases = min(options.mini if "mini" in options.given else _CASES, batch.cases)
    be: Backend = Reference(np.float64)
    step: float | Step = _STEP
    how, tolerance = "differences in float64", TOLERANCE
    if options.compat:
        be, tolerance = make_backend(options.backend, options.threads), COMPAT_TOLERANCE
        step = original_step(Generation(options.compat))
        how = f"one-sided differences in float32 as in {options.compat}, {be.describe()}"
    state = checkpoint.layers if checkpoint else None
    if state is None and options.compat:
        for line in draw_functions(graph) if options.init_funcs == "draw" else ():
            lines.line(line)
        state = initial_state(graph, options.seed, may_run_code(graph, bool(options.allow_init_code)))
    elif state is None:
        state = he_initialized_state(graph, options.seed, _sizes(batch.minibatch(0, cases), (provider.dims[0], cases), be))
    net = Net(graph, be, cases, options.seed, state, checking=True)
    data = f"{counted(cases, 'case')} of {provider.where}, {provider.dims[0]} values each"
    lines.line(f"Gradients of {inputs.files.definition_path}: {how}; {data}")
    failures = total = 0
    with np.errstate(all="ignore"):
        for check in check_gradients(net, batch.minibatch(0, cases), cases, step, one_sided=bool(options.compat), samples=0):
            lines.line(check_line(check, tolerance))
            failures, total = failures + check.failed(tolerance), total + 1
    lines.line("-" * 55)
    lines.line(f"{failures}/{total} TESTS FAILED" if failures else f"ALL {total} TESTS PASSED")
    return int(failures > 0)


def _provider(inputs: RunInputs) -> Provider:
    """Open the data that options name; else random data of the size the checkpoint had, or of the smallest that fits."""
    options = inputs.options
    named = options.data_provider if options.data_path or "dummy" in options.data_provider else ""
    return open_provider(named if named or options.data_path else "dummy", inputs.request)


def _graph(inputs: RunInputs, provider: Provider) -> Graph:
    """Return the graph, with costs that count; raises ``OptionError`` if there are none."""
    tree = (inputs.checkpoint.label_tree if inputs.checkpoint else None) or provider.tree
    graph = inputs.builder.shape(provider.dims, provider.classes, tree, str(provider.where), provider.heads)
    if not graph.costs:
        raise OptionError(f"{inputs.files.definition_path} has no cost layer, so there are no gradients to check")
    if graph.params is None:  # nothing says what a cost counts
        for cost in graph.costs:
            cost.coeff = 1.0
    if not any(cost.learns for cost in graph.costs):
        raise OptionError("every cost has coeff=0, so there are no gradients to check")
    return graph


def _sizes(inputs: Inputs, shape: tuple[int, int], be: Backend) -> list[float]:
    """Return the typical size of the values of each data matrix, at least 1; packed pictures have ``shape``."""
    sizes = []
    for matrix in inputs:
        if isinstance(matrix, np.ndarray):
            values = matrix
        else:  # pictures, which are packed where they are used
            packed = be.empty(shape)
            matrix.fill(be, packed)
            values = be.download(packed)
        sizes.append(max(1.0, float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))))
    return sizes


def he_initialized_state(graph: Graph, seed: int, sizes: Sequence[float] = ()) -> dict[str, dict[str, Any]]:
    """Return weights that keep outputs near 1 from layer to layer, and random biases, whatever the files say of them.

    Many nets begin with outputs so small that the smallest step would cross the kinks of their neurons. ``sizes`` are
    those of the values of each data matrix, 1 by default.
    """
    layers = [layer for layer in graph.declared if isinstance(layer, WeightLayer)]
    for layer in layers:
        inputs = len(layer.inputs)
        layer.initW = [math.sqrt(2 / (layer.weights_per_filter(i) * inputs)) for i in range(inputs)]
        for i, source in enumerate(layer.sources):
            if isinstance(source, Data) and source.dataIdx < len(sizes):
                layer.initW[i] /= sizes[source.dataIdx]
    draw_functions(graph)
    state, random = initial_state(graph, seed), np.random.default_rng(seed)
    for layer in layers:
        biases = state[layer.name]["biases"]
        biases[...] = 0.1 * random.standard_normal(biases.shape)
    return state


def check_line(check: GradientCheck, tolerance: float) -> str:
    """Return ``PASS  conv1 weights[0]  relative error 2.1e-09  (64 of 2400 entries)``."""
    verdict = "PASS" if check.passed(tolerance) else "APPROXIMATE" if check.approximate else "FAIL"
    # Where neither gradient says anything, no cost that counts depends on these weights.
    reached = check.analytic.any() or check.numeric.any()
    entries = f"{len(check.numeric)} of {check.size} entries{'' if reached else '; no gradient reaches it'}"
    line = f"{verdict:<11} {check.name:<28} relative error {check.error:.2e}  ({entries})"
    return f"{line}; {check.approximate}" if verdict == "APPROXIMATE" else line
