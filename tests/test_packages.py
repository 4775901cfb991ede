"""The page that an index shows, and that the checks of packages find what is wrong."""

import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import packages
import pytest
from setuptools import Distribution
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError
from support import ROOT


def setup():
    spec = spec_from_file_location("setup_of_convnet", ROOT / "setup.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def index_page(text):
    return setup().index_page(text)


@pytest.mark.parametrize("fault", [OSError("no file cc"), CompileError("command 'cc' failed")])
def test_without_a_compiler_it_says_what_to_install(monkeypatch, fault):
    def build(*_):
        raise fault

    command = setup().BuildKernels(Distribution())
    command.compiler = SimpleNamespace(_compile=None)
    monkeypatch.setattr(build_ext, "build_extensions", build)
    with pytest.raises(SystemExit, match=f"error: {fault}\nconvnet is compiled .* build-essential"):
        command.build_extensions()


def test_the_page_has_no_links_into_the_checkout():
    readme = (ROOT / "README.md").read_text()
    shown = index_page(readme)
    packages.check_page(shown)
    with pytest.raises(AssertionError):
        packages.check_page(readme)
    text = "![A net](docs/a.png) [docs/b.md](docs/b.md) [more](docs/b.md#x) [there](https://x.org/a) [below](#c)"
    expected = (
        "(Picture in the sources, `docs/a.png`: A net.) `docs/b.md` more (`docs/b.md`) [there](https://x.org/a) [below](#c)"
    )
    assert index_page(text) == expected


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a checkout")
def test_what_lacks_or_is_too_much_is_found(tmp_path):
    names = [name for name in packages.tracked() if not packages.NOT_SENT.fullmatch(name)]
    assert {"convnet/backends/cpu/_kernels.pyx", "tools/shownet.py", "docs/python.md", "LICENSE", "NOTICE"} <= set(names)
    assert {"convnet/pages/style.css", "convnet/pages/report/report.css"} <= set(names)

    def sdist(kept):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
            for name in kept:
                archive.add(ROOT / name, f"convnet-1/{name}")
        return tmp_path / "x.tar.gz"

    packages.check_sdist(sdist(names))
    with pytest.raises(AssertionError, match=r"_kernels\.pyx"):
        packages.check_sdist(sdist(name for name in names if not name.endswith(".pyx")))
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("convnet-1.dist-info/METADATA", "Name: convnet\n\n# convnet\n")
        archive.writestr("tests/test_x.py", "")
    with pytest.raises(AssertionError, match="too much"):
        packages.check_wheel(tmp_path / "x.whl")
