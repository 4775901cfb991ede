"""Kills at random moments; ``tests/kills.py`` does as many as wanted."""

import pytest
from kills import VICTIMS, kill


@pytest.mark.slow
@pytest.mark.parametrize("program", VICTIMS)
def test_killed_at_random_moments(program):
    assert kill(6, seed=1, names=[program]).startswith(f"{program}: 6 kills (")
