"""The vocabulary of ``neuron=``: names, parameters, formulas, and which saved value the derivative needs.

Source: numerics section 7. ``uses`` is ``y`` where the gradient is computed from the output, ``x`` from the
input, empty where it needs neither.
"""

import math
import re
from dataclasses import dataclass

from convnet.generation import G2012, G2014, GENERATIONS, Generation
from convnet.language.values import FLOAT, LARGEST, BadValue, Kind
from convnet.texts import nearest, one_of


@dataclass(frozen=True, slots=True)
class NeuronType:
    """One neuron function: ``params`` are the letters between brackets, ``read_by`` its generations."""

    name: str
    params: str
    formula: str
    uses: str
    read_by: tuple[Generation, ...] = GENERATIONS
    stored_uses: str = ""  # what the originals' checkpoints say, where it differs

    @property
    def spelling(self) -> str:
        return f"{self.name}[{','.join(self.params)}]" if self.params else self.name


TYPES = {
    neuron.name: neuron
    for neuron in (
        NeuronType("ident", "", "f(x) = x", ""),
        NeuronType("logistic", "", "f(x) = 1 / (1 + e^-x)", "y"),
        NeuronType("relu", "", "f(x) = max(0, x)", "y"),
        NeuronType("nrelu", "", "f(x) = max(0, max(0, x) + noise)", "y", (G2012, G2014)),
        NeuronType("brelu", "a", "f(x) = min(a, max(0, x))", "y"),
        NeuronType("abs", "", "f(x) = |x|", "x"),
        NeuronType("tanh", "ab", "f(x) = a * tanh(b*x)", "y"),
        NeuronType("drelu", "a", "f(x) = x - a * tanh(x/a)", "x", (G2012, G2014)),
        NeuronType("softrelu", "", "f(x) = log(1 + e^x)", "x", stored_uses="y"),
        NeuronType("square", "", "f(x) = x^2", "x"),
        NeuronType("sqrt", "", "f(x) = sqrt(x)", "y"),
        NeuronType("linear", "ab", "f(x) = a*x + b", "", stored_uses="y"),
        NeuronType("log", "a", "f(x) = log(a + x)", "x", (G2014,)),
    )
}


@dataclass(frozen=True, slots=True)
class Neuron:
    """A typed ``neuron=`` value: ``text`` as written, ``type`` a key of ``TYPES``, ``params`` by letter."""

    text: str
    type: str
    params: tuple[tuple[str, float], ...] = ()

    @property
    def values(self) -> tuple[float, float]:
        """Parameters a and b, zero where the function has none."""
        a, b, *_ = [value for _, value in self.params] + [0.0, 0.0]
        return a, b


class NeuronKind(Kind[Neuron | None]):
    """Reads ``relu``, ``tanh[1.7159,0.6667]``; an empty text is no neuron (``None``)."""

    word = "a neuron such as relu or tanh[a,b]"

    def parse(self, text: str) -> Neuron | None:
        text = text.strip()
        if not text:
            return None
        match = re.fullmatch(r"(\w+)(?:\s*\[([^\[\]]*)\])?", text)
        if not match or match[1] not in TYPES:
            word = match[1] if match else text
            raise BadValue(one_of(t.spelling for t in TYPES.values()), nearest=nearest(word, TYPES))
        neuron = TYPES[match[1]]
        pieces = [] if match[2] is None else match[2].split(",")
        if len(pieces) != len(neuron.params):
            raise BadValue(neuron.spelling)
        try:
            values = [FLOAT.parse(piece) for piece in pieces]
        except BadValue:
            raise BadValue(f"{neuron.spelling} with numbers for {one_of(neuron.params)}") from None
        if not all(abs(value) <= LARGEST for value in values):
            which = "finite numbers" if not all(map(math.isfinite, values)) else "numbers that float32 holds"
            raise BadValue(f"{neuron.spelling} with {which} for {one_of(neuron.params)}")
        return Neuron(text, neuron.name, tuple(zip(neuron.params, values, strict=True)))

    def write(self, value: Neuron | None) -> str:
        return value.text if value else ""


NEURON = NeuronKind()
