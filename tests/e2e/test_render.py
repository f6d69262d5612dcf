"""One-shot pictures over HTTP: the golden cases, both forms of the options, and what is refused."""
import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

CASES = sorted((pathlib.Path(__file__).resolve().parents[1] / "golden/tensor-video/cases").glob("*/expected.png"))
TYPES = {"npy": "application/x-npy", "raw": "application/octet-stream", "json": "application/json",
         "safetensors": "application/vnd.safetensors"}
RAW = {"Content-Type": "application/octet-stream"}


def upload(server, directory, options):
    """Store the case's input; returns the name to render where the view names none."""
    u = options["upload"]
    body, encoding, params = (directory / u["file"]).read_bytes(), u["encoding"], {}
    headers = {"Content-Type": TYPES[encoding]}
    if encoding == "safetensors" and "tensor" not in u:
        r = server.post("/v1/tensors", data=body, headers=headers)
        assert r.status_code in (200, 201), r.text
        return r.json()["tensors"][0]["name"]
    if encoding == "raw":
        for key in ("dtype", "shape", "strides", "offset", "order", "byteorder"):
            if key in u:
                params[key] = ",".join(map(str, u[key])) if isinstance(u[key], list) else u[key]
    if encoding == "npy" and u["dtype"] == "bf16":
        params["dtype"] = "bf16"
    if "tensor" in u:
        params["tensor"] = u["tensor"]
    r = server.put("/v1/tensors/input", data=body, headers=headers, params=params)
    assert r.status_code in (200, 201), r.text
    return "input"


def dotted(options, prefix=""):
    """A view object as the query writes it."""
    for key, value in options.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)


def check_picture(content, expected, tolerance):
    got = np.array(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    want = np.array(Image.open(expected).convert("RGB")).astype(int)
    assert got.shape == want.shape
    difference = abs(got - want).max(axis=-1)
    share = (difference > tolerance["max_abs"]).mean()
    assert share <= tolerance.get("outlier_fraction", 0), f"{share} differ, by up to {difference.max()}"


@pytest.mark.parametrize("expected", CASES, ids=lambda p: p.parent.name)
def test_golden_cases(server, expected):
    options = json.loads((expected.parent / "options.json").read_text())
    name = upload(server, expected.parent, options)
    render = dict(options["render"])
    if "sequence" in options["upload"] or "sequence" in options:
        pytest.skip("frames of a stream")
    alone = "panels" not in render and "compare" not in render and "tensor" not in render
    r = server.post("/v1/render.png", json={"tensor": name, **render} if alone else render)
    assert r.status_code == 200, r.text
    check_picture(r.content, expected, options["tolerance"])
    if alone:
        again = server.get(f"/v1/tensors/{name}/frame.png", params=dict(dotted(render)))
        assert again.status_code == 200, again.text
        assert again.content == r.content


def test_there_are_golden_cases():
    assert len(CASES) > 90


@pytest.fixture(scope="module")
def ramp(server):
    data = np.arange(24, dtype="f4").reshape(4, 6)
    assert server.put("/v1/tensors/ramp?dtype=f32&shape=4,6", data=data.tobytes(), headers=RAW).status_code == 201
    return server


def test_formats(ramp):
    npy = np.load(io.BytesIO(ramp.get("/v1/tensors/ramp/frame.npy").content))
    assert npy.dtype == np.uint8 and npy.ndim == 3 and npy.shape[2] == 3
    png = ramp.get("/v1/tensors/ramp/frame.png")
    assert np.array_equal(np.array(Image.open(io.BytesIO(png.content)).convert("RGB")), npy)
    lossless = ramp.get("/v1/tensors/ramp/frame.webp?lossless=1")
    assert np.array_equal(np.array(Image.open(io.BytesIO(lossless.content)).convert("RGB")), npy)
    lossy = ramp.get("/v1/tensors/ramp/frame.webp?quality=90&resize={\"width\":64,\"height\":64}")
    assert Image.open(io.BytesIO(lossy.content)).size == (64, 64)
    assert lossy.headers["Content-Type"] == "image/webp" and png.headers["Content-Type"] == "image/png"
    for kind in ("webp", "png", "npy"):
        get = ramp.get(f"/v1/tensors/ramp/frame.{kind}?colormap=hot&normalize.mode=fixed&normalize.lo=0&normalize.hi=30")
        view = {"tensor": "ramp", "colormap": "hot", "normalize": {"mode": "fixed", "lo": 0, "hi": 30}}
        post = ramp.post(f"/v1/render.{kind}", json=view)
        assert get.status_code == post.status_code == 200 and get.content == post.content


@pytest.mark.parametrize("path,status,code", [
    ("/v1/tensors/none/frame.png", 404, "not-found"),
    ("/v1/tensors/ramp/frame.gif", 404, "not-found"),
    ("/v1/tensors/ramp/frame.png?colourmap=hot", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.png?normalize.lo=x", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.png?colormap=none", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.webp?quality=0", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.webp?quality=x", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.png?depth=9", 400, "bad-option"),
    ("/v1/tensors/ramp/frame.png?kind=slice&axis=0&index=4", 422, None),
])
def test_refused(ramp, path, status, code):
    r = ramp.get(path)
    assert r.status_code == status, r.text
    assert code is None or r.json()["code"] == code


def test_an_empty_tensor_has_no_picture(ramp):
    assert ramp.put("/v1/tensors/empty?dtype=f32&shape=0,3", data=b"", headers=RAW).status_code in (200, 201)
    r = ramp.get("/v1/tensors/empty/frame.png")
    assert r.status_code == 422 and r.json()["code"] == "empty-tensor"


def test_a_view_of_nothing_is_refused(ramp):
    for body in ({}, {"view": {"kind": "slice"}}, []):
        assert ramp.post("/v1/render.png", json=body).status_code == 400
    assert ramp.post("/v1/render.png", json={"tensor": "none"}).status_code == 404
    assert ramp.post("/v1/render.png", data="{", headers={"Content-Type": "application/json"}).status_code == 400


def counters(server):
    return server.get("/v1/server").json()["devices"][0]["counters"]


def test_a_picture_moves_only_its_pixels(ramp):
    """Rendering W×H adds at most W·H·4 + 4096 to bytes_d2h and 4096 to bytes_h2d, whatever the tensor's size."""
    big = np.random.default_rng(1).random((1500, 2000), dtype=np.float32)
    before = counters(ramp)
    assert ramp.put("/v1/tensors/big?dtype=f32&shape=1500,2000", data=big.tobytes(), headers=RAW).status_code == 201
    uploaded = counters(ramp)
    assert 0 <= uploaded["bytes_h2d"] - before["bytes_h2d"] - big.nbytes <= 4096
    url = "/v1/tensors/big/frame.png?resize={\"width\":200,\"height\":150}"
    assert ramp.get(url).status_code == 200
    warm = counters(ramp)
    assert ramp.get(url + "&colormap=plasma").status_code == 200
    after = counters(ramp)
    assert after["bytes_d2h"] - warm["bytes_d2h"] <= 200 * 150 * 4 + 4096
    assert after["bytes_h2d"] - warm["bytes_h2d"] <= 4096


def test_colormaps(ramp):
    names = {m["name"] for m in ramp.get("/v1/colormaps").json()["colormaps"]}
    assert {"viridis", "plasma", "hot", "gray", "rdbu", "tab10"} <= names
    assert [m["name"] for m in ramp.get("/v1/colormaps?prefix=vir").json()["colormaps"]] == ["viridis"]
    r = ramp.put("/v1/colormaps/red", json={"stops": [[0, [0, 0, 0]], [1, [1, 0, 0]]]})
    assert r.status_code == 201 and r.json()["name"] == "red", r.text
    picture = np.load(io.BytesIO(ramp.get("/v1/tensors/ramp/frame.npy?colormap=red").content))
    assert picture[..., 0].max() == 255 and not picture[..., 1:].any()
    assert ramp.put("/v1/colormaps/red", json=[[0, 0, 0], [0, 1, 0]]).status_code == 200
    picture = np.load(io.BytesIO(ramp.get("/v1/tensors/ramp/frame.npy?colormap=red").content))
    assert picture[..., 1].max() == 255 and not picture[..., 0].any()
    assert ramp.put("/v1/colormaps/viridis", json=[[0, 0, 0], [0, 1, 0]]).status_code == 409
    assert ramp.put("/v1/colormaps/bad", json={"stops": [[0, [0, 0, 0]]]}).status_code == 400
    assert ramp.put("/v1/colormaps/bad", json={"stop": []}).status_code == 400
    assert ramp.delete("/v1/colormaps/red").status_code == 204
    assert ramp.get("/v1/colormaps/red").status_code == 404
    assert ramp.get("/v1/tensors/ramp/frame.npy?colormap=red").status_code == 400
