"""Messages that led astray: the line to change, what was expected there, and nothing that follows from it."""

from __future__ import annotations

import pytest
from nets import DATA, cost_of

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers import LAYER_TYPES
from convnet.texts import really_near

HEAD = DATA.lstrip()  # 6 lines
CONV = "[conv1]\ntype=conv\ninputs=data\nchannels=3\nfilters=32\nfilterSize=5\npadding=2\ninitW=0.1\n"  # to line 14
POOL = "[pool1]\ntype=pool\npool=max\ninputs=conv1\nchannels=32\nsizeX=2\nstride=2\n"  # to line 21
FC = "[fc]\ntype=fc\ninputs=pool1\noutputs=12\ninitW=0.1\nneuron=tanh[1,1]\n"  # to line 27
TAIL = cost_of("fc")
DEFINITION = HEAD + CONV + POOL + FC + TAIL
RATES = "[DEFAULT]\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\n"
PARAMS = RATES + "[conv1]\n[fc]\n[logprob]\ncoeff=1\n"


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def found(definition=DEFINITION, params=PARAMS, classes=12, strict=False, severity="error"):
    """(file, line, message, expected, nearest) of every problem."""
    files = LayerFiles(definition, "d.cfg", params, "p.cfg")
    try:
        problems = build_graph(files, {0: 3 * 256, 1: 1}, classes, dialect="auto", strict=strict).warnings
    except LayerFileError as error:
        problems = error.problems
    chosen = [problem for problem in problems if problem.severity == severity]
    return [(p.place.file, p.place.line, p.message, p.expected, p.nearest) for p in chosen]


def test_the_net_itself_is_right():
    assert not found() and not found(severity="warning")


def test_an_unknown_type_is_one_message():
    definition = replaced(DEFINITION, FC, "[fc]\ntype=fcdrop\ninputs=pool1\noutputs=12\nrate=0.5\n")
    ((_, line, message, expected, nearest),) = found(definition)
    assert (line, message, nearest) == (23, "layer 'fc': unknown type 'fcdrop'", "")
    assert "fc" in expected and not found(definition, severity="warning")


@pytest.mark.parametrize(
    "word, meant",
    [
        ("sotfmax", "softmax"),
        ("pol", "pool"),
        ("Conv", "conv"),
        ("logreg", "cost.logreg"),
        ("cost.logregg", "cost.logreg"),
        ("fcdrop", ""),
        ("maxpool", ""),
        ("batchnorm", ""),
        ("lrn", ""),
        ("", ""),
    ],
)
def test_only_what_is_really_near_is_named(word, meant):
    assert really_near(word, LAYER_TYPES) == meant


def test_channels_that_the_input_does_not_have():
    ((_, line, message, expected, _),) = found(replaced(DEFINITION, "channels=32", "channels=64"))
    assert line == 19 and expected == "channels=32"
    assert "channels=64, but input 'conv1' has 32 maps of 16x16 (filters=32 of 'conv1' at d.cfg:11)" in message


@pytest.mark.parametrize("between", ["", "type=neuron\nneuron=relu", "type=dropout\nkeep=0.5", "type=eltsum"])
def test_outputs_that_are_not_the_classes(between):
    definition = replaced(DEFINITION, "outputs=12", "outputs=1000")
    if between:
        definition = replaced(definition, TAIL, f"[n]\n{between}\ninputs=fc\n" + replaced(TAIL, "inputs=fc", "inputs=n"))
    ((file, line, message, expected, _),) = found(definition)
    assert (file, line, expected) == ("d.cfg", 25, "outputs=12 or outputs=num_classes")
    assert "1000 outputs" in message and "the data have 12 classes" in message


def test_outputs_of_layers_that_are_joined():
    parts = "".join(f"[{name}]\ntype=fc\ninputs=pool1\noutputs={count}\ninitW=1\n" for name, count in (("a", 2), ("b", 100)))
    definition = replaced(DEFINITION, FC, parts + "[fc]\ntype=concat\ninputs=a,b\n")
    ((_, line, message, expected, _),) = found(definition, replaced(PARAMS, "[fc]", "[a]\n[b]"))
    assert (line, expected) == (30, "outputs=10") and "with 2 of 'a'" in message


def test_predictions_that_are_not_the_targets():
    tail = "[cost]\ntype=cost.sum2\ninputs=fc\n"
    tail = "[cost]\ntype=cost.bce\ninputs=labels,fc\n"
    params = replaced(PARAMS, "logprob", "cost")
    ((_, line, message, expected, _),) = found(replaced(DEFINITION, TAIL, tail), params, None)
    assert (line, expected) == (25, "outputs=1") and "the targets 'labels' have 1 row" in message


def test_a_section_that_stands_twice():
    """Both are read as one, as the originals did; where that makes no net, it is the one mistake."""
    harmless = found(DEFINITION + "[conv1]\nstride=1\n", severity="warning")
    assert [(line, "line 7 already" in message) for _, line, message, *_ in harmless] == [(34, True)]
    assert len(found(DEFINITION + "[conv1]\nstride=1\n", strict=True)) == 1
    second = replaced(CONV, "inputs=data\nchannels=3", "inputs=conv1\nchannels=32") + replaced(POOL, "=conv1", "=conv2")
    ((_, line, message, *_),) = found(replaced(DEFINITION, POOL, second))
    assert line == 15 and "[conv1] stands above already" in message
    rates = RATES.removeprefix("[DEFAULT]\n")
    ((file, line, message, *_),) = found(params=f"[conv1]\n{rates}[conv1]\n{rates}[logprob]\ncoeff=1\n")
    assert (file, line) == ("p.cfg", 6) and "[conv1] stands above already" in message


def test_a_key_that_stands_twice():
    ((_, line, message, *_),) = found(replaced(DEFINITION, "padding=2", "padding=2\nfilters=16"), severity="warning")[:1]
    assert line == 14 and "'filters' in line 11 already" in message
    assert not found(replaced(DEFINITION, "padding=2", "padding=2\nfilters=32"), severity="warning")


@pytest.mark.parametrize("key", ["epsW", "epsB", "momW", "momB"])
def test_a_decimal_comma_for_all_layers(key):
    line = 2 + ["epsW", "epsB", "momW", "momB"].index(key)
    params = PARAMS.replace(f"{key}=0.", f"{key}=0,00")
    ((file, at, message, expected, _),) = found(params=params)
    assert (file, at) == ("p.cfg", line) and message.startswith("[DEFAULT]: ")
    assert "the decimal mark is a point: 0.00" in expected


def test_a_decimal_comma_that_makes_as_many_values_as_inputs():
    fc = replaced(FC, "inputs=pool1", "inputs=pool1,conv1")
    ((file, line, message, expected, _),) = found(
        replaced(DEFINITION, FC, fc), replaced(PARAMS, "[fc]", "[fc]\nepsW=0,001"), severity="warning"
    )
    assert (file, line) == ("p.cfg", 8) and "'001' counts as a value" in message and "a point" in expected


def test_a_parameter_that_default_lacks():
    ((file, line, message, *_),) = found(params=replaced(PARAMS, "epsB=0.1\n", ""))
    assert (file, line) == ("p.cfg", 1) and "no epsB here, nor in the section of layers 'conv1', 'fc'" in message


@pytest.mark.parametrize(
    "size, stride, start, outputs, key, told",
    [
        (2, 4, 0, 16, "outputs", "begins at 60, behind the 32 maps"),
        (2, 2, -3, 0, "start", "lies before the 32 maps"),
        (2, 2, 0, 16, "", ""),
    ],
)
def test_windows_over_maps_that_are_not_there(size, stride, start, outputs, key, told):
    cmpool = f"[pool1]\ntype=cmpool\npool=max\ninputs=conv1\nchannels=32\nsize={size}\nstride={stride}\n"
    definition = replaced(DEFINITION, POOL, cmpool + f"start={start}\noutputs={outputs}\n")
    lines = {"outputs": 23, "start": 22}
    assert [(line, told in message) for _, line, message, *_ in found(definition)] == ([(lines[key], True)] if key else [])


@pytest.mark.parametrize("more, line", [("outputsX=9", 22), ("start=-2", 22), ("stride=4", 21)])
def test_windows_over_nothing(more, line):
    definition = replaced(DEFINITION, "stride=2\n", f"{more}\n" if "stride" in more else f"stride=2\n{more}\n")
    if "stride" in more:
        definition = replaced(definition, "sizeX=2", "sizeX=1")  # of 16 pixels: the fifth begins at 16
    assert [at for _, at, *_ in found(definition)] == [line]
    assert not found(definition.replace("pool=max", "pool=avg"))  # the mean of nothing is 0


def test_super_eps_that_makes_nan():
    """The original takes the root of B - A + superEps, which is at least superEps - 1/4 (numerics 13.8)."""
    params = PARAMS + "[fc]\nsuperEps={}\nschedW=dexp[10,0,2]\n"
    files = {value: found(params=params.format(value), severity="warning") for value in ("0.01", "0.3")}
    told = [[message for *_, message, _, _ in problems if "superEps" in message] for problems in files.values()]
    assert len(told[0]) == 1 and "NaN" in told[0][0] and not told[1]


def test_names_that_refer_to_each_other_do_not_multiply():
    bomb = "".join(f"k{i}={f'%(k{i + 1})s' * 10}\n" for i in range(7)) + "k7=0.1\n"
    ((_, line, message, *_),) = found(params=PARAMS + f"[fc]\n{bomb}epsW=%(k0)s\n")
    assert line == 19 and "more than 100,000 characters" in message


def test_parameters_of_another_net():
    others = "".join(f"[{name}]\nepsW=1\n" for name in ("left", "right"))
    definition = replaced(DEFINITION, FC, FC + FC.replace("[fc]", "[fc2]").replace("pool1", "fc"))
    ((file, line, message, expected, _),) = found(replaced(definition, TAIL, TAIL.replace("=fc", "=fc2")), others)
    assert (file, line) == ("p.cfg", 0) and "needs a section [conv1] in p.cfg, and so do 'fc', 'fc2', 'logprob'" in message
    assert "it has [left], [right], which are not its layers" in expected


def test_layers_that_share_with_one_that_shares_wrongly():
    shared = "[fc{}]\ntype=fc\ninputs=fc{}\noutputs=12\ninitW=1\nweightSource=fc{}\n"
    chain = "".join(shared.format(*(number or "" for number in numbers)) for numbers in ((1, 0, 0), (2, 1, 1), (3, 2, 2)))
    definition = replaced(DEFINITION, TAIL, chain + replaced(TAIL, "inputs=fc", "inputs=fc3"))
    ((_, line, message, *_),) = found(definition, PARAMS + "[fc1]\n[fc2]\n[fc3]\n")
    assert line == 33 and "shares weights of 'fc', which are 2048x12; its own would be 12x12" in message


def test_an_indented_key():
    ((_, line, message, *_),) = found(replaced(DEFINITION, "filters=32", "  filters=32"))
    assert line == 11 and "goes on with the value of 'channels' above" in message


def test_names_that_are_empty_are_near_to_none():
    """As TOML can write them: [layer.""]."""
    assert really_near("conv", ["", "conv1"]) == "conv1"
    assert really_near("", [""]) == really_near("x", [""]) == ""
