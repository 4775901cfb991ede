"""What tests have ranks do: ``rank_program.py WHAT LIMIT``, with the seconds after which a silent rank is missed."""

import os
import signal
import sys
import time

import numpy as np
from ranks.exchanges import CHECKS

from convnet.cli.common import framed
from convnet.errors import DataError
from convnet.ranks import launch
from convnet.ranks.agreement import agree, together
from convnet.ranks.heartbeat import Heartbeat
from convnet.ranks.launch import world

LONG = ": a text that is longer than what is sent at first" * 50


def exchanges(communicator):
    for check in CHECKS.values():
        check(communicator)
    part = communicator.split(communicator.rank // 2)
    CHECKS["sent"](part)
    sys.stdout.write(f"{communicator.rank} of {communicator.size} is through\n")


def fail(communicator):
    """One rank alone meets an error; the others hear of it where they gather values, in the middle of an exchange."""
    if communicator.rank == 1:
        raise DataError("data_batch_3 is missing" + LONG)
    communicator.exchange(*([np.zeros(1000) for _ in range(communicator.size)] for _ in range(2)))
    communicator.all_gather(None)


def fail_alone(communicator):
    """One rank alone meets an error, and the others wait for arrays that it does not send."""
    launch._PATIENCE = 0.5
    if communicator.rank == 1:
        raise DataError("data_batch_3 is missing")
    communicator.receive(np.zeros(1), 1)


def crash(communicator):
    if communicator.rank == 1:
        raise KeyError("a mistake of the program")
    communicator.all_gather(None)


def differ(communicator):
    agree(communicator, {"convnet": "1.0", "layer files": f"digest {communicator.rank // 2}"})


def fail_together(communicator):
    def work():
        if communicator.rank == 1:
            raise DataError("data_batch_3 is missing")

    together(communicator, work)


def kill(communicator):
    lose(communicator, signal.SIGKILL)


def stop(communicator):
    lose(communicator, signal.SIGSTOP)


def lose(communicator, number):
    communicator.saved = "RUN/3.4"
    communicator.all_gather(None)
    if communicator.rank == 1:
        os.kill(os.getpid(), number)
    communicator.all_gather(None)


def compute(communicator):
    """One rank computes for longer than a silent one would be waited for."""
    if communicator.rank == 1:
        ends = time.monotonic() + 1.5 * float(sys.argv[2])
        while time.monotonic() < ends:
            pass
    communicator.all_gather(None)
    sys.stdout.write("nobody was missed\n")  # at once, not as two texts


def main(what):
    with world() as communicator:
        globals()[what](communicator)
    return 0


if __name__ == "__main__":
    Heartbeat.__init__.__defaults__ = 0.1, float(sys.argv[2])
    sys.exit(framed(lambda: main(sys.argv[1])))
