"""The token (D27): asked for once, sent in headers only, and a reader sees no control that writes."""
import time

import pytest
from conftest import Page, e2e
from test_live import gray

TOKENS = "adm1n-t0ken read,infer,write,admin boss\nreader-t0ken read guest\n"


@pytest.fixture
def guarded(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    path.chmod(0o600)
    s = e2e.Server("--token-file", path, token="adm1n-t0ken")
    gray(s)
    yield s
    s.stop()


def sign_in(page, token):
    page.go("#/live", "document.querySelector('dialog[open] input[type=password]')")
    page.type("dialog input[type=password]", token)
    page.key("Enter")
    page.wait("document.querySelector('ts-tile')?.header", timeout=20, what="a frame after signing in")


def test_the_token_is_asked_for_and_stays_out_of_addresses(guarded, driver):
    b = driver.browser()
    page = Page(b, guarded.url)
    try:
        b.requested()
        sign_in(page, "adm1n-t0ken")
        for hash_ in ("#/stream/demo.gray", "#/tensors", "#/system"):
            page.js("location.hash = arguments[0]", hash_)
            time.sleep(0.8)
        urls = b.requested()
        assert any("ticket=" in u and "/v1/ws" in u for u in urls)
        assert not [u for u in urls if "t0ken" in u]
        assert "t0ken" not in "".join(guarded.log)
        assert page.js("return sessionStorage.getItem('ts.token')") == "adm1n-t0ken"
        assert page.js("return localStorage.getItem('ts.token')") is None
    finally:
        b.close()


def test_a_reader_sees_nothing_that_writes(guarded, driver):
    b = driver.browser()
    page = Page(b, guarded.url)
    try:
        sign_in(page, "reader-t0ken")
        page.wait("true")
        page.js("location.hash = '#/stream/demo.gray'")
        page.wait("document.querySelector('ts-picture')?.header && document.querySelector('.insp .pr')")
        labels = page.js("return [...document.querySelectorAll('button')].map(b => (b.textContent + ' ' + b.title).trim())")
        for word in ("Record", "Everyone", "Pin this step", "Add stream"):
            assert not [t for t in labels if word in t], word
    finally:
        b.close()


def test_a_wrong_token_asks_again(guarded, driver):
    b = driver.browser()
    page = Page(b, guarded.url)
    try:
        page.go("#/live", "document.querySelector('dialog[open] input[type=password]')")
        page.type("dialog input[type=password]", "wrong")
        page.key("Enter")
        page.wait("document.querySelector('dialog[open] input[type=password]')?.value === ''", timeout=5)
        page.type("dialog input[type=password]", "adm1n-t0ken")
        page.key("Enter")
        page.wait("document.querySelector('ts-tile')?.header", timeout=20)
    finally:
        b.close()
