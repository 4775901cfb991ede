"""Numbers of the command line and of TOML files: each has a range, and one outside is a line that says which."""

import pytest
from support import write_cifar, write_net

from convnet.backends import make_backend
from convnet.cli import main
from convnet.errors import BackendError, OptionError
from convnet.options import OPTIONS, read_config

RUN = ["run", "--layer-def", "layers-digits.cfg"]
MAKE = ["makebatches", "pictures", "--out", "out"]
SHOW = ["shownet", "--load-file", "nowhere", "--show-filters", "conv1"]
FROM_0, FROM_1, SEED = "a whole number from 0", "a whole number from 1", "a whole number from 0 to 4294967295"
RANGE = "a range of batches; expected 1-5, 6, or 1-3,7, at most 1,000,000 numbers from 0"

WRONG = [
    (RUN, "--threads", "-1", FROM_0),
    (RUN, "--threads", "2147483648", f"{FROM_0} to 1024"),
    (RUN, "--threads", "100000", f"{FROM_0} to 1024"),
    (["bench", *RUN[1:]], "--threads", "-2", FROM_0),
    (RUN, "--train-range", "1-100000000", RANGE),
    (RUN, "--train-range", "0-1000000", RANGE),
    (RUN, "--train-range", "1-600000,1-600000", RANGE),
    (RUN, "--test-range", "99999999999", RANGE),
    (RUN, "--test-range", "-5", RANGE),
    (RUN, "--mini", "0", FROM_1),
    (RUN, "--mini", "-128", FROM_1),
    (RUN, "--mini", "10000000", f"{FROM_1} to 1000000"),
    (RUN, "--crop-border", "-1", FROM_0),
    (RUN, "--inner-size", "-1", FROM_0),
    (RUN, "--color-noise", "nan", "a number from 0"),
    (RUN, "--color-noise", "inf", "a number from 0 to 100"),
    (RUN, "--color-noise", "-0.1", "a number from 0"),
    (RUN, "--scalar-mean", "nan", "a number from 0, or -1 for the mean picture"),
    (RUN, "--scalar-mean", "-inf", "a number from 0, or -1 for the mean picture"),
    (RUN, "--scalar-mean", "-127", "a number from 0, or -1 for the mean picture"),
    (RUN, "--gpu", "-1", "a list of whole numbers from 0, such as 0,1"),
    (RUN, "--gpu", "0,-1", "a list of whole numbers from 0, such as 0,1"),
    (RUN, "--max-batches", "-1", FROM_0),
    (RUN, "--epochs", "1e3", FROM_1),
    (RUN, "--epochs", "9" * 5000, FROM_1),
    (RUN, "--seed", "-1", FROM_0),
    (RUN, "--seed", "4294967296", SEED),
    (RUN, "--keep", "0", FROM_1),
    (RUN, "--test-freq", "-57", FROM_1),
    (RUN, "--backend", "cuad", "auto, reference, cpu or cuda; did you mean 'cuda'?"),
    (RUN, "--math", "TF32", "float32, exact, fast or tf32; did you mean 'tf32'?"),
    (RUN, "--data-path", "a\0b", "a name; leave the option out for its default"),
    (MAKE, "--batch-size", "0", FROM_1),
    (MAKE, "--batch-size", "-5", FROM_1),
    (MAKE, "--size", "0", FROM_1),
    (MAKE, "--size", "5000", f"{FROM_1} to 4096"),
    (MAKE, "--test-share", "2", "a number from 0 that is less than 1"),
    (MAKE, "--test-share", "nan", "a number from 0 that is less than 1"),
    (MAKE, "--test-share", "-1", "a number from 0 that is less than 1"),
    (MAKE, "--seed", "99999999999", SEED),
    (SHOW, "--zoom", "0", FROM_1),
    (SHOW, "--zoom", "1000000", f"{FROM_1} to 1000"),
    (SHOW, "--cost-idx", "-1", FROM_0),
    (SHOW, "--input-idx", "-1", FROM_0),
    (SHOW, "--local-plane", "-1", FROM_0),
    (SHOW, "--channels", "-3", FROM_0),
    (SHOW, "--seed", "-1", FROM_0),
    (["bench", *RUN[1:]], "--steps", "0", FROM_1),
    (["explain", "layers-digits.cfg"], "--data-dims", "0", "a list of whole numbers from 1, such as 150528,1"),
    (["explain", "layers-digits.cfg"], "--data-dims", "4294967296", "a list of whole numbers from 1, such as 150528,1"),
    (["explain", "layers-digits.cfg"], "--num-classes", "3000000000", f"{FROM_1} to 2147483647"),
]


def shown(value):
    return repr(value if len(value) <= 80 else f"{value[:60]}...")


@pytest.mark.parametrize("verb, flag, value, expected", WRONG, ids=lambda part: str(part)[:30].replace("\0", ""))
def test_numbers_outside_their_range(verb, flag, value, expected, capsys):
    assert main([*verb, f"{flag}={value}"]) == 2
    assert capsys.readouterr().err == f"convnet: {flag}: {shown(value)} is not {expected}\n"


def test_the_same_holds_for_toml(tmp_path):
    """Every fault of a file at once."""
    path = tmp_path / "run.toml"
    path.write_text('threads = -1\nmini = 0\ncolor-noise = nan\ntrain-range = "1-100000000"\ngpu = [0, -1]\nepochs = 1.5\n')
    with pytest.raises(OptionError) as raised:
        read_config(path)
    found = str(raised.value).split(": ", 1)[1].split("; ")
    assert [fault.split(":")[0] for fault in found if ": '" in fault] == [
        "threads", "mini", "color-noise", "train-range", "gpu", "epochs",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["true", "{a = 1}", "1979-05-27", "[true]", "[[1]]", '"a\\u0000b"'])
def test_values_of_toml_that_no_option_has(value, tmp_path):
    path = tmp_path / "run.toml"
    for key in ("mini", "data-path", "train-range", "gpu"):
        path.write_text(f"{key} = {value}\n")
        with pytest.raises(OptionError, match=f"{key}: .* is not "):
            read_config(path)


def test_every_number_has_a_range():
    """So that none can be forgotten: kinds take neither huge nor negative numbers, nor those that are none."""
    for option in OPTIONS:
        for text in ("-7", "nan", "inf", "9" * 400):
            try:
                value = option.kind(text)
            except Exception as error:
                assert type(error).__name__ == "ArgumentTypeError", (option.name, text)
            else:
                assert isinstance(value, str) or value == [text], (option.name, text)


def test_ranges_are_bounded_before_they_are_made(tmp_path, capsys):
    options = ["--layer-def", write_net(tmp_path), "--data-path", write_cifar(tmp_path / "data")]
    assert main(["run", *map(str, options), "--train-range", "1-999999"]) == 1
    said = capsys.readouterr().err
    assert "missing: 4, 5, 6," in said and "and 999,976 more" in said and len(said) < 400


@pytest.mark.parametrize("threads", [-1, 100000, 2**31])
def test_threads_of_a_backend(threads):
    with pytest.raises(OptionError, match=f"threads: {threads} is not a whole number from 0 to "):
        make_backend("cpu", threads)


def test_an_instruction_set_that_is_none(monkeypatch):
    monkeypatch.setenv("CONVNET_CPU", "avx22")
    with pytest.raises(BackendError, match=r"CONVNET_CPU=avx22 is not avx512, avx2 or baseline; did you mean 'avx2'\?"):
        make_backend("cpu")


def test_a_picture_that_would_be_too_large(tmp_path, capsys):
    options = ["--layer-def", write_net(tmp_path), "--data-path", write_cifar(tmp_path / "data", cases=8)]
    assert main(["run", *map(str, options), "--max-batches", "1", "--save-file", str(tmp_path / "run")]) == 0
    out = ["--out", str(tmp_path / "x.png")]
    assert main(["shownet", "-f", str(tmp_path / "run"), "--show-filters", "conv1", "--zoom", "1000", *out]) == 1
    assert "--zoom 1000 makes a picture of 97000x7000 pixels" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("name, word", [("x", "is no format"), ("x.pgn", "is no format of"), ("no/x.png", "no folder")])
def test_a_name_of_no_picture(name, word, tmp_path, capsys):
    options = ["--layer-def", write_net(tmp_path), "--data-path", write_cifar(tmp_path / "data", cases=8)]
    assert (
        main(["run", *map(str, options), "--max-batches", "1", "--test-freq", "1", "--save-file", str(tmp_path / "run")])
        == 0
    )
    for what in (["--show-filters", "conv1"], ["--show-cost", "logprob"]):
        assert main(["shownet", "-f", str(tmp_path / "run"), *what, "--out", str(tmp_path / name)]) == 1
        assert word in capsys.readouterr().err
