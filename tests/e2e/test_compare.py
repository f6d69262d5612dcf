"""Compare streams: pairs that a trainer posts, shown live, recorded, and kept over a restart."""
import csv
import io
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from wsclient import Client

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/image-gs"


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def make(server, name, **keys):
    r = server.put(f"/v1/streams/{name}", json={"source": {"compare": keys}})
    assert r.status_code in (200, 201), r.text


def post(server, name, render, truth=None, meta=None, **query):
    files = {"render": ("render.png", render, "image/png")}
    if truth is not None:
        files["ground_truth"] = ("gt.png", truth, "image/png")
    if meta is not None:
        files["meta"] = (None, json.dumps(meta), "application/json")
    return server.post(f"/v1/streams/{name}/compare", files=files, params=query)


def problem(r, status, code):
    assert r.status_code == status and r.json()["code"] == code, r.text


def rows(server, name):
    return list(csv.DictReader(io.StringIO(server.get(f"/v1/streams/{name}/compare/files/metrics.csv").text)))


def pair(seed, h=48, w=64):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 256, (h, w, 3), np.uint8)
    return truth, np.clip(truth.astype(int) + rng.integers(-20, 20, truth.shape), 0, 255).astype(np.uint8)


def frames_of(path):
    out = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-count_frames", "-show_streams", path],
                         capture_output=True)
    return json.loads(out.stdout)["streams"][0]


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
def test_a_hundred_frames_live_in_the_csv_and_in_the_recording(server, tmp_path):
    make(server, "c1")
    truth, _ = pair(1)
    seen = []
    with Client(f"{server.ws_url}/v1/streams/c1/ws", ack=True) as c:
        c.expect("hello")
        for step in range(100):
            _, render = pair(step + 2)
            r = post(server, "c1", png(render), png(truth) if step == 0 else None, step=step)
            assert r.status_code == 202, r.text
            assert r.json()["step"] == step and r.json()["captured"] and r.json()["psnr"] > 5
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (not seen or seen[-1].header["step"] != 99):
            seen.append(c.frame(timeout=20))
    steps = [f.header["step"] for f in seen if f.header["width"] == 128]
    assert steps == sorted(steps) and steps[-1] == 99
    assert seen[-1].header["metrics"]["psnr"] == pytest.approx(float(rows(server, "c1")[-1]["psnr"]), rel=1e-6)
    assert [int(r["step"]) for r in rows(server, "c1")] == list(range(100))
    r = server.post("/v1/streams/c1/compare/finish")
    assert r.status_code == 200 and r.json()["state"] == "finished" and r.json()["frames"] == 100, r.text
    path = tmp_path / "training.mp4"
    path.write_bytes(server.get("/v1/streams/c1/compare/files/training.mp4").content)
    stream = frames_of(str(path))
    assert (stream["codec_name"], stream["nb_read_frames"], stream["width"], stream["height"]) == \
        ("h264", "100", 128, 48)
    assert server.get("/v1/streams/c1/compare/files/rendered.png").status_code == 200
    problem(post(server, "c1", png(truth), step=200), 409, "busy")


def test_the_servers_figures_are_the_specs(server):
    want = json.loads((GOLDEN / "metrics_photo.json").read_text())
    a, b = ((GOLDEN / f"metrics_photo_{x}.png").read_bytes() for x in "ab")
    make(server, "c2", video=False, verify_metrics=True)
    r = server.put("/v1/streams/c2/compare/ground-truth", data=a, headers={"Content-Type": "image/png"})
    assert r.status_code == 200 and r.json()["id"] == 1
    got = post(server, "c2", b, step=1).json()
    assert got["psnr"] == pytest.approx(want["psnr"], abs=1e-3)
    assert got["ssim"] == pytest.approx(want["ssim_zero_pad"], abs=1e-5)
    got = post(server, "c2", b, meta={"step": 2, "metrics": {"psnr": 1.5, "ssim": 0.25, "loss": 3}}).json()
    assert (got["psnr"], got["ssim"]) == (1.5, 0.25)
    last = rows(server, "c2")[-1]
    assert float(last["psnr"]) == 1.5 and float(last["psnr_server"]) == pytest.approx(want["psnr"], abs=1e-3)
    assert post(server, "c2", a, step=3).json()["psnr"] == "inf"


def test_csv_columns_grow_in_the_order_they_are_seen(server):
    make(server, "c3", video=False)
    for step, metrics in ((0, {"loss": 1.5}), (1, {"loss": 1, "lr": 0.5}), (2, {"grad/norm": "nan"})):
        r = server.post("/v1/streams/c3/compare/metrics", json={"step": step, "metrics": metrics})
        assert r.status_code == 202, r.text
    text = server.get("/v1/streams/c3/compare/files/metrics.csv").text.splitlines()
    assert text[0] == "step,time,loss,lr,grad/norm"
    assert [line.count(",") for line in text] == [4] * 4
    assert [r["loss"] for r in rows(server, "c3")] == ["1.5", "1", ""] and rows(server, "c3")[2]["grad/norm"] == "nan"
    make(server, "c3f", video=False, csv_columns=["loss"])
    server.post("/v1/streams/c3f/compare/metrics", json={"step": 0, "metrics": {"loss": 1, "other": 2}})
    assert list(rows(server, "c3f")[0]) == ["step", "time", "loss"]


def test_what_does_not_fit_is_refused_and_changes_nothing(server):
    make(server, "c4", video=False)
    truth, render = pair(4)
    assert post(server, "c4", png(render), png(truth), step=10).status_code == 202
    problem(post(server, "c4", png(render[:20]), step=11), 422, "shape-mismatch")
    problem(post(server, "c4", png(render), step=9), 409, "exists")
    problem(post(server, "c4", png(render)), 400, "bad-option")
    problem(post(server, "c4", png(render), meta={"step": 12}, step=13), 400, "bad-option")
    problem(post(server, "c4", png(render), meta={"step": 12, "metrics": {"a b": 1}}), 400, "bad-option")
    problem(post(server, "c4", png(render), meta={"step": 12, "metrics": {"a": "x"}}), 400, "bad-option")
    problem(post(server, "c4", png(render), meta={"step": 12, "bogus": 1}), 400, "bad-option")
    problem(post(server, "c4", b"nonsense", step=12), 400, "bad-file")
    problem(server.post("/v1/streams/c4/compare?step=12", data=b"x"), 415, "bad-encoding")
    problem(server.get("/v1/streams/nothing/compare"), 404, "not-found")
    problem(server.get("/v1/streams/c4/compare/files/passwd"), 404, "not-found")
    assert len(rows(server, "c4")) == 1
    problem(server.put("/v1/streams/bad", json={"source": {"compare": {"bogus": 1}}}), 400, "bad-option")
    problem(server.put("/v1/streams/bad", json={"source": {"compare": {"panels": ["x"]}}}), 400, "bad-option")


def test_options_of_size_rewind_and_raw_pictures(server):
    make(server, "c5", video=False, allow_rewind=True, fit="resize", panels=["gt", "render", "abs_diff"],
         overlay={"enabled": False})
    truth, render = pair(5)
    assert post(server, "c5", png(render), png(truth), step=5).status_code == 202
    assert post(server, "c5", png(render[:24, :32]), step=3).status_code == 202
    raw = np.moveaxis(render.astype("f4") / 127.5 - 1, 2, 0)
    files = {"render": ("r", raw.tobytes(), "application/x-tensor; dtype=f32; shape=3,48,64; range=-1,1")}
    r = server.post("/v1/streams/c5/compare?step=6", files=files)
    assert r.status_code == 202, r.text
    picture = np.load(io.BytesIO(server.get("/v1/streams/c5/frame.npy").content))
    assert picture.shape == (48, 192, 3)
    assert np.array_equal(picture[:, :64], truth)
    assert abs(picture[:, 64:128].astype(int) - render).max() <= 1
    difference = abs(picture[:, 64:128].astype(int) - truth)
    assert abs(picture[:, 128:].astype(int) - difference).max() <= 1


def test_a_stream_without_ground_truth_shows_the_render_alone(server):
    make(server, "c6", video=False, overlay={"enabled": False})
    _, render = pair(6)
    r = post(server, "c6", png(render), step=1)
    assert r.status_code == 202 and r.json()["psnr"] is None
    assert np.array_equal(np.load(io.BytesIO(server.get("/v1/streams/c6/frame.npy").content)), render)


def test_the_python_client_posts_pairs(server):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python"))
    from tensorscope import CompareStream

    truth, render = pair(8)
    with CompareStream(server.url, "c8", when_full="block", video=False) as stream:
        stream.ground_truth(truth)
        for step in range(5):
            assert stream.log(step, render.astype("f4") / 255, loss=1 / (step + 1), odd=float("nan"))
        stream.log(5, loss=0.1)
    assert stream.stats["sent"] == 6 and stream.stats["failed"] == 0, stream.stats
    got = rows(server, "c8")
    assert [r["step"] for r in got] == list("012345") and got[5]["psnr"] == "" and got[0]["odd"] == "nan"
    mse = ((truth.astype(float) - render) ** 2).mean() / 255 ** 2
    assert float(got[0]["psnr"]) == pytest.approx(-10 * np.log10(mse), abs=1e-3)


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
def test_a_run_goes_on_after_a_restart(executable, tmp_path):
    from conftest import Server

    first = Server()
    make(first, "c7")
    truth, render = pair(7)
    for step in range(5):
        assert post(first, "c7", png(render), png(truth), step=step).status_code == 202
    first.process.terminate()
    assert first.process.wait(40) == 0
    keep = tmp_path / "data"
    shutil.copytree(first.data_dir, keep)
    first.stop()
    second = Server("--data-dir", str(keep))
    try:
        assert second.get("/v1/streams/c7/compare").json()["step"] == 4
        problem(post(second, "c7", png(render), png(truth), step=3), 409, "exists")
        for step in range(5, 9):
            assert post(second, "c7", png(render), png(truth), step=step).status_code == 202
        assert second.post("/v1/streams/c7/compare/finish").json()["frames"] == 9
        assert [int(r["step"]) for r in rows(second, "c7")] == list(range(9))
        path = tmp_path / "training.mp4"
        path.write_bytes(second.get("/v1/streams/c7/compare/files/training.mp4").content)
        assert frames_of(str(path))["nb_read_frames"] == "9"
    finally:
        second.stop()
