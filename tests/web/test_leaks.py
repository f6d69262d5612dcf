"""Pages give back what they took (D25): listeners, nodes, subscriptions."""
import time

from test_live import gray

PAGES = ["stream/demo.gray", "tensors", "compare", "gaze", "fits", "pipelines", "recordings", "models", "system"]
CYCLES = 3


def counts(page):
    page.cdp("HeapProfiler.collectGarbage")
    time.sleep(0.2)
    m = {x["name"]: x["value"] for x in page.cdp("Performance.getMetrics")["metrics"]}
    subs = page.js_async("const d = arguments[0]; import('/lib/store.js').then(s => d([...s.link.painter.session.subs.keys()].sort()))")
    return m["JSEventListeners"], m["Nodes"], subs


def visit(page, name):
    page.js("location.hash = '#/' + arguments[0]", name)
    page.wait("document.querySelector('.main').children.length > 0 && !document.querySelector('ts-tile')")
    time.sleep(0.4)
    page.js("location.hash = '#/live'")
    page.wait("document.querySelector('ts-tile')?.header")
    time.sleep(0.4)


def test_pages_give_back_what_they_took(wall, page):
    gray(wall)
    page.go("#/live", "document.querySelector('ts-tile')?.header")
    page.cdp("Performance.enable")
    page.cdp("HeapProfiler.enable")
    for name in PAGES:
        visit(page, name)  # loads the module and what it keeps for good
    for name in PAGES:
        before = counts(page)
        for _ in range(CYCLES):
            visit(page, name)
        after = counts(page)
        assert after[0] - before[0] <= CYCLES - 1, (name, before, after)
        assert after[1] - before[1] <= 60, (name, before, after)
        assert after[2] == before[2] == ["demo.gray"], (name, before, after)
