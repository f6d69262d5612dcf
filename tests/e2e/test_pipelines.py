"""Video pipelines: files, live sources and sinks with real servers on loopback, the command line."""
import importlib.util
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "video-pipeline"
CLIP = GOLDEN / "football_720p.mp4"
COLOR = {"detector": {"kind": "color"}, "select": {"margins": {"top": 0.21}},
         "tracking": {"mot": {"track_thresh": 0.5, "init_thresh": 0.6}}}

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
needs_rtsp = pytest.mark.skipif(
    importlib.util.find_spec("gi") is None
    or subprocess.run([sys.executable, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
                      capture_output=True).returncode != 0,
    reason="gir1.2-gst-rtsp-server-1.0 and python3-gi are not installed")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, timeout, what):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {timeout} s")


def document(**parts):
    return {"source": {"url": str(CLIP)}, **json.loads(json.dumps(COLOR)), **parts}


def run(executable, tmp_path, doc, check=0):
    file = tmp_path / "doc.json"
    file.write_text(json.dumps(doc))
    done = subprocess.run([executable, "pipeline", "run", str(file), "--out", str(tmp_path / "out"), "--json"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == check, done.stderr[-2000:]
    return json.loads(done.stdout) if done.stdout else None


def probe(path, entries="stream=nb_read_frames,width,height,avg_frame_rate"):
    return subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries",
                           entries, "-of", "csv=p=0", str(path)], capture_output=True, text=True,
                          timeout=60).stdout.strip()


def truth():
    frames = json.loads((GOLDEN / "football_720p.gt.json").read_text())
    frames = frames["frames"] if isinstance(frames, dict) else frames
    for frame in frames:
        objects = frame["objects"] if isinstance(frame, dict) else frame
        ball = [o for o in objects if o["class"] in ("ball", 0)]
        yield ball[0] if ball and ball[0]["visible"] >= 0.5 else None


def ball_in_crop(rows):
    inside, errors, n = 0, [], 0
    for row, ball in zip(rows, truth()):
        if not ball:
            continue
        x, y = (ball["box"][0] + ball["box"][2]) / 2, (ball["box"][1] + ball["box"][3]) / 2
        crop = row["crop"]
        n += 1
        inside += crop[0] <= x <= crop[2] and crop[1] <= y <= crop[3]
        if row["x"] is not None:
            errors.append(np.hypot(row["x"] - x, row["y"] - y))
    return inside / n, errors


@needs_ffmpeg
def test_file_to_mp4_keeps_every_frame_and_the_ball(executable, tmp_path):
    report = run(executable, tmp_path, document(sinks=[{"kind": "file", "path": "out.mp4"}],
                                                tracking_path="tracks.json"))
    assert probe(tmp_path / "out" / "out.mp4") == "1280,720,25/1,200"
    assert report["frames_dropped"] == {"mailbox": 0, "decoder": 0}
    assert report["frame_alloc_total"] <= 12, "pictures are allocated at the start only"
    tracks = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert tracks["metadata"]["frames"] == 200
    inside, errors = ball_in_crop(tracks["tracking_data"])
    assert inside >= 0.99
    assert np.percentile(errors, 50) <= 5 and np.percentile(errors, 95) <= 25, np.percentile(errors, [50, 95])
    stages = report["timings_ms"]
    parts = sum(stages[s]["mean"] for s in ("upload", "convert", "detect", "track", "crop", "overlay", "download"))
    assert parts <= stages["total"]["mean"] * 1.05 and parts >= stages["total"]["mean"] * 0.7
    assert stages["track"]["p95"] <= 1.0


def test_without_margins_the_floodlights_win(executable, tmp_path):
    doc = document(tracking_path="tracks.json", sinks=[{"kind": "null"}])
    doc["select"]["margins"]["top"] = 0
    run(executable, tmp_path, doc)
    inside, _ = ball_in_crop(json.loads((tmp_path / "out" / "tracks.json").read_text())["tracking_data"])
    assert inside < 0.75


@needs_ffmpeg
def test_uncropped_output_looks_like_the_input(executable, tmp_path):
    doc = document(camera={"follow": "none"}, overlay={"enable": False}, detector={"kind": "none"},
                   sinks=[{"kind": "file", "path": "out.mp4", "bitrate": "4000k"}])
    run(executable, tmp_path, doc)
    done = subprocess.run(["ffmpeg", "-hide_banner", "-i", str(tmp_path / "out" / "out.mp4"), "-i", str(CLIP),
                           "-lavfi", "psnr", "-f", "null", "-"], capture_output=True, text=True, timeout=120)
    psnr = float(done.stderr.rsplit("average:", 1)[1].split()[0])
    assert psnr >= 38, psnr


@needs_ffmpeg
def test_a_slow_detector_loses_no_frame_of_a_file(executable, tmp_path):
    doc = document(debug={"delay_ms": {"detect": 20}}, source={"url": str(CLIP), "end_s": 2},
                   sinks=[{"kind": "file", "path": "out.mkv"}])
    report = run(executable, tmp_path, doc)
    assert report["frames_processed"] in (50, 51) and report["frames_dropped"]["mailbox"] == 0
    assert probe(tmp_path / "out" / "out.mkv", "stream=nb_read_frames") == str(report["frames_processed"])


def test_stages_overlap(executable, tmp_path):
    """20 ms in each of decode, device and encode: in turn they would give 16 frames a second."""
    doc = {"source": {"url": str(GOLDEN / "real_448.mp4")}, "detector": {"kind": "none"},
           "overlay": {"enable": False}, "output": {"width": 448, "height": 448},
           "debug": {"delay_ms": {"decode": 20, "device": 20, "encode": 20}},
           "sinks": [{"kind": "file", "path": "out.mp4"}]}
    report = run(executable, tmp_path, doc)
    assert report["fps"] > 28, report["fps"]


@needs_ffmpeg
def test_a_file_is_playable_whenever_the_pipeline_is_stopped(executable, tmp_path):
    rng = random.Random(7)
    for i in range(5):
        doc = tmp_path / f"{i}.json"
        doc.write_text(json.dumps(document(source={"url": str(CLIP), "loop": True},
                                           sinks=[{"kind": "file", "path": f"{i}.mp4"}])))
        process = subprocess.Popen([executable, "pipeline", "run", str(doc), "--out", str(tmp_path), "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(0.6 + rng.random())
        process.send_signal(signal.SIGTERM)
        report = json.loads(process.communicate(timeout=30)[0])
        assert process.returncode == 0
        frames = int(probe(tmp_path / f"{i}.mp4", "stream=nb_read_frames"))
        assert abs(frames - report["frames_processed"]) <= 2


def test_documents_are_refused_with_the_path(server):
    base = {"source": {"url": "clip.mp4"}, "detector": {"kind": "color"}}
    for change, path in [({"sauce": 1}, "sauce"), ({"camera": {"omega": 99}}, "camera.omega"),
                         ({"output": {"width": 33}}, "output"), ({"camera": {"follow": "dog"}}, "camera.follow"),
                         ({"source": {"url": "../etc/passwd"}}, "source.url"),
                         ({"source": {"url": "file:///etc/passwd"}}, "source.url"),
                         ({"source": {"url": "/etc/passwd"}}, "source.url"),
                         ({"sinks": [{"kind": "file", "path": "../../x.mp4"}]}, "sinks.0.path"),
                         ({"sinks": [{"kind": "rtmp"}]}, "sinks.0.url"),
                         ({"sinks": [{"kind": "file", "path": "a.mp4", "bitrate": "fast"}]}, "sinks.0.bitrate"),
                         ({"select": {"zones": [{"x1": 1, "y1": 0, "x2": 0, "y2": 1}]}}, "select.zones.0"),
                         ({"detector": {"kind": "color", "confidence": "x"}}, "detector.confidence")]:
        answer = server.put("/v1/pipelines/x", json={**base, **change})
        assert answer.status_code == 400, (change, answer.text)
        assert path in answer.json()["detail"], answer.text
    assert server.get("/v1/pipelines").json() == {"pipelines": []}
    assert server.put("/v1/pipelines/x?validate=1", json=base).status_code == 200
    assert server.get("/v1/pipelines/x").status_code == 404


def test_mutated_documents_never_harm(server):
    """Random changes of a document: 400 with a reason, or accepted; the server goes on."""
    rng = random.Random(3)
    base = server.put("/v1/pipelines/y?validate=1",
                      json={"source": {"url": "clip.mp4"}, "detector": {"kind": "color"},
                            "sinks": [{"kind": "ws"}]}).json()
    values = [None, True, -1, 0, 1e300, "", "x" * 3000, [], {}, [[1]], "NaN", 2 ** 62]
    for _ in range(1000):
        doc = json.loads(json.dumps(base))
        for _ in range(rng.randint(1, 3)):
            node = doc
            while True:
                key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
                child = node[key]
                if isinstance(child, (dict, list)) and len(child) and rng.random() < 0.7:
                    node = child
                    continue
                node[key] = json.loads(json.dumps(rng.choice(values)))
                break
            if not isinstance(doc, dict):
                break
        answer = server.put("/v1/pipelines/y?validate=1", json=doc)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["code"] in ("bad-option", "bad-name") and answer.json()["detail"]


def test_pipeline_over_http(server):
    shutil.copy(CLIP, server.data_dir / "media" / "clip.mp4")
    doc = document(source={"url": "clip.mp4", "loop": True, "pace": "source"}, sinks=[{"kind": "hls", "dir": "m"}])
    assert server.put("/v1/pipelines/m", json=doc).status_code == 201
    assert {s["name"] for s in server.get("/v1/streams?prefix=m").json()["streams"]} == {"m", "m.camera"}
    assert server.post("/v1/pipelines/m/start").status_code == 200
    assert server.post("/v1/pipelines/m/start").status_code == 409
    wait_for(lambda: server.get("/v1/pipelines/m").json()["frames_processed"] > 20, 20, "frames")
    assert server.get("/v1/pipelines/m/health").status_code == 200
    for kind, magic in (("jpg", b"\xff\xd8"), ("png", b"\x89PNG"), ("webp", b"RIFF")):
        answer = server.get(f"/v1/pipelines/m/snapshot.{kind}?output=camera")
        assert answer.status_code == 200 and answer.content.startswith(magic)
    first = server.get("/v1/streams/m/frame.webp")
    assert first.status_code == 200 and first.content[:4] == b"RIFF"
    row = server.get("/v1/pipelines/m/tracks").json()
    assert row["status"] in ("DETECTED", "COASTING", "PREDICTED", "LOST") and row["tracks"]
    hot = server.patch("/v1/pipelines/m", json={"camera": {"omega": 6}, "overlay": {"hud": False}})
    assert hot.status_code == 200 and hot.json()["camera"]["omega"] == 6
    cold = server.patch("/v1/pipelines/m", json={"output": {"width": 640}})
    assert cold.status_code == 409 and "output.width" in cold.json()["detail"]
    playlist = wait_for(lambda: (lambda r: r.text if r.status_code == 200 else "")(
        server.get("/v1/pipelines/m/hls/stream.m3u8")), 20, "playlist")
    segment = [line for line in playlist.splitlines() if line.endswith(".ts")][0]
    answer = server.get(f"/v1/pipelines/m/hls/{segment}")
    assert answer.headers["Content-Type"] == "video/mp2t" and answer.content[0] == 0x47
    assert server.get("/v1/pipelines/m/hls/..%2f..%2fx.ts").status_code == 404
    assert "m.camera/mjpeg" in server.get("/v1/pipelines/m/player").text
    assert server.post("/v1/pipelines/m/stop").json()["state"] == "STOPPED"
    assert server.delete("/v1/pipelines/m").status_code == 204
    assert server.get("/v1/streams/m.camera").status_code == 404


def test_replay_prints_a_row_per_frame(executable, tmp_path):
    case = json.loads((GOLDEN / "tracker.json").read_text())["cases"]["smooth"]
    frames = [[[c[0] - c[2] / 2, c[1] - c[3] / 2, c[0] + c[2] / 2, c[1] + c[3] / 2, c[4], c[5]]
               for c in f["candidates"] or []] for f in case["frames"]]
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"frames": frames}))
    doc = tmp_path / "doc.json"
    chain = [c for c in json.loads((GOLDEN / "chain.json").read_text())["cases"] if c["name"] == "smooth"][0]
    camera = {k: v for k, v in chain["config"]["camera"].items()}
    doc.write_text(json.dumps({
        "profile": "reference", "source": {"url": "none.mp4"}, "detector": {"kind": "none"},
        "select": {"temporal_fallback": True, "compat": True}, "camera": {"mode": "reference", **camera},
        "tracking": {"ball": {"max_lost_frames": 10}}, "output": {"width": 960, "height": 540}}))
    done = subprocess.run([executable, "pipeline", "replay", str(script), "--config", str(doc), "--size", "1920x1080",
                           "--fps", "30"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["frame"] for r in rows] == list(range(len(frames)))
    equal = sum(np.abs(np.array(r["crop"]) - w["crop"]).max() == 0 for r, w in zip(rows, chain["rows"]))
    assert equal >= 0.99 * len(rows)
    done = subprocess.run([executable, "pipeline", "replay", "/no/such.json"], capture_output=True, text=True)
    assert done.returncode == 5


# ---- live ----


def rtsp_server(port):
    process = subprocess.Popen([sys.executable, str(HERE.parent / "support" / "rtsp_server.py"), str(port), str(CLIP)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline().strip() == "listening"
    return process


@needs_rtsp
def test_rtsp_source_dies_comes_back_and_stalls(server):
    port = free_port()
    rtsp = rtsp_server(port)
    try:
        doc = {"source": {"url": f"rtsp://127.0.0.1:{port}/live", "stall_ms": 1500}, "detector": {"kind": "none"},
               "output": {"width": 640, "height": 360}, "sinks": [{"kind": "hls", "dir": "live"}]}
        assert server.put("/v1/pipelines/cam", json=doc).status_code == 201
        server.post("/v1/pipelines/cam/start")
        state = lambda: server.get("/v1/pipelines/cam").json()  # noqa: E731
        wait_for(lambda: state()["state"] == "RUNNING" and state()["frames_processed"] > 25, 20, "live frames")
        assert state()["source"]["live"]
        rtsp.kill()
        rtsp.wait()
        wait_for(lambda: state()["state"] in ("RECONNECTING", "OPENING"), 5, "reconnecting")
        time.sleep(2)
        before = state()["frames_processed"]
        rtsp = rtsp_server(port)
        back = time.monotonic()
        wait_for(lambda: state()["frames_processed"] > before + 10, 12, "frames after the return")
        assert time.monotonic() - back < 8  # within 5 s of the first frame it can give, on a busy machine
        events = [e["to"] for e in state()["events"]]
        assert "RECONNECTING" in events and state()["state"] == "RUNNING"
        rtsp.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_for(lambda: state()["state"] in ("RECONNECTING", "OPENING"), 6, "stall")
        assert time.monotonic() - stopped < 1.5 + 1.5
        assert state()["stalls"] >= 1
        rtsp.send_signal(signal.SIGCONT)
    finally:
        rtsp.kill()
        rtsp.wait()
    assert server.post("/v1/pipelines/cam/stop").json()["state"] in ("STOPPED", "FAILED")
    server.delete("/v1/pipelines/cam")


@needs_ffmpeg
def test_rtmp_sink_dies_and_comes_back(server):
    port = free_port()
    shutil.copy(CLIP, server.data_dir / "media" / "clip.mp4")

    def receiver(path):
        return subprocess.Popen(["ffmpeg", "-v", "error", "-y", "-listen", "1", "-i",
                                 f"rtmp://127.0.0.1:{port}/live/out", "-c", "copy", str(path)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    first = receiver(server.data_dir / "first.flv")
    time.sleep(0.5)
    doc = document(source={"url": "clip.mp4", "loop": True, "pace": "source", "backoff_initial_ms": 300},
                   output={"width": 640, "height": 360},
                   sinks=[{"kind": "rtmp", "url": f"rtmp://127.0.0.1:{port}/live/out"},
                          {"kind": "file", "path": "steady.mkv"}])
    server.put("/v1/pipelines/out", json=doc)
    server.post("/v1/pipelines/out/start")
    sink = lambda i=0: server.get("/v1/pipelines/out").json()["sinks"][i]  # noqa: E731
    wait_for(lambda: sink()["state"] == "RUNNING" and sink().get("packets", 0) > 20, 20, "packets")
    first.kill()
    first.wait()
    wait_for(lambda: sink()["state"] in ("RECONNECTING", "OPENING"), 10, "reconnecting sink")
    assert server.get("/v1/pipelines/out").json()["state"] == "DEGRADED"
    file_before = sink(1)["packets"]
    second = receiver(server.data_dir / "second.flv")
    packets = sink()["packets"]
    wait_for(lambda: sink()["state"] == "RUNNING" and sink()["packets"] > packets + 20, 15, "the sink's return")
    assert sink()["reconnects"] >= 1 and sink(1)["packets"] > file_before
    server.post("/v1/pipelines/out/stop")
    second.wait(20)
    server.delete("/v1/pipelines/out")
    assert int(probe(server.data_dir / "second.flv", "stream=nb_read_frames")) > 15


def test_a_source_that_is_not_there(server):
    doc = {"source": {"url": f"rtsp://user:secret@127.0.0.1:{free_port()}/x", "max_attempts": 1,
                      "backoff_initial_ms": 50}, "detector": {"kind": "none"}}
    server.put("/v1/pipelines/none", json=doc)
    server.post("/v1/pipelines/none/start")
    state = wait_for(lambda: (lambda s: s if s["state"] == "FAILED" else None)(
        server.get("/v1/pipelines/none").json()), 15, "failure")
    assert "127.0.0.1" in state["error"]["detail"]
    assert "secret" not in json.dumps(state)
    assert server.get("/v1/pipelines/none/health").status_code == 503
    server.put("/v1/pipelines/gone", json={"source": {"url": "no-such.mp4"}, "detector": {"kind": "none"}})
    server.post("/v1/pipelines/gone/start")
    wait_for(lambda: server.get("/v1/pipelines/gone").json()["state"] == "FAILED", 10, "failure")
    assert server.get("/livez").status_code == 200
