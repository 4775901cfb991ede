"""Makes ``support`` importable, sorts tests into tiers, and fails a whole run that leaves a kernel out.

The fast tier is everything that is not marked ``slow``. In the emulator, where each shape may cost a compilation, the
first case of each kind is fast and the others are slow, so that case should be a telling one. What takes longest goes
first, so that no worker is left with it at the end.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from convnet.backends.cuda import source

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))
os.environ.pop("COLUMNS", None)  # which xdist sets: tests say how wide a terminal is, and files have no width
# However busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As in what a shell starts with ``&``; every program that a test starts and interrupts would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def first_of_its_kind(item, seen):
    """Whether no case of this test with the same words among its parameters, such as a type of layer, came before."""
    words = [value for value in item.callspec.params.values() if isinstance(value, str)]
    kind = (item.nodeid.partition("[")[0], *words)
    return kind not in seen and not seen.add(kind)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark most emulated cases as slow, and put what takes minutes first."""
    seen = set()
    for item in items:
        if "cuda-emulated" in item.name and not first_of_its_kind(item, seen):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Use all cores, up to eight, where pytest-xdist is there and the command line gives no number of workers."""
    if config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None and not hasattr(config, "workerinput"):
        config.option.numprocesses, config.option.maxprocesses = "auto", 8
        config.option.dist = "worksteal" if config.option.dist == "no" else config.option.dist


# -- every kernel is launched on the emulated device: each process says which it has launched, the last one adds them up


class Launched:
    """Kernels that this run has launched in the emulator, and whether the tests of all ops and nets were asked for."""

    def __init__(self):
        self.kernels, self.whole_suite, self.left_out = set(), False, []

    def pytest_collection_finish(self, session):
        needed = {*(TESTS / "layers").glob("test_*.py"), TESTS / "net/test_weights.py", TESTS / "net/test_net.py"}
        self.whole_suite = needed <= {item.path for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """Take over what a worker of pytest-xdist says."""
        said = getattr(node, "workeroutput", {})
        self.kernels.update(said.get("launched", ()))
        self.whole_suite = said.get("whole_suite", False)

    def pytest_sessionfinish(self, session, exitstatus):
        if not session.config.option.collectonly:
            from support import BACKENDS

            self.kernels.update(kernel for _, kernel in BACKENDS["cuda-emulated"].device.launched)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput.update(launched=sorted(self.kernels), whole_suite=self.whole_suite)
        elif self.whole_suite and exitstatus == 0 and not session.config.option.collectonly:
            self.left_out = sorted({name for file in source.files() for name in source.signatures(file)} - self.kernels)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if self.left_out else exitstatus

    def pytest_terminal_summary(self, terminalreporter):
        if self.left_out:
            terminalreporter.write_line(f"no test has launched these kernels: {', '.join(self.left_out)}", red=True)


def pytest_configure(config):
    config.pluginmanager.register(Launched(), "launched")
