"""Files dropped on the page (D15) and the names they get."""
import io
import time

import numpy as np
from conftest import put_tensor
from PIL import Image

DROP = """
const data = new DataTransfer();
for (const [name, type, b64] of arguments[0]) data.items.add(new File([Uint8Array.from(atob(b64), c => c.charCodeAt(0))], name, {type}));
for (const t of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(t, {dataTransfer: data, bubbles: true, cancelable: true}));
"""


def b64(data):
    import base64
    return base64.b64encode(data).decode()


def npy(a):
    f = io.BytesIO()
    np.save(f, a)
    return f.getvalue()


def safetensors(**arrays):
    import json
    head, body = {}, b""
    for name, a in arrays.items():
        head[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(body), len(body) + a.nbytes]}
        body += a.tobytes()
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_npy_safetensors_and_png_become_streams(wall, page):
    png = io.BytesIO()
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(png, "PNG")
    page.go("#/tensors")
    time.sleep(0.5)
    page.js(DROP, [["my weights.npy", "", b64(npy(np.ones((4, 5), np.float32)))],
                   ["two.safetensors", "", b64(safetensors(a=np.ones((2, 3), np.float32), b=np.zeros((3,), np.float32)))],
                   ["photo.png", "image/png", b64(png.getvalue())]])
    page.wait("['my-weights', 'photo'].every(n => document.querySelector('.vt').textContent.includes(n))", timeout=15)
    names = {t["name"]: t for t in wall.get("/v1/tensors").json()["tensors"]}
    assert names["my-weights"]["shape"] == [4, 5] and names["photo"]["shape"] == [10, 12, 3]
    assert names["a"]["shape"] == [2, 3]
    assert {s["name"] for s in wall.get("/v1/streams").json()["streams"]} >= {"my-weights", "photo", "a", "b"}


def test_a_broken_file_says_why(wall, page):
    page.go("#/tensors")
    time.sleep(0.5)
    page.js(DROP, [["bad.npy", "", b64(b"\x93NUMPY\x01\x00not an array")], ["x.txt", "text/plain", b64(b"hello")]])
    page.wait("document.querySelector('#toasts').textContent.includes('bad.npy was not stored')")
    page.wait("document.querySelector('#toasts').textContent.includes('x.txt was not sent')")
    assert all(t["name"] != "bad" for t in wall.get("/v1/tensors").json()["tensors"])


def test_many_tensors_scroll_in_few_rows(wall, page):
    for i in range(400):
        put_tensor(wall, f"many.t{i:03d}", np.zeros((2, 2), np.float32))
    page.go("#/tensors", "document.querySelectorAll('.vt .rw').length > 10")
    assert page.js("return document.querySelectorAll('*').length") < 4000
    page.js("const t = document.querySelector('.vt'); t.scrollTop = t.scrollHeight")
    page.wait("document.querySelector('.vt').textContent.includes('many.t399')")
    assert page.js("return document.querySelectorAll('.vt .rw').length") < 80
