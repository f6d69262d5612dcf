"""Gaze as a stream: frames in over the WebSocket, accumulated output and numbers back."""
import asyncio
import hashlib
import io
import json
import pathlib
import struct
import time

import numpy as np
import pytest
import websockets
from PIL import Image

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
BIRDS = sorted((GOLDEN / "autogaze" / "frames").glob("birds384x216_*.png"))
RUNS = json.loads((GOLDEN / "autogaze" / "expected.json").read_text())["runs"]["patch_diff"]
RAW = {"Content-Type": "application/octet-stream"}


def frames():
    return [np.array(Image.open(p).convert("RGBA")) for p in BIRDS]


def message(array, step):
    head = json.dumps({"type": "frame", "dtype": "u8", "shape": list(array.shape), "step": step})
    return struct.pack("<I", len(head)) + head.encode() + array.tobytes()


def split(data):
    n = struct.unpack("<I", data[:4])[0]
    return json.loads(data[4:4 + n]), data[4 + n:]


class Client:
    def __init__(self, socket):
        self.socket = socket

    async def frame(self, step=None):
        """The next frame (of that step), acknowledged."""
        while True:
            data = await asyncio.wait_for(self.socket.recv(), 60)
            if isinstance(data, str):
                assert json.loads(data)["type"] != "error", data
                continue
            header, payload = split(data)
            await self.socket.send(json.dumps({"type": "ack", "seq": header["seq"]}))
            if step is None or header.get("step") == step:
                return header, payload

    async def command(self, **body):
        await self.socket.send(json.dumps({"id": "q", **body}))
        while True:
            data = await asyncio.wait_for(self.socket.recv(), 60)
            if isinstance(data, str):
                reply = json.loads(data)
                if reply.get("id") == "q":
                    return reply


def live(server, stream, work):
    async def run():
        url = f"{server.ws_url}/v1/streams/{stream}/ws"
        async with websockets.connect(url, max_size=None, subprotocols=["tensorscope.v1"]) as s:
            return await work(Client(s))

    return asyncio.run(run())


def put_stream(server, name, gaze, **more):
    body = {"source": {"gaze": gaze}, "output": {"lossless": True}, **more}
    answer = server.put(f"/v1/streams/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text


def test_pushed_frames_come_back_accumulated(server):
    put_stream(server, "g", {"mask_source": "patch-diff", "threshold": 0.15,
                             "input": {"push": True}})

    async def work(client):
        got = []
        for n, f in enumerate(frames()):
            await client.socket.send(message(f, n))
            got.append(await client.frame(step=n))
        return got

    run = RUNS["birds384x216.thr0.15"]["reconstruction"]
    for (header, payload), want in zip(live(server, "g", work), run):
        m = header["metrics"]
        assert m["gaze_ratio"] == pytest.approx(want["mask_ratio"], abs=1e-8)
        assert m["update_ratio"] == pytest.approx(want["update_ratio"], abs=1e-8)
        if want["psnr_infinite"]:
            assert m["psnr_db"] is None
        else:
            assert m["psnr_db"] == pytest.approx(want["psnr_db"], abs=1e-6)
        picture = np.array(Image.open(io.BytesIO(payload)).convert("RGBA"))
        assert hashlib.sha256(picture.tobytes()).hexdigest() == want["output_sha256"]


def test_options_change_without_losing_state(server):
    put_stream(server, "h", {"input": {"push": True}})

    async def work(client):
        f = frames()
        for n in range(2):
            await client.socket.send(message(f[n], n))
            await client.frame(step=n)
        reply = await client.command(type="gaze", threshold=0.45)
        assert reply["options"]["threshold"] == 0.45, reply
        assert not reply["type"] == "error"
        await client.socket.send(message(f[2], 2))
        header, _ = await client.frame(step=2)
        assert not header["metrics"]["keyframe"]  # the accumulated output lived on
        want = RUNS["birds384x216.thr0.45"]["reconstruction"][2]
        assert header["metrics"]["gaze_ratio"] == pytest.approx(want["mask_ratio"], abs=1e-8)
        bad = await client.command(type="gaze", geometry="x")
        assert bad["type"] == "error" and bad["code"] == "bad-option"
        unknown = await client.command(type="gaze", nonsense=1)
        assert unknown["type"] == "error"
        perf = await client.command(type="gaze_perf")
        assert perf["type"] == "gaze_perf" and perf["frames"] == 3 and perf["keyframes"] == 1
        assert perf["mask_source"] == "patch-diff" and perf["width"] == 384
        assert perf["paths"]["keyframe"] == 1 and sum(perf["paths"].values()) == 3
        assert perf["total_ms"]["p95"] >= perf["total_ms"]["p50"] > 0
        assert perf["device"]["name"] and perf["fps"]["avg"] > 0
        # Another picture of the same frame, without a new one being pushed.
        await client.command(type="gaze", visualization="side-by-side")
        while True:
            header, payload = await client.frame()
            if header["width"] == 3 * 384:
                break
        assert Image.open(io.BytesIO(payload)).size == (3 * 384, 216)
        return True

    assert live(server, "h", work)


def test_a_clip_is_played_by_the_clock(server):
    a = np.stack(frames())
    t, h, w, _ = a.shape
    clip = server.post(f"/v1/clips?width={w}&height={h}&frames={t}&fps=10", data=a.tobytes(),
                       headers=RAW).json()["id"]
    body = {"source": {"clip": clip, "loop": True, "fps": 12}, "output": {"lossless": True}}
    assert server.put("/v1/streams/c", json=body).status_code == 201

    async def work(client):
        seen, begin = {}, time.monotonic()
        while time.monotonic() - begin < 2:
            header, payload = await client.frame()
            seen[header["step"]] = payload
        return seen

    seen = live(server, "c", work)
    assert set(seen) == set(range(t))
    for n, payload in seen.items():
        assert (np.array(Image.open(io.BytesIO(payload)).convert("RGBA")) == a[n]).all()


def test_the_end_of_a_clip_is_told(server):
    clip = server.post("/v1/clips?test=pan&width=64&height=48&frames=4&fps=10").json()["id"]
    server.put("/v1/streams/e", json={"source": {"clip": clip}})

    async def work(client):
        steps = []
        while True:
            data = await asyncio.wait_for(client.socket.recv(), 20)
            if isinstance(data, str):
                message = json.loads(data)
                if message["type"] == "event" and message["event"] == "ended":
                    return steps
                continue
            header, _ = split(data)
            await client.socket.send(json.dumps({"type": "ack", "seq": header["seq"]}))
            steps.append(header["step"])

    steps = live(server, "e", work)
    assert steps[-1] == 3 and steps == sorted(steps)


def test_gaze_over_a_clip_and_a_stream(server):
    a = np.stack(frames())
    t, h, w, _ = a.shape
    clip = server.post(f"/v1/clips?width={w}&height={h}&frames={t}&fps=10", data=a.tobytes(),
                       headers=RAW).json()["id"]
    put_stream(server, "gc", {"input": {"clip": clip, "fps": 4}})

    async def work(client):
        while True:
            header, _ = await client.frame()
            if header["step"] == t - 1:
                return header

    assert live(server, "gc", work)["metrics"]["psnr_db"] > 25
    server.put("/v1/streams/in", json={"source": {"clip": clip, "loop": True}})
    put_stream(server, "gs", {"input": {"stream": "in"}})

    async def one(client):
        return await client.frame()

    assert "gaze_ratio" in live(server, "gs", one)[0]["metrics"]


@pytest.mark.parametrize("gaze", [
    {}, {"input": {"push": True}, "nonsense": 1}, {"input": {"push": True}, "geometry": "x"},
    {"input": {"nothing": 1}}, {"input": {"panels": [{"tensor": "w"}]}}, [],
    {"input": {"push": True}, "model_dir": "/etc"},
    {"input": {"clip": "c1", "fps": 0}}, {"input": {"clip": "../c"}},
])
def test_wrong_sources_are_refused(server, gaze):
    answer = server.put("/v1/streams/bad", json={"source": {"gaze": gaze}})
    assert answer.status_code == 400, answer.text
    assert server.get("/v1/streams/bad").status_code == 404


def test_a_clip_that_is_not_there_yet(server):
    assert server.put("/v1/streams/later", json={"source": {"clip": "c999"}}).status_code == 201
    assert server.get("/v1/streams/later/frame.webp").status_code == 200  # a grey card
