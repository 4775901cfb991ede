"""An example of every layer type for the reference page: its section, and its parameters.

The data around them are ``DIMS``: matrix 0 pictures of 3 channels and 8 pixels a side, 1 labels, 2 ten numbers.
"""

DIMS, CLASSES = {0: 192, 1: 1, 2: 10}, 10

_LEARNING = "epsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\nwc=0.004\n"
_CONV = "channels=3\nfilters=16\nfilterSize=5\npadding=2\nstride=1\ninitW=0.01\nneuron=relu\n"
_NORM = "channels=3\nsize=3\n", "scale=0.001\npow=0.75\n"
_DROPOUT = "keep=0.5\nenable=true\n"

# type: (inputs, keys of the definition, parameters); "data", "labels", "ten", "fc", "probs" and "logistic" stand above.
_PARTS: dict[str, tuple[str, str, str]] = {
    "data": ("", "dataIdx=0\n", ""),
    "conv": ("data", _CONV + "sharedBiases=1\npartialSum=4\nsumWidth=4\n", _LEARNING),
    "local": ("data", _CONV, _LEARNING),
    "fc": ("data", "outputs=10\ninitW=0.01\n", _LEARNING),
    "sfc": ("data", "outputs=5\nparts=2\ninitW=0.01\n", _LEARNING),
    "treefc": ("data", "initW=0.01\n", _LEARNING),
    "pool": ("data", "pool=max\nchannels=3\nsizeX=3\nstride=2\n", ""),
    "cmpool": ("data", "pool=max\nchannels=3\nsize=2\nstride=1\noutputs=2\n", ""),
    "cmrnorm": ("data", *_NORM),
    "rnorm": ("data", *_NORM),
    "cnorm": ("data", *_NORM),
    "neuron": ("data", "neuron=tanh[1.7159,0.6667]\n", ""),
    "softmax": ("fc", "", ""),
    "dropout": ("data", "", _DROPOUT),
    "dropout2": ("data", "", _DROPOUT),
    "hs": ("data", "keep=0.5\n", "enable=true\n"),
    "eltsum": ("fc,ten", "coeffs=1,-1\n", ""),
    "eltmax": ("fc,ten", "", ""),
    "concat": ("fc,ten", "", ""),
    "pass": ("data", "", ""),
    "sum": ("data", "stride=2\n", ""),
    "blur": ("data", "channels=3\nfilterSize=5\nstdev=2\n", ""),
    "nailbed": ("data", "channels=3\nstride=2\n", ""),
    "resize": ("data", "channels=3\nscale=1.3333\n", ""),
    "rscale": ("data", "channels=3\nmaxScale=1.25\ntgtSize=6\n", ""),
    "crop": ("data", "channels=3\nstartX=1\nsizeX=6\n", ""),
    "href": ("data", "channels=3\n", ""),
    "rgb2yuv": ("data", "", ""),
    "rgb2lab": ("data", "center=1\n", ""),
    "cost.logreg": ("labels,probs", "", "coeff=1\ntopk=5\n"),
    "cost.crossent": ("ten,probs", "", "coeff=1\n"),
    "cost.crossent2": ("ten,logistic", "", "coeff=1\n"),
    "cost.bce": ("ten,logistic", "", "coeff=1\nposWeight=1\n"),
    "cost.dce": ("ten,logistic", "", "coeff=1\n"),
    "cost.sum2": ("fc", "", "coeff=1\n"),
    "cost.gsum2": ("labels,fc", "", "coeff=1\n"),
    "cost.rflickr": ("ten,probs", "", "coeff=1\n"),
    "cost.tica": ("data", "channels=3\nsizeX=3\n", "coeff=1\n"),
    "cost.msm": ("labels,fc", "", "coeff=1\nsetSize=5\n"),
}


def _sections(type_: str, inputs: str, keys: str, params: str) -> tuple[str, str]:
    """Return a layer's section of the definition, and that of the parameters if it has any."""
    name = "[cost]" if type_.startswith("cost.") else "[x]"
    reads = f"inputs={inputs}\n" if inputs else ""
    return f"{name}\ntype={type_}\n{reads}{keys}", f"{name}\n{params}" if params else ""


EXAMPLES = {type_: _sections(type_, *parts) for type_, parts in _PARTS.items()}

_DATA = "[data]\ntype=data\ndataIdx=0\n\n[labels]\ntype=data\ndataIdx=1\n\n"
_TEN = "[ten]\ntype=data\ndataIdx=2\n\n"
_FC = "[fc]\ntype=fc\ninputs=data\noutputs=10\ninitW=0.01\n\n"
_PROBS = "[probs]\ntype=softmax\ninputs=fc\n\n"
_LOGISTIC = "[logistic]\ntype=neuron\nneuron=logistic\ninputs=fc\n\n"
CHAIN = _DATA + _FC + _PROBS + "[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
PARAMS = f"[fc]\n{_LEARNING}\n[logprob]\ncoeff=1\n"
PRELUDE, PRELUDE_PARAMS = _DATA + _TEN + _FC + _PROBS + _LOGISTIC, f"[fc]\n{_LEARNING}\n"
