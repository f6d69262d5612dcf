"""Live pictures over WebSocket: the protocol tensorscope.v1."""
import io
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from wsclient import Client, Closed, Frame, Refused

CASES = pathlib.Path(__file__).with_name("cases")
BYTES = {"normalize": {"mode": "fixed", "lo": 0, "hi": 255}}  # u8 pictures as they are


def npy(array):
    b = io.BytesIO()
    np.save(b, array)
    return b.getvalue()


def put(server, name, array, **query):
    r = server.put(f"/v1/tensors/{name}", params=query, data=npy(array),
                   headers={"Content-Type": "application/x-npy"})
    assert r.status_code in (200, 201), r.text
    return r.json()


def make_stream(server, name, source, view=None, output=None):
    r = server.put(f"/v1/streams/{name}", json={"source": source, "view": view or {}, "output": output or {}})
    assert r.status_code in (200, 201), r.text
    return r.json()


def ws(server, stream, query="", **kw):
    return Client(f"{server.ws_url}/v1/streams/{stream}/ws{query}", **kw)


def test_hello_frame_update_frame(server):
    a = np.linspace(0, 1, 64 * 96, dtype="f4").reshape(64, 96)
    put(server, "h1", a, step=7)
    shown = make_stream(server, "h1", {"tensor": "h1"}, {"colormap": "gray"})
    with ws(server, "h1") as c:
        assert "Sec-WebSocket-Protocol: tensorscope.v1" in c.head
        hello = c.expect("hello")
        assert hello["protocol"] == "tensorscope.v1" and hello["stream"] == "h1"
        assert hello["config"]["source"] == shown["source"]
        first = c.frame(timeout=60)
        h = first.header
        assert (h["stream"], h["step"], h["width"], h["height"], h["codec"], h["key"]) == \
            ("h1", 7, 96, 64, "webp", True)
        assert h["range"] == pytest.approx([0, 1])
        image = first.image().astype(int)
        assert image.shape == (64, 96, 3)
        assert abs(image[:, :, 0] - (a * 255)).max() < 16
        put(server, "h1", a * 2 + 1)
        second = c.frame()
        assert second.header["seq"] > h["seq"] and second.header["step"] == 8
        assert second.header["range"] == pytest.approx([1, 3])
        c.no_frame(0.6)  # a source that does not change makes no frames


def test_lossless_frame_is_exact_and_bare_is_one_webp(server):
    a = np.arange(40 * 50, dtype="f4").reshape(40, 50)
    put(server, "l1", a)
    make_stream(server, "l1", {"tensor": "l1"}, output={"lossless": True})
    want = np.load(io.BytesIO(server.get("/v1/streams/l1/frame.npy").content))
    assert want.shape == (40, 50, 3) and want.dtype == np.uint8
    with ws(server, "l1") as c:
        f = c.frame(timeout=60)
        assert f.header["codec"] == "webp-lossless"
        assert np.array_equal(f.image(), want)
    with ws(server, "l1", "?format=bare") as c:
        f = c.frame()
        assert f.payload[:4] == b"RIFF" and f.payload[8:12] == b"WEBP"
        assert np.array_equal(f.image(), want)


def test_own_view_and_view_for_all(server):
    put(server, "v1", np.random.default_rng(1).random((32, 32), dtype="f4"))
    make_stream(server, "v1", {"tensor": "v1"}, {"colormap": "gray"}, {"lossless": True})
    with ws(server, "v1") as one, ws(server, "v1") as two:
        gray = one.frame(timeout=60).image()
        assert np.array_equal(gray[..., 0], gray[..., 1])
        two.frame()
        one.send(type="view", view={"colormap": "hot"}, id=5)
        hot, answered = None, False
        while hot is None or not answered:
            m = one.message()
            if isinstance(m, Frame):
                hot = m.image()
            elif m["type"] == "ok":
                answered = m["id"] == 5
        assert not np.array_equal(hot[..., 0], hot[..., 2])
        two.no_frame(0.4)
        two.send(type="view", view={"normalize": {"mode": "fixed", "lo": 0, "hi": 4}}, scope="all")
        dimmed = changed = None
        while dimmed is None or changed is None:
            m = two.message()
            if isinstance(m, Frame):
                dimmed = m.image()
            elif m["type"] == "event":
                changed = m
        assert changed["event"] == "changed" and changed["config"]["view"]["normalize"]["hi"] == 4
        assert dimmed.max() < 70
        dim = one.frame().image()  # its own colormap over the new range
        assert dim.max() < hot.max() and not np.array_equal(dim[..., 0], dim[..., 2])
        one.send(type="view", view={"colormap": "gray"})
        again = one.frame().image()
        assert np.array_equal(again[..., 0], again[..., 1])
    assert server.get("/v1/streams/v1").json()["view"]["normalize"]["hi"] == 4


def test_bad_messages_get_errors_and_the_connection_lives(server):
    put(server, "e1", np.zeros((8, 8), "f4"))
    make_stream(server, "e1", {"tensor": "e1"})
    with ws(server, "e1") as c:
        c.frame(timeout=60)
        c.send(type="view", view={"colourmap": "hot"}, id="a")
        e = c.expect("error")
        assert e["id"] == "a" and e["code"] == "bad-option" and "colourmap" in e["detail"]
        c.send(type="nonsense", id=2)
        assert c.expect("error")["id"] == 2
        c.send(type="seek", seq=99999999)
        c.send(type="seek", id=3)
        assert c.expect("error", id=3)["code"] == "bad-option"
        c.send(type="ping", id=9)
        assert c.expect("pong")["id"] == 9
        c.send_raw(1, b"[1,2")
        assert c.expect("error")["code"] == "bad-json"
        c.send(type="ping", id=10)
        assert c.expect("pong")["id"] == 10
        with pytest.raises(Closed) as closed:
            for _ in range(3):
                c.send_raw(1, b"{not json")
            for _ in range(10):
                c.message()
        assert closed.value.code == 1008


def test_refusals_before_the_upgrade(server):
    with pytest.raises(Refused) as r:
        ws(server, "no-such-stream")
    assert r.value.status == 404 and "not-found" in r.value.body
    make_stream(server, "q1", {"push": True})
    for query in ("?quality=0", "?quality=abc", "?tier=best", "?format=raw", "?max_fps=-1", "?zoom=2"):
        with pytest.raises(Refused) as r:
            ws(server, "q1", query)
        assert r.value.status == 400, query
        assert query[1:].split("=")[0] in r.value.body


def push_bytes(server, stream, step, shape=(16, 16), value=None):
    n = int(np.prod(shape))
    r = server.post(f"/v1/streams/{stream}/frames",
                    params={"step": step, "dtype": "u8", "shape": ",".join(map(str, shape))},
                    data=bytes([step if value is None else value]) * n,
                    headers={"Content-Type": "application/octet-stream"})
    assert r.status_code == 202 and r.json() == {"step": step}, r.text


def test_credit_holds_two_frames_and_the_newest_follows(server):
    make_stream(server, "c1", {"push": True}, BYTES, {"max_fps": 240})
    with ws(server, "c1", auto_pong=False) as c:
        c.expect("hello")
        card = c.frame(timeout=60)  # names the stream, which has no frame yet
        c.send(type="ack", seq=card.header["seq"])  # from now on its own acknowledgements count
        seqs = []
        for step in (0, 1):
            push_bytes(server, "c1", step)
            f = c.frame()
            assert f.header["step"] == step
            seqs.append(f.header["seq"])
        for step in range(2, 40):
            push_bytes(server, "c1", step)
            time.sleep(0.005)
        c.no_frame(0.5)  # two are unacknowledged
        c.send(type="ack", seq=seqs[0])
        newest = c.frame()
        assert newest.header["step"] == 39, "after the acknowledgement comes the newest"
        assert newest.header["dropped"] > 0
        push_bytes(server, "c1", 40)
        c.no_frame(0.3)
        c.send(type="ack", seq=newest.header["seq"])
        assert c.frame().header["step"] == 40


def test_pongs_count_until_a_client_acknowledges(server):
    make_stream(server, "c2", {"push": True}, BYTES, {"max_fps": 240})
    with ws(server, "c2") as c:
        c.frame(timeout=60)
        for step in range(6):  # far more than two, each let through by the pong before
            push_bytes(server, "c2", step)
            assert c.frame().header["step"] == step


def test_slow_reader_sees_nothing_old(server):
    """A client that takes a frame per 100 ms while the tensor changes 200 times a second."""
    import threading
    put(server, "s1", np.zeros((64, 64), "f4"))
    make_stream(server, "s1", {"tensor": "s1"}, output={"max_fps": 120})
    stop = threading.Event()
    puts = []

    def producer():
        n = 0
        while not stop.is_set():
            put(server, "s1", np.full((64, 64), n, "f4"), step=n, t=time.time())
            puts.append(time.time())
            n += 1
            time.sleep(0.004)

    with ws(server, "s1", ack=True) as c:
        c.frame(timeout=60)
        thread = threading.Thread(target=producer)
        thread.start()
        try:
            seen = []  # (when, age)
            for _ in range(40):
                time.sleep(0.1)
                f = c.frame()
                seen.append((time.time(), time.time() - f.header["t"]))
        finally:
            stop.set()
            thread.join()
    assert len(puts) > 200
    for i in range(6, len(seen)):
        period = max(seen[k][0] - seen[k - 1][0] for k in range(i - 3, i + 1))
        assert seen[i][1] < 3 * period, f"frame {i} is {seen[i][1]:.3f} s old, its period {period:.3f} s"


def test_pause_resume_seek_live_and_history(server):
    make_stream(server, "p1", {"push": True}, BYTES, {"history": 50, "max_fps": 240, "lossless": True})

    def push(step):
        r = server.post("/v1/streams/p1/frames", params={"step": step, "dtype": "u8", "shape": "8,8,3"},
                        data=bytes([step]) * 192, headers={"Content-Type": "application/octet-stream"})
        assert r.status_code == 202

    with ws(server, "p1") as c:
        c.frame(timeout=60)
        for step in range(10, 20):
            push(step)
            assert c.frame().header["step"] == step
        kept = server.get("/v1/streams/p1/history").json()
        assert [i["step"] for i in kept["items"]][-10:] == list(range(10, 20))
        c.send(type="pause", id=1)
        c.expect("ok", id=1)
        push(20)
        c.no_frame(0.4)
        c.send(type="seek", step=12)
        f = c.frame()
        assert f.header["step"] == 12 and f.header["replay"] is True
        assert (f.image() == 12).all()
        c.send(type="step", step=1)
        assert c.frame().header["step"] == 13
        c.send(type="step", step=-1)
        assert c.frame().header["step"] == 12
        c.send(type="resume")  # after a seek: on from there
        assert [c.frame().header["step"] for _ in range(8)] == list(range(13, 21))
        c.send(type="live")
        push(21)
        while True:
            f = c.frame()
            if f.header["step"] == 21:
                break
        assert "replay" not in f.header
        seq = f.header["seq"]
        c.send(type="pin", seq=seq, label="best", id=2)
        c.expect("ok", id=2)
    items = server.get("/v1/streams/p1/history").json()["items"]
    assert any(i["pinned"] and i.get("label") == "best" and i["seq"] == seq for i in items)
    r = server.get(f"/v1/streams/p1/frames/seq/{seq}.png")
    assert r.status_code == 200 and r.headers["Content-Type"] == "image/png"
    assert server.get("/v1/streams/p1/frames/seq/99999.webp").status_code == 404


def test_multi_stream_socket(server):
    put(server, "m1", np.zeros((8, 8), "f4"))
    put(server, "m2", np.ones((8, 16), "f4"))
    make_stream(server, "m1", {"tensor": "m1"})
    make_stream(server, "m2", {"tensor": "m2"})
    with Client(server.ws_url + "/v1/ws") as c:
        assert c.expect("hello")["stream"] is None
        c.send(type="subscribe", stream="m1", id=1)
        c.send(type="subscribe", stream="m2", quality=50, id=2)
        sizes, hellos = {}, []
        while len(sizes) < 2:
            m = c.message(60)
            if isinstance(m, Frame):
                assert m.header["stream"] in hellos, "a hello comes before the frames"
                sizes[m.header["stream"]] = (m.header["width"], m.header["quality"])
            elif m["type"] == "hello":
                hellos.append(m["stream"])
        assert sizes == {"m1": (8, 80), "m2": (16, 50)}
        c.send(type="subscribe", stream="m1")
        assert c.expect("error")["code"] == "exists"
        c.send(type="subscribe", stream="nope")
        assert c.expect("error")["code"] == "not-found"
        c.send(type="pause")
        assert "stream" in c.expect("error")["detail"]
        c.send(type="unsubscribe", stream="m1", id=3)
        c.expect("ok", id=3)
        put(server, "m1", np.ones((8, 8), "f4"))
        put(server, "m2", np.zeros((8, 16), "f4"))
        assert c.frame().header["stream"] == "m2"
        server.delete("/v1/streams/m2")
        assert c.expect("event")["event"] == "deleted"


def test_pushed_tensors_and_frames(server):
    make_stream(server, "b1", {"push": True}, BYTES, {"lossless": True})
    with ws(server, "b1") as c:
        c.frame(timeout=60)
        a = np.random.default_rng(2).integers(0, 255, (12, 10, 3), dtype="u1")
        c.send_binary({"type": "frame", "dtype": "u8", "shape": [12, 10, 3], "step": 3, "t": 12.5}, a.tobytes())
        got = {}
        while len(got) < 2:
            m = c.message()
            if isinstance(m, Frame) or m["type"] == "credit":
                got["frame" if isinstance(m, Frame) else "credit"] = m
        assert got["credit"]["n"] == 1
        assert got["frame"].header["step"] == 3 and got["frame"].header["t"] == 12.5
        assert np.array_equal(got["frame"].image(), a)
        from PIL import Image
        b = io.BytesIO()
        Image.fromarray(a[::-1].copy()).save(b, "PNG")
        c.send_binary({"type": "frame", "encoding": "image/png", "step": 4}, b.getvalue())
        assert np.array_equal(c.frame(step=4).image(), a[::-1])
        t = np.arange(6, dtype="f4")
        c.send_binary({"type": "tensor", "name": "b1.t", "dtype": "f32", "shape": [2, 3], "step": 9,
                       "ack": True}, t.tobytes())
        ack = c.expect("ack")
        assert ack["name"] == "b1.t" and ack["version"] == 1
        got = server.get("/v1/tensors/b1.t/data")
        assert np.array_equal(np.load(io.BytesIO(got.content)), t.reshape(2, 3))
        c.send_binary({"type": "tensor", "name": "b1.t", "dtype": "f32", "shape": [3, 3]}, t.tobytes())
        assert c.expect("error")["code"] == "size-mismatch"
        c.send_binary({"type": "tensor", "name": "../x", "dtype": "f32", "shape": [6]}, t.tobytes())
        assert c.expect("error")["code"] == "bad-name"
        c.send_raw(2, b"\xff\xff\xff\x7f{}")
        assert c.expect("error")["code"] == "size-mismatch"


def test_delta_frames_reassemble_to_the_exact_picture(server):
    rng = np.random.default_rng(3)
    a = rng.integers(0, 256, (150, 200), dtype="u1")
    put(server, "d1", a)
    make_stream(server, "d1", {"tensor": "d1"}, {"colormap": "gray", **BYTES},
                {"lossless": True, "max_fps": 240})
    with ws(server, "d1", "?delta=1") as c:
        picture, deltas, keys = None, 0, 0
        f = c.frame(timeout=60)
        for i in range(40):
            h = f.header
            if h["key"]:
                keys += 1
                assert "rects" not in h
                picture = f.image().copy()
            else:
                deltas += 1
                assert h["base"] == last
                for x, y, w, hh, at, n in h["rects"]:
                    picture[y:y + hh, x:x + w] = f.image(f.payload[at:at + n])
            last = h["seq"]
            assert np.array_equal(picture[..., 0], a), i
            y, x = rng.integers(0, 140), rng.integers(0, 190)
            a[y:y + 6, x:x + 9] = rng.integers(0, 256)
            put(server, "d1", a)
            f = c.frame()
        assert keys >= 1 and deltas > 30


def test_equal_subscribers_share_one_encoding(server):
    put(server, "n1", np.zeros((32, 32), "f4"))
    make_stream(server, "n1", {"tensor": "n1"})
    clients = [ws(server, "n1") for _ in range(20)]
    try:
        for c in clients:
            c.frame(timeout=60)
        time.sleep(1.5)  # what was sent is counted once a second
        before = server.get("/v1/streams/n1/metrics").json()
        for i in range(5):
            put(server, "n1", np.full((32, 32), i + 1, "f4"))
            for c in clients:
                c.frame()
        time.sleep(1.5)
        after = server.get("/v1/streams/n1/metrics").json()
        assert after["frames_encoded"] - before["frames_encoded"] == 5
        assert after["frames_sent"] - before["frames_sent"] == 100
        assert after["subscribers"] == 20
    finally:
        for c in clients:
            c.close()


def test_more_variants_than_allowed_share_the_nearest(start_server):
    server = start_server("--max-variants", "2")
    put(server, "x", np.zeros((16, 16), "f4"))
    make_stream(server, "x", {"tensor": "x"})
    clients = []
    try:
        for quality in (90, 20, 30, 85):
            clients.append(ws(server, "x", f"?quality={quality}"))
            clients[-1].expect("hello")
        assert [c.frame(timeout=60).header["quality"] for c in clients] == [90, 20, 20, 90]
    finally:
        for c in clients:
            c.close()


def test_stopping_server_says_goodbye(start_server):
    server = start_server()
    make_stream(server, "x", {"push": True})
    with ws(server, "x") as c:
        c.expect("hello")
        server.process.terminate()
        with pytest.raises(Closed) as closed:
            for _ in range(100):
                c.message(10)
        assert closed.value.code == 1001
    assert server.process.wait(15) == 0


def test_rfc6455_cases(start_server):
    server = start_server("--enable-echo")
    script = [sys.executable, str(CASES / "rfc6455_cases.py"), server.ws_url + "/ws/echo", "--strict",
              "--bad-origin", "http://evil.example"]
    p = subprocess.run(script, capture_output=True, text=True, timeout=240, check=False)
    assert " 0 failed" in p.stdout, "\n".join(
        line for line in p.stdout.splitlines() if not line.startswith("skip"))


def test_echo_is_off_by_default(server):
    with pytest.raises(Refused) as r:
        Client(server.ws_url + "/ws/echo")
    assert r.value.status == 404


def test_probe_names_the_sample_under_a_pixel(server):
    put(server, "pr", np.arange(12, dtype="f4").reshape(3, 4))
    make_stream(server, "pr", {"tensor": "pr"}, {"resize": {"width": 40, "height": 30}})
    with ws(server, "pr") as c:
        c.frame(timeout=60)
        c.send(type="probe", x=25, y=15, id=4)
        p = c.expect("probe", id=4)
        assert p["index"] == [1, 2] and p["value"] == 6
        c.send(type="probe", x=400, y=15, id="out")
        p = c.expect("probe", id="out")
        assert p["index"] is None and p["value"] is None
        c.send(type="probe", x="left", id=6)
        assert c.expect("error", id=6)["code"] == "bad-option"
        c.send(type="probe", x=1, y=1, id=7)
    server.delete("/v1/streams/pr")  # gone while the answer is on its way
    assert server.get("/livez").status_code == 200


def test_tensor_messages_update_regions_and_other_orders(server):
    a = np.arange(12, dtype="f4").reshape(3, 4)
    put(server, "rg", a)
    make_stream(server, "rg", {"tensor": "rg"})
    with ws(server, "rg") as c:
        c.frame(timeout=60)
        c.send_binary({"type": "tensor", "name": "rg", "dtype": "f32", "shape": [1, 2], "offset": [1, 1],
                       "step": 5, "ack": True}, np.array([50, 60], "f4").tobytes())
        got = {}
        while len(got) < 2:
            m = c.message()
            if isinstance(m, Frame):
                got["frame"] = m.header
            elif m["type"] == "ack":
                got["ack"] = m
        assert got["frame"]["range"] == [0, 60] and got["frame"]["step"] == 5
        assert got["ack"]["version"] == 2
        a[1, 1:3] = 50, 60
        assert np.array_equal(np.load(io.BytesIO(server.get("/v1/tensors/rg/data").content)), a)
        c.send_binary({"type": "tensor", "name": "rg", "dtype": "f32", "shape": [1, 2], "offset": [1, 3]},
                      np.array([1, 2], "f4").tobytes())
        assert c.expect("error")["code"] == "out-of-range"
        c.send_binary({"type": "tensor", "name": "rf", "dtype": "f32", "shape": [2, 3], "order": "F", "ack": True},
                      np.arange(6, dtype="f4").tobytes())
        c.expect("ack")
        got = np.load(io.BytesIO(server.get("/v1/tensors/rf/data").content))
        assert np.array_equal(got, np.arange(6, dtype="f4").reshape((2, 3), order="F"))


def test_metrics_of_streams_are_exported(server):
    put(server, "mx", np.zeros((4, 4), "f4"))
    make_stream(server, "mx", {"tensor": "mx"})
    with ws(server, "mx") as c:
        c.frame(timeout=60)
        text = server.get("/metrics").text
        assert 'tensorscope_frames_encoded_total{stream="mx"} 1' in text
        assert 'tensorscope_stream_subscribers{stream="mx"} 1' in text
    server.delete("/v1/streams/mx")
    assert 'stream="mx"' not in server.get("/metrics").text


def test_camera_turns_the_volume(server):
    put(server, "vol", np.random.default_rng(3).random((8, 8, 8), dtype="f4"))
    make_stream(server, "vol", {"tensor": "vol"}, {"kind": "volume"})
    with ws(server, "vol") as c:
        before = c.frame(timeout=60).image()
        c.send(type="camera", azimuth=70, elevation=-20, id=1, scope="all")
        assert c.expect("ok", id=1)
        for _ in range(20):
            after = c.frame(timeout=20).image()
            if (before != after).any():
                break
        assert (before != after).any()
        c.send(type="camera", wobble=1, id=2)
        assert c.expect("error", id=2)["code"] == "bad-option"
    view = server.get("/v1/streams/vol").json()["view"]
    assert view["camera"]["azimuth"] == 70 and view["camera"]["elevation"] == -20
