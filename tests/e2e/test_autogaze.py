"""AutoGaze over HTTP: an uploaded model gives the recorded tokens, masks' ratios and reconstructions."""
import io
import json
import os
import pathlib
import subprocess
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/autogaze"
RUNS = json.loads((GOLDEN / "expected.json").read_text())["runs"]
CLIPS = {"square448": 4, "birds384x216": 6, "odd511x300": 2}


def frames(name):
    return [np.array(Image.open(GOLDEN / f"frames/{name}_{i:02d}.png").convert("RGBA")) for i in range(CLIPS[name])]


def model_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            tar.add(GOLDEN / name, name)
    return out.getvalue()


@pytest.fixture(scope="module")
def loaded(server):
    for _ in range(600):
        if server.get("/readyz").status_code == 200:
            break
        time.sleep(0.1)
    r = server.put("/v1/models/gaze", data=model_tar(), headers={"Content-Type": "application/x-tar"})
    assert r.status_code == 201, r.text
    return server


def upload(server, name):
    f = frames(name)
    r = server.post(f"/v1/clips?width={f[0].shape[1]}&height={f[0].shape[0]}&frames={len(f)}&fps=30",
                    data=b"".join(x.tobytes() for x in f), headers={"Content-Type": "application/octet-stream"})
    assert r.status_code == 201, r.text
    return r.json()["id"]


def options(run):
    o = {"mask_source": "autogaze", "model": "gaze", "max_gaze_tokens_each_frame": run["max_tokens"], "geometry": "native"}
    if run["task_loss_requirement"] is not None:
        o["task_loss_requirement"] = run["task_loss_requirement"]
    return o


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("mode", ["budget", "taskloss"])
def test_clips_give_the_recorded_tokens_and_reconstruction(loaded, clip, mode):
    run = RUNS[f"{clip}.{mode}.f32"]
    r = loaded.post(f"/v1/clips/{upload(loaded, clip)}/gaze", json=options(run))
    assert r.status_code == 200, r.text
    got = r.json()["frames"]
    assert len(got) == CLIPS[clip]
    for g, f, rec in zip(got, run["frames"], run["reconstruction"]):
        assert g["tokens"] == f["tokens"]
        assert abs(g["gaze_ratio"] - rec["mask_ratio"]) < 1e-12
        assert abs(g["update_ratio"] - rec["update_ratio"]) < 1e-12
        if rec["psnr_db"] is None:
            assert g["psnr_db"] is None
        else:
            assert abs(g["psnr_db"] - rec["psnr_db"]) < 1e-9
        valid = [t for t, v in zip(f["tokens"], f["valid"]) if v]
        assert len(g["cells"]) == len(valid)


def test_tiles_answer_one_list_per_tile(loaded):
    run = RUNS["tiles"]
    o = {"mask_source": "autogaze", "model": "gaze", "mode": "tiled", "geometry": "native",
         "max_gaze_tokens_each_frame": run["max_tokens"]}
    r = loaded.post(f"/v1/clips/{upload(loaded, run['clip'])}/gaze", json=o)
    assert r.status_code == 200, r.text
    for t, g in enumerate(r.json()["frames"]):
        assert g["tokens"] == [tile["frames"][t]["tokens"] for tile in run["tiles"]]
        assert abs(g["gaze_ratio"] - run["reconstruction"][t]["mask_ratio"]) < 1e-12


def test_a_model_without_a_name_is_found_and_errors_name_what_is_wrong(loaded):
    clip = upload(loaded, "odd511x300")
    r = loaded.post(f"/v1/clips/{clip}/gaze", json={"mask_source": "autogaze"})
    assert r.status_code == 200, r.text
    assert loaded.post(f"/v1/clips/{clip}/gaze", json={"mask_source": "autogaze", "model": "none"}).status_code == 404
    assert loaded.post(f"/v1/clips/{clip}/gaze", json={"mask_source": "autogaze", "model": "mnist"}).status_code in (404, 422)
    r = loaded.post(f"/v1/clips/{clip}/gaze", json={"mask_source": "autogaze", "gazing_ratio": 2})
    assert r.status_code == 400 and "gazing_ratio" in r.json()["detail"]


def test_the_model_says_what_it_takes(loaded):
    info = loaded.get("/v1/models/gaze").json()
    assert info["kind"] == "autogaze" and info["inputs"][0]["shape"] == [-1, -1, 3, 224, 224]
    assert [o["name"] for o in info["outputs"]] == ["gazing_pos", "num_gazing_each_frame", "if_padded_gazing"]


def test_command_line(tmp_path):
    from conftest import binary
    folder, model = tmp_path / "clip", tmp_path / "model"
    folder.mkdir(), model.mkdir()
    for i, f in enumerate(frames("odd511x300")):
        Image.fromarray(f).save(folder / f"{i:06d}.png")
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (model / name).write_bytes((GOLDEN / name).read_bytes())
    run = RUNS["odd511x300.budget.f32"]
    p = subprocess.run([binary(), "gaze", str(folder), "--model", str(model), "--out", str(tmp_path / "out"),
                        "--max-gaze-tokens-each-frame", str(run["max_tokens"])],
                       capture_output=True, text=True, timeout=120, env=os.environ)
    assert p.returncode == 0, p.stderr
    lines = [json.loads(line) for line in p.stdout.splitlines() if line.strip()]
    assert [x["tokens"] for x in lines if "tokens" in x] == [f["tokens"] for f in run["frames"]]


def test_live_frames_are_looked_at_one_by_one(loaded):
    import asyncio
    import struct

    import websockets

    run = RUNS["birds384x216.budget.f32"]
    body = {"source": {"gaze": {"mask_source": "autogaze", "model": "gaze", "geometry": "native",
                                "max_gaze_tokens_each_frame": run["max_tokens"], "input": {"push": True}}},
            "output": {"lossless": True}}
    r = loaded.put("/v1/streams/live", json=body)
    assert r.status_code == 201, r.text

    async def play():
        async with websockets.connect(f"{loaded.ws_url}/v1/streams/live/ws", max_size=None) as ws:
            ratios = []
            for i, f in enumerate(frames("birds384x216")):
                head = json.dumps({"type": "frame", "dtype": "u8", "shape": list(f.shape), "step": i}).encode()
                await ws.send(struct.pack("<I", len(head)) + head + f.tobytes())
                while True:
                    m = await asyncio.wait_for(ws.recv(), 60)
                    if isinstance(m, bytes):
                        n = struct.unpack("<I", m[:4])[0]
                        h = json.loads(m[4:4 + n])
                        if h["step"] == i and "gaze_ratio" in h["metrics"]:
                            ratios.append(h["metrics"]["gaze_ratio"])
                            break
            return ratios

    got = asyncio.run(play())
    want = [x["mask_ratio"] for x in run["reconstruction"]]
    assert np.allclose(got, want, atol=1e-9), (got, want)
