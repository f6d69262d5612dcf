"""RF-DETR over HTTP and in a pipeline, with the recorded tiny models."""
import io
import json
import struct
import subprocess
import tarfile
import time

import numpy as np
import pytest

from conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "rf-detr"


def tensors(path):
    data = path.read_bytes()
    n, = struct.unpack("<Q", data[:8])
    types = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
    return {k: np.frombuffer(data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]], types[v["dtype"]]).reshape(v["shape"])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def model_tar(case, **changed):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            data = changed.get(name.split(".")[0]) or (GOLDEN / case / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return body.getvalue()


def put(server, name, case, **changed):
    return server.put(f"/v1/models/{name}", data=model_tar(case, **changed), headers={"Content-Type": "application/x-tar"})


@pytest.fixture(scope="module")
def loaded(server):
    for case in ("tiny-a", "tiny-c"):
        assert put(server, case, case).status_code in (200, 201)
    return server


@pytest.mark.parametrize("case,image", [("tiny-a", 0), ("tiny-c", 0), ("tiny-c", 1)])
def test_detections_are_the_recorded_ones(loaded, case, image):
    want = tensors(GOLDEN / case / "golden.safetensors")
    picture = (GOLDEN / case / f"image{image}.png").read_bytes()
    r = loaded.post(f"/v1/models/{case}/detect?threshold={want['det_threshold'][0]}&clamp_boxes=0", data=picture,
                    headers={"Content-Type": "image/png"})
    assert r.status_code == 200, r.text
    got, count = r.json(), want["det_count"][image]
    assert len(got["detections"]) == count
    for d, box, score, label in zip(got["detections"], want["det_boxes"][image], want["det_scores"][image], want["det_labels"][image]):
        assert d["class_id"] == label and abs(d["score"] - score) < 1e-4
        np.testing.assert_allclose(d["box"], box, atol=0.02)
    assert got["timing_ms"]["total"] > 0


def test_a_stored_picture_gives_the_same(loaded):
    picture = (GOLDEN / "tiny-a" / "image0.png").read_bytes()
    direct = loaded.post("/v1/models/tiny-a/detect?threshold=0.5", data=picture, headers={"Content-Type": "image/png"}).json()
    assert loaded.put("/v1/tensors/shot", data=picture, headers={"Content-Type": "image/png"}).status_code in (200, 201)
    r = loaded.post("/v1/models/tiny-a/detect?threshold=0.5&tensor=shot")
    assert r.status_code == 200, r.text
    assert r.json()["detections"] == direct["detections"] and len(direct["detections"]) > 0
    assert loaded.post("/v1/models/tiny-a/detect?tensor=shot", data=picture).status_code == 400
    assert loaded.post("/v1/models/tiny-a/detect?tensor=none").status_code == 404
    loaded.put("/v1/tensors/flat?dtype=u8&shape=4,4", data=bytes(16), headers={"Content-Type": "application/octet-stream"})
    assert loaded.post("/v1/models/tiny-a/detect?tensor=flat").status_code in (400, 409, 422)


def test_what_detect_refuses(loaded):
    picture = (GOLDEN / "tiny-a" / "image0.png").read_bytes()
    for query, body, status in (("threshold=2", picture, 400), ("wobble=1", picture, 400), ("", b"", 422), ("", b"no picture", 400),
                                ("", picture[:200], 400), ("masks=1", picture, 400)):
        assert loaded.post(f"/v1/models/tiny-a/detect?{query}", data=body, headers={"Content-Type": "image/png"}).status_code == status
    assert loaded.post("/v1/models/none/detect", data=picture, headers={"Content-Type": "image/png"}).status_code == 404
    assert loaded.post("/v1/models/identity/detect", data=picture, headers={"Content-Type": "image/png"}).status_code in (400, 409, 422)


def test_damaged_models_are_refused(loaded):
    config = json.loads((GOLDEN / "tiny-a" / "config.json").read_text())
    config["num_feature_levels"] = 2
    r = put(loaded, "damaged", "tiny-a", config=json.dumps(config).encode())
    assert r.status_code == 400 and "num_feature_levels" in r.json()["detail"]


def test_pipeline_with_the_model(loaded, have_ffmpeg):
    media = loaded.data_dir / "media"
    media.mkdir(exist_ok=True)
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=128x96:rate=10:duration=2", "-pix_fmt", "yuv420p",
                    str(media / "bars.mp4")], check=True)
    document = {"source": {"url": "bars.mp4"},
                "detector": {"kind": "model", "model": "tiny-a", "confidence": 0.1}}
    r = loaded.put("/v1/pipelines/watch", json=document)
    assert r.status_code in (200, 201), r.text
    assert loaded.post("/v1/pipelines/watch/start").status_code in (200, 202, 204)
    seen = {}
    for _ in range(300):
        seen = loaded.get("/v1/pipelines/watch").json()
        if seen["frames_processed"] >= 15:
            break
        time.sleep(0.1)
    loaded.post("/v1/pipelines/watch/stop")
    assert seen["frames_processed"] >= 15 and seen["state"] in ("RUNNING", "DRAINING", "STOPPED"), seen
