"""Which pixels of test cases move a prediction: the gradient of a cost, or of an output, at the data (io section 7).

2012's ``--show-data-grad`` was to draw this: of eight cases the gradient, what is below three standard deviations left out.
Here nothing is left out. Letters: N cases, K classes, C channels, S side of a picture.
"""

from typing import NamedTuple

import numpy as np

from convnet.drawing.samples import Prediction, TestSet, heads, names_of, predictions
from convnet.errors import ConvnetError, DataError, OptionError
from convnet.graph.needs import label_index
from convnet.net.input_gradient import InputGradient
from convnet.net.net import Inputs
from convnet.texts import counted, did_you_mean
from convnet.training.evaluator import output_layer

_CASES = 8


class Start(NamedTuple):
    """Where a gradient begins: a cost, or ``output`` of a layer; ``None``: of each case the largest one."""

    layer: str
    is_cost: bool
    output: int | None
    text: str  # "cost 'logprob'", "output 3 of 'probs' (cat)"
    approximate: str = ""  # behind which layer it is no exact gradient, and why


class GradientCase(NamedTuple):
    """A case of which a net says something, if it tells classes, and the ``gradient`` (C, S, S) at its picture."""

    said: Prediction
    gradient: np.ndarray


def gradient_cases(
    tests: TestSet, word: str = "", only_errors: bool = False, seed: int = 0, count: int = _CASES
) -> tuple[Start, list[GradientCase]]:
    """Return where the gradient begins, and up to ``count`` cases of the test batch, drawn by ``seed``.

    ``word`` is COST, LAYER or LAYER:CLASS (``start_of``); with ``only_errors`` cases are of those that are wrong. Raises
    ``ConvnetError``.
    """
    start, graph = start_of(tests, word), tests.net.graph
    if tests.provider.cropper is None:
        raise DataError(f"the data of '{tests.provider.name}' are not pictures, so that there are no pixels to show")
    if not heads(graph) and only_errors:
        raise OptionError("--only-errors is for nets that tell classes")
    gradient = InputGradient(tests.net, start.layer, minibatch=1)
    cases = predictions(tests, "", only_errors, seed, count) if heads(graph) else _untold(tests, seed, count)
    gradients = _gradients(tests, start, gradient, [case.case for case in cases])
    return start._replace(approximate=gradient.approximate), list(map(GradientCase, cases, gradients))


def start_of(tests: TestSet, word: str = "") -> Start:
    """Return where a gradient begins: COST, LAYER:CLASS by number or name, or LAYER, of whose outputs it is the largest.

    ``""`` is the cost of the first layer that gives shares of classes, or the first cost. Raises ``OptionError``.
    """
    graph = tests.net.graph
    costs = {cost.name: cost for cost in graph.costs}
    if not word and not costs:
        raise OptionError("the net has no cost; name a layer and one of its outputs, LAYER:CLASS")
    name = word or (heads(graph)[0].cost.name if heads(graph) else next(iter(costs)))
    if name in costs:
        return Start(name, True, None, f"cost '{name}'")
    whole = name in graph.layers
    layer, _, output = (name, "", "") if whole else name.rpartition(":")
    if not (whole or layer):
        known = [*costs, *(other.name for other in graph.layers.values() if not other.is_cost)]
        raise OptionError(f"no cost or layer '{word}' in the checkpoint{did_you_mean(word, known)}")
    layer = output_layer(graph, layer, OptionError)
    if not output:
        return Start(layer, False, None, f"the largest output of '{layer}'")
    names = class_names_of(tests, layer)
    number = output_number(output, names, graph.layers[layer].outputs, layer)
    named = f" ({names[number]})" if names and names[number] != str(number) else ""
    return Start(layer, False, number, f"output {number} of '{layer}'{named}")


def class_names_of(tests: TestSet, layer: str) -> list[str]:
    """Return the names of the classes that the outputs of a layer are of; none where they are of no classes.

    They are also those of the layer of which a softmax makes shares.
    """
    for head in heads(tests.net.graph):
        below = tests.net.graph.layers[head.layer]
        if layer in (head.layer, *(source.name for source in below.sources)) and label_index(head.cost):
            return names_of(tests, head, below.outputs)
    return []


def output_number(word: str, names: list[str], outputs: int, layer: str) -> int:
    """Return the number of an output that is called by it, or by the name of its class; raises ``OptionError``."""
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < outputs:
        return int(word)
    hint = did_you_mean(word, names) if names else ""
    raise OptionError(f"no output '{word}' of '{layer}', which has {counted(outputs, 'output')}, from 0{hint}")


def _untold(tests: TestSet, seed: int, count: int) -> list[Prediction]:
    """Return cases of a net that tells no classes."""
    (data,) = tests.outputs([tests.data_layer()])
    cases = data.shape[1]
    chosen = np.random.default_rng(seed).choice(cases, min(count, cases), replace=False)
    pictures = tests.provider.images(np.ascontiguousarray(data[:, chosen]))
    return [Prediction(picture, "", [], int(n)) for picture, n in zip(pictures, chosen, strict=True)]


def _gradients(tests: TestSet, start: Start, gradient: InputGradient, cases: list[int]) -> list[np.ndarray]:
    """Return the gradient (C, S, S) of some cases of the test batch, one by one, so that large nets take little memory."""
    cropper, found = tests.provider.cropper, []
    for inputs in tests.single_cases(tests.number, cases):
        values = gradient(inputs, 1, None if start.is_cost else _outputs(tests, start, inputs))
        if not np.isfinite(values).all():
            raise ConvnetError(f"the gradient of {start.text} is not all finite numbers, so there is nothing to show")
        found.append(values.reshape(cropper.channels, cropper.size, cropper.size) if cropper else values)
    return found


def _outputs(tests: TestSet, start: Start, inputs: Inputs) -> np.ndarray:
    """Return which output is asked for of a case, (1,)."""
    if start.output is not None:
        return np.array([start.output])
    tests.net.test(inputs, 1, keep=[start.layer])
    return tests.net.output(start.layer).argmax(axis=0)
