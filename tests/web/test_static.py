"""The files themselves: size (D3), contrast (D4), what the policy forbids. Needs no server and no browser."""
import gzip
import re

import pytest
from conftest import JS, WEB

LIMIT_ALL, LIMIT_FIRST, FILES_FIRST = 200 * 1024, 110 * 1024, 12
CEILING, CEILING_GZIP = 368 * 1024, 140 * 1024
LINES = 600


def served():
    kinds = (".js", ".css", ".html", ".svg", ".webmanifest")
    return sorted(p for root in (WEB, JS) for p in root.rglob("*") if p.suffix in kinds)


def imports(path):
    """Files that a module imports statically."""
    text = path.read_text()
    for name in re.findall(r"^(?:import|export)\b[^;]*?from '([^']+)'|^import '([^']+)'", text, re.M):
        target = (path.parent / (name[0] or name[1]))
        parts = target.parts
        if "js" in parts and WEB in target.parents and "lib" not in parts[parts.index("js"):]:
            target = JS / target.name
        yield target.resolve() if target.exists() else (JS / target.name).resolve()


def first_frame():
    """What the browser needs before the wall's first frame."""
    files = {WEB / "index.html"}
    html = (WEB / "index.html").read_text()
    files |= {WEB / m for m in re.findall(r'rel="stylesheet" href="([^"]+)"', html)}
    todo = [WEB / "app.js"]
    while todo:
        path = todo.pop().resolve()
        if path in files:
            continue
        files.add(path)
        todo += imports(path)
    return files


@pytest.mark.xfail(strict=True, reason="all pages together are larger than the product's budget of 200 KiB")
def test_everything_is_within_the_size_budget():
    sizes = {str(p): p.stat().st_size for p in served()}
    assert sum(sizes.values()) <= LIMIT_ALL, sorted(sizes.items(), key=lambda x: -x[1])[:8]


def test_everything_together_does_not_grow():
    data = [p.read_bytes() for p in served()]
    assert sum(map(len, data)) <= CEILING
    assert sum(len(gzip.compress(d, 9)) for d in data) <= CEILING_GZIP


def test_the_first_frame_needs_little():
    files = first_frame()
    assert all(p.exists() for p in files), [p for p in files if not p.exists()]
    size = sum(p.stat().st_size for p in files)
    assert size <= LIMIT_FIRST, (size, sorted(files))
    assert len(files) <= FILES_FIRST, sorted(p.name for p in files)


def test_preloads_are_what_the_first_frame_imports():
    html = (WEB / "index.html").read_text()
    named = {(JS / h[3:] if h.startswith("js/") else WEB / h).resolve()
             for h in re.findall(r'rel="modulepreload" href="([^"]+)"', html)}
    needed = {p for p in first_frame() if p.suffix == ".js"} - {(WEB / "app.js").resolve()}
    assert named == needed


@pytest.mark.parametrize("path", served(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_files_are_short_and_keep_the_policy(path):
    text = path.read_text()
    assert text.count("\n") <= LINES
    if path.suffix == ".js":
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in code, word
        assert not re.search(r"setAttribute\('style'", code)
    if path.suffix == ".html":
        assert " style=" not in text and not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text) and not re.search(r'(?:src|href)="/', text)


@pytest.mark.parametrize("path", [WEB / "base.css", WEB / "components.css"], ids=lambda p: p.name)
def test_colours_are_tokens_only(path):
    found = re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\([^)]*\)|hsla?\([^)]*\)", path.read_text())
    masks = {"rgba(0,0,0,.35)", "#000"}  # opacity of masks, not colours
    assert set(found) <= masks


# ---- contrast ----

def themes():
    css = (WEB / "tokens.css").read_text()
    for name in ("dark", "light"):
        block = re.search(r"\[data-theme=%s\] \{(.*?)\n\}" % name, css, re.S).group(1)
        yield name, dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


def luminance(hex_):
    rgb = [int(hex_[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    lin = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]


def contrast(a, b):
    x, y = sorted((luminance(a), luminance(b)), reverse=True)
    return (x + 0.05) / (y + 0.05)


@pytest.mark.parametrize("theme,tokens", list(themes()))
def test_text_is_readable_on_every_ground(theme, tokens):
    for text in ("fg", "fg-2", "fg-3", "accent", "live", "warn", "err"):
        for ground in ("bg", "surface", "raised", "hover", "well"):
            c = contrast(tokens[text], tokens[ground])
            assert c >= 4.5, f"{theme}: {text} on {ground} is {c:.2f}"
    assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5


@pytest.mark.parametrize("theme,tokens", list(themes()))
def test_stage_colours_stand_out_from_the_surface(theme, tokens):
    stages = [k for k in tokens if k.startswith("st-")]
    assert len(stages) == 7
    for k in stages:
        c = contrast(tokens[k], tokens["surface"])
        assert c >= 3.3, f"{theme}: {k} is {c:.2f}"
