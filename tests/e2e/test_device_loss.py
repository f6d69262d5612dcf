"""Device failures, injected: needs a build with -DTENSORSCOPE_FAULTS=ON, else all of it is skipped."""
import time

import pytest
from conftest import Server

RAW = {"Content-Type": "application/octet-stream"}
LOST = "CL_DEVICE_NOT_AVAILABLE"
OOM = "CL_MEM_OBJECT_ALLOCATION_FAILURE"


def start(fault):
    return Server("--no-warm-up", env={"TENSORSCOPE_FAULT": fault})  # calls are counted: ours come first


@pytest.fixture(scope="module", autouse=True)
def faults_are_built_in():
    try:
        server = start("nonsense")
    except AssertionError:
        return
    server.stop()
    pytest.skip("built without TENSORSCOPE_FAULTS")


def put(server, name="a", body=b"\x01\x02\x03\x04"):
    return server.put(f"/v1/tensors/{name}?dtype=u8&shape={len(body)}", data=body, headers=RAW)


def wait_ready(server, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.get("/readyz").status_code == 200:
            return
        assert server.get("/livez").status_code == 200
        time.sleep(0.05)
    raise AssertionError("not ready again:\n" + "".join(server.log[-20:]))


def test_a_lost_device_is_opened_again():
    server = start(f"clEnqueueFillBuffer@1:{LOST}")  # the statistics zero their counts
    try:
        assert put(server).status_code == 201
        r = server.get("/v1/tensors/a/stats")
        assert r.status_code == 503 and r.json()["code"] == "device-error", r.text
        wait_ready(server)
        r = server.get("/v1/tensors/a/data")
        assert r.status_code == 410 and r.json()["code"] == "gone", r.text
        assert server.get("/v1/tensors/a").status_code == 200
        assert put(server).status_code == 200
        assert server.get("/v1/tensors/a/stats").json()["max"] == 4
        assert server.get("/v1/tensors/a/frame.png").status_code == 200
    finally:
        server.stop()


def test_a_stream_shows_again_what_is_put_again():
    server = start(f"clEnqueueFillBuffer@1:{LOST}")
    try:
        assert put(server).status_code == 201
        assert server.put("/v1/streams/s", json={"source": {"tensor": "a"}}).status_code == 201
        assert server.get("/v1/streams/s/frame.png").status_code == 200
        server.get("/v1/tensors/a/stats")
        wait_ready(server)
        assert put(server).status_code == 200
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            r = server.get("/v1/streams/s/frame.npy")
            if r.status_code == 200 and "error" not in server.get("/v1/streams/s").json():
                break
        one_shot = server.get("/v1/tensors/a/frame.npy")
        assert r.content == one_shot.content
    finally:
        server.stop()


def test_a_device_that_stays_away_ends_the_process_with_4():
    again = ",".join(f"clCreateContext@{n}:{LOST}" for n in (2, 3, 4))
    server = start(f"clEnqueueFillBuffer@1:{LOST},{again}")
    put(server)
    assert server.get("/v1/tensors/a/stats").status_code == 503
    assert server.process.wait(30) == 4
    server.stop(expect=4)


def test_a_compiler_that_fails_at_the_start_is_status_3():
    with pytest.raises(AssertionError) as failure:
        start("clBuildProgram@1:CL_BUILD_PROGRAM_FAILURE")
    assert "elementwise" in str(failure.value)


@pytest.mark.parametrize("code", [OOM, "CL_OUT_OF_RESOURCES", "CL_OUT_OF_HOST_MEMORY"])
def test_memory_that_is_refused_is_507_and_passes(code):
    server = start(f"clEnqueueFillBuffer@1:{code}")
    try:
        assert put(server).status_code == 201
        r = server.get("/v1/tensors/a/stats")
        assert r.status_code == 507 and r.json()["code"] == "device-memory", r.text
        assert "in use" in r.json()["detail"]
        assert server.get("/v1/tensors/a/stats").status_code == 200
        wait_ready(server)  # the models may still be loading
        assert not any("device lost" in line for line in server.log)
    finally:
        server.stop()
