"""What ``test_carriers.py`` has ranks of MPI do: move arrays of a processor, and of emulated cards through the host."""

import sys

from ranks.test_carriers import SCHEDULES, device_of, holds, moves

from convnet.backends import make_backend
from convnet.backends.cuda import Cuda
from convnet.ranks.carriers import carrier_for
from convnet.ranks.launch import world
from convnet.ranks.staged import Staged

LENGTHS = 70_001, 0, 3

if __name__ == "__main__":
    with world() as communicator:
        rank, cut = communicator.rank, LENGTHS[: communicator.size]
        sent = 3 * 4 * (sum(cut) + (communicator.size - 2) * cut[rank])  # matrices, bytes of a float
        cpu = make_backend("cpu", threads=1)
        devices = [device_of(rank, early) for early in SCHEDULES.values()]
        found = [moves(communicator, cpu, carrier_for(cpu, communicator), cut)]
        found += [moves(communicator, Cuda(device), Staged(device, communicator), cut) for device in devices]
        assert holds(found, communicator.size, cut) and communicator.bytes_sent == len(found) * sent
        sys.stdout.write(f"rank {rank} is through\n")
