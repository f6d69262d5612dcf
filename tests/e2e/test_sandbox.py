"""--sandbox: decoders in confined processes give the same answers, and survive their own death."""
import io
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
SERVER_ARGS = ("--sandbox",)


def workers(server):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"decode-worker" in line and f"\nPPid:\t{server.process.pid}\n" in status:
            found.append((int(pid), status))
    return found


def test_workers_are_confined(server):
    found = workers(server)
    assert len(found) == 2
    for pid, status in found:
        assert "\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status
        assert pathlib.Path(f"/proc/{pid}/environ").read_bytes() == b""
        links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        assert sum(x.startswith("socket:") for x in links) == 1, links
        assert not [x for x in links if x.startswith("/") and "/dev/" not in x and "pipe" not in x]


@pytest.mark.parametrize("name, kind", [("gray.png", "image/png"), ("interlace.png", "image/png"),
                                        ("progressive.jpg", "image/jpeg"),
                                        ("anim.webp", "image/webp")])
def test_pictures_decode_to_the_same_pixels(server, name, kind):
    data = (GOLDEN / "codec" / name).read_bytes()
    answer = server.put("/v1/tensors/p", data=data, headers={"Content-Type": kind})
    assert answer.status_code in (200, 201), answer.text
    got = np.load(io.BytesIO(server.get("/v1/tensors/p/data").content))
    want = np.array(Image.open(io.BytesIO(data)))
    want = want if want.ndim == 3 else want[..., None]
    assert got.shape[:2] == want.shape[:2]
    if kind == "image/png":
        assert (got.reshape(want.shape) == want).all()
    elif kind == "image/jpeg":
        assert np.abs(got.astype(int) - want).mean() < 2


def test_clips_decode_frame_by_frame(server, tmp_path, have_ffmpeg):
    for name, kind in (("dispose1.gif", "image/gif"), ("anim.webp", "image/webp")):
        data = (GOLDEN / "codec" / name).read_bytes()
        clip = server.post("/v1/clips", data=data, headers={"Content-Type": kind})
        assert clip.status_code == 201, clip.text
        clip = clip.json()
        assert (clip["frames"], clip["width"], clip["height"]) == (5, 37, 23)
        assert abs(clip["fps"] - 5 / 0.3) < 1e-6
        want = (GOLDEN / "codec" / (name.split(".")[0] + ".rgba")).read_bytes()
        for n in range(5):
            got = server.get(f"/v1/clips/{clip['id']}/frames/{n}.png").content
            got = np.array(Image.open(io.BytesIO(got)).convert("RGBA"))
            one = np.frombuffer(want, np.uint8).reshape(5, 23, 37, 4)[n]
            seen = one[..., 3] > 0
            assert (got[seen] == one[seen]).all()
    if not have_ffmpeg:
        pytest.skip("no ffmpeg to make a video with")
    path = tmp_path / "v.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                    "testsrc=size=160x120:rate=25:duration=1", "-pix_fmt", "yuv420p", str(path)],
                   check=True)
    clip = server.post("/v1/clips", data=path.read_bytes(), headers={"Content-Type": "video/mp4"})
    assert clip.status_code == 201, clip.text
    assert (clip.json()["frames"], clip.json()["fps"]) == (25, 25)


@pytest.mark.parametrize("name, kind, status", [("huge.png", "image/png", 413),
                                                ("gray.jpg", "image/jpeg", 400)])
def test_bad_files_are_refused(server, name, kind, status):
    data = (GOLDEN / "codec" / name).read_bytes()
    data = data if status == 413 else data[:-20]
    answer = server.put("/v1/tensors/bad", data=data, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    clip = server.post("/v1/clips", data=b"GIF89a\1\0\1\0\0\0\0junk",
                       headers={"Content-Type": "image/gif"})
    assert clip.status_code == 400 and clip.json()["code"] == "bad-file"
    assert len(workers(server)) == 2  # an error is an answer, not a death


def test_a_dead_worker_is_replaced(server):
    data = (GOLDEN / "codec" / "gray.png").read_bytes()
    for pid, _ in workers(server):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    statuses = [server.put("/v1/tensors/r", data=data,
                           headers={"Content-Type": "image/png"}).status_code for _ in range(4)]
    assert set(statuses) <= {200, 201}, statuses
    assert server.get("/readyz").status_code == 200
