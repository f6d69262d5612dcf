"""The JavaScript client, in a page of this server and in a page of another origin."""
import functools
import http.server
import shutil
import threading
import time

import numpy as np
import pytest
from conftest import JS, Page, e2e, put_stream, put_tensor

FRAME = """
const enc = (header, n) => { const h = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const b = new Uint8Array(4 + h.length + n); new DataView(b.buffer).setUint32(0, h.length, true); b.set(h, 4); return b; };
const good = {type: 'frame', stream: 's', seq: 1, step: 0, t: 0, width: 2, height: 1, codec: 'raw', key: true, range: [0, 1]};
"""

CASES = {
    "empty": "new ArrayBuffer(0)",
    "three bytes": "new ArrayBuffer(3)",
    "header longer than the message": "enc(good, 6).subarray(0, 20)",
    "huge header length": "new Uint8Array([255, 255, 255, 255, 0]).buffer",
    "not JSON": "enc('{nope', 0)",
    "not UTF-8": "(b => { b[5] = 0xff; return b; })(enc(good, 6))",
    "a list": "enc([1], 0)",
    "no type": "enc({a: 1}, 0)",
    "width 0": "enc({...good, width: 0}, 0)",
    "width too large": "enc({...good, width: 99999}, 0)",
    "negative seq": "enc({...good, seq: -1}, 6)",
    "raw of the wrong length": "enc(good, 5)",
    "rectangle outside": "enc({...good, codec: 'webp', base: 0, rects: [[1, 0, 2, 1, 0, 4]]}, 4)",
    "rectangle beyond the payload": "enc({...good, codec: 'webp', base: 0, rects: [[0, 0, 1, 1, 0, 9]]}, 4)",
    "a string": "'text'",
}


def run(page, body, timeout=20):
    return page.js_async("const done = arguments[arguments.length - 1]; (async () => {" + body +
                         "})().then(done, e => done({error: e.name + ': ' + e.message}))", timeout=timeout)


def test_decode_frame(wall, page):
    page.go("#/tensors")
    out = run(page, FRAME + """const {decodeFrame, encodeFrame} = await import('/js/index.js');
        const f = decodeFrame(enc(good, 6).buffer), again = decodeFrame(encodeFrame({type: 'x', a: 1}, new Uint8Array([7, 8])));
        return [f.header.seq, f.payload.length, again.header.a, [...again.payload]];""")
    assert out == [1, 6, 1, [7, 8]]


@pytest.mark.parametrize("name", CASES)
def test_malformed_messages_throw(wall, page, name):
    page.go("#/tensors")
    out = run(page, FRAME + "const {decodeFrame} = await import('/js/index.js');"
              f"try {{ decodeFrame({CASES[name]}); return 'accepted'; }} catch (e) {{ return e.name; }}")
    assert out in ("RangeError", "TypeError"), out


def test_put_stream_view_and_push(wall, page):
    put_stream(wall, "p", {"push": True}, {"normalize": {"mode": "fixed", "lo": 0, "hi": 1}})
    page.go("#/tensors")
    out = run(page, """
        const {connect} = await import('/js/index.js'), scope = connect(document.baseURI);
        const t = await scope.put('js', new Float32Array(12), {shape: [3, 4], step: 5});
        await scope.api.json('PUT', 'v1/streams/js', {source: {tensor: 'js'}});
        const s = scope.stream('js'), seen = [];
        for await (const f of s.frames()) { seen.push([f.step, f.width, f.height]);
            if (seen.length === 1) { await s.view({resize: {scale: 2}}); } else break; }
        const p = scope.stream('p'), frames = p.frames(), first = frames.next();
        p.push(new Float32Array([0, 1, 1, 0]), {shape: [2, 2], step: 41});
        let f = (await first).value;
        while (f.step !== 41) f = (await frames.next()).value;
        const wrong = await s.view({nonsense: 1}).then(() => 'accepted', e => e.code);
        scope.close();
        return [t.shape, seen, f.step, wrong];""", timeout=40)
    assert out == [[3, 4], [[5, 4, 3], [5, 8, 6]], 41, "bad-option"], out


@pytest.mark.parametrize("own_copy", [False, True], ids=["from the server", "from its own copy, in a worker"])
def test_the_element_on_another_origin(driver, tmp_path, own_copy):
    shutil.copytree(JS, tmp_path / "js")
    (tmp_path / "index.html").write_text("<!doctype html><title>elsewhere</title><body></body>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{site.server_port}"
    server = e2e.Server("--allow-origin", origin)
    b = driver.browser()
    page = Page(b, origin)
    try:
        put_tensor(server, "w", np.eye(16, dtype=np.float32))
        put_stream(server, "w", {"tensor": "w"}, {"colormap": "viridis"}, {"lossless": True})
        b.open(origin + "/index.html")
        b.js("""const s = document.createElement('script'); s.type = 'module'; s.src = arguments[1]; document.body.append(s);
            const v = document.createElement('tensor-view'); v.setAttribute('src', arguments[0] + '/'); v.setAttribute('stream', 'w');
            v.setAttribute('colormap', 'gray'); window.frames_ = 0; v.addEventListener('frame', () => window.frames_++); document.body.append(v);""", server.url,
             "js/index.js" if own_copy else server.url + "/js/index.js")
        b.wait("window.frames_ >= 1 && document.querySelector('tensor-view canvas')", timeout=30, what="a frame of the element")
        assert b.js("return Boolean(document.querySelector('tensor-view').handle.link.worker)") == own_copy
        time.sleep(1.5)
        px = page.pixels("tensor-view canvas")
        assert px.shape[:2] == (16, 16) and list(px[0, 0, :3]) == [255, 255, 255] and list(px[0, 1, :3]) == [0, 0, 0]
    finally:
        b.close()
        site.shutdown()
        server.stop()
