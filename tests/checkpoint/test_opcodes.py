"""Our pickles are those of Python 2's cPickle, opcode by opcode, against checkpoints that the originals wrote.

``genuine-YEAR.pickle`` are theirs, of a tiny net over the stand-in of ``original_programs.py``: ``record`` writes them.
"""

import io
import pickletools
from pathlib import Path

import pytest
from original_programs import YEARS, checkpoint_of, needs_originals, run_original

from convnet import pickles
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.checkpoint.op import options_parser
from convnet.generation import G2011, Generation
from convnet.graph.loading import LayerFiles, build_graph

HERE = Path(__file__).parent
GPU = {"2011": "", "2012": "gpu=0\n", "2014": "gpu=0\n"}
RATES = "epsW=0.001\nepsB=0.002\nmomW=0.5\nmomB=0.25\nwc=0.125\n"


def net_of(year):
    gpu = GPU[year]
    definition = f"""[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fcA]
type=fc
inputs=data
outputs=10
initW=0.5
neuron=tanh[1.5,0.5]
{gpu}[fcB]
type=fc
inputs=data
outputs=10
initW=0.5
weightSource=fcA
{gpu}[sum]
type=eltsum
inputs=fcA,fcB
coeffs=1,0.5
{gpu}[probs]
type=softmax
inputs=sum
{gpu}[logprob]
type=cost.logreg
inputs=labels,probs
{gpu}"""
    return definition, f"[fcA]\n{RATES}[fcB]\n{RATES}[sum]\ncoeffs=1,0.5\n[logprob]\ncoeff=1\n"


def record(year, folder):
    """Train the net by the program of a year, and return the bytes of what it saved."""
    for name, text in zip(("net.cfg", "params.cfg"), net_of(year), strict=True):
        (folder / name).write_text(text)
    (folder / "save").mkdir()
    data = ("--data-provider", "matrices", "--data-path", "3,1", "--train-range", "1-2", "--test-range", "3")
    files = ("--layer-def", "net.cfg", "--layer-params", "params.cfg", "--save-path", "save")
    gpu = ("--gpu", "0") if year == "2014" else ()
    done = run_original(year, "convnet.py", *data, *files, "--epochs", 1, "--test-freq", 1, *gpu, folder=folder)
    assert done.status == 0, done.output
    return checkpoint_of(folder / "save").read_bytes()


def operations(data):
    """(opcode, argument) of a pickle; what is taken from the memo stands in full, if it is a text, so that it makes no
    difference which equal texts were one object in Python 2."""
    memo, found = {}, []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = found[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            place = memo[argument]
            found.append(place if place[0].endswith("STRING") else ("GET", place[0]))
        else:
            found.append((opcode.name, argument))
    return found


def dumped(value):
    file = io.BytesIO()
    pickles.dump(value, file, as_read=True)
    return file.getvalue()


def genuine(year):
    return (HERE / f"genuine-{year}.pickle").read_bytes()


@pytest.mark.parametrize("year", YEARS)
def test_read_and_written_again(year):
    data = genuine(year)
    again = dumped(pickles.loads(data))
    assert operations(again) == operations(data)
    assert dumped(pickles.loads(again)) == again and len(again) < 1.1 * len(data)


def in_order_of(known, value):
    """``value`` with the keys of its dicts in the order in which ``known`` has them, which Python 2 hashed."""
    if isinstance(known, dict):
        assert known.keys() == value.keys()
        items = {key: in_order_of(known[key], value[key]) for key in known}
        value.clear()
        value.update(items)
    elif isinstance(known, pickles.LegacyObject):
        assert type(known) is type(value)
        in_order_of(vars(known), vars(value))
    elif isinstance(known, list | tuple):
        for pair in zip(known, value, strict=True):
            in_order_of(*pair)
    return value


@pytest.mark.parametrize("year", YEARS)
def test_the_same_net_and_options_give_the_same_opcodes(year):
    """All of a checkpoint but our own part: only arrays and costs are theirs."""
    known = pickles.loads(genuine(year))
    state, generation = known["model_state"], Generation(year)
    theirs = state["layers"] if generation == G2011 else list(state["layers"].values())
    learned = {
        layer["name"]: {key: layer[key] for key in ("weights", "weightsInc", "biases", "biasesInc")}
        for layer in theirs
        if "weights" in layer
    }
    definition, params = net_of(year)
    files = LayerFiles(definition, "net.cfg", params, "params.cfg")
    graph = build_graph(files, {0: 3, 1: 1}, 10, dialect=year)
    layers = stored_graph(graph, generation, learned)
    values = {name: option.value for name, option in known["op"].options.items() if option.value_given}
    if generation != "2014":
        values["gpu"] = [-1]
    container = layers if generation == G2011 else {layer["name"]: layer for layer in layers}
    value = {"model_state": state | {"layers": container}, "op": options_parser(generation, values)}
    assert operations(dumped(in_order_of(known, value))) == operations(genuine(year))


@needs_originals
@pytest.mark.parametrize("year", YEARS)
def test_what_is_recorded_is_genuine(year, tmp_path):
    """The program writes the same opcodes today, but for the numbers that it draws."""

    def without_numbers(data):
        return [
            (name, argument if name not in ("BINSTRING", "SHORT_BINSTRING") or len(argument) < 100 else len(argument))
            for name, argument in operations(data)
        ]

    assert without_numbers(record(year, tmp_path)) == without_numbers(genuine(year))


if __name__ == "__main__":
    import tempfile

    for year in YEARS:
        with tempfile.TemporaryDirectory() as folder:
            (HERE / f"genuine-{year}.pickle").write_bytes(record(year, Path(folder)))
