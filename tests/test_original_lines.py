"""``--compat`` prints what the programs of that year print: held against their logs and, where they are, themselves."""

import re
import shutil

import pytest
from every_layer import every_layer
from original_programs import YEARS, checkpoint_of, needs_originals, run_original
from printed_lines import assert_same_lines
from support import SHARED, write_cifar, write_net

from convnet.cli.run import main
from convnet.generation import Generation

FIXTURES = SHARED / "fixtures"
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="the logs of the originals beside the project are not here"
)
# The stand-ins for the native modules had none of their lines, and values of costs of their own, of another number.
_NATIVE = (
    (re.compile(r"(?m)^(STUB|Fwd terminal:|found bwd terminal) .*\n"), ""),
    (re.compile(r"(\w+):  (\d+\.\d{6}(, )?)+ "), r"\1:  COSTS "),
    (re.compile(r"\((?:class )?(\d)\) (\d+\.\d{6}|inf), \d+\.\d{6}"), r"(\1) RATES"),
    (re.compile(r"('\w+'): \[[^]]+\]"), r"\1: [SUMS]"),
    (re.compile(r"(?m)^(batch \d: .*), \d+\)"), r"\1, CASES)"),
    (re.compile(r"(?m)^(Data p(rovider|ath) *: ).*$"), r"\1DATA"),
)


def without_native(text):
    for pattern, word in _NATIVE:
        text = pattern.sub(word, text)
    return text


def run(*options):
    assert main([str(option) for option in options]) == 0


def ours(capsys, *options):
    """What a run prints on standard output."""
    capsys.readouterr()
    run(*options)
    return without_native(capsys.readouterr().out)


@needs_fixtures
@pytest.mark.parametrize("year", YEARS)
def test_whole_log(year, tmp_path, capsys):
    data = write_cifar(tmp_path / "data", batches=6, cases=8)
    files = ("--layer-def", FIXTURES / "tiny-def.cfg", "--layer-params", FIXTURES / "tiny-params.cfg", "--dialect", year)
    size = ["--inner-size=32"] * (year == "2014")
    more = ("--data-path", data, "--data-provider=cifar", "--train-range=1-2", "--test-range=6", "--gpu=0", "--epochs=1")
    printed = ours(capsys, *files, *size, *more, "--test-freq=2", "--save-path", tmp_path / "run", "--compat", year)
    assert_same_lines(printed, without_native((FIXTURES / f"stdout-{year}.txt").read_text()))


def theirs(year, folder, rows, *options):
    """What an original prints, on random data."""
    read = ["--data-provider=matrices", f"--data-path={rows}"]
    done = run_original(year, "convnet.py", *read, *options, folder=folder)
    assert done.status == 0 and "Traceback" not in done.output, done.output
    return without_native(done.output)


@pytest.fixture(scope="module", params=YEARS)
def trained(request, tmp_path_factory):
    """A year, its net of every type of layer, a checkpoint of its original, what that printed, and its data."""
    year, folder = request.param, tmp_path_factory.mktemp("trained")
    net, rows = write_net(folder, *every_layer(Generation(year))), "192,1" + ",10" * (request.param != "2011")
    files = ["--layer-def", net, "--layer-params", net.with_name("layer-params-small.cfg"), "--save-path", folder / "run"]
    begin = [*files, "--train-range=1-2", "--test-range=3-4", "--mini=8", "--epochs=1", "--test-freq=1", "--gpu=0"]
    return year, begin, theirs(year, folder, rows, *begin), checkpoint_of(folder / "run"), rows


@needs_originals
@pytest.mark.slow
def test_run_that_begins(trained, tmp_path, capsys):
    year, begin, printed, *_ = trained
    more = ["--save-path", tmp_path, "--data-provider=dummy", "--dialect", year, "--compat", year]
    assert_same_lines(ours(capsys, *begin, *more), printed)


SMALL = """[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv]
type=conv
inputs=data
channels=3
filters=32
filterSize=5
stride=1
initW=0.01
neuron=relu
partialSum=1
sumWidth=4
sharedBiases=1
gpu=GPU
[a]
type=fc
inputs=conv
outputs=10
initW=0.01
gpu=GPU
[b]
type=fc
inputs=conv,a
outputs=10
initW=0.01,0.1
weightSource=a,
gpu=GPU
[c]
type=fc
inputs=conv,a
outputs=10
initW=0.01,0.1
weightSource=b[0],b[1]
gpu=GPU
[sum]
type=eltsum
inputs=b,c
gpu=GPU
[probs]
type=softmax
inputs=sum
gpu=GPU
[logprob]
type=cost.logreg
inputs=labels,probs
gpu=GPU
"""
_ONE = "epsW=0.001\nepsB=0.001\nmomW=0.9\nmomB=0.9\nwc=0\n"
_TWO = "epsW=0.001,0.001\nepsB=0.001\nmomW=0.9,0.9\nmomB=0.9\nwc=0,0\n"
RATES = f"[conv]\n{_ONE}[a]\n{_ONE}[b]\n{_TWO}[c]\n{_TWO}[sum]\n[logprob]\ncoeff=1\n"


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize(
    "year, places, more",
    [
        ("2014", "0,1", ["--gpu=0,1"]),
        ("2014", "1", ["--gpu=0,1"]),
        ("2012", "1", ["--gpu=0,1", "--num-gpus=2"]),
        ("2012", "0", []),
        ("2011", "0", []),
    ],
)
def test_devices_and_shared_weights(year, places, more, tmp_path, capsys):
    """Devices that nobody chose, too; then every matrix is unshared."""
    net = write_net(tmp_path, SMALL.replace("GPU", places), RATES)
    files = ["--layer-def", net, "--layer-params", net.with_name("layer-params-small.cfg")]
    begin = [*files, "--train-range=1-2", "--test-range=3-4", "--mini=8", "--epochs=1", "--test-freq=1", *more]
    printed = theirs(year, tmp_path, "192,1", *begin, "--save-path", tmp_path / "run")
    options = ["--save-path", tmp_path, "--data-provider=dummy", "--dialect", year, "--compat", year, "--backend=cpu"]
    assert_same_lines(ours(capsys, *begin, *options), printed)
    assert_going_on(
        year, checkpoint_of(tmp_path / "run"), "192,1", ["--unshare-weights=b,c", "--epochs=2"], tmp_path, capsys
    )


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_going_on_from_ours(year, tmp_path, capsys):
    net = write_net(tmp_path, SMALL.replace("GPU", "0"), RATES)
    begin = [
        "--layer-def",
        net,
        "--train-range=1-2",
        "--test-range=3-4",
        "--mini=8",
        "--epochs=1",
        "--test-freq=1",
        "--gpu=0",
    ]
    more = ["--dialect", year, "--checkpoint-format", year, "--data-provider=dummy", "--save-path", tmp_path / "run"]
    run(*begin, *more)
    flag, copies = "--load-file" if year == "2014" else "-f", []
    for copy in ("theirs", "ours"):
        shutil.copytree(tmp_path / "run", tmp_path / copy)
        copies.append(checkpoint_of(tmp_path / copy))
    printed = theirs(year, tmp_path, "192,1", flag, copies[0], "--epochs=3")
    assert_same_lines(ours(capsys, flag, copies[1], "--epochs=3", "--compat", year), printed)


def assert_going_on(year, file, rows, options, folder, capsys):
    """Both print the same as they go on from copies of the run of the original."""
    flag = "--load-file" if year == "2014" else "-f"
    copies = [shutil.copytree(file.parent, folder / copy) for copy in ("theirs", "ours")]
    printed = theirs(year, folder, rows, flag, copies[0], *options)
    assert_same_lines(ours(capsys, flag, copies[1], *options, "--data-provider=dummy", "--compat", year), printed)


ALL = ("--test-only=1", "--test-one=0")
GOING_ON = {
    "train": ("--epochs=2", "--test-freq=2"),
    "test": ALL,
    "first": ALL[:1],
    "unshare": ("--unshare-weights=fc,conv", "--epochs=2"),
    "local": ("--conv-to-local=conv", "--epochs=2"),
    "features": (*ALL, "--write-features=fc", "--feature-path=features"),
    "save": (*ALL, "--force-save=1"),
}


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("name", GOING_ON)
def test_run_that_goes_on(name, trained, tmp_path, capsys, monkeypatch):
    """From a checkpoint of the original."""
    year, _, _, file, rows = trained
    if (name in ("features", "save") and year != "2014") or (name == "local" and year == "2012"):
        pytest.skip("which that year had not, or which crashed")
    monkeypatch.chdir(tmp_path)
    assert_going_on(year, file, rows, GOING_ON[name], tmp_path, capsys)
