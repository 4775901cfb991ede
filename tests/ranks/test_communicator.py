import numpy as np
import pytest
from ranks.exchanges import CHECKS
from ranks.threads import on_ranks

from convnet.ranks.communicator import Solo


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_threads_talk(check, size):
    on_ranks(size, check)


def _changes_what_it_sends(communicator):
    values = np.zeros(3)
    communicator.send(values, 1 - communicator.rank)
    values[1] = communicator.rank
    communicator.receive(np.zeros(3), 1 - communicator.rank)


def _changes_what_others_wait_for(communicator):
    parts = [np.zeros(2), np.zeros(2)]
    pending = communicator.share(parts)
    parts[communicator.rank] += 1
    pending.wait()


def _writes_where_something_is_to_arrive(communicator):
    parts = [np.zeros(2), np.zeros(2)]
    pending = communicator.share(parts)
    parts[1 - communicator.rank][0] = 1
    pending.wait()


def _leaves_a_changed_array_on_its_way(communicator):
    parts = [np.zeros(2), np.zeros(2)]
    communicator.share(parts)
    parts[communicator.rank] += 1


@pytest.mark.parametrize(
    "mistake, text",
    [
        (_changes_what_it_sends, "changed while it was being sent"),
        (_changes_what_others_wait_for, "changed while it was being sent"),
        (_writes_where_something_is_to_arrive, "written to while it was to be filled"),
        (_leaves_a_changed_array_on_its_way, "changed while it was being sent"),
    ],
)
def test_messages_of_threads_are_as_late_as_they_may_be(mistake, text):
    with pytest.raises(AssertionError, match=text):
        on_ranks(2, mistake)


def test_what_is_received_is_filled_by_the_wait_alone():
    def work(communicator):
        out = np.zeros(2)
        communicator.send(np.ones(2), 1 - communicator.rank)
        pending = communicator.begin_receive(out, 1 - communicator.rank)
        communicator.all_gather(None)
        communicator.progress()
        before = out.tolist()
        pending.wait()
        return before != [1, 1], out.tolist()

    assert on_ranks(2, work) == [(True, [1, 1])] * 2


def test_one_rank_has_nobody_to_talk_to():
    alone, values = Solo(), np.arange(3)
    assert alone.all_gather("x") == ["x"]
    pending = alone.exchange([values], [values])
    pending.wait()
    assert pending.done() and alone.share([values]).done() and values.tolist() == [0, 1, 2]
    assert alone.split(3).size == 1 and alone.local_rank() == (0, 1) and alone.bytes_sent == 0
    with pytest.raises(IndexError, match="no other rank"):
        alone.send(values, 1)


def test_ranks_of_a_machine_are_counted():
    alone = Solo()
    alone.hosts, alone.size, alone.rank = ["a", "b", "a", "b", "b"], 5, 3
    assert alone.local_rank() == (1, 3) and alone.name(2) == "rank 2 on a"
