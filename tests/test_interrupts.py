"""What a signal does to a program while something must stay whole."""

import signal
import subprocess
import sys
import threading

import pytest

from convnet.interrupts import INTERRUPTED, SAVE_SIGNAL, SIGNALS, SaveRequest, StopRequest

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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_rank_behind_the_first_says_nothing(number):
    program = PROGRAM.replace("end_program_on_signals()", "end_program_on_signals(is_quiet=True)")
    assert run(program, number) == (128 + number, "whole\n", "")


def test_without_a_signal_nothing_ends():
    assert run(PROGRAM.replace("os.kill(os.getpid(), int(sys.argv[1]))", "pass"), 0) == (0, "whole\nnot reached\n", "")


SAVING = """
import os, signal
from convnet.interrupts import SaveRequest, end_program_on_signals
end_program_on_signals()
request = SaveRequest()
os.kill(os.getpid(), signal.SIGUSR1)
print(request.take())
with request.installed():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGUSR1)
    print(request.take(), request.take())
    os.kill(os.getpid(), signal.SIGUSR1)
    print(request.take())
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(SAVE_SIGNAL is None, reason="there is no SIGUSR1 on Windows")
def test_sigusr1_asks_to_save_while_a_run_goes_on_and_else_nothing():
    assert run(SAVING, 0) == (0, "False\nTrue False\nTrue\n", "")


def test_whoever_asks_to_stop_is_named_and_a_signal_after_it_is_the_first(monkeypatch):
    monkeypatch.setattr(StopRequest, "latest", "")
    stop = StopRequest()
    assert not stop
    thread = threading.Thread(target=stop.ask, args=["the page"])
    thread.start()
    thread.join()
    stop.ask("somebody else")
    stop(signal.SIGTERM, None)
    assert stop and stop.reason == "the page"
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM, None)


def test_a_request_to_save_of_any_thread_is_taken_up_once():
    request = SaveRequest()
    threads = [threading.Thread(target=request.ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [request.take(), request.take()] == [True, False]
