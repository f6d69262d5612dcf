"""Fits over HTTP: jobs, files, live pictures, sweeps, control, errors, and what survives a restart."""
import csv
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from wsclient import Client

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/image-gs"
PHOTO = (GOLDEN / "fit_photo_gt.png").read_bytes()
QUICK = {"num_gaussians": 200, "max_steps": 60, "eval_steps": 20, "video_iterations": 20, "disable_prog_optim": True}


def upload(server, name="photo", png=PHOTO):
    r = server.put(f"/v1/tensors/{name}", data=png, headers={"Content-Type": "image/png"})
    assert r.status_code in (200, 201), r.text


def png_of(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def start(server, **keys):
    upload(server)
    r = server.post("/v1/fits", json={"image": "photo", **QUICK, **keys})
    assert r.status_code == 202, r.text
    return r.json()["id"]


def wait(server, fit, states=("done", "failed", "cancelled"), timeout=90):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        shown = server.get(f"/v1/fits/{fit}").json()
        if shown["state"] in states:
            return shown
        time.sleep(0.05)
    raise AssertionError(f"{fit} is still {shown['state']} at step {shown['step']}")


def done(server, fit):
    shown = wait(server, fit)
    assert shown["state"] == "done", shown["error"]
    return shown


def file(server, fit, name, **kw):
    r = server.get(f"/v1/fits/{fit}/files/{name}", **kw)
    assert r.status_code in (200, 206), (name, r.text)
    return r


def problem(r, status, code):
    assert (r.status_code, r.headers["Content-Type"]) == (status, "application/problem+json"), r.text
    assert r.json()["code"] == code, r.text
    return r.json()


def test_a_fit_from_post_to_files(server, tmp_path):
    fit = start(server, video=True)
    shown = done(server, fit)
    assert shown["step"] == 60 and shown["count"] == 200 and shown["psnr"] > 18
    rows = list(csv.DictReader(io.StringIO(file(server, fit, "metrics.csv").text)))
    assert list(rows[0]) == ("step,total_loss,l1_loss,l2_loss,ssim_loss,psnr,ssim,num_gaussians,num_bytes,"
                             "render_time_accum,total_time_accum").split(",")
    assert [int(r["step"]) for r in rows] == [20, 40, 60]
    last = rows[-1]
    assert float(last["psnr"]) == pytest.approx(shown["psnr"], abs=1e-6)
    assert float(last["ssim"]) == pytest.approx(shown["ssim"], abs=1e-6)
    assert last["l2_loss"] == "" and float(last["total_loss"]) == pytest.approx(
        float(last["l1_loss"]) + float(last["ssim_loss"]), abs=1e-6)
    evaluations = server.get(f"/v1/fits/{fit}/metrics?since=20").json()["evaluations"]
    assert [e["step"] for e in evaluations] == [20, 40, 60]
    truth = np.asarray(Image.open(io.BytesIO(PHOTO)).convert("RGB"), dtype=float)
    render = np.asarray(Image.open(io.BytesIO(file(server, fit, "rendered.png").content)), dtype=float)[..., :3]
    mse = ((truth - render) ** 2).mean() / 255 ** 2
    assert -10 * np.log10(mse) == pytest.approx(shown["psnr"], abs=0.05)
    for name in ("rendered.jpg", "rendered.webp", "log_train.txt", "summary.txt", "summary.json", "summary.png",
                 "metrics_plot.png"):
        assert len(file(server, fit, name).content) > 100
    log = file(server, fit, "log_train.txt").text
    assert "Start optimizing 200 Gaussians" in log and "Step: 60 |" in log and "Optimization completed" in log
    figures = json.loads(file(server, fit, "summary.json").text)["metrics"]
    assert figures["psnr"] == pytest.approx(shown["metrics"]["psnr"])


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
def test_the_recording_is_h264_with_every_captured_frame(server, tmp_path):
    red = np.zeros((50, 75, 3), np.uint8)
    red[..., 0] = 255
    upload(server, "red", png_of(red))
    r = server.post("/v1/fits", json={"image": "red", **QUICK, "num_gaussians": 60, "video": True})
    fit = r.json()["id"]
    done(server, fit)
    path = tmp_path / "training.mp4"
    path.write_bytes(file(server, fit, "training.mp4").content)
    out = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_streams", str(path)], capture_output=True)
    stream = json.loads(out.stdout)["streams"][0]
    assert (stream["codec_name"], stream["pix_fmt"], stream["r_frame_rate"]) == ("h264", "yuv420p", "30/1")
    assert (stream["width"], stream["height"], stream["nb_frames"]) == (150, 50, "4")  # 0, 20, 40, 60
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         capture_output=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(4, 50, 150, 3)
    left = frames[-1][30:, :75].astype(float)  # below the label
    assert left[..., 0].mean() > 235 and left[..., 1:].mean() < 25  # red stayed red
    part = file(server, fit, "training.mp4", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_live_pictures_rise_and_show_the_figures(server):
    fit = start(server, max_steps=100000, eval_steps=1000)
    with Client(f"{server.ws_url}/v1/streams/{fit}/ws", ack=True) as c:
        assert c.expect("hello")["config"]["source"] == {"fit": fit}
        steps = []
        while len(steps) < 5:
            frame = c.frame(timeout=60)
            if frame.header["width"] == 2 * 192:
                steps.append(frame.header["step"])
                assert frame.image().shape == (128, 384, 3)
                assert frame.header["metrics"]["psnr"] > 5
        assert steps == sorted(steps) and steps[-1] > steps[0]
    with Client(f"{server.ws_url}/v1/streams/{fit}/ws") as late:
        begin = time.monotonic()
        late.frame()
        assert time.monotonic() - begin < 2
    assert server.post(f"/v1/fits/{fit}/cancel").status_code == 202
    assert wait(server, fit)["state"] == "cancelled"


def test_pixels_outside_the_text_are_the_panels(server):
    fit = start(server, live={"overlay": {"enabled": False}, "lossless": True, "quality": 70, "max_fps": 5})
    done(server, fit)
    output = server.get(f"/v1/streams/{fit}").json()["output"]
    assert (output["quality"], output["lossless"], output["max_fps"]) == (70, True, 5)
    picture = np.load(io.BytesIO(server.get(f"/v1/streams/{fit}/frame.npy").content))
    truth = np.asarray(Image.open(io.BytesIO(PHOTO)).convert("RGB"))
    render = np.asarray(Image.open(io.BytesIO(file(server, fit, "rendered.png").content)).convert("RGB"))
    assert np.array_equal(picture, np.hstack([truth, render]))
    fit = start(server)
    done(server, fit)
    written = np.load(io.BytesIO(server.get(f"/v1/streams/{fit}/frame.npy").content))
    changed = (written != picture).any(axis=2)
    assert changed.any() and not changed[:, 180:192].any()  # text there, and no bleeding over the seam


def test_pause_resume_patch_and_stop(server):
    fit = start(server, max_steps=100000, eval_steps=500)
    wait(server, fit, ("running",))
    assert server.post(f"/v1/fits/{fit}/pause").status_code == 202
    paused = wait(server, fit, ("paused",))
    time.sleep(0.3)
    assert server.get(f"/v1/fits/{fit}").json()["step"] == paused["step"]
    assert server.post(f"/v1/fits/{fit}/resume").status_code == 202
    wait(server, fit, ("running",))
    r = server.patch(f"/v1/fits/{fit}", json={"eval_steps": 10})
    assert r.status_code == 200, r.text
    problem(server.patch(f"/v1/fits/{fit}", json={"topk": 3}), 400, "bad-option")
    problem(server.patch(f"/v1/fits/{fit}", json={"eval_steps": 0}), 400, "bad-option")
    assert server.post(f"/v1/fits/{fit}/stop").status_code == 202
    shown = done(server, fit)
    assert 0 < shown["step"] < 100000
    problem(server.post(f"/v1/fits/{fit}/pause"), 409, "busy")
    rows = list(csv.DictReader(io.StringIO(file(server, fit, "metrics.csv").text)))
    assert float(rows[-1]["psnr"]) == pytest.approx(shown["psnr"], abs=1e-6)


def test_a_sweep_makes_a_folder_for_every_fit(server):
    upload(server, "one")
    upload(server, "two")
    r = server.post("/v1/fits", json={**QUICK, "max_steps": 20, "video": True, "video_iterations": 20,
                                      "sweep": {"images": ["one", "two"], "num_gaussians": [50, 80]}})
    assert r.status_code == 202, r.text
    fits = r.json()["fits"]
    assert len(fits) == 4 and len({f["folder"] for f in fits}) == 4
    for f in fits:
        done(server, f["id"])
        folder = pathlib.Path(f["folder"])
        assert folder.parent.name == r.json()["id"]
        for name in ("model.safetensors", "rendered.jpg", "metrics.csv", "training_video.mp4", "summary.txt",
                     "summary.json", "summary.png", "metrics_plot.png", "other/ground_truth.jpg",
                     "other/log_train.txt", "other/cfg_train.yaml", "other/gmap_res-128x192.jpg"):
            assert (folder / name).stat().st_size > 0, name
        assert list((folder / "other/checkpoints").iterdir())
    batch = json.loads((folder.parent / "batch.json").read_text())["fits"]
    assert [b["num_gaussians"] for b in batch] == [50, 50, 80, 80] and all(b["psnr"] > 5 for b in batch)
    table = (folder.parent / "batch.txt").read_text().splitlines()
    assert len(table) == 7 and table[5].startswith("Best compression") and table[6].startswith("Best quality")


def test_models_render_at_any_size_and_start_other_fits(server):
    fit = start(server)
    first = done(server, fit)
    r = server.post(f"/v1/fits/{fit}/render", json={"height": 256}, headers={"Accept": "image/png"})
    assert r.status_code == 200 and Image.open(io.BytesIO(r.content)).size == (384, 256)
    model = file(server, fit, "model.safetensors").content
    r = server.post("/v1/fits/render?height=128&align=false", data=model,
                    headers={"Content-Type": "application/vnd.safetensors", "Accept": "application/x-npy"})
    array = np.load(io.BytesIO(r.content))
    render = np.asarray(Image.open(io.BytesIO(file(server, fit, "rendered.png").content)).convert("RGB"))
    assert array.shape == render.shape and abs(array.astype(int) - render).max() <= 1
    again = start(server, init_from=fit, max_steps=20)
    assert done(server, again)["psnr"] > first["psnr"]
    problem(server.post("/v1/fits", json={"image": "photo", **QUICK, "num_gaussians": 90, "init_from": fit}),
            409, "exists")
    problem(server.post("/v1/fits/render?height=64", data=b"nonsense"), 400, "bad-file")
    problem(server.post("/v1/fits/render?height=0", data=model), 400, "bad-option")


def test_a_fit_is_a_model_like_any_other(server):
    fit = start(server)
    done(server, fit)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("config.json", b'{"format": "tensorscope-gs"}'),
                              ("model.safetensors", file(server, fit, "model.safetensors").content)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    r = server.put("/v1/models/fitted", data=out.getvalue(), headers={"Content-Type": "application/x-tar"})
    assert r.status_code in (200, 201), r.text
    r = server.post("/v2/models/fitted/infer", json={
        "inputs": [{"name": "height", "datatype": "INT32", "shape": [1], "data": [64]}],
        "outputs": [{"name": "image"}]})
    assert r.status_code == 200, r.text
    image = r.json()["outputs"][0]
    assert image["shape"] == [3, 64, 96] and 0 <= min(image["data"]) and max(image["data"]) <= 1
    again = start(server, init_from="fitted", max_steps=20)
    assert done(server, again)["state"] == "done"


def test_equal_seeds_give_equal_models_with_and_without_viewers(server):
    one = start(server, video=True)
    with Client(f"{server.ws_url}/v1/streams/{one}/ws", ack=True) as c:
        stop = threading.Event()

        def read():
            while not stop.is_set():
                try:
                    c.frame(timeout=0.5)
                except Exception:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        done(server, one)
        stop.set()
        reader.join()
    two = start(server)
    done(server, two)

    def parameters(fit):
        data = file(server, fit, "model.safetensors").content
        return data[8 + int.from_bytes(data[:8], "little"):]

    assert parameters(one) == parameters(two)


def test_quantised_models_are_smaller_and_come_back(server):
    fit = start(server, quantize=True, pos_bits=12, scale_bits=8, rot_bits=8, feat_bits=8, quant_space="log_sigma")
    done(server, fit)
    full = file(server, fit, "model.safetensors").content
    small = file(server, fit, "model.safetensors?form=quant").content
    assert len(small) < len(full)
    r = server.post("/v1/fits/render?height=128&align=false", data=small, headers={"Accept": "application/x-npy"})
    array = np.load(io.BytesIO(r.content)).astype(int)
    render = np.asarray(Image.open(io.BytesIO(file(server, fit, "rendered.png").content)).convert("RGB")).astype(int)
    assert abs(array - render).mean() < 1.0


def test_kept_frames_pictures_of_gaussians_and_a_reduced_target(server):
    fit = start(server, keep_frames=True, vis_gaussians=True, downsample=True, downsample_ratio=2, save_image_steps=20)
    shown = done(server, fit)
    assert (shown["width"], shown["height"]) == (192, 128)
    frames = server.get(f"/v1/fits/{fit}/frames").json()["frames"]
    assert [f["step"] for f in frames] == [0, 20, 40, 60] and frames[-1]["psnr"] == pytest.approx(shown["psnr"])
    one = server.get(f"/v1/fits/{fit}/frames/40.webp")
    assert Image.open(io.BytesIO(one.content)).size == (192, 64)
    problem(server.get(f"/v1/fits/{fit}/frames/41.webp"), 404, "not-found")
    folder = pathlib.Path(shown["folder"])
    assert shown["metrics"]["upsampled"]["psnr"] > 15
    up = list(folder.glob("render_upsample-*"))
    assert len(up) == 1 and Image.open(up[0]).size == (192, 128)
    for kind in ("flip-error", "gaussian-position", "gaussian-footprint"):
        assert len(list((folder / "other").glob(f"{kind}_step-*"))) == 4


def test_image_metrics(server):
    want = json.loads((GOLDEN / "metrics_photo.json").read_text())
    a, b = ((GOLDEN / f"metrics_photo_{x}.png").read_bytes() for x in "ab")
    got = server.post("/v1/image-metrics", files={"a": a, "b": b}).json()
    assert got["psnr"] == pytest.approx(want["psnr"], abs=1e-3)
    assert got["ssim"] == pytest.approx(want["ssim_zero_pad"], abs=1e-5)
    assert got["ms_ssim"] == pytest.approx(want["ms_ssim"], abs=2e-5)
    assert got["flip"] == pytest.approx(want["flip_mean"], abs=1e-4)
    assert server.post("/v1/image-metrics", files={"a": a, "b": a}).json()["psnr"] == "inf"
    problem(server.post("/v1/image-metrics", files={"a": a}), 400, "bad-option")
    problem(server.post("/v1/image-metrics", files={"a": a, "b": PHOTO}), 422, "shape-mismatch")
    problem(server.post("/v1/image-metrics", files={"a": a, "b": b"x"}), 400, "bad-file")


def test_bad_requests_change_nothing(server):
    upload(server)
    before = len(server.get("/v1/fits").json()["fits"])
    p = problem(server.post("/v1/fits", json={"image": "photo", "num_gaussians": 0, "gamma": "x", "bogus": 1}),
                400, "bad-option")
    assert [e["field"] for e in p["errors"]] == ["num_gaussians", "gamma", "bogus"]
    problem(server.post("/v1/fits", json={"image": "photo", "num_gaussians": 10 ** 9}), 400, "bad-option")
    problem(server.post("/v1/fits", json={"image": "missing"}), 404, "not-found")
    problem(server.post("/v1/fits", json={"num_gaussians": 5}), 400, "bad-option")
    problem(server.post("/v1/fits", json=[1]), 400, "bad-option")
    problem(server.post("/v1/fits", data=b"{", headers={"Content-Type": "application/json"}), 400, "bad-json")
    problem(server.post("/v1/fits", json={"image": "photo", "video": {"codec": "av1"}}), 501, "encoder-unavailable")
    problem(server.post("/v1/fits", json={"image": "photo", "live": {"panels": ["no"]}}), 400, "bad-option")
    problem(server.post("/v1/fits", json={"image": "photo", "init_mode": "saliency"}), 422, "shape-mismatch")
    problem(server.post("/v1/fits", json={"image": "photo", "init_from": "missing"}), 404, "not-found")
    server.put("/v1/tensors/two_channels?dtype=u8&shape=4,4,2", data=bytes(32),
               headers={"Content-Type": "application/octet-stream"})
    problem(server.post("/v1/fits", json={"image": "two_channels"}), 422, "shape-mismatch")
    bad = np.full((4, 4, 3), np.nan, "f4")
    server.put("/v1/tensors/nan?dtype=f32&shape=4,4,3", data=bad.tobytes(),
               headers={"Content-Type": "application/octet-stream"})
    problem(server.post("/v1/fits", json={"image": "nan"}), 422, "shape-mismatch")
    small = png_of(np.zeros((8, 8, 3), np.uint8))
    upload(server, "small", small)
    problem(server.post("/v1/fits", json={"stack": ["photo", "small"]}), 422, "shape-mismatch")
    problem(server.post("/v1/fits", json={**QUICK, "sweep": {"images": ["photo", "missing"]}}), 404, "not-found")
    problem(server.post("/v1/fits", json={**QUICK, "sweep": {"images": []}}), 400, "bad-option")
    problem(server.get("/v1/fits/f999"), 404, "not-found")
    problem(server.post("/v1/fits/f999/stop"), 404, "not-found")
    r = server.post("/v1/fits", files={"image": ("x.png", b"not a picture", "image/png")})
    assert r.status_code == 422 and "x.png" in r.json()["detail"]
    assert len(server.get("/v1/fits").json()["fits"]) == before


@pytest.mark.parametrize("mode", ["patches", "joint"])
def test_adaptive_refinement_of_a_noisy_quadrant(server, mode):
    y, x = np.mgrid[:128, :128]
    image = (128 + 50 * np.sin(x * 0.03) * np.cos(y * 0.02)).astype(np.uint8)
    noisy = (x >= 80) & (y >= 80)
    image[noisy] = np.where(((x // 3) * 7 + (y // 3) * 13) % 5 < 2, 25, 230)[noisy]
    upload(server, "quadrant", png_of(image))
    r = server.post("/v1/fits", json={
        "image": "quadrant", "max_steps": 200, "eval_steps": 50, "disable_prog_optim": True, "video": True,
        "video_iterations": 50, "adaptive_refinement": True, "adaptive_mode": mode, "adaptive_patch_size": 72,
        "adaptive_overlap": 16, "adaptive_base_gaussians": 300, "adaptive_refinement_increment": 200,
        "adaptive_max_iterations": 2, "adaptive_max_gaussians_per_patch": 600, "adaptive_error_threshold": 0.75})
    assert r.status_code == 202, r.text
    shown = done(server, r.json()["id"])
    assert shown["metrics"]["enhanced"]["psnr"] > shown["metrics"]["psnr"]
    folder = pathlib.Path(shown["folder"])
    assert folder.name.startswith("quadrant-adaptive-300")
    summary = json.loads((folder / "enhanced/patch_summary.json").read_text())
    assert [p["needs_refinement"] for p in summary["patches"]] == [False, False, False, True]
    assert [p.name for p in (folder / "other/patches").iterdir()] == ["patch_1_1"]
    for name in ("base_training/model.safetensors", "enhanced/rendered.jpg", "comparison.jpg",
                 "comparison_detailed.png", "other/patch_grid_visualization.jpg", "other/patches/patch_1_1/after.jpg",
                 "training_video.mp4", "metrics.csv"):
        assert (folder / name).stat().st_size > 0, name


def test_multipart_stack_with_odd_sizes(server):
    rng = np.random.default_rng(3)
    one, two = (png_of(rng.integers(0, 256, s, np.uint8)) for s in ((17, 23, 3), (17, 23)))
    r = server.post("/v1/fits", files=[("image", ("a.png", one, "image/png")), ("image", ("b.png", two, "image/png")),
                                       ("config", (None, json.dumps({**QUICK, "num_gaussians": 30})))])
    assert r.status_code == 202, r.text
    shown = done(server, r.json()["id"])
    assert shown["channels"] == 4 and shown["metrics"]["ms_ssim"] is None


def test_a_fit_over_the_budget_is_refused(start_server):
    s = start_server("--max-device-bytes", "16M")
    upload(s)
    problem(s.post("/v1/fits", json={"image": "photo", "num_gaussians": 1000000}), 507, "device-memory")


def test_cancelling_at_random_moments_leaves_no_device_memory(server):
    upload(server)
    warm = start(server, max_steps=5)
    done(server, warm)

    def used():
        return sum(d["memory"]["used_bytes"] for d in server.get("/v1/server").json()["devices"])

    before, rng = used(), np.random.default_rng(5)
    assert before > 0
    for i in range(50):
        fit = start(server, max_steps=100000, video=bool(i % 2))
        time.sleep(float(rng.uniform(0, 0.06)))
        action = ("cancel", "stop", "pause")[i % 3]
        assert server.post(f"/v1/fits/{fit}/{action}").status_code == 202
        if action == "stop":
            wait(server, fit)
        assert server.delete(f"/v1/fits/{fit}").status_code == 204
        assert server.get(f"/v1/fits/{fit}").status_code == 404
    assert abs(used() - before) <= 1 << 20


def test_finished_fits_survive_a_restart(executable, tmp_path):
    from conftest import Server

    first = Server()
    data = first.data_dir
    fit = start(first)
    shown = done(first, fit)
    running = start(first, max_steps=100000)
    wait(first, running, ("running",))
    keep = tmp_path / "data"
    first.process.terminate()
    assert first.process.wait(40) == 0
    shutil.copytree(data, keep)
    first.stop()
    second = Server("--data-dir", str(keep))
    try:
        again = second.get(f"/v1/fits/{fit}").json()
        assert (again["state"], again["psnr"], again["step"]) == ("done", shown["psnr"], 60)
        assert file(second, fit, "model.safetensors").content[8:9] == b"{"
        assert second.get(f"/v1/fits/{fit}/metrics").json()["evaluations"][-1]["step"] == 60
        assert second.get(f"/v1/fits/{running}").json()["state"] == "failed"
        assert second.get(f"/v1/streams/{fit}/frame.webp").status_code == 200
        other = start(second)
        assert other not in (fit, running)
        assert second.delete(f"/v1/fits/{fit}").status_code == 204
        assert not pathlib.Path(again["folder"]).exists()
    finally:
        second.stop()


def test_a_full_disk_in_a_recording_leaves_the_last_checkpoint_whole(executable, tmp_path):
    from conftest import Server

    fits = tmp_path / "data" / "fits"
    fits.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(fits)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        server = Server("--data-dir", str(tmp_path / "data"))
        try:
            noise = np.random.default_rng(1).integers(0, 256, (128, 192, 3), np.uint8)
            upload(server, "noise", png_of(noise))
            r = server.post("/v1/fits", json={**QUICK, "image": "noise", "max_steps": 100000, "eval_steps": 20,
                                              "save_ckpt_steps": 20, "capture_mode": "independent",
                                              "video_iterations": 1, "video": {"crf": 0}})
            assert r.status_code == 202, r.text
            shown = wait(server, r.json()["id"])
            assert (shown["state"], shown["error"]["code"]) == ("failed", "disk-full"), shown["error"]
            checkpoints = sorted((pathlib.Path(shown["folder"]) / "other/checkpoints").glob("*.safetensors"),
                                 key=lambda p: int(p.stem.rsplit("-", 1)[1]))
            assert checkpoints
            r = server.post("/v1/fits/render?height=64", data=checkpoints[-1].read_bytes(),
                            headers={"Accept": "image/png"})
            assert r.status_code == 200, r.text
            assert server.get("/livez").status_code == 200
        finally:
            server.stop()
    finally:
        subprocess.run(["umount", str(fits)], check=True)


def test_the_command_line_writes_the_same_files(executable, tmp_path):
    photo = str(GOLDEN / "fit_photo_gt.png")
    run = [executable, "fit", photo, "--num-gaussians", "80", "--max-steps", "20", "--eval-steps", "10",
           "--disable-prog-optim", "--out", str(tmp_path), "--json"]
    out = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    assert [line["step"] for line in lines[:-1]] == [0, 10, 20]
    folder = pathlib.Path(lines[-1]["folder"])
    assert folder.name == "fit_photo_gt-80-20" and (folder / "model.safetensors").exists()
    assert lines[-1]["psnr"] == pytest.approx(lines[-2]["psnr"])
    assert "--num-gaussians" in subprocess.run([executable, "fit", "--help"], capture_output=True, text=True).stdout
    assert subprocess.run([executable, "fit", photo, "--num-gaussians", "0"], capture_output=True).returncode == 2
    assert subprocess.run([executable, "fit", photo, "--no-such"], capture_output=True).returncode == 2
    assert subprocess.run([executable, "fit", "/nowhere.png"], capture_output=True).returncode == 5
    assert subprocess.run([executable, "fit", photo, "--device", "nothing"], capture_output=True).returncode == 3
