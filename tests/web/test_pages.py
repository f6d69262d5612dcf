"""Volume (D11), recording (D16), compare (D17), decoder (D18), camera (D19), fits (D20), pipelines (D21), system."""
import io
import json
import shutil
import subprocess
import time

import numpy as np
import pytest
from conftest import put_stream, put_tensor
from PIL import Image
from test_upload import DROP, b64

STORE = "import('/lib/store.js')"


def test_a_volume_orbits(wall, page):
    z, y, x = np.mgrid[0:16, 0:16, 0:16].astype(np.float32)
    put_tensor(wall, "v", ((z < 4) & (y < 8)).astype(np.float32) + (x > 12) * 0.5)
    put_stream(wall, "v", {"tensor": "v"}, {"kind": "volume", "mode": "mip", "resize": {"width": 64, "height": 64}}, {"lossless": True})
    page.go("#/stream/v").frame(60)
    page.wait("document.querySelector('.hud.modes .seg')", what="the volume's tools")
    time.sleep(1)
    before = page.pixels()
    page.js("document.querySelector('ts-picture').focus()")
    for _ in range(6):
        page.key("ArrowRight")
    page.wait("Math.abs((document.querySelector('ts-picture').model.view.camera?.azimuth ?? 0) - 60) < 1", what="the camera in the view")
    page.wait("document.querySelector('ts-picture').header.final !== false", what="the final picture")
    time.sleep(1.5)
    assert np.abs(page.pixels().astype(int) - before).max() > 20
    page.js("[...document.querySelectorAll('.hud.modes [role=radio]')].find(b => b.textContent === 'mean').click()")
    page.wait("document.querySelector('ts-picture').model.view.mode === 'mean'")


def test_record_and_download(wall, page):
    put_stream(wall, "rec", {"push": True})
    page.go("#/stream/rec")
    page.wait("document.querySelector('ts-picture')")

    def push(i):
        body = io.BytesIO()
        np.save(body, np.full((32, 48), i % 50, np.float32) + np.arange(48, dtype=np.float32))
        assert wall.post("/v1/streams/rec/frames", params={"step": i}, data=body.getvalue(), headers={"Content-Type": "application/x-npy"}).status_code == 202
    push(0)
    page.frame()
    page.key("r")
    page.wait("document.querySelector('.top .btn[aria-pressed=true]')", what="the button shows the recording", timeout=15)
    for i in range(1, 400):
        push(i)
        time.sleep(0.04)
        if i % 20 == 0 and wall.get("/v1/recordings").json()["recordings"][-1]["frames"] > 10:
            break
    page.key("r")
    page.wait("document.querySelector('#toasts').textContent.includes('Recorded rec')", timeout=15)
    for _ in range(100):
        r = next(x for x in wall.get("/v1/recordings").json()["recordings"] if x["stream"] == "rec")
        if r["state"] == "done":
            break
        time.sleep(0.1)
    assert r["state"] == "done", r
    data = wall.get(f"/v1/recordings/{r['id']}/file").content
    assert len(data) > 500
    if r["format"] == "mp4" and shutil.which("ffprobe"):
        probe = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "json", "-"], input=data, capture_output=True, timeout=30)
        s = json.loads(probe.stdout)["streams"][0]
        assert (s["codec_name"], s["width"], s["height"]) == ("h264", 48, 32), probe.stderr
    page.go("#/recordings")
    page.wait(f"document.querySelector('.vt').textContent.includes('{r['id']}')")


def test_compare_modes_and_the_difference(wall, page):
    a = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (12, 1))
    put_tensor(wall, "a", a)
    put_tensor(wall, "b", a[:, ::-1].copy())
    for n in "ab":
        put_stream(wall, n, {"tensor": n}, {"colormap": "gray"}, {"lossless": True})
    page.go("#/compare?add=a")
    page.wait("document.querySelectorAll('.panel').length === 1")
    page.js("const s = document.querySelector('select[aria-label=\"Add a stream\"]'); s.value = 'b'; s.dispatchEvent(new Event('change'))")
    page.wait("document.querySelectorAll('.panel').length === 2")
    for mode in ("wipe", "blend", "checker"):
        page.js("[...document.querySelectorAll('.seg [role=radio]')].find(b => b.textContent === arguments[0]).click()", mode)
        page.wait("document.querySelector('.over_')?.classList.contains(arguments[0]) && document.querySelectorAll('.over_ canvas').length === 2", mode)
    page.wait("location.hash.includes('l=')")
    page.js("[...document.querySelectorAll('.seg [role=radio]')].find(b => b.textContent === 'difference').click()")
    page.wait("document.querySelector('.over_.diff canvas')?.width === 16", timeout=20, what="the difference from the server")
    time.sleep(0.5)
    px = page.pixels(".over_.diff canvas")[0, :, :3].astype(int)
    assert px[0, 2] > px[0, 0] + 60 and px[-1, 0] > px[-1, 2] + 60, (px[0], px[-1])  # negative blue, positive red
    page.js("location.hash = '#/live'")
    page.wait("document.querySelector('ts-tile')")
    time.sleep(0.6)
    assert {s["name"] for s in wall.get("/v1/streams").json()["streams"]} == {"a", "b"}


def test_the_decoder_follows_its_sliders(wall, page):
    if "mnist" not in [m["name"] for m in wall.get("/v1/models").json()["models"]]:
        pytest.skip("no decoder is built in")
    page.go("#/decoder/mnist")
    page.wait("document.querySelector('.picbox canvas')?.width === 28", timeout=30, what="the first digit")
    time.sleep(0.5)
    before = page.pixels(".picbox canvas")
    page.js("const s = document.querySelector('.sliders input[type=range]'); s.value = 2; s.dispatchEvent(new Event('input'))")
    page.wait("/p99/.test(document.querySelector('.top').textContent)", what="the round trip")
    time.sleep(0.7)
    assert np.abs(page.pixels(".picbox canvas").astype(int) - before).max() > 60
    got = page.js_async("const d = arguments[0]; import('/pages/decoder.js').then(m => d([...m.seededNormals(1, 4)]))")
    s, out = 1, []
    for _ in range(4):
        s = (s + 0x9E3779B97F4A7C15) % 2**64
        z = s
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) % 2**64
        out.append(z ^ z >> 31)
    want = []
    for i in (0, 2):
        u1, u2 = ((out[i] >> 11) + 1) * 2.0**-53, (out[i + 1] >> 11) * 2.0**-53
        q = np.sqrt(-2 * np.log(u1))
        want += [q * np.cos(2 * np.pi * u2), q * np.sin(2 * np.pi * u2)]
    assert np.allclose(got, want, atol=1e-6)


def test_the_camera_goes_through_gaze_and_back(wall, page):
    page.go("#/gaze")
    page.wait("[...document.querySelectorAll('.btn')].some(b => b.textContent === 'Use this camera')")
    page.js("[...document.querySelectorAll('.btn')].find(b => b.textContent === 'Use this camera').click()")
    page.wait("document.querySelectorAll('.picbox')[2].querySelector('canvas')?.width === 448", timeout=30, what="an output frame")
    page.wait("/sent/.test(document.querySelector('.stats').textContent)", timeout=10)
    sent, answered = page.js("return document.querySelector('.stats').textContent.match(/(\\d+) \\/ (\\d+)/).slice(1).map(Number)")
    assert 0 <= sent - answered <= 2
    page.js("location.hash = '#/live'")
    time.sleep(1.5)
    assert not [s for s in wall.get("/v1/streams").json()["streams"] if s["name"].startswith("gaze.")]


def test_a_fit_from_a_dropped_image(wall, page):
    png = io.BytesIO()
    Image.fromarray((np.mgrid[0:32, 0:48].sum(0) * 3 % 256).astype(np.uint8)).convert("RGB").save(png, "PNG")
    page.go("#/fits")
    time.sleep(0.5)
    page.js(DROP, [["ramp.png", "image/png", b64(png.getvalue())]])
    page.wait("document.querySelector('dialog[open] input[aria-label=Gaussians]')")
    page.js("for (const [l, v] of [['Gaussians', '40'], ['Steps', '60']]) { const i = document.querySelector(`dialog input[aria-label=${l}]`); i.value = v; i.dispatchEvent(new Event('input')); }")
    assert "on the device" in page.js("return document.querySelector('dialog').textContent")
    page.js("[...document.querySelectorAll('dialog .btn')].find(b => b.textContent === 'Start').click()")
    page.wait("location.hash.startsWith('#/fits/')", timeout=20, what="the fit's page")
    fit = page.hash().split("/")[-1]
    for _ in range(600):
        state = wall.get(f"/v1/fits/{fit}").json()
        if state["state"] in ("done", "failed"):
            break
        time.sleep(0.2)
    assert state["state"] == "done", state
    page.wait("document.querySelector('.top').textContent.includes('done')", timeout=10)
    csv = wall.get(f"/v1/fits/{fit}/files/metrics.csv")
    assert csv.status_code == 200 and csv.text.count("\n") >= 2
    wall.delete(f"/v1/fits/{fit}")


def test_a_pipelines_document_is_checked_while_it_is_typed(wall, page):
    doc = {"source": {"url": "nothing.mp4"}, "detector": {"kind": "none"}, "sinks": [{"kind": "ws"}]}
    r = wall.put("/v1/pipelines/gate", json=doc)
    assert r.status_code in (200, 201), r.text
    page.go("#/pipelines/gate")
    page.wait("document.querySelectorAll('.stagebox').length === 8 && document.querySelector('.doc textarea').value.includes('nothing.mp4')")
    page.js("const t = document.querySelector('.doc textarea'); t.focus(); t.value = t.value.replace('\"url\"', '\"urll\"'); t.dispatchEvent(new Event('input'))")
    page.wait("!document.querySelector('.note.err').hidden && document.querySelector('.note.err').textContent.includes('urll')", timeout=5, what="the refusal with its path")
    page.js("const t = document.querySelector('.doc textarea'); t.value = t.value.replace('\"urll\"', '\"url\"').replace(/\"omega\": [\\d.]+/, '\"omega\": 3.5'); t.dispatchEvent(new Event('input'))")
    page.wait("document.querySelector('.card .chip').textContent === 'valid' || [...document.querySelectorAll('.chip')].some(c => c.textContent === 'valid')", timeout=5)
    page.js("[...document.querySelectorAll('.btn')].find(b => b.textContent === 'Apply').click()")
    for _ in range(30):
        now = wall.get("/v1/pipelines/gate").json()
        if now["document"]["camera"]["omega"] == 3.5:
            break
        time.sleep(0.1)
    assert now["document"]["camera"]["omega"] == 3.5
    wall.delete("/v1/pipelines/gate")


def test_system_shows_the_server(wall, page):
    page.go("#/system")
    page.wait("/tensorscope \\d/.test(document.querySelector('.top').textContent)")
    page.wait("document.querySelectorAll('.strip .stat').length === 6 && document.querySelector('.cols .card h2').textContent.length > 2")
    page.wait("[...document.querySelectorAll('h2')].find(e => e.textContent === 'Limits').closest('.card').querySelectorAll('tr').length > 8")
