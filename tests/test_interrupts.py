"""What a signal does to a program while something must stay whole."""

import subprocess
import sys

import pytest

from convnet.interrupts import INTERRUPTED, SIGNALS

PROGRAM = """
import os, signal, sys, threading
from convnet.interrupts import end_program_on_signals, whole_despite_signals
end_program_on_signals()
threading.Thread(target=threading.Event().wait, daemon=True).start()  # which the kernel may choose for a signal
with whole_despite_signals():
    os.kill(os.getpid(), int(sys.argv[1]))
    print("whole", flush=True)
print("not reached", flush=True)
"""


def run(program: str, number: int) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", program, str(int(number))], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_program_after_what_stays_whole(number):
    assert run(PROGRAM, number) == (128 + number, "whole\n", f"convnet: {INTERRUPTED}\n")


def test_without_a_signal_nothing_ends():
    assert run(PROGRAM.replace("os.kill(os.getpid(), int(sys.argv[1]))", "pass"), 0) == (0, "whole\nnot reached\n", "")
