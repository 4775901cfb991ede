"""The README, followed to the letter (``first_hour.py``); long runs are cut short."""

import subprocess
import sys

import first_hour
import pytest
from support import ROOT


@pytest.mark.parametrize("line", first_hour.commands())
def test_every_command_of_the_readme_is_looked_at(line):
    assert len(first_hour.checks_of(line)) == 1


def test_the_readme_is_one_that_is_read():
    lines = first_hour.README.splitlines()
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert len(lines) <= 120
    assert headings[:8] == [
        "Two commands",
        "What you should see",
        "See it",
        "Your own pictures",
        "CIFAR-10",
        "ImageNet",
        "Change something",
        "Where to go next",
    ]


@pytest.mark.slow
@pytest.mark.minutes
def test_the_first_hour(tmp_path):
    stops = ["--stop", "layers-imagenet", "--stop", "layers-photos"]
    command = [sys.executable, str(ROOT / "tests/first_hour.py"), *stops, "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "all that the README says can be done" in run.stdout
