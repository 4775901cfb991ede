"""The lines of a run on standard output: which values nobody chose, which words are ours, which a generation's."""

import re

import pytest
from support import SMALL_PARAMS, write_net

from convnet.cli.run import main

MARKED = re.compile(r"(.*?) *: (.*?) *(\[DEFAULT\])?")


def listed(capsys, *options):
    """(value, whether it is marked as default) by description, of what is printed with these options."""
    capsys.readouterr()
    assert main([str(option) for option in options]) == 0
    rows = [MARKED.fullmatch(line) for line in capsys.readouterr().out.splitlines() if ": " in line]
    return {row[1]: (row[2], bool(row[3])) for row in rows if row}


@pytest.mark.parametrize("compat", ["", "2011", "2012", "2014"])
def test_values_that_somebody_chose_are_no_defaults(place, tmp_path, capsys, compat):
    """On the command line, in [run], or in the run that is gone on with."""
    net = write_net(tmp_path, params=SMALL_PARAMS + "[run]\ntest-freq=3\n")
    options = ("--layer-def", net, "--data-path", place / "data", "--mini=20", "--max-batches=1", "--compat", compat)
    begin = listed(capsys, *options, "--save-path", tmp_path / "run")
    assert begin["Minibatch size"] == ("20", False) and begin["Testing frequency"] == ("3", False)
    assert begin["Number of epochs"] == ("50000", True) and begin["Test on one batch at a time?"] == ("1", True)
    on = listed(capsys, "--load-file", tmp_path / "run", "--test-freq=2", "--max-batches=1")
    assert on["Minibatch size"] == ("20", False) and on["Testing frequency"] == ("2", False)
    assert on["Test on one batch at a time?"] == ("1", True) and on["Test and quit?"] == ("0", True)


def test_with_compat_our_sentences_go_to_standard_error(place, tmp_path, capsys):
    options = [
        "--layer-def",
        write_net(tmp_path),
        "--data-path",
        place / "data",
        "--max-batches",
        1,
        "--save-path",
        tmp_path,
    ]
    for compat in ("", "2014"):
        assert main([str(option) for option in (*options, "--compat", compat)]) == 0
        out, err = capsys.readouterr()
        sentences = ("Saved checkpoint to", "See its filters:", "Go on with:")
        for text in sentences:
            assert (text in err, text in out) == (bool(compat), not compat)
    assert out.endswith(" sec)\n") and "cpu" not in out


@pytest.mark.parametrize("year, averages, seconds", [("2011", 0, 0), ("2012", 1, 0), ("2014", 0, 1), ("", 0, 1)])
def test_test_only(place, tmp_path, capsys, year, averages, seconds):
    """Averages are of the tests in the checkpoint, too, in 2012."""
    options = ["--layer-def", write_net(tmp_path), "--data-path", place / "data", "--test-range=3-4", "--train-range=1-2"]
    assert main([*map(str, options), "--epochs=1", "--test-freq=1", "--save-path", str(tmp_path / "run")]) == 0
    tests = [line for line in capsys.readouterr().out.splitlines() if line.startswith("logprob:  ")]
    more = ["--test-only", "--test-one=0", "--compat", year]
    assert main(["--load-file", str(tmp_path / "run"), *more]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("logprob:  ")]
    assert ("Averages" in out, len(lines)) == (bool(averages), 1 + averages)
    assert len(re.findall(r"(?m)^batch [34]: \(\{'logprob': \[.*\]\}, 40\)" + r" \(\d\.\d{3} sec\)$" * seconds, out)) == 2
    assert len(tests) == 4 and ("Testing ConvNet" in out) == (not year)
    if averages:
        first, last = (float(line.split()[1].rstrip(",")) for line in (tests[2], lines[0]))
        assert float(lines[1].split()[1].rstrip(",")) == pytest.approx((first + last) / 2, abs=2e-6)


@pytest.mark.parametrize("year, batches", [("2011", "3"), ("2012", "3"), ("2014", "34"), ("", "34")])
def test_one_batch_alone(place, tmp_path, capsys, year, batches):
    options = ["--layer-def", write_net(tmp_path), "--data-path", place / "data", "--test-range=3-4", "--train-range=1-2"]
    assert main([*map(str, options), "--test-only", "--compat", year]) == 0
    out, err = capsys.readouterr()
    assert "".join(re.findall(r"(?m)^batch (\d): ", out)) == batches
    assert ("Tests the first of 2 test batches" in err) == (batches == "3")
