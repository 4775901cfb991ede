"""Runs that go on, in a real browser: what is seen, what can be done there, and what cannot be done from elsewhere.

Most tests share a run, which none of them ends, and a browser.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from browser import NARROW, WIDE, browser, complaints, overflow, show_as
from support import ROOT, write_cifar, write_net

pytestmark = pytest.mark.slow
PATIENCE = 30  # seconds, of which a test takes few


def until(found, what):
    """Return what ``found`` finds, once it does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


class Running:
    """A run with a page, in a process of its own, which takes a while to come to its end."""

    def __init__(self, place, *options):
        self.place = place
        self.definition = write_net(place)
        self.parameters = place / "layer-params-small.cfg"
        words = ["--layer-def", self.definition, "--data-path", write_cifar(place / "data", cases=256), "--mini", 32]
        words += [
            "--epochs",
            5000,
            "--test-freq",
            5,
            "--backend",
            "cpu",
            "--threads",
            1,
            "--save-path",
            place / "runs",
            "--live",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convnet", "run", *map(str, [*words, *options])],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines = []
        self.readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self.readers:
            reader.start()
        self.address = until(self._address, "the address of the page")

    def _read(self, stream):
        for line in stream:
            self.lines.append(line)
        stream.close()

    def _address(self):
        return next((line.split()[-1] for line in self.lines if "live page: http://127.0.0.1:" in line), "")

    @property
    def folder(self):
        (folder,) = (self.place / "runs").iterdir()
        return folder

    def records(self):
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("seen"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def one_for_all():
    with browser() as page:
        yield page


@pytest.fixture
def page(one_for_all, running):
    """A browser with the page of the run."""
    show_as(one_for_all)
    complaints(one_for_all)  # those of the test before
    one_for_all.get(running.address)
    until(lambda: points(one_for_all) and one_for_all.find_element("id", "stop").is_enabled(), "the page")
    return one_for_all


def text(page, name):
    return page.find_element("id", name).text


def points(page):
    """How far the curve of training goes, in batches, and how many corners it has."""
    paths = page.execute_script("return [...document.querySelectorAll('#curves path')].map(p => p.getAttribute('d').length)")
    return max(paths, default=0)


@pytest.mark.parametrize("width, dark", [(NARROW, True), (WIDE, False)])
def test_the_page_grows_and_fits(page, running, width, dark):
    """The curve grows, filters and layers are there; nothing has to be scrolled sideways, nothing is complained of."""
    show_as(page, width, dark=dark)
    page.refresh()
    first = until(lambda: points(page) and text(page, "curves"), "curves")
    until(lambda: page.find_elements("css selector", "#filters img"), "filters")
    until(lambda: "conv1" in text(page, "layers"), "the table of layers")
    until(lambda: text(page, "curves") != first, "a curve that has grown")
    assert "images/s" in text(page, "status") and "CPU (1 thread" in text(page, "status")
    assert overflow(page) == 0
    back = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back)[:3])) < 200) == dark
    page.refresh()
    until(lambda: points(page), "curves after a reload")
    assert complaints(page) == []


def test_it_does_not_grow(page, running):
    """As of an hour: hundreds of answers later there are as many nodes and listeners, and no more memory is used."""
    # Time is made to run faster: what waits a second waits a hundredth, and every answer has all parts.
    page.execute_script("""
        window.answers = 0; window.slow = window.setTimeout;
        window.setTimeout = (f, ms) => window.slow(f, ms / 100);
        const get = window.fetch;
        window.fetch = (url, how) => { window.answers += 1; url.searchParams.set("known", ""); return get(url, how) };
    """)

    def counted(answers):
        until(lambda: page.execute_script("return window.answers") >= answers, f"{answers} answers")
        page.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        metrics = page.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return {one["name"]: one["value"] for one in metrics}

    page.execute_cdp_cmd("Performance.enable", {})
    before, after = counted(20), counted(150)
    assert after["JSEventListeners"] == before["JSEventListeners"] and after["Documents"] == before["Documents"]
    assert after["Nodes"] < 1.5 * before["Nodes"] + 500
    assert after["JSHeapUsedSize"] < 1.3 * before["JSHeapUsedSize"] + 1e6
    assert complaints(page) == []


def test_a_page_that_nobody_sees_asks_nothing(page, running):
    page.execute_script("""
        window.asked = 0; const get = window.fetch;
        window.fetch = (...words) => { window.asked += 1; return get(...words) };
        Object.defineProperty(document, "hidden", { get: () => window.isHidden, configurable: true });
        window.isHidden = true;
    """)
    time.sleep(1.2)  # a question that was under way
    asked = page.execute_script("return window.asked")
    time.sleep(1.2)
    assert page.execute_script("return window.asked") == asked
    page.execute_script("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: page.execute_script("return window.asked") > asked, "a question")


def test_with_the_keyboard_alone(page, running):
    """Tab comes to the buttons, which show that they have the focus; Escape, or Enter again, takes the question back."""
    from selenium.webdriver import ActionChains, Keys

    def press(key):
        ActionChains(page).send_keys(key).perform()
        return page.execute_script("return document.activeElement.id")

    assert [press(Keys.TAB), press(Keys.TAB)] == ["save", "stop"]
    style = "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, parseFloat(s.outlineWidth)]"
    outline = page.execute_script(style)
    assert outline[0] != "none" and outline[1] >= 2
    assert press(Keys.ENTER) == "no" and page.find_element("id", "ask").is_displayed()
    assert press(Keys.ESCAPE) == "stop" and not page.find_element("id", "ask").is_displayed()
    assert press(Keys.ENTER) == "no" and press(Keys.ENTER) == "stop" and not page.find_element("id", "ask").is_displayed()
    assert page.find_element("id", "news").get_attribute("aria-live") == "polite"
    assert running.process.poll() is None


def test_save_now(page, running):
    """There is a checkpoint more than tests, each of which saves one."""
    page.find_element("id", "save").click()

    def count(kind):
        return sum(record["line"] == kind for record in running.records())

    until(lambda: count("saved") > count("test"), "a checkpoint")


def test_an_edit_is_marked(page, running):
    """A rate is edited in the file: the run takes it up, and the curve has a mark."""
    assert "0.002" not in text(page, "curves")
    before = running.parameters.read_text()
    running.parameters.write_text(before.replace("epsB=0.002", "epsB=0.0015"))
    until(lambda: "0.002 -> 0.0015" in page.find_element("id", "curves").get_attribute("textContent"), "the mark")
    assert any(record["line"] == "change" for record in running.records())


@contextmanager
def hostile(body):
    """Serve a page of strangers at another port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode() if self.path == "/" else b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)  # browsers open connections that they say nothing on
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


HOSTILE = """<!doctype html><title>hostile</title><iframe name=target></iframe><iframe id=frame src="{base}"></iframe>
<form id=form method=post target=target action="{base}stop"></form>
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms)), found = {{}};
async function tried(name, act) {{
  try {{ found[name] = String(await act()) }} catch (error) {{ found[name] = error.name }}
}}
function loaded(tag, url) {{
  return new Promise((done) => {{
    const node = document.createElement(tag);
    node.onload = () => done("loaded"); node.onerror = () => done("refused"); node.src = url; document.body.append(node);
  }});
}}
(async () => {{
  const post = {{ method: "POST" }}, blind = {{ method: "POST", mode: "no-cors" }}, typed = {{ ...blind, body: "a=1" }};
  await tried("post", async () => (await fetch("{base}stop", post)).status);
  await tried("header", async () => (await fetch("{base}stop", {{ ...post, headers: {{ "X-A": "1" }} }})).status);
  await tried("blind", async () => (await fetch("{base}stop", blind)).type);
  await tried("typed", async () => (await fetch("{base}stop", typed)).type);
  await tried("read", async () => (await (await fetch("{base}state")).text()).length);
  await tried("beacon", async () => navigator.sendBeacon("{base}stop"));
  await tried("image", () => loaded("img", "{base}stop"));
  await tried("script", () => loaded("script", "{base}page.js"));
  document.getElementById("form").submit();
  await wait(500);
  let inside = "nothing";
  try {{ inside = document.getElementById("frame").contentDocument === null ? "nothing" : "all" }} catch {{}}
  found.frame = inside;
  window.found = found;
}})();
</script>"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_from_elsewhere_can_do_nothing(page, running, host):
    """Even one that knows the address: it neither stops the run nor reads a word, and cannot show the page as its own."""
    base = running.address.replace("127.0.0.1", host)
    with hostile(HOSTILE.format(base=base)) as address:
        page.get(address)
        found = until(lambda: page.execute_script("return window.found"), "what the page has tried")
        assert found["post"] == found["header"] == found["read"] == "TypeError"  # there is nothing that allows it
        assert found["image"] == found["script"] == "refused" and found["frame"] == "nothing"
        page.get(running.address)
        until(lambda: page.find_element("id", "stop").is_enabled(), "a run that goes on")
    assert running.process.poll() is None
    assert not {"stopped", "end"} & {record["line"] for record in running.records()}


def test_a_wrong_token_gets_nothing(page, running):
    port = urlsplit(running.address).port
    for path in ("", "A" * 43 + "/", "A" * 43 + "/state", "favicon.ico"):
        page.get(f"http://127.0.0.1:{port}/{path}")
        assert page.execute_script("return document.body.innerText") in ("", None) or "404" in page.page_source
        assert "convnet" not in page.page_source.lower().replace(str(running.place).lower(), "")


@pytest.fixture
def stopped(tmp_path):
    running = Running(tmp_path)
    yield running
    running.close()


def test_stop_saves_and_the_page_says_so(stopped, one_for_all):
    """In two tabs at once; nobody complains when the program is gone, and the page stays. Then it is watched."""
    page = one_for_all
    show_as(page)
    complaints(page)
    first = page.current_window_handle
    page.get(stopped.address)
    page.switch_to.new_window("tab")
    page.get(stopped.address)
    until(lambda: page.find_element("id", "stop").is_enabled() and points(page), "a run that goes on")
    page.find_element("id", "stop").click()
    page.find_element("id", "no").click()
    time.sleep(0.3)
    assert stopped.process.poll() is None
    page.find_element("id", "stop").click()
    page.find_element("id", "yes").click()
    until(lambda: "The run was stopped by the page, and is saved" in text(page, "news"), "the end")
    assert stopped.process.wait(PATIENCE) == 0
    time.sleep(1.5)  # in which nobody asks any more
    assert not page.find_element("id", "save").is_enabled() and not page.find_element("id", "stop").is_enabled()
    assert complaints(page) == [] and "The run was stopped" in text(page, "news") and points(page)
    page.close()
    page.switch_to.window(first)
    until(lambda: "run has ended" in text(page, "news") or "was stopped" in text(page, "news"), "the end in the other tab")

    lines = stopped.records()
    found = next(record for record in lines if record["line"] == "stopped")
    name = next(record["checkpoint"] for record in reversed(lines) if record["line"] == "saved")
    assert found["by"] == "the page" and (stopped.folder / name).is_file()
    assert any("Stopped by the page after batch" in line for line in stopped.lines)
    assert urlsplit(stopped.address).path.strip("/") not in (stopped.folder / "log.jsonl").read_text()
    complaints(page)  # of that tab, which found nobody
    watch(stopped.folder, page)


def watch(folder, page):
    """The same page of the same log, by another process: all but the buttons. Ctrl-C ends it without a word."""
    command = [sys.executable, "-m", "convnet", "watch", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            show_as(page, NARROW)
            page.get(watching.stdout.readline().split()[-1])
            until(lambda: points(page) and page.find_elements("css selector", "#filters img"), "curves and filters")
            assert "stopped by the page" in text(page, "news") and "kill -USR1 PID" in page.page_source
            assert not page.find_element("id", "stop").is_enabled()
            assert overflow(page) == 0 and complaints(page) == []
        finally:
            watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0 and watching.stderr.read() == ""
