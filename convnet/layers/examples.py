"""An example of every layer type for the reference page: its section, and its parameters.

The data around them are ``DIMS``: matrix 0 pictures of 3 channels and 8 pixels a side, 1 labels, 2 ten numbers.
"""

DIMS, CLASSES = {0: 192, 1: 1, 2: 10}, 10

_LEARNING = "epsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\nwc=0.004\n"


def _image(type_: str, keys: str, params: str = "") -> tuple[str, str]:
    return f"[x]\ntype={type_}\ninputs=data\n{keys}", f"[x]\n{params}" if params else ""


def _weighted(type_: str, keys: str) -> tuple[str, str]:
    return _image(type_, keys, _LEARNING)


def _cost(type_: str, inputs: str, keys: str = "", params: str = "") -> tuple[str, str]:
    return f"[cost]\ntype={type_}\ninputs={inputs}\n{keys}", f"[cost]\ncoeff=1\n{params}"


_CONV = "channels=3\nfilters=16\nfilterSize=5\npadding=2\nstride=1\ninitW=0.01\nneuron=relu\n"
_NORM = "scale=0.001\npow=0.75\n"

# type: (section of the definition, section of the parameters); "data", "labels", "ten", "fc" and "probs" stand above.
EXAMPLES: dict[str, tuple[str, str]] = {
    "data": ("[x]\ntype=data\ndataIdx=0\n", ""),
    "conv": _weighted("conv", _CONV + "sharedBiases=1\npartialSum=4\nsumWidth=4\n"),
    "local": _weighted("local", _CONV),
    "fc": _weighted("fc", "outputs=10\ninitW=0.01\n"),
    "sfc": _weighted("sfc", "outputs=10\nparts=2\ninitW=0.01\n"),
    "treefc": _weighted("treefc", "initW=0.01\n"),
    "pool": _image("pool", "pool=max\nchannels=3\nsizeX=3\nstride=2\n"),
    "cmpool": _image("cmpool", "pool=max\nchannels=3\nsize=2\nstride=1\noutputs=2\n"),
    "cmrnorm": _image("cmrnorm", "channels=3\nsize=3\n", _NORM),
    "rnorm": _image("rnorm", "channels=3\nsize=3\n", _NORM),
    "cnorm": _image("cnorm", "channels=3\nsize=3\n", _NORM),
    "neuron": _image("neuron", "neuron=tanh[1.7159,0.6667]\n"),
    "softmax": ("[x]\ntype=softmax\ninputs=fc\n", ""),
    "dropout": _image("dropout", "", "keep=0.5\nenable=true\n"),
    "dropout2": _image("dropout2", "", "keep=0.5\nenable=true\n"),
    "hs": _image("hs", "keep=0.5\n", "enable=true\n"),
    "eltsum": ("[x]\ntype=eltsum\ninputs=fc,ten\ncoeffs=1,-1\n", ""),
    "eltmax": ("[x]\ntype=eltmax\ninputs=fc,ten\n", ""),
    "concat": ("[x]\ntype=concat\ninputs=fc,ten\n", ""),
    "pass": _image("pass", ""),
    "sum": _image("sum", "stride=2\n"),
    "blur": _image("blur", "channels=3\nfilterSize=5\nstdev=2\n"),
    "nailbed": _image("nailbed", "channels=3\nstride=2\n"),
    "resize": _image("resize", "channels=3\nscale=1.3333\n"),
    "rscale": _image("rscale", "channels=3\nmaxScale=1.25\ntgtSize=6\n"),
    "crop": _image("crop", "channels=3\nstartX=1\nsizeX=6\n"),
    "href": _image("href", "channels=3\n"),
    "rgb2yuv": _image("rgb2yuv", ""),
    "rgb2lab": _image("rgb2lab", "center=1\n"),
    "cost.logreg": _cost("cost.logreg", "labels,probs", params="topk=5\n"),
    "cost.crossent": _cost("cost.crossent", "ten,probs"),
    "cost.crossent2": _cost("cost.crossent2", "ten,logistic"),
    "cost.bce": _cost("cost.bce", "ten,logistic", params="posWeight=1\n"),
    "cost.dce": _cost("cost.dce", "ten,logistic"),
    "cost.sum2": _cost("cost.sum2", "fc"),
    "cost.gsum2": _cost("cost.gsum2", "labels,fc"),
    "cost.rflickr": _cost("cost.rflickr", "ten,probs"),
    "cost.tica": _cost("cost.tica", "data", "channels=3\nsizeX=3\n"),
    "cost.msm": _cost("cost.msm", "labels,fc", params="setSize=5\n"),
}

_DATA = "[data]\ntype=data\ndataIdx=0\n\n[labels]\ntype=data\ndataIdx=1\n\n"
_TEN = "[ten]\ntype=data\ndataIdx=2\n\n"
_FC = "[fc]\ntype=fc\ninputs=data\noutputs=10\ninitW=0.01\n\n"
_PROBS = "[probs]\ntype=softmax\ninputs=fc\n\n"
_LOGISTIC = "[logistic]\ntype=neuron\nneuron=logistic\ninputs=fc\n\n"
CHAIN = _DATA + _FC + _PROBS + "[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
PARAMS = f"[fc]\n{_LEARNING}\n[logprob]\ncoeff=1\n"
PRELUDE, PRELUDE_PARAMS = _DATA + _TEN + _FC + _PROBS + _LOGISTIC, f"[fc]\n{_LEARNING}\n"
