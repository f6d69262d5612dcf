"""The Open Inference Protocol: the conformance script with the stock Triton client, and what it leaves out."""
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
VENV = HERE.parents[1] / "build" / "venv"


@pytest.fixture(scope="session")
def triton_python():
    """A Python with tritonclient, made once from the package index; skipped where that cannot be reached."""
    python = VENV / "bin" / "python"
    if subprocess.run([str(python), "-c", "import tritonclient.http"], capture_output=True).returncode if python.exists() else 1:
        shutil.rmtree(VENV, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip("python3-venv is not installed: " + made.stdout[-200:])
        got = subprocess.run([str(python), "-m", "pip", "install", "-q", "tritonclient[http]==2.*", "numpy"],
                             capture_output=True, text=True, timeout=300)
        if got.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            pytest.skip("tritonclient cannot be installed here: " + got.stderr[-200:])
    return str(python)


def conformance(python, server, *args):
    done = subprocess.run([python, str(HERE / "cases" / "check_triton_client.py"), server.url, "identity", *args],
                          capture_output=True, text=True, timeout=280)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert not failed and done.returncode == 0, "\n".join(failed[:20]) + done.stderr[-500:]
    assert " 0 failed" in done.stdout


def wait_ready(server):
    for _ in range(200):
        if all(server.get(path).status_code == 200 for path in ("/v2/models/identity/ready", "/v2/health/ready")):
            return
        time.sleep(0.1)
    raise AssertionError("identity is not ready")


def test_conformance_with_the_stock_client(triton_python, server):
    wait_ready(server)
    conformance(triton_python, server)


def test_conformance_with_a_token(triton_python, start_server, token_file):
    server = start_server("--token-file", token_file(("secret-token", "read,infer,write,admin", "all")),
                          token="secret-token")
    wait_ready(server)
    conformance(triton_python, server, "--token", "secret-token")


def test_curl_as_in_the_readme(server):
    wait_ready(server)
    done = subprocess.run(["curl", "-s", server.url + "/v2/models/identity/infer", "-d",
                           '{"inputs":[{"name":"INPUT0","shape":[2],"datatype":"FP32","data":[1,2]}]}'],
                          capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["outputs"][0]["data"] == [1, 2]


def test_resident_tensors_are_read_and_kept_on_the_device(server):
    wait_ready(server)
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    server.put("/v1/tensors/oip.in?dtype=f32&shape=2,3", data=x.tobytes(),
               headers={"Content-Type": "application/octet-stream"})
    answer = server.post("/v2/models/identity/infer", json={
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2, 3], "parameters": {"tensor": "oip.in"}}],
        "outputs": [{"name": "OUTPUT0", "parameters": {"tensor": "oip.out"}}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0] == {"name": "OUTPUT0", "datatype": "FP32", "shape": [2, 3],
                                           "parameters": {"tensor": "oip.out"}}
    kept = server.get("/v1/tensors/oip.out/data", headers={"Accept": "application/octet-stream"}).content
    assert kept == x.tobytes()
    wrong = server.post("/v2/models/identity/infer", json={
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [3, 2], "parameters": {"tensor": "oip.in"}}]})
    assert wrong.status_code == 400 and "oip.in" in wrong.json()["error"]
    gone = server.post("/v2/models/identity/infer", json={
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [3, 2], "parameters": {"tensor": "no.such"}}]})
    assert gone.status_code == 404


def test_keeping_an_output_needs_the_scope_write(start_server, token_file):
    server = start_server("--token-file", token_file(("t1", "read,infer", "one")), token="t1")
    wait_ready(server)
    answer = server.post("/v2/models/identity/infer", json={
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}],
        "outputs": [{"name": "OUTPUT0", "parameters": {"tensor": "kept"}}]})
    assert answer.status_code == 403 and "write" in answer.json()["error"]
    assert server.post("/v2/repository/models/identity/unload").status_code == 403


def test_a_decoder_answers_the_protocol(server):
    for _ in range(200):
        if server.get("/v2/models/mnist/ready").status_code == 200:
            break
    meta = server.get("/v2/models/mnist").json()
    z = meta["inputs"][0]
    assert z["name"] == "z" and meta["outputs"][0]["name"] == "image"
    n = z["shape"][-1]
    answer = server.post("/v2/models/mnist/infer", json={
        "inputs": [{"name": "z", "datatype": "FP32", "shape": [1, n], "data": [0.0] * n}]})
    out = answer.json()["outputs"][0]
    assert answer.status_code == 200 and int(np.prod(out["shape"])) == len(out["data"])
