"""The Python client against a real server: every promise of its README."""
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import tensorscope
from tensorscope import frames as wire

CLIENT = pathlib.Path(__file__).resolve().parents[2] / "clients" / "python"


@pytest.fixture
def ts(server):
    client = tensorscope.connect(server.url)
    yield client
    client.close()


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_put_and_get_every_dtype(ts, dtype):
    array = (np.random.default_rng(1).integers(0, 2, (5, 7)) if dtype == "bool" else
             np.random.default_rng(1).uniform(0, 100, (5, 7))).astype(dtype)
    ts.put("py.round", array[:, ::-1], step=3)
    assert ts.flush(10) and not ts.stats["last_error"]
    assert (ts.get("py.round") == array[:, ::-1]).all()
    assert [t for t in ts.tensors("py.round")][0]["step"] == 3


def test_put_returns_at_once_and_takes_the_value_of_the_call(ts):
    array = np.zeros((512, 512), "f4")
    start = time.perf_counter()
    ts.put("py.copy", array)
    assert time.perf_counter() - start < 0.05
    array[:] = 1
    assert ts.flush(10)
    assert ts.get("py.copy").max() == 0


def test_patch_updates_a_region(ts):
    ts.put("py.patch", np.zeros((4, 6), "i4"))
    ts.patch("py.patch", np.array([[1, 2], [3, 4]], "i4"), offset=(1, 2))
    assert ts.flush(10)
    want = np.zeros((4, 6), "i4")
    want[1:3, 2:4] = [[1, 2], [3, 4]]
    assert (ts.get("py.patch") == want).all()


def test_a_server_that_is_away_costs_nothing_and_is_found_again(start_server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = tensorscope.connect(f"http://127.0.0.1:{port}")
    slowest = 0.0
    for step in range(50):
        start = time.perf_counter()
        client.put("later", np.full((8, 8), step, "f4"), step=step)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 0.1 and not client.flush(0.3)
    server = start_server(listen=(f"127.0.0.1:{port}",))
    assert client.flush(20)
    assert server.get("/v1/tensors/later").json()["step"] == 49
    assert client.stats["failed"] >= 1 and client.stats["replaced"] >= 40
    client.close()


def test_frames_arrive_as_pictures(ts):
    pytest.importorskip("PIL")
    ts.put("py.live", np.linspace(0, 1, 64 * 64, dtype="f4").reshape(64, 64), step=7)
    assert ts.flush(10)
    stream = ts.stream("py.live", colormap="gray", lossless=True)
    seen = []
    with stream.frames(timeout=20) as frames:
        for frame in frames:
            seen.append(frame)
            if len(seen) == 3:
                break
            ts.put("py.live", np.full((64, 64), len(seen), "f4"), step=7 + len(seen))
    assert [f.step for f in seen] == [7, 8, 9] and seen[0].seq < seen[1].seq < seen[2].seq
    first = seen[0].image
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert first[0, 0, 0] == 0 and first[-1, -1, 0] == 255 and (np.diff(first[:, 0, 0].astype(int)) >= 0).all()
    assert seen[0].width == 64 and seen[0].header["type"] == "frame"


def test_push_probe_metrics_and_delete(ts):
    stream = ts.push_stream("py.push", normalize={"mode": "fixed", "lo": 0, "hi": 4})
    assert stream.push(np.array([[0, 1], [2, 3]], "f4"), step=5) == 5
    answer = stream.probe(1, 0)
    assert answer["value"] == 1 and answer["index"][-1] == 1
    assert stream.metrics()["frames_produced"] >= 1
    assert stream.still()[:4] == b"RIFF"
    stream.delete()
    with pytest.raises(tensorscope.ServerError) as error:
        ts.open("py.push")
    assert error.value.status == 404 and error.value.code == "not-found"


def test_errors_carry_the_servers_words(ts):
    with pytest.raises(tensorscope.ServerError) as error:
        ts.stream("py.bad", colormap="no-such-map")
    assert error.value.status == 400 and "no-such-map" in error.value.detail
    with pytest.raises(ValueError):
        wire.parse(b"\x10\0\0\0{}")
    with pytest.raises(TypeError):
        ts.put("py.text", np.array(["a"]))


def test_rendered_picture_of_a_view(ts):
    ts.put("py.view", np.array([[0, 1], [2, 3]], "f4"))
    ts.flush(10)
    assert ts.render({"tensor": "py.view", "colormap": "viridis"}).tolist() == [
        [[68, 1, 84], [49, 104, 142]], [[53, 183, 121], [253, 231, 37]]]


def test_nested_arrays_of_any_library(ts):
    tensorscope.watch_pytree(ts, {"w": {"dense": np.ones((2, 3)), "list": [np.zeros(4)]}}, step=2, prefix="tree.")
    assert ts.flush(10)
    assert {t["name"] for t in ts.tensors("tree.")} == {"tree.w.dense", "tree.w.list.0"}


def test_large_arrays_are_thinned_with_their_shape_kept():
    small, shape = tensorscope.watch.__globals__["thin"](np.zeros((1000, 1000)), 10000)
    assert small.size <= 10000 and shape == (1000, 1000)


def test_watch_a_pytorch_training(ts):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    with tensorscope.watch(model, client=ts, every=1, prefix="net.") as watcher:
        for _ in range(3):
            model(torch.randn(16, 4)).mean().backward()
        assert watcher.step == 3
    assert ts.flush(10)
    names = {t["name"] for t in ts.tensors("net.")}
    assert {"net.weights.0.weight", "net.grads.0.weight", "net.acts.0"} <= names


@pytest.mark.parametrize("example, args", [("waves.py", ["30"]), ("volume.py", []), ("compare.py", ["10"])])
def test_examples_run(server, example, args):
    done = subprocess.run([sys.executable, str(CLIENT / "examples" / example), server.url, *args], timeout=120,
                          capture_output=True, text=True, env={"PYTHONPATH": str(CLIENT), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert "/#/stream/" in done.stdout


def test_command_line(server, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12, dtype="f4").reshape(3, 4))

    def tscope(*args):
        return subprocess.run([sys.executable, "-m", "tensorscope", "--url", server.url, *args], capture_output=True,
                              text=True, timeout=60, env={"PYTHONPATH": str(CLIENT), "PATH": "/usr/bin:/bin"})

    assert tscope("put", "cli.x", str(tmp_path / "x.npy"), "--step", "4").returncode == 0
    assert "/#/stream/cli.x" in tscope("show", "cli.x", "--colormap", "hot").stdout
    listing = tscope("ls", "cli.").stdout
    assert "cli.x" in listing and "3x4" in listing and "step 4" in listing
    assert "cli.x" in tscope("top", "--once").stdout
    assert tscope("rm", "cli.x").returncode == 0
    gone = tscope("rm", "cli.x")
    assert gone.returncode == 1 and "not-found" in gone.stderr
