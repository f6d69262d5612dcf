"""What assistive tools need, checked without another library (D5): names, roles, landmarks, one heading, no doubles."""
import time

import pytest
from test_live import PAGES, gray

CHECK = r"""
const bad = [], seen = (e) => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0 && getComputedStyle(e).visibility !== 'hidden'; };
const name = (e) => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') && document.getElementById(e.getAttribute('aria-labelledby'))?.textContent) ||
  e.textContent || e.title || e.placeholder || e.closest('label')?.textContent || e.labels?.[0]?.textContent || '').trim();
for (const e of document.querySelectorAll('button, a[href], input, select, textarea, [role=slider], [role=radio], [role=switch], [role=img], canvas[role], dialog'))
  if (seen(e) && !name(e)) bad.push('no name: ' + e.outerHTML.slice(0, 120));
for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) bad.push('no alt: ' + e.outerHTML.slice(0, 120));
for (const e of document.querySelectorAll('canvas')) if (seen(e) && !e.hasAttribute('role') && e.getAttribute('aria-hidden') !== 'true' && !e.closest('[aria-hidden=true]')) bad.push('canvas neither named nor hidden: ' + e.outerHTML.slice(0, 100));
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push('double id ' + id);
const h1 = [...document.querySelectorAll('h1')].filter(seen);
if (h1.length !== 1) bad.push(h1.length + ' h1');
if (!document.querySelector('main') || !document.querySelector('nav') || !document.querySelector('header')) bad.push('a landmark is missing');
for (const g of document.querySelectorAll('[role=radiogroup]')) if (seen(g)) {
  const r = [...g.querySelectorAll('[role=radio]')];
  if (r.some((e) => !['true', 'false'].includes(e.getAttribute('aria-checked')))) bad.push('radio without state in ' + g.getAttribute('aria-label'));
  if (r.length && r.filter((e) => e.tabIndex === 0).length !== 1) bad.push('not one tab stop in ' + g.getAttribute('aria-label'));
}
for (const e of document.querySelectorAll('[role=slider]')) if (seen(e) && !e.hasAttribute('aria-valuenow')) bad.push('slider without a value: ' + e.getAttribute('aria-label'));
for (const e of document.querySelectorAll('a, button')) if (e.querySelector('a, button, input, select')) bad.push('nested control: ' + e.outerHTML.slice(0, 100));
for (const e of document.querySelectorAll('button, a[href], [role=slider]')) { const r = e.getBoundingClientRect(); if (seen(e) && !e.classList.contains('chg') && !e.closest('p, td, .l1, .crumb, .legend, .r1 .chip, summary, .skip, h1, h2, .vt .hd') && (r.width < 20 || r.height < 18)) bad.push('small target ' + Math.round(r.width) + 'x' + Math.round(r.height) + ' ' + name(e)); }
return bad;
"""


@pytest.mark.parametrize("width", [1440, 390])
def test_pages(wall, page, width):
    gray(wall)
    page.size(width, 900, mobile=width < 640)
    for hash_ in PAGES:
        page.go(hash_)
        time.sleep(0.8)
        bad = page.js(CHECK)
        assert not bad, (hash_, bad)


def test_dialogs(wall, page):
    gray(wall)
    page.go("#/live", "document.querySelector('ts-tile')")
    time.sleep(0.5)
    page.key("?")
    page.wait("document.querySelector('dialog[open]')")
    assert not page.js(CHECK)
    page.key("Escape")
    page.key("Control", "k")
    page.wait("document.querySelector('dialog.pal[open]')")
    assert not page.js(CHECK)
