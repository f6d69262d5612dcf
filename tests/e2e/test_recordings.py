"""Recordings: every format, times, limits, and what a killed server leaves."""
import io
import json
import shutil
import signal
import subprocess
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

W, H = 160, 120
RAW = {"Content-Type": "application/octet-stream"}


def picture(i):
    return (np.add.outer(np.arange(H), np.arange(W)) + 5 * i).astype(np.float32)


def put(server, i, name="w"):
    answer = server.put(f"/v1/tensors/{name}?dtype=f32&shape={H},{W}", data=picture(i).tobytes(),
                        headers=RAW)
    assert answer.status_code in (200, 201), answer.text


def make_stream(server, name="s"):
    put(server, 0)
    answer = server.put(f"/v1/streams/{name}", json={"source": {"tensor": "w"}})
    assert answer.status_code in (200, 201), answer.text
    # The first picture builds the kernels; recordings then start at once.
    deadline = time.monotonic() + 60
    while server.get(f"/v1/streams/{name}/frame.png").status_code != 200:
        assert time.monotonic() < deadline


def record(server, stream="s", **options):
    answer = server.post(f"/v1/streams/{stream}/recordings", json=options)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def wait_for_pictures(server, *recordings):
    """Kernels of another pixel format are built at the first picture."""
    deadline = time.monotonic() + 60
    for rec in recordings:
        while server.get(f"/v1/recordings/{rec}").json()["frames"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def play(server, seconds, fps=20):
    end, i = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        i += 1
        put(server, i)
        time.sleep(1 / fps)
    return i


def probe(path):
    out = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0",
                          "-show_entries",
                          "stream=codec_name,width,height,nb_read_frames,r_frame_rate,pix_fmt"
                          ":format=duration", "-of", "json", str(path)],
                         capture_output=True, text=True, check=True)
    doc = json.loads(out.stdout)
    return doc["streams"][0], float(doc["format"].get("duration", 0))  # a cut WebM has none


needs_ffprobe = pytest.mark.skipif(not shutil.which("ffprobe"), reason="no ffprobe")


@needs_ffprobe
@pytest.mark.parametrize("container, codec", [("mp4", "h264"), ("webm", "vp9")])
def test_a_video_has_the_length_of_what_it_shows(server, tmp_path, container, codec):
    make_stream(server)
    rec = record(server, format=container, fps=20)
    wait_for_pictures(server, rec)
    play(server, 1.5)
    done = server.post(f"/v1/recordings/{rec}/stop").json()
    assert done["state"] == "done" and done["frames"] > 10, done
    assert (done["width"], done["height"]) == (W, H)
    data = server.get(f"/v1/recordings/{rec}/file")
    assert data.headers["Content-Type"] == f"video/{container}"
    assert len(data.content) == done["bytes"]
    path = tmp_path / f"v.{container}"
    path.write_bytes(data.content)
    stream, duration = probe(path)
    assert stream["codec_name"] == codec and stream["r_frame_rate"] == "20/1"
    assert (stream["width"], stream["height"]) == (W, H)
    assert abs(duration - done["duration"]) < 0.15
    assert abs(int(stream["nb_read_frames"]) - 20 * done["duration"]) <= 2
    part = server.get(f"/v1/recordings/{rec}/file", headers={"Range": "bytes=10-29"})
    assert part.status_code == 206 and part.content == data.content[10:30]
    assert part.headers["Content-Range"] == f"bytes 10-29/{done['bytes']}"


@needs_ffprobe
def test_lossless_and_variable_rate(server, tmp_path):
    make_stream(server)
    rec = record(server, format="mp4", lossless=True, vfr=True)
    play(server, 0.8)
    assert server.post(f"/v1/recordings/{rec}/stop").json()["state"] == "done"
    path = tmp_path / "v.mp4"
    path.write_bytes(server.get(f"/v1/recordings/{rec}/file").content)
    stream, _ = probe(path)
    assert stream["pix_fmt"] == "yuv444p"


def test_an_animated_webp_has_every_frame(server):
    make_stream(server)
    rec = record(server, format="webp", fps=20, lossless=True)
    play(server, 1)
    done = server.post(f"/v1/recordings/{rec}/stop").json()
    assert done["state"] == "done", done
    im = Image.open(io.BytesIO(server.get(f"/v1/recordings/{rec}/file").content))
    assert im.n_frames == done["frames"] > 5 and im.size == (W, H)
    for n in range(im.n_frames):
        im.seek(n)
        im.load()


def test_png_and_npy_are_tars(server):
    make_stream(server)
    png, npy = record(server, format="png", bits=16), record(server, format="npy")
    wait_for_pictures(server, png, npy)
    play(server, 1)
    for rec in (png, npy):
        assert server.post(f"/v1/recordings/{rec}/stop").json()["state"] == "done"
    data = server.get(f"/v1/recordings/{png}/file")
    assert data.headers["Content-Type"] == "application/x-tar"
    tar = tarfile.open(fileobj=io.BytesIO(data.content))
    names = tar.getnames()
    lines = [json.loads(x) for x in tar.extractfile("frames.jsonl").read().splitlines()]
    assert [x["file"] for x in lines] == [n for n in names if n != "frames.jsonl"]
    assert names[0] == "frame_000000.png" and len(names) > 5
    first = tar.extractfile(names[0]).read()
    assert first[24] == 16  # bits per sample in the PNG's header
    assert Image.open(io.BytesIO(first)).size == (W, H)
    assert {"seq", "step", "t", "range"} <= set(lines[0])
    steps = [x["step"] for x in lines]
    assert steps == sorted(steps)
    half = server.get(f"/v1/recordings/{png}/file", headers={"Range": "bytes=512-1023"})
    assert half.content == data.content[512:1024]
    tar = tarfile.open(fileobj=io.BytesIO(server.get(f"/v1/recordings/{npy}/file").content))
    names = [n for n in tar.getnames() if n.endswith(".npy")]
    for name in (names[0], names[-1]):
        a = np.load(io.BytesIO(tar.extractfile(name).read()))
        assert a.dtype == np.float32 and a.shape == (H, W)  # the tensor, not its picture
        assert (a - a[0, 0] == picture(0)).all()


@needs_ffprobe
def test_a_still_stream_records_its_time(server, tmp_path):
    make_stream(server)
    rec = record(server, format="mp4", fps=10, max_seconds=1.2)
    deadline = time.monotonic() + 10
    while server.get(f"/v1/recordings/{rec}").json()["state"] in ("recording", "finalizing"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = server.get(f"/v1/recordings/{rec}").json()
    assert done["state"] == "done" and done["reason"] == "max_seconds"
    path = tmp_path / "v.mp4"
    path.write_bytes(server.get(f"/v1/recordings/{rec}/file").content)
    assert abs(probe(path)[1] - 1.2) < 0.15


def test_names_lists_and_removal(server):
    make_stream(server)
    rec = record(server, format="webp", name="mine")
    assert rec == "mine"
    twice = server.post("/v1/streams/s/recordings", json={"name": "mine", "overwrite": True})
    assert twice.status_code == 409 and twice.json()["code"] == "busy"
    play(server, 0.3)
    server.post("/v1/recordings/mine/stop")
    again = server.post("/v1/streams/s/recordings", json={"name": "mine"})
    assert again.status_code == 409 and again.json()["code"] == "exists"
    assert record(server, format="png", name="mine", overwrite=True) == "mine"
    play(server, 0.3)
    listed = server.get("/v1/recordings?prefix=min").json()["recordings"]
    assert [r["id"] for r in listed] == ["mine"] and listed[0]["format"] == "png"
    assert server.delete("/v1/recordings/mine").status_code == 204
    assert server.get("/v1/recordings/mine").status_code == 404
    left = [p.name for p in (server.data_dir / "recordings").iterdir() if p.name[:4] == "mine"]
    assert left == []


@pytest.mark.parametrize("body, status, code", [
    ({"format": "avi"}, 400, "bad-option"), ({"fps": 0}, 400, "bad-option"),
    ({"fps": 1000}, 400, "bad-option"), ({"bits": 16}, 400, "bad-option"),
    ({"quality": 0}, 400, "bad-option"), ({"colour": 1}, 400, "bad-option"),
    ({"name": "../x"}, 400, "bad-name"), ({"max_seconds": -1}, 400, "bad-option"),
    ([], 400, "bad-json"),
])
def test_bad_requests(server, body, status, code):
    make_stream(server)
    before = server.get("/v1/recordings").json()
    answer = server.post("/v1/streams/s/recordings", json=body)
    assert answer.status_code == status and answer.json()["code"] == code, answer.text
    assert server.get("/v1/recordings").json() == before


def test_nothing_to_record(server):
    assert server.post("/v1/streams/none/recordings", json={}).status_code == 404
    assert server.post("/v1/recordings/none/stop").status_code == 404
    assert server.get("/v1/recordings/none/file").status_code == 404


def test_the_quota_ends_a_recording_cleanly(start_server):
    server = start_server("--max-recording-bytes", "200K")
    make_stream(server)
    rec = record(server, format="npy")
    play(server, 2.5)
    done = server.get(f"/v1/recordings/{rec}").json()
    assert done["state"] == "done" and done["reason"] == "quota", done
    tarfile.open(fileobj=io.BytesIO(server.get(f"/v1/recordings/{rec}/file").content)).getnames()


@needs_ffprobe
def test_a_killed_server_leaves_usable_files(start_server, tmp_path):
    server = start_server()
    make_stream(server)
    formats = ("mp4", "webm", "webp", "png")
    for f in formats:
        record(server, format=f, name=f"k{f}")
    begin = time.monotonic()
    play(server, 4, fps=30)
    length = time.monotonic() - begin
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    kept = tmp_path / "data"
    shutil.copytree(server.data_dir, kept)
    again = start_server("--data-dir", str(kept))
    listed = {r["id"]: r for r in again.get("/v1/recordings").json()["recordings"]}
    for f in formats:
        assert listed[f"k{f}"]["state"] == "recovered", listed
        data = again.get(f"/v1/recordings/k{f}/file").content
        if f in ("mp4", "webm"):
            path = tmp_path / f"k.{f}"
            path.write_bytes(data)
            stream, _ = probe(path)
            assert int(stream["nb_read_frames"]) >= 30 * (length - 2), f
        elif f == "webp":
            im = Image.open(io.BytesIO(data))
            im.seek(im.n_frames - 1)
            im.load()
        else:
            tar = tarfile.open(fileobj=io.BytesIO(data))
            for name in [n for n in tar.getnames() if n.endswith(".png")]:
                Image.open(io.BytesIO(tar.extractfile(name).read())).load()


def test_a_stopping_server_finishes_its_files(start_server, tmp_path):
    server = start_server()
    make_stream(server)
    record(server, format="webp", name="last")
    feeder = threading.Thread(target=play, args=(server, 0.8))
    feeder.start()
    feeder.join()
    folder = server.data_dir / "recordings"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert json.loads((folder / "last.json").read_text())["state"] == "done"
    assert Image.open(folder / "last.webp").n_frames > 3
