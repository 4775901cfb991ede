"""A real browser for tests of pages: Debian's chromium, without a screen, driven by selenium.

``with browser(width=400) as page:`` gives a driver; what the console said is told by ``complaints``. Where chromium, its
driver or selenium is missing, the test is skipped.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NARROW, WIDE = 400, 1600  # pixels: a telephone, and a large screen
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root may not have one
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",  # whose width would count in that of the page
)


def _missing() -> list[str]:
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    try:
        import selenium  # noqa: F401
    except ImportError:
        return [*programs, "selenium"]
    return programs


@contextmanager
def browser(width: int = WIDE, height: int = 900, offline: bool = False, dark: bool = False) -> Iterator[Any]:
    """Open a browser whose page is exactly ``width`` pixels wide, without a network if ``offline``; close it in the end.

    What a page downloads, and the browser's own files, lie in a folder that goes with it.
    """
    if missing := _missing():
        pytest.skip(f"no browser to look at pages with: {', '.join(missing)} not installed (.ci/run installs them)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(prefix="convnet-browser-", ignore_cleanup_errors=True) as place:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"--user-data-dir={place}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            driver.set_page_load_timeout(30)
            show_as(driver, width, height, dark)
            if offline:
                _set(driver, "Network.enable")
                _set(
                    driver, "Network.emulateNetworkConditions",
                    offline=True, latency=0, downloadThroughput=0, uploadThroughput=0,
                )  # fmt: skip
            yield driver
        finally:
            driver.quit()


def show_as(driver: Any, width: int = WIDE, height: int = 900, dark: bool = False) -> None:
    """Have pages be exactly ``width`` pixels wide from now on, and dark or light."""
    _set(driver, "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    _set(driver, "Emulation.setEmulatedMedia", features=[scheme])


def _set(driver: Any, command: str, **values: Any) -> None:
    driver.execute_cdp_cmd(command, values)


def complaints(driver: Any) -> list[str]:
    """Return what the browser's console has said since it was last asked: errors of scripts, refused loads, warnings."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def overflow(driver: Any) -> int:
    """Return by how many pixels the page is wider than its window; 0: nothing has to be scrolled sideways."""
    script = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
    return int(driver.execute_script(script))
