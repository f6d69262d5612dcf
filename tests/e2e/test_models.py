"""Models over HTTP: the repository, uploads, decoding in every answer form, encoding; and the live decoder."""
import io
import json
import pathlib
import struct
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/vae"
MNIST = ROOT / "cl/models/builtin/mnist-decoder"
DTYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1"}


def golden(name):
    data = (GOLDEN / name).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    out = {}
    for key, t in json.loads(data[8:8 + n]).items():
        a, b = t["data_offsets"]
        out[key] = np.frombuffer(data[8 + n + a:8 + n + b], DTYPES[t["dtype"]]).reshape(t["shape"])
    return out


def tar_of(directory, prefix="", extra=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, prefix + path.name)
        for name, content in extra:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def put(server, name, body, **kw):
    return server.put(f"/v1/models/{name}", data=body, headers={"Content-Type": "application/x-tar"}, **kw)


@pytest.fixture(scope="module")
def ready(server):
    for _ in range(600):
        if server.get("/readyz").status_code == 200:
            return server
        time.sleep(0.1)
    raise AssertionError("models do not get ready")


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    body = response.json()
    assert body["code"] == code, body
    return body["detail"]


def test_builtin_models_are_listed(ready):
    models = {m["name"]: m for m in ready.get("/v1/models").json()["models"]}
    assert models["mnist"]["state"] == "READY" and models["photo"]["state"] == "READY"
    assert [m for m in ready.get("/v1/models?prefix=pho").json()["models"]][0]["name"] == "photo"
    info = ready.get("/v1/models/mnist").json()
    assert info["inputs"] == [{"name": "z", "dtype": "f32", "shape": [-1, 2]}]
    assert info["outputs"][0]["shape"] == [-1, 1, 28, 28]
    assert info["device_bytes"] > 0 and info["config"]["latent_dim"] == 2
    taps = ready.get("/v1/models/mnist/taps").json()["taps"]
    assert "layers.0" in [t["name"] for t in taps]
    problem(ready.get("/v1/models/nothing"), 404, "not-found")


def test_decode_answers_npy_json_png_and_webp(ready):
    g = golden("mnist.safetensors")
    z = g["latents"]
    r = ready.post("/v1/models/mnist/decode", json={"z": z.tolist()}, headers={"Accept": "application/x-npy"})
    assert r.status_code == 200, r.text
    a = np.load(io.BytesIO(r.content))
    assert a.dtype == np.float32 and np.abs(a - g["expected"]).max() <= 1e-4
    r = ready.post("/v1/models/mnist/decode", json={"z": z[0].tolist()}, headers={"Accept": "application/json"})
    assert r.json()["shape"] == [1, 1, 28, 28]
    assert np.abs(np.array(r.json()["data"]) - g["expected"][0].ravel()).max() <= 1e-4
    want = np.floor(np.clip(g["expected"] * 255, 0, 255) + 0.5)
    for accept in ("image/png", "image/webp"):
        r = ready.post("/v1/models/mnist/decode", json={"z": z.tolist(), "columns": 8}, headers={"Accept": accept})
        assert r.headers["Content-Type"] == accept
        sheet = np.array(Image.open(io.BytesIO(r.content)).convert("L")).astype(int)
        assert sheet.shape == (4 * 28, 8 * 28)
        for i in range(32):
            tile = sheet[i // 8 * 28:i // 8 * 28 + 28, i % 8 * 28:i % 8 * 28 + 28]
            assert np.abs(tile - want[i, 0]).max() <= 1
    r = ready.post("/v1/models/mnist/decode", data=z.tobytes(),
                   headers={"Accept": "application/x-npy", "Content-Type": "application/octet-stream"})
    assert np.abs(np.load(io.BytesIO(r.content)) - g["expected"]).max() <= 1e-4


def test_photo_model_decodes_as_recorded(ready):
    g = golden("photo.safetensors")
    r = ready.post("/v1/models/photo/decode", json={"z": g["latents"].tolist()}, headers={"Accept": "application/x-npy"})
    assert np.abs(np.load(io.BytesIO(r.content)) - g["expected"].astype(np.float32)).max() <= 6e-4


@pytest.mark.parametrize("body, status, code", [
    ({"z": [1, 2, 3]}, 422, "shape-mismatch"),
    ({"z": [[1, 2], [3]]}, 400, "bad-option"),
    ({"z": "x"}, 400, "bad-option"),
    ({"z": []}, 422, "shape-mismatch"),
    ({"z": [1, 2], "zz": 1}, 400, "bad-option"),
    ({"z": [1e400, 0]}, 400, "bad-json"),
    ({"z": [1, 2], "columns": 0}, 400, "bad-option"),
    ({}, 400, "bad-option"),
])
def test_bad_latents_are_refused(ready, body, status, code):
    text = json.dumps(body).replace("Infinity", "1e400")
    r = ready.post("/v1/models/mnist/decode", data=text, headers={"Content-Type": "application/json"})
    problem(r, status, code)


def test_other_bad_requests(ready):
    problem(ready.post("/v1/models/nothing/decode", json={"z": [0, 0]}), 404, "not-found")
    problem(ready.post("/v1/models/mnist/decode", json={"z": [0, 0]}, headers={"Accept": "text/html"}), 406,
            "not-acceptable")
    problem(ready.post("/v1/models/mnist/decode?colour=1", json={"z": [0, 0]}), 400, "bad-option")
    r = ready.post("/v1/models/mnist/decode", data=b"\0" * 7, headers={"Content-Type": "application/octet-stream"})
    problem(r, 400, "size-mismatch")
    nan = np.array([[np.nan, 0]], np.float32).tobytes()
    r = ready.post("/v1/models/mnist/decode", data=nan, headers={"Content-Type": "application/octet-stream"})
    problem(r, 400, "bad-option")


def test_grid_random_and_interpolation(ready):
    g = golden("mnist.safetensors")
    r = ready.get("/v1/models/mnist/grid?steps=10&range=2", headers={"Accept": "image/png"})
    sheet = np.array(Image.open(io.BytesIO(r.content)).convert("L")).astype(int)
    assert np.abs(sheet - g["grid"]).max() <= 1
    accept = {"Accept": "application/json"}
    a = ready.get("/v1/models/mnist/random?seed=100", headers=accept).json()
    assert np.allclose(a["z"], g["latents"][16], atol=1e-6)  # case 16 of cases.json: seed 100
    b = ready.get("/v1/models/mnist/random?seed=101", headers=accept).json()
    r = ready.post("/v1/models/mnist/interpolate", json={"a": a["z"], "b": b["z"], "t": 0.25}, headers=accept).json()
    assert np.allclose(r["z"], g["latents"][28], atol=1e-6)  # case 28: slerp of the two at 0.25
    r = ready.post("/v1/models/mnist/interpolate", json={"a": a["z"], "b": b["z"], "steps": 5}, headers=accept).json()
    assert r["shape"][0] == 5 and np.allclose(r["z"][:2], a["z"], atol=1e-5)


def test_encode_and_reconstruct(ready):
    g = golden("photo.safetensors")
    for i in range(2):
        out = io.BytesIO()
        Image.fromarray(g["reconstruct.input_u8"][i].transpose(1, 2, 0)).save(out, "png")
        body, headers = out.getvalue(), {"Content-Type": "image/png"}
        r = ready.post("/v1/models/photo/encode", data=body, headers=headers).json()
        assert np.abs(np.array(r["mu"]) - g["reconstruct.mu"][i]).max() <= 1e-3
        assert np.abs(np.array(r["logvar"]) - g["reconstruct.logvar"][i]).max() <= 1e-3
        r = ready.post("/v1/models/photo/reconstruct", data=body, headers=headers).json()
        assert abs(r["psnr_db"] - g["reconstruct.psnr_db"][i]) <= 0.05
        r = ready.post("/v1/models/photo/reconstruct", data=body, headers={**headers, "Accept": "image/png"})
        got = np.array(Image.open(io.BytesIO(r.content)).convert("RGB")).astype(int)
        assert np.abs(got - g["reconstruct.recon_u8"][i].transpose(1, 2, 0)).max() <= 1
    problem(ready.post("/v1/models/photo/encode", data=b"no picture", headers={"Content-Type": "image/png"}), 400, "bad-file")


def test_reduced_precision_is_measured(ready):
    r = ready.get("/v1/models/photo/check?compute=f16&n=2").json()
    assert r["max_abs"] <= 2e-2 and r["compute"] == "f16"
    r = ready.get("/v1/models/photo/check?compute=i8&n=2").json()
    assert 20 < r["psnr_db"] < 80
    problem(ready.get("/v1/models/photo/check?compute=f8"), 400, "bad-option")


def test_upload_swap_and_delete(ready):
    assert put(ready, "up", tar_of(MNIST)).status_code == 201
    assert put(ready, "up", tar_of(MNIST, "./")).status_code == 200
    assert put(ready, "nested", tar_of(MNIST, "mnist/")).status_code == 201
    z = {"z": [0.5, -0.5]}
    want = ready.post("/v1/models/mnist/decode", json=z, headers={"Accept": "application/x-npy"}).content
    assert ready.post("/v1/models/up/decode", json=z, headers={"Accept": "application/x-npy"}).content == want
    assert (ready.data_dir / "models/up/config.json").exists()
    assert ready.delete("/v1/models/nested").status_code == 204
    problem(ready.post("/v1/models/nested/decode", json=z), 404, "not-found")
    assert not (ready.data_dir / "models/nested").exists()
    # A bad upload changes nothing.
    bad = [b"", b"x" * 2000, tar_of(MNIST)[:3000], tar_of(MNIST, extra=[("../evil", b"x")]),
           tar_of(MNIST, extra=[("/etc/evil", b"x")]), tar_of(MNIST / "..", "") if False else tar_of(GOLDEN / "kl-tiny")[:9000]]
    for body in bad:
        problem(put(ready, "up", body), 400, "bad-file")
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as tar:
        info = tarfile.TarInfo("config.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    problem(put(ready, "up", link.getvalue()), 400, "bad-file")
    assert ready.post("/v1/models/up/decode", json=z, headers={"Accept": "application/x-npy"}).content == want
    problem(put(ready, "bad%20name", tar_of(MNIST)), 400, "bad-name")
    problem(ready.put("/v1/models/up", data=tar_of(MNIST), headers={"Content-Type": "application/zip"}), 415, "bad-encoding")
    assert not list((ready.data_dir / "tmp").glob("model-*"))


def test_autoencoder_kl_uploads_and_decodes(ready):
    assert put(ready, "kl", tar_of(GOLDEN / "kl-tiny")).status_code == 201
    g = golden("kl-tiny.safetensors")
    for z, want in (("z", "decoded"), ("z_odd", "decoded_odd")):
        r = ready.post("/v1/models/kl/decode", json={"z": g[z].tolist()}, headers={"Accept": "application/x-npy"})
        assert np.abs(np.load(io.BytesIO(r.content)) - g[want]).max() <= 1e-4
    r = ready.post("/v1/models/kl/decode", json={"z": g["z"].tolist()}, headers={"Accept": "image/png"})
    sheet = np.array(Image.open(io.BytesIO(r.content)).convert("RGB")).astype(int)
    for i in range(3):
        assert np.abs(sheet[:, i * 32:i * 32 + 32] - g["decoded_u8"][i].transpose(1, 2, 0)).max() <= 1


def test_a_directory_that_appears_is_loaded(ready):
    target = ready.data_dir / "models/appeared"
    target.mkdir(parents=True)
    (target / "model.safetensors").write_bytes((MNIST / "model.safetensors").read_bytes())
    (target / "config.json").write_bytes((MNIST / "config.json").read_bytes())
    for _ in range(100):
        if ready.get("/v1/models/appeared").status_code == 200:
            break
        time.sleep(0.1)
    for _ in range(100):
        if ready.get("/v1/models/appeared").json()["state"] == "READY":
            break
        time.sleep(0.1)
    assert ready.get("/v1/models/appeared").json()["state"] == "READY"


def test_unloading_while_decoding_is_clean(ready):
    import threading

    put(ready, "busy", tar_of(MNIST))
    stop, odd = threading.Event(), []

    def decode():
        import requests
        with requests.Session() as s:
            while not stop.is_set():
                r = s.post(ready.url + "/v1/models/busy/decode", json={"z": [[0, 0]] * 50}, headers={"Accept": "image/webp"})
                if r.status_code not in (200, 404, 503):
                    odd.append((r.status_code, r.text[:200]))

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(5):
        assert ready.delete("/v1/models/busy").status_code == 204
        assert put(ready, "busy", tar_of(MNIST)).status_code == 201
    stop.set()
    for t in threads:
        t.join()
    assert not odd, odd
    assert ready.get("/livez").status_code == 200
