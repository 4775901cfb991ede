"""A net for each generation of the originals that has every type of layer, every neuron and schedules."""

from __future__ import annotations

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.language.neurons import TYPES
from convnet.layers import LAYER_TYPES
from convnet.layers.examples import EXAMPLES

_RATES = "epsW=0.00001\nepsB=0.00001\nmomW=0.9\nmomB=0.9\nwc=0.004\n"  # small, for what all these costs ask for together
_SCHEDULES = {
    G2011: "",
    G2012: "schedW=exp[tgtFactor=10,noiseStdev=0]\nschedB=dexp[tgtFactor=10,noiseStdev=0,numSteps=3]\n",
    G2014: "epsW=dexp[base=0.00001;tgtFactor=10;numSteps=3]\nepsB=linear[base=0.00001;tgtFactor=2]\n",
}
# What the originals demand of sizes: 16 maps for all that their kernels do with several at once.
_OF_16 = ("pool", "cmpool", "cmrnorm", "rnorm", "cnorm", "blur", "nailbed", "cost.tica")
_CHANGED = {"cmpool": ("outputs=2", "outputs=15"), "cost.msm": ("setSize=5\n", "setSize=5\nthreads=1\n")}
_ABOVE = ("data", "fc", "softmax", "neuron", "cost.logreg", "sum")  # stand there anyway, but sum, which none ever computed


def every_layer(generation: Generation) -> tuple[str, str]:
    """Return the definition and the parameters; data are matrices of 192 rows, 1 and (but in 2011) 10."""
    definition = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
    params = ""

    def add(name: str, keys: str, learned: str = "", costs: bool = True) -> None:
        nonlocal definition, params
        gpu = "gpu=0\n" if generation != G2011 and "type=data" not in keys else ""
        definition += f"[{name}]\n{keys}{gpu}"
        params += f"[{name}]\n{learned}"
        if costs:
            add(f"use_{name}", f"type=cost.sum2\ninputs={name}\n", "coeff=0.1\n", costs=False)

    if generation != G2011:
        add("ten", "type=data\ndataIdx=2\n", costs=False)
    rates = _RATES if generation != G2014 else _RATES.partition("momW")[2].join(["momW", ""])
    add("fc", "type=fc\ninputs=data\noutputs=10\ninitW=0.01\n", _SCHEDULES[generation] + rates, costs=False)
    add("probs", "type=softmax\ninputs=fc\n", costs=False)
    add("logistic", "type=neuron\ninputs=fc\nneuron=logistic\n", costs=False)
    add("logprob", "type=cost.logreg\ninputs=labels,probs\n", "coeff=1\n", costs=False)
    for type_, (section, learned) in EXAMPLES.items():
        if type_ in _ABOVE or generation not in LAYER_TYPES[type_].read_by:
            continue
        keys = section.partition("\n")[2].replace(*_CHANGED.get(type_, ("", "")))
        if type_ in _OF_16:
            keys = keys.replace("inputs=data", "inputs=conv").replace("channels=3", "channels=16")
        if generation == G2011:
            keys = keys.replace("fc,ten", "fc,logistic")
        learned = learned.partition("\n")[2].replace(*_CHANGED.get(type_, ("", "")))
        learned = learned.replace("epsW=0.001", "epsW=0.00001").replace("epsB=0.002", "epsB=0.00001")
        if type_ == "eltsum":
            learned = "coeffs=1,-1\n"  # which 2014 reads here, and others above
        add(type_.replace(".", "_"), keys, learned, costs=not type_.startswith("cost."))
    for name, neuron in TYPES.items():
        if generation in neuron.read_by:
            word = f"{name}[{','.join('1.5' for _ in neuron.params)}]" if neuron.params else name
            add(f"n_{name}", f"type=fc\ninputs=data\noutputs=4\ninitW=0.01\ninitB=3\nneuron={word}\n", _RATES)
    return definition, params
