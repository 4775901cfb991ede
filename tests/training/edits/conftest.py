"""A net whose parameter file may be edited, and what runs of it come to."""

import pytest
from edited_runs import RATES, SLOWER, edits, marks_of, params_of, train
from interrupted import state_of
from support import SMALL_PARAMS, write_net

from convnet.language import watched


@pytest.fixture(autouse=True)
def at_rest(monkeypatch):
    monkeypatch.setattr(watched, "REST", 0)


@pytest.fixture
def net(place, tmp_path):
    """A definition whose parameters may be edited, and data."""
    definition = write_net(tmp_path / "net")
    (tmp_path / "net" / "data").symlink_to(place / "data")
    return definition


@pytest.fixture
def whole(net, tmp_path):
    """What a run comes to whose parameters are edited after two batches."""
    with pytest.MonkeyPatch.context() as patch:
        edits(patch, SLOWER)
        assert train(net, tmp_path / "whole") == 0
    params_of(net).write_text(SMALL_PARAMS)
    assert marks_of(tmp_path / "whole") == [(2, RATES)]
    return state_of(tmp_path / "whole")


@pytest.fixture
def untouched(net, tmp_path):
    assert train(net, tmp_path / "untouched") == 0
    return state_of(tmp_path / "untouched")
