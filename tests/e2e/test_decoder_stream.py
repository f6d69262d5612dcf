"""A stream whose source is a decoder: latents in over the WebSocket, pictures out; newest wins."""
import asyncio
import io
import json
import struct
import time

import numpy as np
import pytest
import websockets
from PIL import Image


class connect:
    """A blocking client over the asyncio one."""

    def __init__(self, url):
        self.loop = asyncio.new_event_loop()
        self.ws = self.loop.run_until_complete(self.open(url))

    async def open(self, url):
        return await websockets.connect(url, max_size=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.run_until_complete(self.ws.close())
        self.loop.close()

    def send(self, message):
        self.loop.run_until_complete(self.ws.send(message))

    def recv(self, timeout):
        return self.loop.run_until_complete(asyncio.wait_for(self.ws.recv(), timeout))


@pytest.fixture(scope="module")
def ready(server):
    for _ in range(600):
        if server.get("/readyz").status_code == 200:
            return server
        time.sleep(0.1)
    raise AssertionError("models do not get ready")


def reference(server, z):
    r = server.post("/v1/models/mnist/decode", json={"z": z}, headers={"Accept": "image/png"})
    return np.array(Image.open(io.BytesIO(r.content)).convert("L")).astype(int)


def split(message):
    n = struct.unpack("<I", message[:4])[0]
    return json.loads(message[4:4 + n]), message[4 + n:]


def next_frame(ws, until=60, want_id=None):
    end = time.monotonic() + until
    while True:
        message = ws.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, bytes):
            header, payload = split(message)
            if want_id is None or header["metrics"].get("id") == want_id:
                return header, payload
        else:
            text = json.loads(message)
            assert text["type"] != "error", text


def make(server, name, **decoder):
    body = {"source": {"decoder": {"model": "mnist", **decoder}}, "output": {"lossless": True}}
    r = server.put(f"/v1/streams/{name}", json=body)
    assert r.status_code in (200, 201), r.text
    return connect(f"{server.ws_url}/v1/streams/{name}/ws")


def picture(payload):
    return np.array(Image.open(io.BytesIO(payload)).convert("L")).astype(int)


def test_latents_are_answered_with_their_picture(ready):
    with make(ready, "dec") as ws:
        for i, z in enumerate(([0.5, -1.0], [2.0, 0.25], [-1.5, 1.5])):
            ws.send(json.dumps({"type": "latent", "z": z, "id": i}))
            header, payload = next_frame(ws, want_id=i)
            assert header["width"] == 28 and header["height"] == 28
            assert np.abs(picture(payload) - reference(ready, z)).max() <= 1
        head = json.dumps({"type": "latent", "dtype": "f32", "shape": [1, 2], "id": 99}).encode()
        ws.send(struct.pack("<I", len(head)) + head + np.array([1, 1], "<f4").tobytes())
        assert np.abs(picture(next_frame(ws, want_id=99)[1]) - reference(ready, [1, 1])).max() <= 1


def test_a_burst_gives_few_frames_and_the_last_is_answered(ready):
    with make(ready, "burst") as ws:
        next_frame(ws)
        for i in range(1000):
            ws.send(json.dumps({"type": "latent", "z": [i / 500 - 1, 0], "id": i}))
        frames, end = 0, time.monotonic() + 20
        while True:
            header, payload = next_frame(ws, until=max(0.1, end - time.monotonic()))
            frames += 1
            if header["metrics"].get("id") == 999:
                break
        assert frames < 400
        assert np.abs(picture(payload) - reference(ready, [999 / 500 - 1, 0])).max() <= 1


def test_bad_latents_are_errors_and_change_nothing(ready):
    with make(ready, "bad") as ws:
        next_frame(ws)
        for z in ([1], [1, 2, 3], ["a", 1], [1e999, 0]):
            ws.send(json.dumps({"type": "latent", "z": z}).replace("Infinity", "1e999"))
            end = time.monotonic() + 10
            while True:
                message = ws.recv(timeout=max(0.01, end - time.monotonic()))
                if isinstance(message, str) and json.loads(message)["type"] == "error":
                    break
        ws.send(json.dumps({"type": "latent", "z": [0.1, 0.2], "id": 5}))
        assert np.abs(picture(next_frame(ws, want_id=5)[1]) - reference(ready, [0.1, 0.2])).max() <= 1


def test_grid_random_base_and_path(ready):
    with make(ready, "more") as ws:
        next_frame(ws)
        ws.send(json.dumps({"type": "grid", "steps": 5, "range": 2, "id": 1}))
        header, payload = next_frame(ws, want_id=1)
        assert (header["width"], header["height"]) == (140, 140)
        r = ready.get("/v1/models/mnist/grid?steps=5&range=2", headers={"Accept": "image/png"})
        assert np.abs(picture(payload) - np.array(Image.open(io.BytesIO(r.content)).convert("L")).astype(int)).max() <= 1
        ws.send(json.dumps({"type": "set_base", "z": [0.5, 0.5]}))
        head = json.dumps({"type": "latent", "kind": "xy", "dtype": "f32", "shape": [2], "id": 2}).encode()
        ws.send(struct.pack("<I", len(head)) + head + np.array([1, -1], "<f4").tobytes())
        assert np.abs(picture(next_frame(ws, want_id=2)[1]) - reference(ready, [1.5, -0.5])).max() <= 1
        ws.send(json.dumps({"type": "path", "points": [[-1, 0], [1, 1]], "seconds": 0.5}))
        ws.send(json.dumps({"type": "path_play"}))
        frames = [next_frame(ws) for _ in range(10)]
        assert len({f[0]["seq"] for f in frames}) == 10
        time.sleep(0.7)
        ws.send(json.dumps({"type": "latent", "z": [0, 0], "id": 3}))
        assert np.abs(picture(next_frame(ws, want_id=3)[1]) - reference(ready, [0, 0])).max() <= 1


def test_latency_of_a_slider(ready):
    with make(ready, "slider") as ws:
        next_frame(ws)
        times = []
        for i in range(150):
            start = time.monotonic()
            ws.send(json.dumps({"type": "latent", "z": [np.sin(i / 20), np.cos(i / 13)], "id": i}))
            next_frame(ws, want_id=i)
            times.append(time.monotonic() - start)
            time.sleep(max(0, 1 / 60 - times[-1]))
        times.sort()
        print(f"slider to picture: p50 {times[75] * 1e3:.1f} ms, p99 {times[148] * 1e3:.1f} ms")
        assert times[75] < 0.1  # the target of 16 ms for p99 is a benchmark's, on an idle machine


def test_an_unknown_model_shows_a_card_until_it_is_there(ready):
    r = ready.put("/v1/streams/later", json={"source": {"decoder": {"model": "later"}}})
    assert r.status_code == 201
    assert ready.get("/v1/streams/later/frame.webp").status_code == 200
    assert ready.put("/v1/streams/x", json={"source": {"decoder": {}}}).status_code == 400
    assert ready.put("/v1/streams/x", json={"source": {"decoder": {"model": "mnist", "speed": 1}}}).status_code == 400


def test_a_tap_shows_an_intermediate_of_every_run(ready):
    assert ready.put("/v1/streams/tap", json={"source": {"tap": "layers.1", "model": "mnist"}}).status_code == 201
    with connect(f"{ready.ws_url}/v1/streams/tap/ws") as ws:
        ready.post("/v1/models/mnist/decode", json={"z": [[0.5, 0.5], [1, 1], [2, 0]]}, headers={"Accept": "application/x-npy"})
        end = time.monotonic() + 60
        while True:  # ReLU of the first layer, [3,128], as a heat map
            header, payload = next_frame(ws, until=end - time.monotonic())
            if (header["width"], header["height"]) == (128, 3):
                break
        r = ready.post("/v2/models/mnist/infer", json={
            "inputs": [{"name": "z", "datatype": "FP32", "shape": [3, 2], "data": [0.5, 0.5, 1, 1, 2, 0]}],
            "outputs": [{"name": "layers.1"}]})
        values = np.array(r.json()["outputs"][0]["data"]).reshape(3, 128)
        lo, hi = header["range"]
        assert abs(lo - values.min()) < 1e-4 and abs(hi - values.max()) < 1e-4 * max(1, values.max())
    assert ready.put("/v1/streams/tap2", json={"source": {"tap": "x"}}).status_code == 400
