"""docs/batches.md: its writer, its provider from an installed package, and what is said of providers that are none."""

import re
import sys
import textwrap

import numpy as np
import pytest
from support import ROOT, write_net

import convnet
from convnet.cli import main
from convnet.data.provider import Request
from convnet.data.providers import open_provider, provider_names
from convnet.errors import DataError

PAGE = (ROOT / "docs/batches.md").read_text(encoding="utf-8")
NET = """[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.1
[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"""
PARAMS = "[fc]\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0\n[logprob]\ncoeff=1\n"


def block(start):
    """The indented lines of the page from one on."""
    found = re.search(rf"^    {re.escape(start)}.*\n(?:(?:    .*)?\n)*", PAGE, re.MULTILINE)
    return textwrap.dedent(found.group())


def test_the_writer_of_the_page(tmp_path):
    space = {}
    exec(block("import pickle"), space)
    images = np.random.RandomState(0).randint(0, 256, (50, 6, 6, 3)).astype(np.uint8)
    labels = np.arange(50) % 2
    images[labels == 1, :, :, 0] //= 4
    space["write_batches"](tmp_path / "data", images, labels, ["red", "blue"], size=20)
    provider = open_provider("", Request(str(tmp_path / "data")))
    assert (
        provider.name == "cifar" and provider.label_names == ["red", "blue"] and provider.default_ranges() == ([1, 2], [3])
    )
    batch = provider.batch(1, 2)
    np.testing.assert_array_equal(batch.pixels, images[20:40])
    assert batch.minibatch(0, 20)[1].tolist() == [labels[20:40].tolist()]
    np.testing.assert_allclose(provider.cropper.mean, images[:40].mean(axis=0).transpose(2, 0, 1), rtol=1e-6)
    net = convnet.build(
        NET.replace("=0.1", "=0.0001"), PARAMS.replace("=0.1", "=0.000001"), side=6, classes=2, backend="reference"
    )
    costs = net.train(tmp_path / "data", epochs=8)
    assert costs[-1]["logprob"][0] < costs[0]["logprob"][0] and net.classes == ["red", "blue"]


FAULTY = """
print('imported')
none = lambda request: 3

def Ends(request):
    raise SystemExit(3)

class Odd(Points):
    def __init__(self, request):
        super().__init__(request)
        self.numbers = [1, 2, 3, 4, 5, 6]

    def batch(self, epoch, number):
        sizes = {1: [(2, 5), (1, 5)], 2: [(3, 5), (1, 4)], 3: [(3, 5)], 4: [(3, 0), (1, 0)], 6: [(3, 5), (1, 5)]}
        return MatrixBatch([np.zeros(size) for size in sizes[number]])

class Numpy(Points):
    def __init__(self, request):
        super().__init__(request)
        self.numbers = np.arange(1, 3)
"""


def forget_package():
    for name in ("mypackage", "mypackage.points"):
        sys.modules.pop(name, None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder where packages are installed, with one that brings the provider of the page, and faulty ones."""
    site = tmp_path / "site"
    (site / "mypackage-1.0.dist-info").mkdir(parents=True)
    (site / "mypackage").mkdir()
    (site / "mypackage/__init__.py").write_text("")
    (site / "mypackage/points.py").write_text(block("import numpy as np") + FAULTY)
    (site / "mypackage-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    entries = re.search(r"points = .*:Points", PAGE).group().replace('"', "")
    others = "gone = mypackage.gone:X\nfault = mypackage.points:nothing\ncifar = mypackage.points:Points\n"
    others += "".join(f"{name} = mypackage.points:{name}\n" for name in ("none", "Ends", "Odd", "Numpy"))
    (site / "mypackage-1.0.dist-info/entry_points.txt").write_text(f"[convnet.providers]\n{entries}\n{others}")
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path, NET, PARAMS)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        forget_package()
        yield site, patch
    forget_package()


def run(capsys, *words):
    status = main(["run", *words])
    return status, *capsys.readouterr()


def test_a_provider_of_an_installed_package(package, capsys):
    options = ["--data-provider", "points", "--epochs", "4", "--save-path", "runs"]
    status, out, err = run(capsys, "--layer-def", "layers-small.cfg", *options)
    assert (status, err) == (0, "") and out.startswith("imported")
    error = float(re.findall(r"logprob:  \S+, (\S+),", out)[-1])
    assert error < 0.05
    net = convnet.load("runs")
    assert net.classes == ["below", "above"] and net.predict(np.ones((3, 1), np.float32)).argmax() == 1
    status, out, _ = run(capsys, "--load-file", "runs", "--epochs", "5", "--data-path", "anything")
    assert status == 0 and "5.2" in out and "No effect" not in out
    package[1].undo()  # the package is gone
    status, _, err = run(capsys, "--load-file", "runs", "--epochs", "6")
    assert status == 1 and err.count("\n") == 1
    assert re.search(r"runs/.*/5\.2 reads its data by a provider that no installed package brings: no data provider", err)
    assert run(capsys, "--load-file", "runs", "--data-provider", "pionts")[2].startswith(
        "convnet: no data provider 'pionts'"
    )


def test_only_the_one_that_is_named_is_imported(package, capsys):
    assert set(provider_names()) >= {"cifar", "image", "demo", "dummy", "points", "gone"}
    with pytest.raises(DataError, match=r"no data provider 'pionts'; there are .*points.*; did you mean 'points'\?"):
        open_provider("pionts", Request())
    assert "imported" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, said",
    [
        ("gone", r"'gone' \(mypackage.gone:X\) cannot be opened: ModuleNotFoundError: No module named 'mypackage.gone'"),
        ("fault", "cannot be opened: AttributeError"),
        ("none", "is not a convnet.data.provider.Provider"),
        ("Ends", "cannot be opened: SystemExit: 3"),
    ],
)
def test_providers_that_are_none(package, name, said):
    with pytest.raises(DataError, match=f"^data provider '{name}' .*{said}|^data provider {said}"):
        open_provider(name, Request())


@pytest.mark.parametrize(
    "number, said",
    [
        (1, r"matrix 0 is \(2, 5\); expected \(3, 5\)"),
        (2, r"matrix 1 is \(1, 4\); expected \(1, 5\)"),
        (3, "matrix 1 is no array; expected"),
        (4, "holds no cases"),
        (5, r"cannot be loaded: KeyError: 5 \(points.py:\d+\)"),
    ],
)
def test_batches_that_are_none(package, capsys, number, said):
    options = ["--train-range", str(number), "--test-range", "6", "--save-path", "runs"]
    status, _, err = run(capsys, "--layer-def", "layers-small.cfg", "--data-provider", "Odd", "--epochs", "1", *options)
    assert (status, err.count("\n")) == (1, 1)
    assert re.match(rf"convnet: data provider 'Odd' \(mypackage.points:Odd\): batch {number}:? {said}", err)


def test_names_that_two_bring(package):
    """Numbers may be NumPy's; a name of our own means ours; one of two packages neither."""
    assert open_provider("Numpy", Request()).numbers == [1, 2] and provider_names().count("cifar") == 1
    other = package[0] / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[convnet.providers]\npoints = other:Points\n")
    with pytest.raises(DataError, match=r"\(.*:Points, .*:Points\) is brought by more than one package"):
        open_provider("points", Request())


def test_a_provider_without_batches(package):
    file = package[0] / "mypackage/points.py"
    file.write_text(file.read_text().replace("self.numbers = [1, 2, 3]", "self.numbers = []"))
    with pytest.raises(DataError, match="has no batches; it must set 'numbers'"):
        open_provider("points", Request())


def test_the_page_names_every_key_that_is_read():
    from convnet.data.schema import KEYS

    assert [key for key in KEYS if f"`{key}`" not in PAGE] == []
