"""The wall: first frame (D1), cleanliness (D2), layout (D6), keys, ended and restarted streams (D22)."""
import time

import numpy as np
import pytest
from conftest import Page, e2e, put_stream, put_tensor

PAGES = ["#/live", "#/stream/demo.gray", "#/tensors", "#/compare", "#/gaze", "#/decoder", "#/fits", "#/pipelines",
         "#/recordings", "#/models", "#/system", "#/empty"]


def gray(server, name="demo.gray", h=48, w=64):
    a = np.arange(h * w, dtype=np.float32).reshape(h, w) % 251
    put_tensor(server, name, a)
    put_stream(server, name, {"tensor": name}, {"colormap": "gray", "normalize": {"mode": "fixed", "lo": 0, "hi": 255}},
               {"lossless": True})
    return a


def test_the_first_frame_is_there_at_once_and_exact(wall, page):
    a = gray(wall)
    page.go("#/live", "document.querySelector('ts-tile')?.header")  # the server has its kernels now
    page.cdp("Network.setCacheDisabled", cacheDisabled=True)
    page.open("about:blank")
    page.cdp("Page.addScriptToEvaluateOnNewDocument", source="""
        addEventListener('DOMContentLoaded', () => { const t = setInterval(() => {
            const c = document.querySelector('ts-tile canvas');
            if (document.querySelector('ts-tile')?.header) { window.firstFrame = performance.now(); clearInterval(t); } }, 5); });""")
    page.open(page.url + "/#/live")
    ms = page.wait("window.firstFrame", timeout=10, what="the first frame")
    assert ms <= 1000, f"first frame after {ms:.0f} ms"
    time.sleep(0.3)
    page.go("#/stream/demo.gray").frame()
    time.sleep(0.5)
    px = page.pixels()
    assert px.shape[:2] == a.shape
    want = np.repeat(a.astype(np.uint8)[:, :, None], 3, 2)
    assert np.array_equal(px[:, :, :3], want), f"{np.abs(px[:, :, :3].astype(int) - want).max()} off"


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_every_page_is_clean(wall, driver, dark):
    gray(wall)
    b = driver.browser(dark=dark)
    page = Page(b, wall.url)
    try:
        b.requested()
        for hash_ in PAGES:
            page.go(hash_)
            time.sleep(0.7)
            bad = [line for line in b.log() if "favicon" not in line]
            assert not bad, (hash_, bad)
            # chrome: is the browser's own first tab, still loading
            ours = (wall.url, wall.url.replace("http", "ws"), "data:", "blob:", "about:", "chrome:")
            foreign = [u for u in b.requested() if not u.startswith(ours)]
            assert not foreign, (hash_, foreign)
            assert b.js("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    finally:
        b.close()


@pytest.mark.parametrize("width", [320, 390, 820, 1280, 1440, 2560])
def test_the_wall_fits_every_width(wall, page, width):
    for i, (h, w) in enumerate([(40, 60), (30, 120), (64, 64), (90, 40), (20, 80), (48, 64)]):
        put_tensor(wall, f"t{i}", np.random.rand(h, w).astype(np.float32))
        put_stream(wall, f"t{i}", {"tensor": f"t{i}"})
    page.size(width, 900, mobile=width < 640)
    page.go("#/live", "document.querySelectorAll('ts-tile').length === 6")
    page.wait("[...document.querySelectorAll('ts-tile')].filter(t => t.header).length >= 2")
    time.sleep(0.5)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth && document.querySelector('.main').scrollWidth <= document.querySelector('.main').clientWidth")
    rows = page.js("""const rows = {}; for (const p of document.querySelectorAll('ts-tile .pic')) {
        const r = p.getBoundingClientRect(); (rows[Math.round(r.top)] ||= []).push(r.height); } return Object.values(rows);""")
    assert all(max(r) - min(r) <= 1 for r in rows), rows
    overlap = page.js("""const boxes = [...document.querySelectorAll('ts-tile .name, ts-tile .fps, .wallbar .field, .top h1, .top .btn')]
        .map(e => e.getBoundingClientRect()).filter(r => r.width && r.height);
        for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) { const a = boxes[i], b = boxes[j];
            if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) return [i, j]; } return null;""")
    assert overlap is None, overlap


def test_the_first_run_page_leaves_by_itself(wall, page):
    page.go("#/live", "document.querySelector('.empty h2')")
    assert wall.url.split("//")[1] in page.js("return document.querySelector('.code pre').textContent")
    gray(wall)
    page.wait("document.querySelector('ts-tile')?.header && !document.querySelector('.empty')", timeout=10)


def test_the_filter_and_its_address(wall, page):
    gray(wall, "run-1.loss"), gray(wall, "run-2.loss")
    page.go("#/live", "document.querySelectorAll('ts-tile').length === 2")
    page.key("/")
    page.type(".wallbar input", "run-2")
    page.wait("[...document.querySelectorAll('ts-tile')].filter(t => !t.hidden).length === 1")
    assert "q=run-2" in page.hash()
    page.type(".wallbar input", "xyz")
    page.wait("document.querySelector('.blank:not([hidden]) p')?.textContent.includes('No stream matches')")


def test_a_deleted_stream_stays_dimmed(wall, page):
    gray(wall)
    page.go("#/live", "document.querySelector('ts-tile')?.header")
    wall.delete("/v1/streams/demo.gray")
    page.wait("document.querySelector('ts-tile.ended .fps')?.textContent.startsWith('ended')", timeout=6)


def test_hostile_words_are_text(wall, page):
    gray(wall)
    wall.request("PATCH", "/v1/streams/demo.gray", json={"view": {"overlay": {"title": "<img src=x onerror=alert(1)>" * 20}}})
    page.go("#/stream/demo.gray").frame()
    time.sleep(0.5)
    assert page.js("return document.querySelectorAll('img[onerror]').length") == 0
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_server_killed_and_back(driver, tmp_path):
    server = e2e.Server()
    port = server.port
    gray(server)
    b = driver.browser()
    page = Page(b, server.url)
    try:
        page.go("#/live", "document.querySelector('ts-tile')?.header")
        server.process.kill()
        server.process.wait()
        b.wait("document.querySelector('ts-tile').dataset.state === 'stale'", timeout=3.5, what="a stale tile")
        assert "Reconnecting" in b.js("return document.querySelector('.conn').textContent")
        again = e2e.Server(listen=(f"127.0.0.1:{port}",))
        try:
            gray(again)
            b.wait("document.querySelector('ts-tile').dataset.state === 'live'", timeout=12, what="a live tile")
            assert b.js("return document.querySelectorAll('ts-tile').length") == 1
        finally:
            again.stop()
    finally:
        b.close()
        server.session.close()
        server.directory.cleanup()


def test_files_are_compressed_for_who_takes_it(wall):
    plain = wall.get("/app.js", headers={"Accept-Encoding": "identity"})
    packed = wall.get("/app.js", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
    assert plain.content == packed.content and "Accept-Encoding" in packed.headers["Vary"]
    assert plain.headers["ETag"] != packed.headers["ETag"]
    again = wall.get("/app.js", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
    assert again.status_code == 304
