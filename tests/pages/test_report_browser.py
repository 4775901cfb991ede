"""The report in a real browser, opened from the disk without a network: nothing is refused, nothing is too wide.

A film is stepped through with the keyboard alone.
"""

from pathlib import Path

import pytest
from browser import NARROW, WIDE, browser, complaints, overflow
from support import write_cifar, write_net

from convnet.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "c"]
    assert main(["run", *map(str, options), "--epochs", "3", "--test-freq", "2", "--keep", "9"]) == 0
    assert main(["report", str(folder / "c"), "--out", str(folder / "run.html")]) == 0
    return folder / "run.html"


@pytest.mark.parametrize("width, is_dark", [(NARROW, True), (WIDE, False)])
def test_it_opens_from_the_disk_without_a_network(page, width, is_dark):
    with browser(width=width, offline=True, dark=is_dark) as driver:
        driver.get(page.as_uri())
        assert complaints(driver) == [] and overflow(driver) == 0
        assert driver.title == "layers-small: the report of a run"
        script = "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        assert driver.execute_script(script) == 0
        broken = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
        assert driver.execute_script(broken) == 0 and driver.execute_script("return document.images.length") > 20
        for details in driver.find_elements("css selector", "details"):
            driver.execute_script("arguments[0].open = true", details)
        assert overflow(driver) == 0
        dark = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (dark != "rgb(255, 255, 255)") == is_dark
        contrasts = driver.execute_script(CONTRASTS)
        assert len(contrasts) > 50 and min(contrasts) >= 4.5
        step_through_film(driver)


def step_through_film(driver):
    """Go back from the last frame to the first by arrow keys, then to "play"; where motion is unwelcome, nothing moves."""
    from selenium.webdriver.common.keys import Keys

    seen = "return [...document.querySelectorAll('.frames img')].map(i => getComputedStyle(i).visibility == 'visible')"
    driver.find_element("css selector", ".film input:checked").send_keys(Keys.NULL)
    for shown in range(2, -1, -1):
        assert driver.execute_script(seen) == [frame == shown for frame in range(3)]
        driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    names = "return getComputedStyle(document.querySelector('.frames img')).animationName"
    assert driver.execute_script(names) == "film-3"
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    assert driver.execute_script(names) == "none" and driver.execute_script(seen) == [False, False, True]


# Of words and what is behind them, by the formula of the Web Content Accessibility Guidelines, where that is one colour.
CONTRASTS = """
const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
function behind(e) {
  const layers = [];
  for (; e; e = e.parentElement) {
    const [r, g, b, a] = parts(getComputedStyle(e).backgroundColor);
    layers.push([r, g, b, a === undefined ? 1 : a]);
    if (layers.at(-1)[3] === 1) break;
  }
  let color = [255, 255, 255];
  for (const [r, g, b, a] of layers.reverse()) color = color.map((v, i) => v * (1 - a) + [r, g, b][i] * a);
  return color;
}
return [...document.querySelectorAll('p, dt, dd, th, td, summary, caption, figcaption, a, h1, h2, h3, label, code')]
  .filter(e => e.textContent.trim() && e.getClientRects().length && !e.closest('.cases'))
  .map(e => [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a))
  .map(([a, b]) => (a + .05) / (b + .05));
"""
