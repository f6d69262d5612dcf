"""Streams over HTTP: the table, patches, pictures, pushed frames, metrics, restart."""
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from test_websocket import BYTES, make_stream, npy, push_bytes, put, ws


def problem(r, status, code=None, word=""):
    assert r.status_code == status, r.text
    body = r.json()
    assert r.headers["Content-Type"] == "application/problem+json"
    assert code is None or body["code"] == code, body
    assert word in body["detail"], body


def test_put_get_list_patch_delete(server):
    r = server.put("/v1/streams/t1", json={"source": {"tensor": "w"}, "view": {"kind": "slice", "axis": 0}})
    assert r.status_code == 201
    doc = r.json()
    assert doc["name"] == "t1" and doc["view"] == {"kind": "slice", "axis": 0} and doc["ws"] == "/v1/streams/t1/ws"
    etag = r.headers["ETag"]
    r = server.put("/v1/streams/t1", json={"source": {"tensor": "w"}, "view": {"view": {"kind": "heatmap"}}})
    assert r.status_code == 200 and r.json()["view"] == {"kind": "heatmap"}  # folded
    assert r.json()["config_rev"] > doc["config_rev"]
    problem(server.patch("/v1/streams/t1", json={"view": {}}, headers={"If-Match": etag}), 412)
    r = server.patch("/v1/streams/t1", json={"view": {"colormap": {"stops": [[0, [0, 0, 0]], [1, [1, 1, 1]]]}},
                                             "output": {"quality": 60}})
    assert r.status_code == 200
    r = server.patch("/v1/streams/t1", data=json.dumps({"view": {"colormap": {"min_color": [0, 0, 0],
                                                                             "max_color": [1, 0, 0]}}}),
                     headers={"Content-Type": "application/merge-patch+json"})
    assert r.status_code == 200
    assert r.json()["view"] == {"kind": "heatmap", "colormap": {"min_color": [0, 0, 0], "max_color": [1, 0, 0]}}
    assert r.json()["output"] == {"quality": 60}
    server.put("/v1/streams/t2", json={"source": {"push": True}})
    names = [s["name"] for s in server.get("/v1/streams", params={"prefix": "t"}).json()["streams"]]
    assert names == ["t1", "t2"]
    assert server.get("/v1/streams/t1").json()["source"] == {"tensor": "w"}
    assert server.delete("/v1/streams/t1").status_code == 204
    problem(server.get("/v1/streams/t1"), 404, "not-found")
    problem(server.delete("/v1/streams/t1"), 404, "not-found")


@pytest.mark.parametrize("document, word", [
    ({}, "source"),
    ([], ""),
    ({"source": {}}, "source"),
    ({"source": {"tensor": 5}}, "tensor"),
    ({"source": {"tensor": "a", "panels": []}}, ""),
    ({"source": {"tensor": "w", "speed": 3}}, "speed"),
    ({"source": {"tensor": "w"}, "vew": {}}, "vew"),
    ({"source": {"tensor": "w"}, "view": {"colourmap": "hot"}}, "colourmap"),
    ({"source": {"tensor": "w"}, "view": {"colormap": "nope"}}, "nope"),
    ({"source": {"tensor": "w"}, "view": {"kind": "slice", "view": {"kind": "grid"}}}, "kind"),
    ({"source": {"tensor": "w"}, "output": {"quality": 0}}, "quality"),
    ({"source": {"tensor": "w"}, "output": {"quality": "best"}}, "quality"),
    ({"source": {"tensor": "w"}, "output": {"max_fps": 241}}, "max_fps"),
    ({"source": {"tensor": "w"}, "output": {"preset": "fast"}}, "preset"),
    ({"source": {"tensor": "w"}, "output": {"fps": 5}}, "fps"),
    ({"source": {"panels": []}}, "panels"),
    ({"source": {"panels": [{"title": "x"}]}}, "panels[0]"),
    ({"source": {"stream": "bad1"}}, "itself"),
])
def test_bad_documents_change_nothing(server, document, word):
    server.put("/v1/streams/bad1", json={"source": {"push": True}})
    before = server.get("/v1/streams/bad1").json()
    r = server.put("/v1/streams/bad1", json=document)
    problem(r, 400, None, word)
    assert server.get("/v1/streams/bad1").json() == before
    if word != "itself":
        problem(server.put("/v1/streams/bad2", json=document), 400)
        assert server.get("/v1/streams/bad2").status_code == 404


def test_bad_names_and_queries(server):
    for name in ("%2e%2e", ".x", "a%2fb", "x" * 129, "a b"):
        assert server.put(f"/v1/streams/{name}", json={"source": {"push": True}}).status_code in (400, 404), name
    problem(server.get("/v1/streams?color=1"), 400, "bad-option", "color")
    server.put("/v1/streams/n1", json={"source": {"push": True}})
    problem(server.get("/v1/streams/n1/frame.webp?quality=101"), 400, "bad-option", "quality")
    problem(server.get("/v1/streams/n1/frame.webp?nosuch=1"), 400, "bad-option", "nosuch")
    assert server.get("/v1/streams/n1/frame.gif").status_code == 404
    r = server.put("/v1/streams/n1", data=b"{bad", headers={"Content-Type": "application/json"})
    problem(r, 400, "bad-json")


def test_pictures_without_watchers(server):
    a = np.arange(48, dtype="u1").reshape(6, 8) * 5
    put(server, "f1", a)
    make_stream(server, "f1", {"tensor": "f1"}, {"colormap": "gray", **BYTES})
    rgb = np.load(io.BytesIO(server.get("/v1/streams/f1/frame.npy").content))
    assert np.array_equal(rgb, np.repeat(a[..., None], 3, 2))
    r = server.get("/v1/streams/f1/frame.png")
    assert r.headers["Content-Type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(r.content)).convert("RGB")), rgb)
    r = server.get("/v1/streams/f1/frame.webp?lossless=1")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(r.content)).convert("RGB")), rgb)
    r = server.get("/v1/streams/f1/frame.webp?quality=10&colormap=hot&resize.width=64&resize.height=48")
    assert Image.open(io.BytesIO(r.content)).size == (64, 48)
    put(server, "f1", a // 2)
    rgb = np.load(io.BytesIO(server.get("/v1/streams/f1/frame.npy").content))
    assert np.array_equal(rgb[..., 0], a // 2), "a picture of now, not of then"
    assert server.get("/v1/streams/f1/frames/latest.webp").status_code == 200


def test_missing_source_is_a_card_and_recovers(server):
    make_stream(server, "g1", {"tensor": "not.there.yet"})
    with ws(server, "g1") as c:
        card = c.frame(timeout=60).image()
        assert card.std() > 1 and abs(card[..., 0].astype(int) - card[..., 2]).max() < 12  # grey with a text
        put(server, "not.there.yet", np.zeros((9, 7), "f4"))
        f = c.frame()
        assert (f.header["width"], f.header["height"]) == (7, 9)
        put(server, "not.there.yet", np.zeros((0, 7), "f4"))
        f = c.frame()
        assert (f.header["width"], f.header["height"]) == (16, 16)
        server.delete("/v1/tensors/not.there.yet")
        c.frame()
        put(server, "not.there.yet", np.zeros((5, 5), "f4"))
        while True:
            f = c.frame()
            if (f.header["width"], f.header["height"]) == (5, 5):
                break


def test_broken_view_shows_its_error_and_recovers(server):
    put(server, "k1", np.zeros((4, 5, 6), "f4"))
    make_stream(server, "k1", {"tensor": "k1"}, {"kind": "slice", "axis": 0, "index": 2})
    with ws(server, "k1") as c:
        assert c.frame(timeout=60).header["width"] == 6
        put(server, "k1", np.zeros((8,), "f4"))  # cannot be sliced so
        c.frame()
        assert server.get("/v1/streams/k1").json().get("error")
        put(server, "k1", np.zeros((4, 5, 6), "f4"))
        c.frame()
        assert "error" not in server.get("/v1/streams/k1").json()


def test_panels_and_stream_of_stream(server):
    put(server, "a1", np.zeros((16, 16), "f4"))
    put(server, "a2", np.ones((16, 16), "f4"))
    make_stream(server, "pan", {"panels": [{"tensor": "a1", "title": "one"}, {"tensor": "a2"}, {"tensor": "nope"}],
                                "columns": 3}, {"canvas": {"width": 320, "height": 100}})
    make_stream(server, "base", {"tensor": "a1"}, {"colormap": "gray", "normalize": {"mode": "fixed", "lo": 0, "hi": 1}})
    make_stream(server, "over", {"stream": "base"}, {"tone": {"invert": True}})
    with ws(server, "pan") as p, ws(server, "over", "?quality=100") as o:
        f = p.frame(timeout=60)
        assert (f.header["width"], f.header["height"]) == (320, 100)
        assert o.frame(timeout=60).image().min() > 240
        put(server, "a1", np.ones((16, 16), "f4"))
        p.frame()
        assert o.frame().image().max() < 15
    make_stream(server, "ring1", {"stream": "ring2"})
    make_stream(server, "ring2", {"stream": "ring1"})
    assert server.get("/v1/streams/ring1/frame.webp").status_code == 200  # a card that says so
    assert "ring" in server.get("/v1/streams/ring1").json()["error"]


def test_push_without_watchers_and_of_wrong_kind(server):
    make_stream(server, "u1", {"push": True}, BYTES)
    push_bytes(server, "u1", 1)
    r = server.post("/v1/streams/u1/frames", data=npy(np.zeros((3, 4), "f4")),
                    headers={"Content-Type": "application/x-npy"})
    assert r.status_code == 202 and r.json()["step"] == 2
    problem(server.post("/v1/streams/u1/frames", data=npy(np.zeros((3, 4), "f4"))[:-1],
                        headers={"Content-Type": "application/x-npy"}), 400)
    problem(server.post("/v1/streams/u1/frames?speed=1", data=b"", headers={"Content-Type": "application/x-npy"}),
            400, "bad-option", "speed")
    put(server, "u2", np.zeros((2, 2), "f4"))
    make_stream(server, "u2", {"tensor": "u2"})
    r = server.post("/v1/streams/u2/frames", data=npy(np.zeros((3, 4), "f4")),
                    headers={"Content-Type": "application/x-npy"})
    problem(r, 400, "bad-option")
    problem(server.post("/v1/streams/none/frames", data=npy(np.zeros(3, "f4")),
                        headers={"Content-Type": "application/x-npy"}), 404)


def test_debug_preset_loses_nothing(server):
    make_stream(server, "z1", {"push": True}, BYTES, {"preset": "debug", "max_fps": 240, "history": 300})
    with ws(server, "z1") as c:
        c.frame(timeout=60)
        for step in range(100):
            push_bytes(server, "z1", step)
        end, steps = time.monotonic() + 10, []
        while time.monotonic() < end and steps[-1:] != [99]:
            steps = [i["step"] for i in server.get("/v1/streams/z1/history").json()["items"]]
            c.message(1)
    m = server.get("/v1/streams/z1/metrics").json()
    assert m["frames_produced"] == 100 and m["frames_dropped"]["superseded"] == 0
    assert steps[-100:] == list(range(100))


def test_backpressure_says_when_to_come_back(server):
    """With max_frame_drop 0 and a slow renderer a frame waits for the one before, then gives up."""
    make_stream(server, "y1", {"push": True}, BYTES, {"max_frame_drop": 0, "max_fps": 1})
    with ws(server, "y1") as c:
        c.frame(timeout=60)
        answers = []
        for step in range(4):
            r = server.post("/v1/streams/y1/frames", params={"step": step, "dtype": "u8", "shape": "4,4", "timeout": 0.05},
                            data=bytes(16), headers={"Content-Type": "application/octet-stream"})
            answers.append(r)
        refused = [r for r in answers if r.status_code == 429]
        assert refused and answers[0].status_code == 202
        assert refused[0].json()["code"] == "backpressure" and refused[0].headers["Retry-After"] == "1"


def test_presets_set_size_and_yield_to_the_view(server):
    put(server, "o1", np.zeros((40, 20), "f4"))
    make_stream(server, "o1", {"tensor": "o1"}, output={"preset": "training"})
    assert Image.open(io.BytesIO(server.get("/v1/streams/o1/frame.webp").content)).size == (256, 256)
    make_stream(server, "o1", {"tensor": "o1"}, {"resize": {"width": 30, "height": 50}}, {"preset": "training"})
    assert Image.open(io.BytesIO(server.get("/v1/streams/o1/frame.webp").content)).size == (30, 50)
    make_stream(server, "o1", {"tensor": "o1"}, output={"scale": 0.5})
    assert Image.open(io.BytesIO(server.get("/v1/streams/o1/frame.webp").content)).size == (10, 20)


def test_mjpeg(server):
    put(server, "j1", np.zeros((24, 24), "f4"))
    make_stream(server, "j1", {"tensor": "j1"})
    with server.session.get(server.url + "/v1/streams/j1/mjpeg", stream=True, timeout=60) as r:
        assert r.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        data, pictures = b"", 0
        for chunk in r.iter_content(1):
            data += chunk
            head, sep, rest = data.partition(b"\r\n\r\n")
            if not sep:
                continue
            length = int([line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")][0].split(b":")[1])
            if len(rest) < length:
                continue
            assert Image.open(io.BytesIO(rest[:length])).format == "JPEG"
            pictures += 1
            data = b""
            if pictures == 3:
                break
            put(server, "j1", np.full((24, 24), pictures, "f4"))


def test_metrics_have_their_names(server):
    put(server, "q1", np.zeros((24, 24), "f4"))
    make_stream(server, "q1", {"tensor": "q1"})
    with ws(server, "q1") as c:
        c.frame(timeout=60)
        put(server, "q1", np.ones((24, 24), "f4"))
        c.frame()
        m = c.expect("metrics", stream="q1")
        assert m["subscribers"] == 1 and "subscriber" in m
    m = server.get("/v1/streams/q1/metrics").json()
    for key in ("frames_produced", "frames_rendered", "frames_encoded", "frames_sent", "frames_dropped",
                "frame_time_ms", "current_fps", "bytes_h2d", "bytes_d2h", "bytes_out", "subscribers",
                "device_memory_bytes", "psnr_db", "avg_frame_time", "last_update"):
        assert key in m, key
    assert set(m["frames_dropped"]) == {"superseded", "budget", "subscriber_slow", "encoder_busy", "memory", "error"}
    for stage in ("render", "encode", "total"):
        assert {"p50", "p90", "p99"} <= set(m["frame_time_ms"][stage])


def test_streams_survive_a_restart(start_server):
    server = start_server()
    make_stream(server, "r1", {"tensor": "w"}, {"colormap": "hot"}, {"quality": 55, "history": 9})
    make_stream(server, "r2", {"push": True})
    server.delete("/v1/streams/r2")
    server.process.kill()  # no goodbye: what was answered is on the disk
    server.process.wait()
    saved = json.loads((server.data_dir / "streams.json").read_text())
    assert list(saved["streams"]) == ["r1"]
    again = start_server("--data-dir", server.data_dir)
    streams = again.get("/v1/streams").json()["streams"]
    assert [s["name"] for s in streams] == ["r1"]
    assert streams[0]["view"] == {"colormap": "hot"} and streams[0]["output"] == {"quality": 55, "history": 9}
    again.stop()  # before the directory of the first goes


def test_max_streams(start_server):
    server = start_server("--max-streams", "2")
    for name in ("a", "b"):
        assert server.put(f"/v1/streams/{name}", json={"source": {"push": True}}).status_code == 201
    r = server.put("/v1/streams/c", json={"source": {"push": True}})
    assert r.status_code == 429
    assert server.put("/v1/streams/a", json={"source": {"tensor": "x"}}).status_code == 200


def serve_live(server, live, seconds):
    """Change the tensor five times a second; returns the puts, the frames each client got, the slowest put."""
    import selectors
    selector = selectors.DefaultSelector()
    for c in live:
        selector.register(c.s, selectors.EVENT_READ, c)
    counts = {id(c): 0 for c in live}
    puts, slow, start = 0, 0, time.monotonic()
    next_put = start
    while time.monotonic() < start + seconds + 1:
        now = time.monotonic()
        if next_put <= now < start + seconds:
            put(server, "big", np.random.default_rng(puts).random((64, 64), dtype="f4"))
            slow = max(slow, time.monotonic() - now)
            puts += 1
            next_put += 0.2
        for key, _ in selector.select(0.01):
            counts[id(key.data)] += sum(not isinstance(m, dict) for m in key.data.drain())
    selector.close()
    return puts, sorted(counts.values()), slow


def test_two_hundred_subscribers_of_which_twenty_never_read(server):
    put(server, "big", np.zeros((128, 128), "f4"))
    make_stream(server, "big", {"tensor": "big"}, output={"max_fps": 30})
    live = [ws(server, "big") for _ in range(180)]
    dead = []
    try:
        for c in live:
            c.frame(timeout=60)
        puts0, alone, _ = serve_live(server, live, 4)
        dead = [ws(server, "big", auto_pong=False, rcvbuf=4096) for _ in range(20)]
        puts, beside, slow = serve_live(server, live, 4)
        rate0, rate = np.median(alone) / puts0, np.median(beside) / puts
        assert rate > 0.95 * rate0 > 0.85, f"{rate:.2f} frames a put beside dead ones, {rate0:.2f} without"
        assert beside[0] > 0.8 * np.median(beside), f"somebody was left behind: {beside[:5]}"
        assert slow < 2.0, f"a put took {slow:.2f} s"
    finally:
        for c in live + dead:
            c.close()


def test_kept_tensors_are_shown_with_the_view_of_now(server):
    """history keep "tensors": recorded without watchers; colours and slices apply to the past."""
    a = np.zeros((2, 8, 8), "f4")
    put(server, "kt", a, step=0)
    make_stream(server, "kt", {"tensor": "kt"}, {"kind": "slice", "axis": 0, "index": 0, "colormap": "gray",
                                                 "normalize": {"mode": "fixed", "lo": 0, "hi": 10}},
                {"history": {"keep": "tensors", "max_items": 20}, "lossless": True})
    for step in range(1, 9):
        a[0], a[1] = step, 10 - step
        put(server, "kt", a, step=step)
        time.sleep(0.05)
    end, kept = time.monotonic() + 10, {"items": []}
    while time.monotonic() < end and [i["step"] for i in kept["items"]][-1:] != [8]:
        kept = server.get("/v1/streams/kt/history").json()
    assert kept["keep"] == "tensors" and kept["on"]
    items = {i["step"]: i for i in kept["items"]}
    assert len(items) >= 5 and all(i["tier"] == "device" and i["bytes"] == a.nbytes for i in items.values())
    old = sorted(items)[-4]
    with ws(server, "kt") as c:
        c.frame(timeout=60)
        c.send(type="seek", step=old, id=1)
        f = c.frame(replay=True)
        assert f.header["step"] == old and f.header["seq"] == items[old]["seq"]
        assert abs(int(f.image()[0, 0, 0]) - round(old * 25.5)) <= 1
        c.send(type="view", view={"index": 1})
        c.send(type="seek", seq=items[old]["seq"], id=2)
        f = c.frame(replay=True)
        while abs(int(f.image()[0, 0, 0]) - round((10 - old) * 25.5)) > 1:
            f = c.frame(timeout=5)
        c.send(type="resume")  # through what is kept, then live
        steps = []
        while True:
            f = c.frame()
            if "replay" not in f.header:
                break
            steps.append(f.header["step"])
        assert steps == [s for s in sorted(items) if s > old]
        c.send(type="seek", step=-5, id=3)
        assert c.expect("error", id=3)["code"] == "not-found"
    r = server.get(f"/v1/streams/kt/frames/seq/{items[old]['seq']}.png")
    assert r.status_code == 200
    assert abs(int(np.asarray(Image.open(io.BytesIO(r.content)).convert("RGB"))[0, 0, 0]) - round(old * 25.5)) <= 1
    server.patch("/v1/streams/kt", json={"output": {"history": None}})
    assert server.get("/v1/streams/kt/history").json()["items"] == []


def test_a_group_shows_one_step(server):
    """By step: the faster of two runs waits for the slower one."""
    for name in ("fast", "slow"):
        put(server, name, np.zeros((4, 4), "f4"), step=0)
        make_stream(server, name, {"tensor": name}, output={"sync": {"group": "g", "by": "step"}, "max_fps": 240})
    with ws(server, "fast") as f, ws(server, "slow") as s:
        assert f.frame(timeout=60).header["step"] == 0 and s.frame(timeout=60).header["step"] == 0
        for step in range(1, 7):
            put(server, "fast", np.full((4, 4), step, "f4"), step=step)
        f.no_frame(0.4)  # nobody else is there yet
        for step in range(1, 4):
            put(server, "slow", np.full((4, 4), step, "f4"), step=step)
            assert s.frame().header["step"] == step
            h = f.frame().header
            assert h["step"] == step and h["range"] == [step, step]
        server.patch("/v1/streams/fast", json={"output": {"sync": None}})
        while f.frame().header["step"] != 6:  # out of the group: its newest
            pass


def test_file_sinks_are_recordings(server):
    put(server, "fs", np.zeros((16, 16), "f4"))
    doc = {"source": {"tensor": "fs"}, "output": {"sinks": ["live", {"kind": "file", "name": "film.webp"}]}}
    assert server.put("/v1/streams/fs", json=doc).status_code == 201
    r = server.get("/v1/recordings/film").json()
    assert r["format"] == "webp" and r["state"] == "recording" and r["stream"] == "fs"
    assert server.put("/v1/streams/fs", json=doc).status_code == 200  # the same sink goes on
    assert server.get("/v1/recordings/film").json()["state"] == "recording"
    problem(server.put("/v1/streams/fs2", json=doc), 409, "exists", "film")
    assert server.get("/v1/streams/fs2").status_code == 404
    bad = {"source": {"tensor": "fs"}, "output": {"sinks": [{"kind": "file", "name": "../x.mp4"}]}}
    problem(server.put("/v1/streams/fs2", json=bad), 400, "bad-name")
    push = {"source": {"tensor": "fs"}, "output": {"sinks": [{"kind": "push", "url": "ws://x"}]}}
    problem(server.put("/v1/streams/fs2", json=push), 501)
    end = time.monotonic() + 60  # kernels of another pixel format are built at the first picture
    while server.get("/v1/recordings/film").json()["frames"] < 2 and time.monotonic() < end:
        put(server, "fs", np.full((16, 16), time.monotonic() % 7, "f4"))
        time.sleep(0.05)
    assert server.patch("/v1/streams/fs", json={"output": {"sinks": ["live"]}}).status_code == 200
    film = server.get("/v1/recordings/film").json()
    assert film["state"] == "done", film
    assert server.get("/v1/recordings/film/file").content[:4] == b"RIFF"
