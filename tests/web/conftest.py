"""Dashboard tests: headless Chromium against a real server.

    def test_x(server, page):      one server and one browser of the module; page.go("#/live")

TENSORSCOPE_URL names a server that already runs (its streams are deleted between tests).
"""
import importlib.util
import io
import os
import pathlib
import shutil
import sys
import time

import numpy as np
import pytest
import requests

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WEB, JS = ROOT / "clients" / "web", ROOT / "clients" / "js"
sys.path.insert(0, str(HERE))
import webdriver  # noqa: E402

spec = importlib.util.spec_from_file_location("e2e_conftest", ROOT / "tests" / "e2e" / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)


class Running:
    """A server that somebody else started."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.session = requests.Session()

    def request(self, method, path, **kw):
        return self.session.request(method, self.url + path, timeout=60, **kw)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def put(self, path, **kw):
        return self.request("PUT", path, **kw)

    def post(self, path, **kw):
        return self.request("POST", path, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def stop(self):
        self.session.close()


def put_tensor(server, name, array, **query):
    body = io.BytesIO()
    np.save(body, array)
    r = server.put(f"/v1/tensors/{name}", data=body.getvalue(), params=query,
                   headers={"Content-Type": "application/x-npy"})
    assert r.status_code in (200, 201), r.text
    return r.json()


def put_stream(server, name, source, view=None, output=None):
    body = {"source": source, "view": view or {}}
    if output:
        body["output"] = output
    r = server.put(f"/v1/streams/{name}", json=body)
    assert r.status_code in (200, 201), r.text
    return r.json()


@pytest.fixture(scope="module")
def server():
    url = os.environ.get("TENSORSCOPE_URL")
    s = Running(url) if url else e2e.Server()
    yield s
    s.stop()


@pytest.fixture(scope="session")
def driver():
    if not shutil.which("chromedriver"):
        pytest.skip("chromedriver is not installed")
    d = webdriver.Driver()
    yield d
    d.close()


class Page:
    """A browser with the dashboard of one server."""

    def __init__(self, browser, url):
        self.b, self.url = browser, url

    def go(self, hash_, ready="document.querySelector('h1')"):
        """Load the page anew at an address, and wait until it is there."""
        self.b.open("about:blank")
        self.b.open(f"{self.url}/{hash_}")
        self.b.wait(f"Boolean({ready})", timeout=30, what=f"{hash_} ready")
        return self

    def __getattr__(self, name):
        return getattr(self.b, name)

    def pixels(self, css="canvas.img"):
        """The canvas as an array [H,W,4]."""
        w, h, data = self.b.js("""
            const c = document.querySelector(arguments[0]), o = document.createElement('canvas');
            o.width = c.width; o.height = c.height;
            const g = o.getContext('2d'); g.drawImage(c, 0, 0);
            const d = g.getImageData(0, 0, o.width, o.height).data;
            let s = ''; for (let i = 0; i < d.length; i += 8192) s += String.fromCharCode(...d.subarray(i, i + 8192));
            return [o.width, o.height, btoa(s)];""", css)
        import base64
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(h, w, 4)

    def box(self, css):
        """left, top, width, height in CSS pixels."""
        return self.b.js("const r = document.querySelector(arguments[0]).getBoundingClientRect();"
                         "return [r.left, r.top, r.width, r.height]", css)

    def frame(self, timeout=40):
        """Wait until the focus view shows a frame."""
        self.b.wait("document.querySelector('ts-picture')?.header", timeout=timeout, what="a frame")

    def hash(self):
        return self.b.js("return decodeURIComponent(location.hash)")


@pytest.fixture
def page(driver, server):
    b = driver.browser()
    yield Page(b, server.url)
    b.close()


@pytest.fixture
def wall(server):
    """No stream and no tensor but those that the test makes."""
    for kind in ("streams", "tensors"):
        for x in server.get(f"/v1/{kind}").json()[kind]:
            server.delete(f"/v1/{kind}/{x['name']}")
    time.sleep(0.1)
    return server
