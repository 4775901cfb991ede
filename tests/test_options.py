"""Every option of the originals is understood (io 1.4), and so is the way they were written."""

import re

import pytest
from support import write_cifar, write_net

from convnet import options
from convnet.cli.run import given_options, main
from convnet.cli.run import parser as run_parser
from convnet.errors import OptionError


def parse(arguments):
    return given_options(run_parser("convnet run").read(arguments))


# flag: a value of its type; the tables of all three generations together.
ORIGINALS = {
    "-f": "x",
    "--load-file": "x",
    "--save-path": "x",
    "--save-file": "x",
    "--train-range": "1-5",
    "--test-range": "6",
    "--data-provider": "cifar",
    "--data-path": "x",
    "--test-freq": "50",
    "--epochs": "10",
    "--max-filesize": "5000",
    "--zip-save": "0",
    "--num-gpus": "1",
    "--gpu": "0,1",
    "--test-only": "1",
    "--test-one": "0",
    "--force-save": "1",
    "--mini": "128",
    "--layer-def": "x",
    "--layer-params": "x",
    "--layer-path": "x",
    "--check-grads": "1",
    "--multiview-test": "1",
    "--logreg-name": "logprob",
    "--test-out": "x",
    "--crop-border": "4",
    "--inner-size": "24",
    "--conv-to-local": "conv1,conv2",
    "--unshare-weights": "conv1,conv2[1]",
    "--conserve-mem": "1",
    "--color-noise": "0.1",
    "--pca-noise": "0.1",
    "--scalar-mean": "128",
    "--wupdate-freq": "2",
    "--write-features": "fc",
    "--feature-path": "x",
}


@pytest.mark.parametrize("flag", ORIGINALS)
def test_options_of_the_originals(flag):
    for arguments in ([flag, ORIGINALS[flag]], [f"{flag}={ORIGINALS[flag]}"] if flag != "-f" else ["-fx"]):
        given = parse(arguments)
        assert flag in options.IGNORED or len(given) == 1


def test_unique_beginnings_are_enough():
    """As with the originals' getopt (io 1.1); the last of several wins."""
    assert parse(["--epoch=3", "--test-onl=1", "--mini=1", "--mini=2"]) == {"epochs": 3, "test_only": 1, "mini": 2}
    with pytest.raises(OptionError, match="ambiguous"):
        parse(["--test-o=1"])


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--test-only=yes"], "0 or 1"),
        (["--train-range=5-1"], "not a range of batches"),
        (["--epochs=many"], "epochs"),
        (["--epohcs=3"], "did you mean '--epochs'"),
        (["stray"], "unexpected argument 'stray'"),
        (["-f=x"], "write '-f x'"),
        (["--compat=2013"], "2013"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(OptionError, match=words):
        parse(arguments)


def test_modes_are_not_inherited():
    """A run that goes on from a checkpoint of a test does not test only (io 10.13)."""
    modes = {"test_only", "force_save", "multiview_test", "test_out", "write_features", "conv_to_local", "check_grads"}
    completed = options.Options.of({}, dict.fromkeys(modes, "set") | {"mini": 64}).as_dict()
    assert completed["mini"] == 64 and not any(completed[name] == "set" for name in modes)


def test_options_know_which_were_given():
    completed = options.Options.of({"mini": 16, "test_only": 1}, {"mini": 64, "epochs": 9, "unknown": 1})
    assert (completed.mini, completed.epochs, completed.save_path) == (16, 9, "checkpoints")
    assert completed.given == {"mini", "test_only"}
    assert list(completed.as_dict()) == [option.name for option in options.OPTIONS]


@pytest.mark.parametrize(
    "given, words",
    [
        ({"write_features": "fc"}, "needs --feature-path.*in conjunction with --test-only"),
        ({"feature_path": "x"}, "needs --write-features"),
        ({"write_features": "fc", "feature_path": "x", "test_only": 1, "multiview_test": 1}, "leave --multiview-test out"),
    ],
)
def test_options_that_do_not_go_together(given, words):
    with pytest.raises(OptionError, match=words):
        options.Options.of(given).check()


def test_save_file_goes_on_where_it_stopped(tmp_path, capsys):
    """2014's --save-file: this very folder, resumed from when it exists (io 1.5)."""
    command = ["--layer-def", write_net(tmp_path), "--data-path", write_cifar(tmp_path / "d"), "--save-file", tmp_path / "s"]
    command = [str(part) for part in command]
    assert main([*command, "--max-batches", "1"]) == 0 and (tmp_path / "s" / "1.1").is_file()
    capsys.readouterr()
    assert main([*command, "--max-batches", "1"]) == 0
    assert "\n1.2 (" in capsys.readouterr().out and (tmp_path / "s" / "1.2").is_file()


def test_the_help_begins_with_what_most_runs_need(capsys):
    """Every option stands in it once; nothing in it is a default of Python, an empty choice, or reStructuredText."""
    with pytest.raises(SystemExit):
        run_parser("convnet run").read(["--help"])
    text = capsys.readouterr().out
    for option in options.OPTIONS:
        assert len(re.findall(rf"(?m)^  (?:-f PATH, )?{option.flag}\b(?!-)", text)) == 1, option.flag
    first = text[text.index("what most runs need:") : text.index("\ndata:")]
    assert re.findall(r"(--[\w-]+) (?:FILE|DIR|PATH|N|\[0/1\])\b", re.sub(r"-f PATH, ", "", first))[:4] == [
        "--layer-def",
        "--data-path",
        "--load-file",
        "--epochs",
    ]
    assert not re.search(r"\[\[|\{,|\bNone\b|``|:mod:|\(default", text)
    assert "cifar, cifar-cropped, image, flatmem" in " ".join(text.split())
