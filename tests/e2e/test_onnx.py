"""ONNX files: served over the Open Inference Protocol, and the onnx package's own suites where its wheel can be had."""
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from conftest import ROOT, binary

GOLDEN = ROOT / "tests" / "golden" / "onnx"
WHEEL = ROOT / "build" / "onnx-1.17.0"
LIGHT = ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "zfnet512"]


def upload(server, name, files):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return server.put(f"/v1/models/{name}", data=body.getvalue(), headers={"Content-Type": "application/x-tar"})


def infer(server, model, inputs):
    """Binary tensors both ways; returns {name: array}."""
    types = {"float32": "FP32", "int64": "INT64"}
    head, blob = {"inputs": [], "parameters": {"binary_data_output": True}}, b""
    for name, array in inputs.items():
        head["inputs"].append({"name": name, "shape": list(array.shape), "datatype": types[str(array.dtype)],
                               "parameters": {"binary_data_size": array.nbytes}})
        blob += array.tobytes()
    text = json.dumps(head).encode()
    r = server.post(f"/v2/models/{model}/infer", data=text + blob,
                    headers={"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"})
    assert r.status_code == 200, r.text
    size = int(r.headers["Inference-Header-Content-Length"])
    out, at = {}, size
    for o in json.loads(r.content[:size])["outputs"]:
        dtype = {v: k for k, v in types.items()}[o["datatype"]]
        n = o["parameters"]["binary_data_size"]
        out[o["name"]] = np.frombuffer(r.content[at:at + n], dtype).reshape(o["shape"])
        at += n
    return out


@pytest.mark.parametrize("case", ["resnet_bn", "unet", "convnext_external", "torch_dynamo"])
def test_network_over_http(server, case):
    folder = GOLDEN / case
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
             if p.is_file() and p.suffix not in (".npy", ".json")}
    assert upload(server, case, files).status_code in (200, 201)
    info = json.loads((folder / "case.json").read_text())
    meta = server.get(f"/v2/models/{case}").json()
    assert meta["platform"] == "tensorscope_onnx"
    assert {i["name"] for i in meta["inputs"]} == set(info["inputs"])
    for run in (0, 1, 0):
        files = info["runs"][run]
        got = infer(server, case, {k: np.load(folder / v) for k, v in files["inputs"].items()})
        for name, path in files["outputs"].items():
            np.testing.assert_allclose(got[name], np.load(folder / path), rtol=info["tolerance"]["rel"],
                                       atol=info["tolerance"]["abs"])


def test_unsupported_operators_are_listed(server):
    # Two nodes of unknown operators, as bytes of a ModelProto: ir_version 8, opset 17.
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data
    nodes = b"".join(field(1, field(2, out) + field(4, op))
                     for out, op in ((b"y", b"Wobble"), (b"z", b"Sway")))
    graph = nodes + field(2, b"g") + field(12, field(1, b"y") + field(2, field(1, bytes([8, 1]))))
    model = bytes([8, 8]) + field(7, graph) + field(8, bytes([16, 17]))
    r = upload(server, "wobbly", {"model.onnx": model})
    assert r.status_code == 400 and "Wobble, Sway" in r.json()["detail"]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd"])
def test_external_data_stay_inside(server, location):
    body = (GOLDEN / "convnext_external" / "model.onnx").read_bytes()
    name = b"weights/a.bin"
    wrong = location.encode().ljust(len(name), b"\0")[:len(name)]
    r = upload(server, "outside", {"model.onnx": body.replace(name, wrong)})
    assert r.status_code == 400


def test_a_batch_that_does_not_fit_harms_no_other(start_server):
    server = start_server("--max-device-bytes", "3M", "--no-builtin-models")
    folder = GOLDEN / "unet"
    assert upload(server, "unet", {"model.onnx": (folder / "model.onnx").read_bytes()}).status_code == 201
    image = np.load(folder / "run0.in.image.npy")
    head = {"inputs": [{"name": "image", "shape": [8, *image.shape[1:]], "datatype": "FP32",
                        "parameters": {"binary_data_size": 8 * image.nbytes}}]}
    text = json.dumps(head).encode()
    for _ in range(3):
        r = server.post("/v2/models/unet/infer", data=text + image.tobytes() * 8,
                        headers={"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"})
        assert r.status_code == 507 and "device memory" in r.json()["error"]
        np.testing.assert_allclose(infer(server, "unet", {"image": image})["logits"], np.load(folder / "run0.out.logits.npy"),
                                   rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def onnx_data():
    """backend/test/data of onnx 1.17.0, from its wheel; skipped where the package index cannot be reached."""
    data = WHEEL / "onnx" / "backend" / "test" / "data"
    if not (data / "node").is_dir():
        shutil.rmtree(WHEEL, ignore_errors=True)
        got = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
                              "--python-version", "3.11", "-d", str(WHEEL), "onnx==1.17.0"],
                             capture_output=True, text=True, timeout=300)
        wheels = list(WHEEL.glob("*.whl"))
        if got.returncode or not wheels:
            pytest.skip("the onnx wheel cannot be fetched here: " + got.stderr[-200:])
        with zipfile.ZipFile(wheels[0]) as z:
            z.extractall(WHEEL, [n for n in z.namelist() if n.startswith("onnx/backend/test/data/")])
    return data


def test_node_suite(onnx_data):
    program = pathlib.Path(binary()).parent / "tests" / "test_onnx"
    if not program.exists():
        pytest.skip("the unit tests are not built")
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=280,
                          env={"POCL_CACHE_DIR": str(ROOT / "build" / "pocl-cache"), **os.environ,
                               "ONNX_NODE_TESTS": str(onnx_data / "node")})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
    for line in ("tier 0: 138 of 138 passed", "tier 1: 164 of 164 passed", "tier 2: 377 of 377 passed"):
        assert line in done.stdout


def tensor_proto(data):
    """dims (1) and raw_data (9) of a float TensorProto."""
    at, dims, raw = 0, [], b""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            b = data[at]
            at += 1
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value
    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
            if tag >> 3 == 1:
                dims.append(value)
            continue
        n = varint()
        body = data[at:at + n]
        at += n
        if tag >> 3 in (4, 9):
            raw = body
        elif tag >> 3 == 1:
            dims += list(body)
    return np.frombuffer(raw, np.float32).reshape(dims)


@pytest.mark.parametrize("name", LIGHT)
def test_light_networks(server, onnx_data, name):
    """The published networks with constant weights."""
    model = (onnx_data / "light" / f"light_{name}.onnx").read_bytes()
    assert upload(server, name, {"model.onnx": model}).status_code in (200, 201)
    port = server.get(f"/v2/models/{name}").json()["inputs"][0]
    image = (np.arange(150528) / 150528).astype(np.float32).reshape(1, 3, 224, 224)
    got = next(iter(infer(server, name, {port["name"]: image}).values()))
    want = tensor_proto((onnx_data / "light" / f"light_{name}_output_0.pb").read_bytes())
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-3, atol=1e-7)
    assert server.delete(f"/v1/models/{name}").status_code == 204
