"""The status page of a real server under real traffic, in headless Chromium. Screenshots go to BUILD/integration/status_page."""

import json
import re
import subprocess
import time

import pytest
from conftest import ROOT, SCRATCH
from playwright.sync_api import expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
BACKENDS = ["standard", "flash", "standard_alibi", "flash_alibi"]
SLOW = 60_000


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def busy(start, tool):
    """A server with the embedded models, whose backends all work until the test ends."""
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    server = start(*models, "--kv-cache-bytes=256MiB", model=()).wait_ready()
    load = subprocess.Popen([tool("precis-load"), f"--server={server.address}", "--rate=2", "--duration=10m", "--quiet",
                             "--max-new-tokens=24", "--backends=" + ",".join(f"{name}:1" for name in BACKENDS)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield server
    load.kill()
    load.wait()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)])
def test_shows_live_traffic(browser, busy, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    problems = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto(f"http://{busy.metrics_address}/")
    for chart in ("#latency", "#first-token"):
        for i in range(3):
            lines = page.locator(f"{chart} .chart").nth(i).locator("path.line[d*='L']")
            expect(lines).to_have_count(len(BACKENDS), timeout=SLOW)
    expect(page.locator("#state")).to_have_text("ready")
    assert page.locator("#backends tbody th").all_inner_texts() == BACKENDS
    # The counters are those of /metrics, within what arrives meanwhile.
    for name in BACKENDS:
        assert busy.metric("precis_requests_total", attention_backend=name, grpc_code="OK") > 0
    text = page.inner_text("body")
    assert not re.search(r"NaN|undefined|Infinity|null", text), text
    assert "news" in page.locator("#models").inner_text()
    facts = json.loads(busy.http("/status.json")[1])
    assert abs(time.time() - facts["started_unix_seconds"] - facts["uptime_seconds"]) < 2
    assert 0 < facts["uptime_seconds"] < 300 and re.search(r"up \d+ s", page.locator("#facts").inner_text())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("#legend button").all():
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, "the whole legend is in sight"
    if width >= 1280:
        assert page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('#backends').closest('.scroll') || document.querySelector('#backends'))") <= 0
    folder = SCRATCH / "status_page"
    folder.mkdir(parents=True, exist_ok=True)
    time.sleep(6)  # a few more points for the picture
    page.screenshot(path=folder / f"{scheme}-{width}.png", full_page=True)
    page.locator("#backends").scroll_into_view_if_needed()
    page.screenshot(path=folder / f"{scheme}-{width}-tables.png")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=folder / f"{scheme}-{width}-top.png")
    context.close()
    assert problems == []
