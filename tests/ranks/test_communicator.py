import numpy as np
import pytest
from ranks.exchanges import CHECKS
from ranks.threads import on_ranks

from convnet.ranks.communicator import Solo


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_threads_talk(check, size):
    on_ranks(size, check)


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
