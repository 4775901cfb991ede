"""TOML files: sections with places; files: names, encodings, the parameter file beside a definition."""

import pytest

from convnet.errors import LayerFileError
from convnet.language.diagnostics import Problems
from convnet.language.files import find, params_beside, read_text, shipped_folder
from convnet.language.toml import read_toml


def test_tables_are_sections_with_places():
    problems = Problems()
    document = read_toml('[default]\nmomB = 0.9\n[layer.a]\ntype = "fc"\n[layer."b c"]\nwc = [1, 2]\n', "x.toml", problems)
    assert list(document.sections) == ["a", "b c"] and not problems.items
    entry = document.entry("b c", "WC")
    assert entry.raw == [1, 2] and (entry.place.line, entry.place.column) == (6, 6)
    assert document.entry("a", "momB").raw == 0.9


@pytest.mark.parametrize(
    "text, line, nearest",
    [
        ("[layer.a]\nx = ", 2, ""),
        ("[layr.a]\nx = 1\n", 1, "layer"),
        ("[layer]\na = 1\n", 2, ""),
        ("[layer.a]\nx = {y = 1}\n", 2, ""),
        ("[layer.a]\nx = 1\nx = 2\n", 3, ""),
    ],
)
def test_errors_have_lines(text, line, nearest):
    problems = Problems()
    read_toml(text, "x.toml", problems)
    assert [(p.place.line, p.nearest) for p in problems.errors] == [(line, nearest)]


def test_latin_1_is_read(tmp_path):
    path = tmp_path / "layers-x.cfg"
    path.write_bytes(b"# caf\xe9\n")
    assert read_text(path) == "# café\n"


def test_files_are_found(tmp_path):
    definition = tmp_path / "layers-x.cfg"
    definition.write_text("")
    assert find(definition) == definition and params_beside(definition) is None
    (tmp_path / "layer-params-x.cfg").write_text("")
    assert params_beside(definition) == tmp_path / "layer-params-x.cfg"
    with pytest.raises(LayerFileError) as caught:
        find("layers-imagnet.cfg")
    assert caught.value.problems[0].nearest == "layers-imagenet.cfg"


@pytest.mark.parametrize("name", ["layers-digits.cfg", "layers-cfg/layers-digits.cfg"])
def test_shipped_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(name).parent.samefile(shipped_folder("layers-cfg"))


@pytest.mark.parametrize(
    "prefix, name", [("", "a/layers-digits.cfg"), ("a", "layers-digits.cfg"), ("/a", "layers-digits.cfg")]
)
def test_no_shipped_file_stands_for_one_of_another_folder(prefix, name):
    """A folder that is misspelt would train another net than the one in it."""
    with pytest.raises(LayerFileError, match=r"no such layer file; the shipped one is called layers-digits\.cfg, without"):
        find(name, prefix)
