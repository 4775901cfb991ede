"""Paths in a report are their last names, whatever system they are of; nothing else is changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnet.options import Options
from convnet.pages.report.private import last_name, option_rows, paths_of, without_folders


@pytest.mark.parametrize(
    "path, name",
    [
        ("/home/alex/cifar-10-batches-py", "cifar-10-batches-py"),
        ("/home/alex/my data/", "my data"),
        (r"C:\Users\Alex\runs", "runs"),
        ("layers.cfg", "layers.cfg"),
        ("", ""),
        (None, ""),
    ],
)
def test_last_names(path, name):
    assert last_name(path) == name


@pytest.mark.parametrize(
    "text, shown",
    [
        ("no folder /home/alex/data; see --help", "no folder data; see --help"),
        ("'/home/alex/a/b.cfg:12' and ~/x/y, ~alex/z", "'b.cfg:12' and y, z"),
        (r"C:\Users\Alex\runs\1.1 is damaged", "1.1 is damaged"),
        ("5 images/s, 1/2 of them, and/or none", "5 images/s, 1/2 of them, and/or none"),
        ("https://example.org/a/b is a page", "https://example.org/a/b is a page"),
        ("../data/cifar and a/b stay", "../data/cifar and a/b stay"),
        ("read (/root/.cache/convnet)", "read (convnet)"),
    ],
)
def test_texts_lose_their_folders(text, shown):
    assert without_folders(text) == shown


def test_known_paths_may_have_blanks_and_be_relative():
    known = ["/home/alex k/my data/cifar", "../of alex/net.cfg", "x", "a/b"]
    text = "/home/alex k/my data/cifar: no such folder; ../of alex/net.cfg:3; x; a/b of data/c"
    assert without_folders(text, known) == "cifar: no such folder; net.cfg:3; x; b of data/c"


@given(st.lists(st.text("abcXYZ019_", min_size=1, max_size=8), min_size=2, max_size=5))
def test_no_folder_of_a_path_is_left(names):
    shown = without_folders(f"the file /{'/'.join(names)} is missing")
    assert shown == f"the file {names[-1]} is missing"


def test_options_are_those_that_somebody_chose():
    options = Options().as_dict() | {
        "data_path": "/home/alex/cifar",
        "epochs": 5,
        "seed": 0,
        "report": "-",
        "train_range": [1, 2, 3],
    }
    rows = {flag: value for flag, value, _ in option_rows(options)}
    assert rows == {"--data-path": "cifar", "--epochs": "5", "--train-range": "1-3", "--report": "-"}
    assert paths_of(options) == ["/home/alex/cifar", "-", "checkpoints"]
    assert option_rows({"nonsense": 1, "epochs": None}) == []
