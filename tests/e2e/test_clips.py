"""Clips and gaze over HTTP, against the recorded reference."""
import hashlib
import io
import json
import pathlib
import struct
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
BIRDS = sorted((GOLDEN / "autogaze" / "frames").glob("birds384x216_*.png"))
RUNS = json.loads((GOLDEN / "autogaze" / "expected.json").read_text())["runs"]
RAW = {"Content-Type": "application/octet-stream"}


def frames():
    return np.stack([np.array(Image.open(p).convert("RGBA")) for p in BIRDS])


def upload(server, array, fps=10):
    t, h, w, _ = array.shape
    answer = server.post(f"/v1/clips?width={w}&height={h}&frames={t}&fps={fps}",
                         data=array.tobytes(), headers=RAW)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def birds(server):
    return upload(server, frames())["id"]


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["code"] == code, answer.json()
    return answer.json()["detail"]


def test_raw_frames_come_back(server):
    a = np.random.default_rng(0).integers(0, 256, (5, 24, 32, 4), dtype=np.uint8)
    clip = upload(server, a, fps=12.5)
    assert clip["frames"] == 5 and clip["width"] == 32 and clip["height"] == 24
    assert clip["fps"] == 12.5
    assert server.get(f"/v1/clips/{clip['id']}").json() == clip
    assert clip in server.get("/v1/clips").json()["clips"]
    assert server.get("/v1/clips?prefix=zz").json() == {"clips": []}
    for n in (0, 4):
        got = server.get(f"/v1/clips/{clip['id']}/frames/{n}.png")
        assert got.headers["Content-Type"] == "image/png"
        assert (np.array(Image.open(io.BytesIO(got.content))) == a[n]).all()
        got = server.get(f"/v1/clips/{clip['id']}/frames/{n}.webp?lossless=1")
        assert (np.array(Image.open(io.BytesIO(got.content)).convert("RGBA")) == a[n]).all()
    assert server.delete(f"/v1/clips/{clip['id']}").status_code == 204
    problem(server.get(f"/v1/clips/{clip['id']}"), 404, "not-found")
    problem(server.delete(f"/v1/clips/{clip['id']}"), 404, "not-found")


@pytest.mark.parametrize("query, body, kind, status, code", [
    ("width=4&height=4&frames=2", b"\0" * 127, RAW, 400, "size-mismatch"),
    ("width=4&height=4", b"", RAW, 400, "bad-option"),
    ("width=4&height=x&frames=1", b"\0" * 64, RAW, 400, "bad-option"),
    ("width=9000&height=1&frames=1", b"\0" * 36000, RAW, 413, "too-large"),
    ("width=4&height=4&frames=1&fps=0", b"\0" * 64, RAW, 400, "bad-option"),
    ("width=4&height=4&frames=1&fps=1e9", b"\0" * 64, RAW, 400, "bad-option"),
    ("width=4&height=4&frames=1&depth=3", b"\0" * 64, RAW, 400, "bad-option"),
    ("", b"hello", {"Content-Type": "text/plain"}, 415, "bad-encoding"),
    ("", b"hello", {"Content-Type": "video/mp4"}, 400, "bad-file"),
    ("", b"ffconcat version 1.0\nfile /etc/passwd\n", {"Content-Type": "video/mp4"}, 400,
     "bad-file"),
    ("", b"RIFF\x04\0\0\0WEBP", {"Content-Type": "image/webp"}, 400, "bad-file"),
    ("", b"GIF89a", {"Content-Type": "image/gif"}, 400, "bad-file"),
])
def test_bad_uploads_change_nothing(server, query, body, kind, status, code):
    before = server.get("/v1/clips").json()
    problem(server.post("/v1/clips?" + query, data=body, headers=kind), status, code)
    assert server.get("/v1/clips").json() == before


def test_animations_and_videos_are_clips(server, tmp_path, have_ffmpeg):
    for name, kind in (("dispose1.gif", "image/gif"), ("anim.webp", "image/webp")):
        data = (GOLDEN / "codec" / name).read_bytes()
        clip = server.post("/v1/clips", data=data, headers={"Content-Type": kind}).json()
        assert (clip["frames"], clip["width"], clip["height"]) == (5, 37, 23)
        assert abs(clip["fps"] - 5 / 0.3) < 1e-6
        cut = server.post("/v1/clips", data=data[:-20], headers={"Content-Type": kind})
        problem(cut, 400, "bad-file")
    if not have_ffmpeg:
        pytest.skip("no ffmpeg to make a video with")
    path = tmp_path / "v.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                    "color=size=160x120:rate=25:duration=1,geq=r=X:g=2*Y:b=100", "-pix_fmt", "yuv420p", str(path)],
                   check=True)
    data = path.read_bytes()
    clip = server.post("/v1/clips", data=data, headers={"Content-Type": "video/mp4"}).json()
    assert (clip["frames"], clip["width"], clip["height"], clip["fps"]) == (25, 160, 120, 25)
    got = server.get(f"/v1/clips/{clip['id']}/frames/0.png").content
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f",
                          "rawvideo", "-pix_fmt", "rgb24", "-"], check=True,
                         capture_output=True).stdout
    want = np.frombuffer(raw, np.uint8).reshape(120, 160, 3).astype(int)
    assert np.abs(np.array(Image.open(io.BytesIO(got)).convert("RGB")) - want).mean() < 2
    for end in (len(data) // 3, len(data) // 2):
        problem(server.post("/v1/clips", data=data[:end], headers={"Content-Type": "video/mp4"}),
                400, "bad-file")


def test_clips_the_server_makes(server):
    ids = {}
    for kind in ("static", "pan", "pulse", "local-motion"):
        answer = server.post(f"/v1/clips?test={kind}&width=320&height=180&frames=48&fps=30")
        assert answer.status_code == 201, answer.text
        ids[kind] = answer.json()["id"]
    ratios = {k: [f["gaze_ratio"] for f in
                  server.post(f"/v1/clips/{i}/gaze", json={}).json()["frames"]]
              for k, i in ids.items()}
    assert not any(ratios["static"])
    assert min(ratios["pan"][1:]) > 0.9
    moving = [n for n, r in enumerate(ratios["pulse"]) if r > 0]
    assert moving == list(range(17, 41))
    local = ratios["local-motion"]
    assert 0 < max(local[1:25]) < 0.3 and not any(local[25:])
    first, second = (np.array(Image.open(io.BytesIO(
        server.get(f"/v1/clips/{ids['pan']}/frames/{n}.png").content))) for n in (0, 1))
    assert (np.roll(first, (5, 9), (0, 1)) == second).all()
    problem(server.post("/v1/clips?test=x&width=3&height=3&frames=1"), 400, "bad-option")
    problem(server.post("/v1/clips?test=pan&width=3&height=3"), 400, "bad-option")
    problem(server.post("/v1/clips?test=pan&width=3&height=3&frames=1", data=b"x"), 400,
            "size-mismatch")


def test_frames_that_are_not_there(server, birds):
    for name in ("6.png", "x.png", "0.gif", "-1.png", "0"):
        problem(server.get(f"/v1/clips/{birds}/frames/{name}"), 404, "not-found")
    problem(server.get(f"/v1/clips/{birds}/frames/0.webp?quality=0"), 400, "bad-option")
    problem(server.get("/v1/clips/..%2Fx"), 400, "bad-name")


def check_frames(answer, run):
    for got, want, order in zip(answer["frames"], run["reconstruction"], run["order"]):
        assert got["gaze_ratio"] == want["mask_ratio"]
        assert got["update_ratio"] == want["update_ratio"]
        assert got["tokens"] == order
        assert got["cells"] == [[0, c // 14, c % 14] for c in order]
        if want["psnr_infinite"]:
            assert got["psnr_db"] is None
        else:
            assert abs(got["psnr_db"] - want["psnr_db"]) < 1e-9
    assert len(answer["frames"]) == len(run["reconstruction"])


def test_patch_difference_gaze_matches_the_reference(server, birds):
    run = RUNS["patch_diff"]["birds384x216.thr0.15"]
    answer = server.post(f"/v1/clips/{birds}/gaze", json={})
    assert answer.status_code == 200, answer.text
    check_frames(answer.json(), run)
    assert server.post(f"/v1/clips/{birds}/gaze").json() == answer.json()  # no body: defaults
    totals = answer.json()["totals"]
    assert totals["frames"] == 6 and totals["keyframes"] == 1
    assert totals["fixations"] == sum(run["active_cells"])
    answer = server.post(f"/v1/clips/{birds}/gaze", json={"threshold": 0.45})
    check_frames(answer.json(), RUNS["patch_diff"]["birds384x216.thr0.45"])
    answer = server.post(f"/v1/clips/{birds}/gaze", json={"quality": 0.55})
    check_frames(answer.json(), RUNS["patch_diff"]["birds384x216.thr0.45"])


def safetensors(data):
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    dtypes = {"U8": np.uint8, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
    result = json.loads(header.pop("__metadata__")["result"])
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        flat = np.frombuffer(data[8 + n + begin:8 + n + end], dtypes[t["dtype"]])
        tensors[name] = flat.reshape(t["shape"])
    return result, tensors


def test_outputs_come_as_safetensors(server, birds):
    run = RUNS["patch_diff"]["birds384x216.thr0.15"]
    names = ["mask", "panel", "output", "side_by_side", "scale_masks", "generated", "scores"]
    answer = server.post(f"/v1/clips/{birds}/gaze", json={"outputs": names, "details": "all"},
                         headers={"Accept": "application/vnd.safetensors"})
    assert answer.status_code == 200, answer.text
    result, t = safetensors(answer.content)
    check_frames(result, run)
    clip = frames()
    for n, want in enumerate(run["reconstruction"]):
        assert hashlib.sha256(t["output"][n].tobytes()).hexdigest() == want["output_sha256"]
        assert (t["mask"][n] == 255).sum() == want["mask_pixels"]
        wide = t["side_by_side"][n]
        assert (wide[:, :384] == clip[n]).all()
        assert (wide[:, 384:768] == t["panel"][n]).all()
        assert (wide[:, 768:] == t["output"][n]).all()
        assert set(np.flatnonzero(t["scale_mask_0"][n])) == set(run["order"][n])
    assert t["num_gazing_each_frame"].tolist() == run["active_cells"]
    assert t["gazing_pos"].shape == (1, sum(run["active_cells"]))
    assert not t["if_padded_gazing"].any()
    scores = np.fromfile(GOLDEN / "autogaze" / "patch_diff_birds384x216.f32", np.float32)
    assert np.abs(t["scores"].ravel() - scores).max() < 1e-5
    assert result["frames"][1]["path"] == "dense-mask"
    assert result["frames"][0]["path"] == "keyframe"


def test_a_readout_gives_tokens_and_coordinates(server, birds):
    body = {"readout": {"image_grid": [14, 14], "tubelet": 2, "video_grid": [7, 7]}}
    r = server.post(f"/v1/clips/{birds}/gaze", json=body).json()["readout"]
    run = RUNS["patch_diff"]["birds384x216.thr0.15"]
    assert r["frame_tokens"] == run["order"]  # the same grid: a cell is a token
    assert r["video_grid"] == [3, 7, 7]
    want = {(n // 2) * 49 + (c // 14 // 2) * 7 + c % 14 // 2
            for n, order in enumerate(run["order"]) for c in order}
    assert set(r["video_tokens"]) == want and len(r["video_tokens"]) == len(want)
    assert [b * 49 + y * 7 + x for _, b, y, x in r["coordinates"]] == r["video_tokens"]
    for bad in ({"tubelet": 4}, {"image_grid": [0, 1]}, {"image_grid": 3}, {"x": 1}, []):
        problem(server.post(f"/v1/clips/{birds}/gaze", json={"readout": bad}), 400, "bad-option")


def test_another_processing_size(server, birds):
    answer = server.post(f"/v1/clips/{birds}/gaze",
                         json={"inference_width": 200, "outputs": ["output", "mask"]},
                         headers={"Accept": "application/vnd.safetensors"})
    assert answer.status_code == 200, answer.text
    _, t = safetensors(answer.content)
    h = int(216 * 200 / 384 + 0.5)
    assert t["output"].shape == (6, h, 200, 4) and t["mask"].shape == (6, h, 200)
    want = Image.open(BIRDS[0]).convert("RGB").resize((200, h), Image.BILINEAR)
    assert (t["output"][0][..., :3] == np.array(want)).all()  # to the byte
    answer = server.post(f"/v1/clips/{birds}/gaze",
                         json={"inference_width": 500, "inference_height": 300, "details": "all"})
    assert answer.json()["frames"][0]["width"] == 500
    problem(server.post(f"/v1/clips/{birds}/gaze", json={"inference_width": 0}), 400, "bad-option")


def test_outputs_stay_on_the_device(server, birds):
    answer = server.post(f"/v1/clips/{birds}/gaze", json={"outputs": ["mask"], "store": "g"})
    assert answer.json()["stored"] == ["g.mask"]
    info = server.get("/v1/tensors/g.mask").json()
    assert info["dtype"] == "u8" and info["shape"] == [6, 216, 384]


@pytest.mark.parametrize("body, status, code", [
    ({"outputs": ["mask"]}, 400, "bad-option"),
    ({"outputs": ["nothing"]}, 400, "bad-option"),
    ({"outputs": "mask"}, 400, "bad-option"),
    ({"geometry": "x"}, 400, "bad-option"),
    ({"visualization": "x"}, 400, "bad-option"),
    ({"threshhold": 1}, 400, "bad-option"),
    ({"threshold": "a"}, 400, "bad-option"),
    ({"keyframe_interval": -1}, 400, "bad-option"),
    ({"mask_source": "eyes"}, 400, "bad-option"),
    ({"mask_source": "autogaze", "model": "nothere"}, 404, "not-found"),
    ({"model_dir": "/etc"}, 400, "bad-option"),
    ({"store": "../x"}, 400, "bad-name"),
    ({"stream": ".x"}, 400, "bad-name"),
    ([], 400, "bad-json"),
])
def test_bad_gaze_requests_name_what_is_wrong(server, birds, body, status, code):
    problem(server.post(f"/v1/clips/{birds}/gaze", json=body), status, code)


def test_frames_are_also_published(server, birds):
    answer = server.post(f"/v1/clips/{birds}/gaze",
                         json={"stream": "shown", "visualization": "side-by-side"})
    assert answer.status_code == 200, answer.text
    assert server.get("/v1/streams/shown").json()["source"] == {"push": True}
    deadline = time.monotonic() + 60
    while (got := server.get("/v1/streams/shown/frame.png")).status_code != 200:
        assert time.monotonic() < deadline, got.text  # kernels are being built
    assert Image.open(io.BytesIO(got.content)).size == (3 * 384, 216)


def test_gaze_of_nothing(server, birds):
    problem(server.post("/v1/clips/nope/gaze", json={}), 404, "not-found")
    problem(server.post(f"/v1/clips/{birds}/gaze", json={}, headers={"Accept": "text/html"}), 406,
            "not-acceptable")


def test_the_command_gives_the_same_numbers(executable, tmp_path):
    folder = tmp_path / "birds"
    folder.mkdir()
    for p in BIRDS:
        (folder / p.name).write_bytes(p.read_bytes())
    out = tmp_path / "out"
    done = subprocess.run([executable, "gaze", str(folder), "--out", str(out)],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    run = RUNS["patch_diff"]["birds384x216.thr0.15"]
    check_frames({"frames": lines}, run)
    assert (out / "gaze.mp4").stat().st_size > 1000
    for n, want in enumerate(run["reconstruction"]):
        mask = np.array(Image.open(out / "masks" / f"{n:06d}.png"))
        assert mask.shape == (216, 384) and (mask == 255).sum() == want["mask_pixels"]


@pytest.mark.parametrize("arguments, status", [
    ([], 2), (["--help"], 0), (["/nonexistent"], 5), (["/etc/passwd"], 5),
    (["FOLDER", "--geometry", "x"], 2), (["FOLDER", "--nonsense", "1"], 2),
    (["FOLDER", "--device", "no such device"], 3), (["FOLDER", "--out", "/proc/x/y"], 6),
    (["FOLDER", "--model", "/nonexistent"], 7),
])
def test_exit_statuses_of_the_command(executable, tmp_path, arguments, status):
    arguments = [str(BIRDS[0].parent) if a == "FOLDER" else a for a in arguments]
    done = subprocess.run([executable, "gaze", *arguments], capture_output=True, text=True,
                          timeout=100, cwd=tmp_path)
    assert done.returncode == status, done.stderr
