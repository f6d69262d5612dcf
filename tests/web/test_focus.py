"""The focus view: colormap (D7), range (D8), probe (D9), zoom (D10), slices (D11), time (D12), keys (D13)."""
import json
import time

import numpy as np
import pytest
from conftest import Page, put_stream, put_tensor

MAGMA_TOP = [252, 253, 191]


@pytest.fixture
def focus(wall, page):
    """A stream of a known tensor, open in the focus view."""
    rng = np.random.default_rng(7)
    a = rng.normal(0, 1, (40, 60)).astype(np.float32)
    a[0, 0], a[3, 5], a[10, 10] = 4, np.nan, -4
    put_tensor(wall, "w", a)
    put_stream(wall, "w", {"tensor": "w"}, {"colormap": "viridis"}, {"lossless": True})
    page.go("#/stream/w").frame()
    page.wait("document.querySelector('.insp .cm')", what="the inspector")
    page.array = a
    return page


def view(page):
    return page.js("return JSON.stringify(document.querySelector('ts-picture').model.view)")


def settle(page):
    time.sleep(0.6)


def test_a_colormap_by_click_key_and_address(focus):
    focus.js("[...document.querySelectorAll('.cm')].find(b => b.textContent === 'magma').click()")
    focus.wait("document.querySelector('ts-picture').model.view.colormap === 'magma'")
    settle(focus)
    assert np.abs(focus.pixels()[0, 0, :3].astype(int) - MAGMA_TOP).max() <= 1
    assert "colormap=magma" in focus.hash()
    focus.js("document.querySelector('ts-picture').focus()")
    focus.key("2")
    settle(focus)
    name = focus.js("return document.querySelector('.cm[aria-checked=true]').textContent")
    assert name == focus.js("return document.querySelectorAll('.cm')[1].textContent")
    focus.go("#/stream/w?colormap=gray_r").frame()
    settle(focus)
    assert list(focus.pixels()[0, 0, :3]) == [0, 0, 0]


def test_a_wrong_key_of_the_address_is_named_and_the_rest_applies(focus):
    focus.go("#/stream/w?colormap=gray&nonsense=1").frame()
    focus.wait("document.querySelector('#toasts').textContent.includes('nonsense')")
    settle(focus)
    assert list(focus.pixels()[0, 0, :3]) == [255, 255, 255]


def test_dragging_the_low_handle(focus, driver, wall):
    other = Page(driver.browser(), wall.url)
    try:
        other.go("#/stream/w").frame()
        x, y, w, h = focus.box(".cbar .h[data-k=lo]")
        focus.pointer(("move", x + 40, y + h / 2), ("down",), ("move", x + 40, y - 60), ("pause", 50), ("move", x + 40, y - 120), ("pause", 50), ("up",))
        focus.wait("document.querySelector('ts-picture').model.view.normalize?.mode === 'fixed'")
        settle(focus)
        lo = json.loads(view(focus))["normalize"]["lo"]
        assert -4 < lo < 4
        assert f"normalize.lo={lo:g}"[:16] in focus.hash() and "normalize.mode=fixed" in focus.hash()
        assert focus.js("return document.querySelector('ts-picture').header.range[0]") == pytest.approx(lo, abs=1e-5)
        assert other.js("return document.querySelector('ts-picture').header.range[0]") == -4
        focus.call("POST", "/refresh", {})
        focus.wait("document.querySelector('ts-picture')?.model?.view.normalize?.lo", what="the range after a reload")
        assert json.loads(view(focus))["normalize"]["lo"] == lo
        # for everyone
        focus.js("[...document.querySelectorAll('.insp .head [role=radio]')].find(b => b.textContent === 'Everyone').click()")
        focus.js("document.querySelector('.cbar .h[data-k=hi]').focus()")
        focus.key("ArrowDown")
        other.wait("document.querySelector('ts-picture').header.range[1] < 4", timeout=5, what="the other browser's range")
    finally:
        other.close()


def test_probe_tells_the_tensors_values(focus):
    x0, y0, w, h = focus.box(".pane .clip")
    rng = np.random.default_rng(1)
    points = [(3, 5), (0, 0)] + [(int(rng.integers(40)), int(rng.integers(60))) for _ in range(18)]
    for r, c in points:
        focus.pointer(("move", x0 + (c + 0.5) * w / 60, y0 + (r + 0.5) * h / 40))
        text = focus.wait("(t => !t.hidden && t.textContent.includes(arguments[0]) && t.querySelector('b').textContent)(document.querySelector('.probe'))", f"[{r}, {c}]", timeout=4, what=f"probe at {r},{c}")
        v = focus.array[r, c]
        if np.isnan(v):
            assert text == "NaN"
        else:
            assert float(text.replace("−", "-")) == pytest.approx(float(v), rel=6e-3, abs=1e-3)


def test_wheel_keeps_the_sample_under_the_pointer(focus):
    x0, y0, w, h = focus.box(".pane .clip")
    px, py = round(x0 + w * 0.3), round(y0 + h * 0.6)
    at = "document.querySelector('ts-picture').at(%f - document.querySelector('ts-picture').getBoundingClientRect().left, %f - document.querySelector('ts-picture').getBoundingClientRect().top)" % (px, py)
    before = focus.js("return " + at)
    for _ in range(4):
        focus.wheel(px, py, -240)
        time.sleep(0.15)
    after = focus.js("return " + at)
    zoom = 1 / focus.js("return document.querySelector('ts-picture').want.w")
    assert zoom > 3
    assert abs(after[0] - before[0]) * w * zoom <= 1 and abs(after[1] - before[1]) * h * zoom <= 1
    # the frame shows the viewport: what is under the pointer is that sample, and each sample covers several pixels
    focus.wait("Math.abs(document.querySelector('ts-picture').shown.w - document.querySelector('ts-picture').want.w) < 1e-6", what="the zoomed frame")
    settle(focus)
    px_array = focus.pixels()
    fx = focus.js("const p = document.querySelector('ts-picture'); return p.framePixel(arguments[0])", after)
    r, c = int(before[1] * 40), int(before[0] * 60)
    lo, hi = -4.0, 4.0
    t = (focus.array[r, c] - lo) / (hi - lo)
    from_server = px_array[int(fx[1]), int(fx[0]), :3].astype(int)
    table = focus.js_async("const d = arguments[0]; fetch('v1/colormaps/viridis').then(r => r.json()).then(m => d(m.colors))")
    want = np.array(table)[int(round(t * 255))] * 255
    assert np.abs(from_server - want).max() <= 4, (from_server, want)
    assert "zoom=" in focus.hash()
    focus.key("0")
    focus.wait("document.querySelector('ts-picture').want.w === 1")


def test_slices_by_key(wall, page):
    v = np.zeros((8, 16, 16), np.float32) + np.arange(8, dtype=np.float32)[:, None, None]
    put_tensor(wall, "vol", v)
    put_stream(wall, "vol", {"tensor": "vol"}, {"kind": "slice", "axis": 0, "index": 3, "colormap": "gray"}, {"lossless": True})
    page.go("#/stream/vol").frame()
    page.wait("document.querySelector('.insp .cm') && document.querySelector('ts-picture').model.tensor")
    page.key("]")
    page.wait("document.querySelector('ts-picture').model.view.index === 4")
    settle(page)
    assert abs(int(page.pixels()[0, 0, 0]) - round(4 / 7 * 255)) <= 1


def test_pause_seek_and_live(wall, page, driver):
    for step in range(6):
        put_tensor(wall, "s", np.full((8, 8), step, np.float32), step=step)
        if step == 0:
            put_stream(wall, "s", {"tensor": "s"}, {"normalize": {"mode": "fixed", "lo": 0, "hi": 10}}, {"history": 100})
            page.go("#/stream/s").frame()
        time.sleep(0.15)
    page.wait("document.querySelector('ts-timeline').items.length >= 4", timeout=6, what="history")
    page.js("document.querySelector('ts-picture').focus()")
    page.key("Home")
    page.wait("document.querySelector('ts-picture').header.step === document.querySelector('ts-timeline').items[0].step", timeout=5, what="the oldest step")
    assert page.js("return document.querySelector('.livepill').getAttribute('aria-pressed')") == "false"
    page.wait("location.hash.includes('step=')")
    page.key("ArrowRight")
    page.wait("document.querySelector('ts-picture').header.step === document.querySelector('ts-timeline').items[1].step", timeout=5)
    page.key("l")
    page.wait("document.querySelector('ts-picture').header.step === 5", timeout=5, what="live again")
    assert "step=" not in page.hash() or page.wait("!location.hash.includes('step=')")


def test_keys(focus):
    focus.js("document.querySelector('ts-picture').focus()")
    focus.key("+")
    focus.wait("document.querySelector('ts-picture').want.w < 1")
    focus.key("0")
    focus.wait("document.querySelector('ts-picture').want.w === 1")
    focus.key("i")
    focus.wait("document.querySelector('ts-inspector').hidden")
    focus.key("i")
    focus.key("Shift", "R")
    focus.wait("document.querySelector('ts-picture').model.view.colormap === 'viridis_r'")
    focus.key("Control", "z")
    focus.wait("document.querySelector('ts-picture').model.view.colormap === 'viridis'")
    focus.key("?")
    focus.wait("document.querySelector('dialog[open] .keys')")
    focus.key("Escape")
    focus.wait("!document.querySelector('dialog[open]')")
    focus.key("t")
    focus.wait("document.documentElement.dataset.theme === 'light'")
    focus.key("Control", "k")
    focus.wait("document.querySelector('dialog.pal[open] input')")
    focus.type("dialog.pal input", "system")
    focus.key("Enter")
    focus.wait("location.hash === '#/system'")
    focus.key("g")
    focus.key("l")
    focus.wait("location.hash === '#/live'")


def test_a_refused_value_is_shown_at_its_control(focus):
    focus.js("document.querySelector('ts-picture').model.apply({resize: {width: 999999}})")
    focus.wait("[...document.querySelectorAll('.insp .msg')].some(m => !m.hidden && m.textContent.includes('width'))", what="the refusal")
    assert "999999" not in view(focus)


def test_leaving_gives_everything_back(focus):
    focus.go("#/live")
    focus.wait("document.querySelector('ts-tile')")
    base = focus.js("return document.querySelectorAll('*').length")
    for _ in range(5):
        for page in ("#/stream/w", "#/tensors", "#/system", "#/live"):
            focus.js("location.hash = arguments[0]", page)
            focus.wait("document.querySelector('h1')")
            time.sleep(0.25)
    time.sleep(0.5)
    assert focus.js("return document.querySelectorAll('*').length") <= base + 20
