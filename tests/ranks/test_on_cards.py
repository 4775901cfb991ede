"""Carriers on real cards: staged on one that two ranks share, NCCL with itself, and between two where there are two."""

import numpy as np
import pytest
from ranks.test_carriers import holds, moves
from ranks.threads import on_ranks

from convnet.backends import make_backend, why_not_cuda
from convnet.errors import BackendError
from convnet.ranks.carriers import carrier_for
from convnet.ranks.communicator import Solo
from convnet.ranks.nccl import Nccl, load_nccl
from convnet.ranks.staged import Staged

REASON = why_not_cuda()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON or "a GPU is here")]


@pytest.fixture
def with_nccl():
    try:
        load_nccl()
    except BackendError as error:
        pytest.skip(str(error))


def test_ranks_share_a_card():
    def program(communicator):
        be = make_backend("cuda")
        carrier = carrier_for(be, communicator, lambda said: None)
        assert type(carrier) is Staged
        return moves(communicator, be, carrier, (70_001, 0))

    assert holds(on_ranks(2, program), 2, (70_001, 0))


def test_nccl_with_itself(with_nccl):
    be = make_backend("cuda")
    carrier, values = Nccl(be.device, Solo()), np.arange(4099, dtype=np.float32)
    x, out = be.upload(values), be.zeros((4100,))
    carrier.move([(x, 0)], [(out[1:], 0)]).wait()
    be.fill(x, 0.0)
    assert be.download(out).tolist() == [0, *values]
    carrier.close()


def test_nccl_between_two_cards(with_nccl):
    if why_not_cuda(1):
        pytest.skip("one GPU")

    def program(communicator):
        be = make_backend("cuda", gpu=communicator.rank)
        carrier = carrier_for(be, communicator)
        assert type(carrier) is Nccl
        return moves(communicator, be, carrier, (70_001, 3))

    assert holds(on_ranks(2, program), 2, (70_001, 3))
