"""What every communicator must do, whatever carries it; MPI runs this file as a program on each rank."""

import numpy as np

SIZES = (0, 1, 7, 100_003)


def gathered(communicator):
    rank, size = communicator.rank, communicator.size
    assert communicator.all_gather((rank, "x")) == [(other, "x") for other in range(size)]
    for length in (1, 1015, 1016, 5000):  # around the border between one message and two
        values = communicator.all_gather("y" * length * rank)
        assert [len(value) for value in values] == [length * other for other in range(size)]


def exchanged(communicator):
    """Pieces of another length for each pair, many at a time, waited for in another order than they began in."""
    rank, size = communicator.rank, communicator.size
    begun = []
    for length in SIZES:
        pieces = [np.full(length + other, 100 * rank + other, np.float32) for other in range(size)]
        out = [np.full(length + rank, -1, np.float32) for _ in range(size)]
        begun.append((communicator.exchange(pieces, out), out))
    for pending, out in reversed(begun):
        pending.wait()
        assert pending.done()
        for other, values in enumerate(out):
            assert (values == (-1 if other == rank else 100 * other + rank)).all()


def shared(communicator):
    rank, size = communicator.rank, communicator.size
    sent = communicator.bytes_sent
    parts = [np.full((2, 3 + other), rank if other == rank else -1, np.float64) for other in range(size)]
    communicator.share(parts).wait()
    assert [part.tolist() for part in parts] == [[[other] * (3 + other)] * 2 for other in range(size)]
    assert communicator.bytes_sent - sent == (size - 1) * parts[rank].nbytes


def sent(communicator):
    """Messages of a pair come in their order, however large they are; a ring of large ones does not wait for itself."""
    rank, size = communicator.rank, communicator.size
    for length in SIZES:
        for turn in range(3):
            communicator.send(np.full(length, rank + turn / 4, np.float32), (rank + 1) % size)
    communicator.progress()
    source = (rank - 1) % size
    for length in SIZES:
        for turn in range(3):
            out = np.full(length, -1, np.float32)
            communicator.receive(out, source)
            assert (out == source + turn / 4).all()


def dropped(communicator):
    """Nobody waits for what has begun, or keeps its arrays; what comes after it is whole."""
    rank, size = communicator.rank, communicator.size
    for turn in range(3):
        communicator.exchange([np.full(SIZES[-1], 7.0 + turn)] * size, [np.zeros(SIZES[-1]) for _ in range(size)])
        communicator.begin_receive(np.zeros(SIZES[-1]), (rank - 1) % size)
        communicator.send(np.full(SIZES[-1], 7.0), (rank + 1) % size)
    out = [np.zeros(SIZES[-1]) for _ in range(size)]
    communicator.exchange([np.full(SIZES[-1], float(rank))] * size, out).wait()
    assert all((values == (0 if other == rank else other)).all() for other, values in enumerate(out))
    communicator.send(np.full(5, float(rank)), (rank + 1) % size)
    last = np.zeros(5)
    communicator.receive(last, (rank - 1) % size)
    assert (last == (rank - 1) % size).all()


def split(communicator):
    part = communicator.split(communicator.rank % 2)
    ranks = list(range(communicator.rank % 2, communicator.size, 2))
    assert (part.size, ranks[part.rank]) == (len(ranks), communicator.rank)
    assert part.all_gather(communicator.rank) == ranks
    out = [np.zeros(5) for _ in ranks]
    part.exchange([np.full(5, float(communicator.rank))] * len(ranks), out).wait()
    assert [values[0] for values in out] == [0 if rank == communicator.rank else rank for rank in ranks]


CHECKS = {check.__name__: check for check in (gathered, exchanged, shared, sent, dropped, split)}
