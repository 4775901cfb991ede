"""Signs of life, between threads: what a rank is given up for, and what is said."""

import time

import pytest
from ranks import threads
from ranks.threads import on_ranks

from convnet.ranks.heartbeat import Heartbeat

BEAT, LIMIT = 0.1, 1.2


@pytest.mark.slow
def test_ranks_that_live_are_not_missed():
    def work(communicator):
        with Heartbeat(communicator, BEAT, LIMIT):
            time.sleep(1.3 * LIMIT if communicator.rank == 1 else 0)
            communicator.all_gather(None)

    on_ranks(3, work)


@pytest.fixture
def said(monkeypatch):
    """[(rank, text)] of ranks that end all, in the order in which they do."""
    said = []

    def abort(communicator, text, patience=0.0):
        said.append((communicator.rank, text))
        raise SystemExit

    monkeypatch.setattr(threads.ThreadCommunicator, "abort", abort)
    return said


@pytest.mark.slow
def test_a_silent_rank_is_given_up(monkeypatch, said):
    """Rank 2 tells nobody that it lives; rank 0 is the first to say so."""
    tell = Heartbeat._tell
    monkeypatch.setattr(Heartbeat, "_tell", lambda heart, sign: heart._communicator.rank == 2 or tell(heart, sign))

    def work(communicator):
        communicator.saved = "RUN/3.4"
        with pytest.raises(SystemExit):
            Heartbeat(communicator, BEAT, LIMIT)._run()

    on_ranks(3, work)
    rank, text = said[0]
    assert rank == 0 and text.startswith("rank 2 on ")
    assert "does not answer any more (" in text and text.endswith(" s): all ranks end; the last checkpoint is RUN/3.4")


def test_a_run_without_a_checkpoint_says_so(said):
    def work(communicator):
        heart = Heartbeat(communicator)
        if communicator.rank == 0:
            with pytest.raises(SystemExit):
                heart._give_up(1, "is gone")

    on_ranks(2, work)
    [(rank, text)] = said
    assert rank == 0 and text.endswith(" is gone: all ranks end; there is no checkpoint of this run")
