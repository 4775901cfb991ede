"""A plugin for pytest, ``-p suite``: failures printed as they come, one small case of each kind, kernels that were launched.

--each-once    of each test the first case of each kind alone, as in the emulator's fast tier
"""

from __future__ import annotations

from collections.abc import Generator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--each-once", action="store_true", help="of each test the first case of each kind alone")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the first case of each kind among those that are left."""
    if not config.getoption("--each-once"):
        return
    seen: set[tuple] = set()
    kept = [item for item in items if not hasattr(item, "callspec") or _is_new(item, seen)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_new(item: pytest.Item, seen: set[tuple]) -> bool:
    kind = (item.nodeid.partition("[")[0], *(value for value in item.callspec.params.values() if isinstance(value, str)))
    return kind not in seen and not seen.add(kind)


class Reporter:
    """Prints each failure when it happens, so that a time limit leaves it in the log, and at the end what was launched."""

    def __init__(self) -> None:
        self.launched: set[str] = set()
        self.passed = 0

    def pytest_sessionstart(self) -> None:
        try:
            from convnet.backends.cuda.driver import CudaDevice
        except ImportError:
            return
        launch, launched = CudaDevice.launch, self.launched

        def noting(device, source, kernel, *args, **kwargs):
            launched.add(kernel)
            return launch(device, source, kernel, *args, **kwargs)

        CudaDevice.launch = noting

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        if report.failed:
            print(f"\n--- FAILED after {self.passed} that passed: {report.nodeid}\n{report.longreprtext}", flush=True)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail where every test was skipped, as where no card is."""
        if exitstatus == pytest.ExitCode.OK and not self.passed:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter) -> Generator[None, None, None]:
        """Say behind what was skipped, among the last lines, which are all that a summary of steps shows."""
        yield
        from convnet.backends.cuda import source

        left_out = sorted({name for file in source.files() for name in source.signatures(file)} - self.launched)
        said = f"not launched: {len(left_out)} kernels: {', '.join(left_out)}" if left_out else "every kernel was launched"
        terminalreporter.write_line(said if self.passed else "no test has passed: nothing is proved")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(), "failures-as-they-come")
