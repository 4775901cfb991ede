"""What a person typed and no program reads: options of shownet or of other programs, keys of --config, variables."""

import re

import pytest
from support import ROOT, write_cifar, write_net

import convnet
from convnet.cli import main as cli
from convnet.cli.environment import VARIABLES, idle_variables
from convnet.cli.run import main


@pytest.mark.parametrize(
    "words, message",
    [
        (["--show-cost", "logprob", "--channels", "3"], "--channels goes with --show-filters"),
        (["--show-filters", "conv1", "--with", "other"], "--with goes with --show-cost"),
        (["--show-cost", "logprob", "--zoom", "2"], "--zoom goes with --show-filters or --show-maps"),
        (["--show-filters", "conv1", "--cost-idx", "1"], "--cost-idx goes with --show-cost"),
        (["--show-filters", "conv1", "--smooth-test-errors", "0"], "--smooth-test-errors goes with --show-cost"),
        (
            ["--show-maps", "conv1", "--no-rgb", "--norm-filters"],
            "--no-rgb goes with --show-filters; --norm-filters goes with",
        ),
        (["--show-filters", "conv1", "--only-errors"], "--only-errors goes with --show-preds"),
        (["--show-cost", "logprob", "--seed", "4"], "--seed goes with --show-preds, "),
        (
            ["--show-cost", "logprob", "--test-range", "1"],
            "--test-range goes with --show-preds, ",
        ),
        (["--write-features", "fc10", "--feature-path", "f", "--out", "x.png"], "--out goes with --show-filters"),
        (["--write-features", "fc10", "--feature-path", "f", "--show-cost", "logprob"], "give --show-cost in another call"),
    ],
)
def test_options_of_shownet(tmp_path, capsys, words, message):
    convnet.build("layers-digits.cfg", side=8).save(tmp_path / "1.1")
    assert cli(["shownet", "--load-file", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["1.1"]


def test_options_that_only_the_originals_had(tmp_path, capsys):
    write_cifar(tmp_path / "data", cases=8)
    options = ["--layer-def", write_net(tmp_path), "--data-path", tmp_path / "data", "--save-path", tmp_path / "s"]
    assert main([*map(str, options), "--max-batches", "1", "--num-gpus", "1", "--pca-noise=0"]) == 0
    assert "convnet: no effect: --num-gpus, --pca-noise, which only the originals had\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ('config = "more.toml"\n', "'config': a file of options cannot name another"),
        ("test-freq = 3\ntest_freq = 4\n", "'test_freq' gives --test-freq a second time"),
        ("epoch = 3\n", "unknown option 'epoch'; did you mean 'epochs'"),
    ],
)
def test_keys_of_a_file_of_options(tmp_path, capsys, text, message):
    (tmp_path / "run.toml").write_text('layer-def = "layers-digits.cfg"\n' + text)
    assert main(["--config", str(tmp_path / "run.toml")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "environment, line",
    [
        ({"CONVNET_CACHEDIR": "x"}, "CONVNET_CACHEDIR is not one of convnet's; did you mean 'CONVNET_CACHE_DIR'?"),
        ({"CONVNET_GRAPHS": "off"}, "CONVNET_GRAPHS=off has no effect; 0 disables what it is for"),
        ({"CONVNET_GRAPHS": "0", "CONVNET_BRANCHES": "1", "CONVNET_CPU": "avx2", "HOME": "x"}, ""),
    ],
)
def test_environment_variables(environment, line, monkeypatch, capsys):
    lines = idle_variables(environment)
    assert len(lines) == bool(line) and all(found.endswith(line) for found in lines)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli(["diff", "layers-digits.cfg", "layers-digits.cfg"]) == 0
    assert line in capsys.readouterr().err


def test_the_variables_are_those_of_the_page():
    page = (ROOT / "docs/environment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(CONVNET_[A-Z0-9_]+)` \|", page)) == set(VARIABLES)
