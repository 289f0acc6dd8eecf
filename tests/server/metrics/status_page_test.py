"""The status page in headless Chromium, over the simulated engine."""

import contextlib

import pytest
from playwright.sync_api import expect, sync_playwright

from demo import demo, fetch

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
BACKENDS = ["standard", "flash", "standard_alibi", "flash_alibi"]
SLOW = 30_000


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def open_page(browser, url, width=1280, scheme="light", tolerate=()):
    """The page; afterwards there must have been no console error and no request to elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    problems, requests = [], []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.on("request", lambda r: requests.append(r.url))
    page.goto(url + "/")
    yield page
    context.close()
    assert [p for p in problems if not any(t in p for t in tolerate)] == []
    assert [r for r in requests if not r.startswith((url + "/", "data:"))] == []


@pytest.fixture(scope="module")
def loaded():
    with demo("--warm=10") as (url, _):
        yield url


def wait_for_lines(page, count=4):
    expect(page.locator("#latency .chart").first.locator("path.line[d*='L']")).to_have_count(count, timeout=SLOW)


def test_every_backend_is_drawn(browser, loaded):
    with open_page(browser, loaded) as page:
        wait_for_lines(page)
        for chart in ("#latency", "#first-token"):
            for i in range(3):
                expect(page.locator(f"{chart} .chart").nth(i).locator("path.line[d*='L']")).to_have_count(4, timeout=SLOW)
        for chart in ("#tokens", "#queue", "#kv-use", "#kv", "#memory"):
            assert page.locator(f"{chart} path.area").count() >= 1, chart
        assert page.locator("#legend button").all_inner_texts() == BACKENDS
        assert page.locator("#workspace .bar .name").all_inner_texts() == BACKENDS
        expect(page.locator("#state")).to_have_text("ready")
        rows = page.locator("#backends tbody tr")
        assert rows.locator("th").all_inner_texts() == BACKENDS
        for i in range(4):
            assert "–" not in rows.nth(i).inner_text(), "every number of a served backend is known"
        assert page.locator("#arms tbody th").all_inner_texts() == ["flash-rollout / control", "flash-rollout / treatment"]
        assert page.locator("#models tbody tr").count() == 2
        assert "124.4 M" in page.locator("#models").inner_text()
        assert page.locator("#tiles .tile").count() == 8
        page.locator("summary").click()
        assert "prefix-cache" in page.locator("#options").inner_text() and "a=b, a=c" in page.locator("#options").inner_text()
        assert "log-file" not in page.locator("#options").inner_text()


def test_numbers_are_prometheus_arithmetic(browser, loaded):
    with open_page(browser, loaded) as page:
        # The values that PromQL gives for these buckets.
        buckets = "new Map([['0.1', 10], ['0.5', 60], ['1', 90], ['+Inf', 100]])"
        assert page.evaluate(f"quantiles({buckets}, new Map(), [0.05, 0.5, 0.9, 0.99]).values") == pytest.approx([0.05, 0.42, 1, 1])
        assert page.evaluate(f"quantiles({buckets}, {buckets}, [0.5]).values") == [None]
        assert page.evaluate(f"quantiles({buckets}, new Map([['0.1', 10], ['0.5', 10], ['1', 10], ['+Inf', 10]]), [0.5]).values") == pytest.approx([0.46])
        text = 'a{x="q\\\\"u\\\\\\\\o\\\\nte,}",y="2"} 3\\nb 4.5e-1\\n# HELP c d\\nc_bucket{le="+Inf"} +Inf\\n'
        assert page.evaluate(f"parseExposition('{text}')") == [
            {"name": "a", "labels": {"x": 'q"u\\o\nte,}', "y": "2"}, "value": 3}, {"name": "b", "labels": {}, "value": 0.45},
            {"name": "c_bucket", "labels": {"le": "+Inf"}, "value": float("inf")}]
        # A restarted server's counters begin anew.
        assert page.evaluate("""() => { const h = new History(60); const s = (n, t) => { const s = reduceScrape([{
            name: 'precis_requests_total', labels: {attention_backend: 'flash'}, value: n}], t); h.push(s); };
            s(5, 1); s(7, 2); s(1, 3); return h.scrapes.length; }""") == 1


def test_totals_agree_with_metrics(browser, loaded):
    with open_page(browser, loaded) as page:
        wait_for_lines(page)
        page.click("#pause")
        weights = sum(float(line.split()[-1]) for line in fetch(loaded + "/metrics").splitlines()
                      if line.startswith("precis_memory_bytes") and 'kind="weights"' in line)
        assert f"weights {weights / 2**20:.0f} MiB" in page.locator("#tiles").inner_text()


def test_hover_keyboard_and_legend(browser, loaded):
    with open_page(browser, loaded) as page:
        wait_for_lines(page)
        chart = page.locator("#latency .chart").nth(1)
        box = chart.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 60)
        tip = chart.locator(".tip")
        expect(tip).to_be_visible()
        for name in BACKENDS:
            assert name in tip.inner_text()
        assert page.locator(".cursor line").count() >= 6, "the same moment is marked in every chart"
        page.mouse.move(5, 5)
        expect(tip).to_be_hidden()
        chart.focus()
        page.keyboard.press("End")
        expect(chart.locator(".spoken")).to_contain_text("flash")
        page.keyboard.press("ArrowLeft")
        expect(chart.locator(".spoken")).to_contain_text("s ago")
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()
        assert "p95" in chart.get_attribute("aria-label") and "standard" in chart.get_attribute("aria-label")
        button = page.locator("#legend button").first
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "false"
        wait_for_lines(page, 3)


@pytest.mark.parametrize("width", [320, 375, 768])
def test_fits_narrow_screens(browser, loaded, width):
    with open_page(browser, loaded, width=width) as page:
        wait_for_lines(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for box in [e.bounding_box() for e in page.locator(".card, .tile, .chart svg").all()]:
            assert box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5
        assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
        for box in [e.bounding_box() for e in page.locator("button, select").all()]:
            assert box["height"] >= 32, "large enough for a finger"


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const worst = (selector, property) => Math.min(...[...document.querySelectorAll(selector)].map((e) =>
      ratio(parse(getComputedStyle(e)[property]), ground(e.closest('div, section, p, header, td, th, button, footer') || e))));
  return {text: worst('.note, .sub, .label, .value, h1, h2, h3, td, th, .pill, .facts, label, button', 'color'),
          ticks: worst('.tick', 'fill'), lines: worst('#latency path.line', 'stroke')};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_both_schemes(browser, loaded, scheme):
    with open_page(browser, loaded, scheme=scheme) as page:
        wait_for_lines(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(background[4:].split(",")[0]) < 60) == (scheme == "dark")
        contrast = page.evaluate(CONTRAST)
        assert contrast["text"] >= 4.5 and contrast["ticks"] >= 4.5 and contrast["lines"] >= 3, contrast


def test_scheme_changes_without_a_reload(browser, loaded):
    with open_page(browser, loaded) as page:
        wait_for_lines(page)
        colour = lambda: page.evaluate("getComputedStyle(document.querySelector('#latency path.line')).stroke")
        light = colour()
        page.emulate_media(color_scheme="dark")
        assert colour() != light


def test_everything_has_a_name(browser, loaded):
    with open_page(browser, loaded) as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        unnamed = page.evaluate("""[...document.querySelectorAll('select, button, [tabindex], section')].filter((e) =>
            !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby'))
            .map((e) => e.outerHTML)""")
        assert unnamed == []


def test_idle_server_explains_itself(browser):
    with demo("--idle") as (url, _), open_page(browser, url) as page:
        expect(page.locator("#latency .empty").first).to_contain_text("No requests", timeout=SLOW)
        expect(page.locator("#workspace")).to_contain_text("No request")
        expect(page.locator("#state")).to_have_text("ready")
        assert "NaN" not in page.inner_text("body") and "undefined" not in page.inner_text("body")


def test_says_when_the_server_is_gone(browser):
    with demo() as (url, process), open_page(browser, url, tolerate=("Failed to load resource",)) as page:
        expect(page.locator("#state")).to_have_text("ready", timeout=SLOW)
        process.stdin.close()
        process.wait(timeout=10)
        expect(page.locator("#state")).to_have_text("unreachable", timeout=SLOW)
        expect(page.locator("#alert")).to_be_visible()
