"""The client: tensors, streams, models, clips, fits, pipelines, recordings."""
import io
import json
import time

import numpy as np

from . import arrays
from .http import Http
from .sender import Sender
from .stream import Stream, split_options


def connect(url="http://127.0.0.1:8080", token=None, timeout=30.0, run=None, context=None):
    """A Client of the server at `url`. Nothing is sent yet, so the server may come later.

    token: bearer token; run: kept with every tensor sent; context: an ssl.SSLContext for https."""
    return Client(url, token, timeout, run, context)


def _shape(shape):
    return ",".join(str(int(n)) for n in shape)


class Client:
    """Thread-safe. Use as a context manager, or close() at the end; close() sends what is queued."""

    def __init__(self, url, token=None, timeout=30.0, run=None, context=None):
        self.http = Http(url, token, timeout, context)
        self.run = run
        self._sender = Sender()
        self._steps = {}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def url(self):
        return self.http.url

    @property
    def stats(self):
        """Counts of the background sender: queued, sent, replaced, failed, refused, bytes, last_error."""
        return dict(self._sender.stats)

    # ---- sending ----

    def put(self, name, array, step=None, t=None, run=None, tags=None):
        """Queue a tensor (NumPy, PyTorch, JAX, DLPack, a list). Returns at once and never raises because
        the server is away; the newest value per name wins."""
        host, dtype = arrays.to_host(array)
        query = {"dtype": dtype, "shape": _shape(host.shape), "step": step, "t": time.time() if t is None else t,
                 "run": run or self.run, "tags": json.dumps(tags) if tags else None}

        def job():
            self.http.call("PUT", f"/v1/tensors/{name}", body=memoryview(host).cast("B") if host.nbytes else b"",
                           query=query, content_type="application/octet-stream")

        self._sender.submit(name, job, host.nbytes)

    def patch(self, name, array, offset):
        """Queue an update of a region: `offset` has one index per axis of the tensor. Regions are all sent,
        in order."""
        host, _ = arrays.to_host(array)
        query = {"offset": _shape(offset), "shape": _shape(host.shape)}

        def job():
            self.http.call("PATCH", f"/v1/tensors/{name}", body=host.tobytes(), query=query,
                           content_type="application/octet-stream")

        self._sender.submit((name, tuple(offset), host.shape, time.monotonic_ns()), job, host.nbytes)

    def flush(self, timeout=None):
        """Wait until everything queued has been sent. False: not within `timeout` seconds."""
        return self._sender.flush(timeout)

    def close(self, timeout=5.0):
        """Send what is queued (for `timeout` seconds at most) and stop."""
        done = self._sender.close(timeout)
        self.http.close()
        return done

    # ---- tensors ----

    def tensors(self, prefix=None, run=None):
        return self.http.call("GET", "/v1/tensors", query={"prefix": prefix, "run": run})["tensors"]

    def get(self, name):
        """The tensor's values as a NumPy array (bf16: as float32)."""
        info = self.http.call("GET", f"/v1/tensors/{name}")
        raw = self.http.call("GET", f"/v1/tensors/{name}/data", accept="application/octet-stream")
        if info["dtype"] == "bf16":
            bits = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(info["shape"])
        return np.frombuffer(raw, arrays.DTYPES[info["dtype"]].newbyteorder("<")).reshape(info["shape"])

    def stats_of(self, name, bins=64):
        return self.http.call("GET", f"/v1/tensors/{name}/stats", query={"bins": bins})

    def delete(self, name):
        self.http.call("DELETE", f"/v1/tensors/{name}")

    def render(self, view):
        """One rendered picture as u8 HWC. `view` names its tensor(s): {"tensor": "w1", "colormap": "hot"}."""
        return np.load(io.BytesIO(self.http.call("POST", "/v1/render.npy", json_body=view)))

    # ---- streams ----

    def stream(self, name, source=None, preset=None, **options):
        """Create or replace a stream and return it. By default it shows the tensor of the same name; view
        and output options are keywords: colormap="magma", normalize={"mode": "symmetric"}, max_fps=30."""
        view, output = split_options(options)
        if preset:
            output["preset"] = preset
        body = {"source": source or {"tensor": name}, "view": view, "output": output}
        self.http.call("PUT", f"/v1/streams/{name}", json_body=body)
        return Stream(self, name)

    def open(self, name):
        """An existing stream."""
        self.http.call("GET", f"/v1/streams/{name}")
        return Stream(self, name)

    def push_stream(self, name, **options):
        """A stream whose frames this program pushes."""
        return self.stream(name, source={"push": True}, **options)

    def streams(self, prefix=None):
        return self.http.call("GET", "/v1/streams", query={"prefix": prefix})["streams"]

    # ---- the rest of the server ----

    def server(self):
        return self.http.call("GET", "/v1/server")

    def models(self):
        return self.http.call("GET", "/v1/models")["models"]

    def decode(self, model, z, columns=None):
        """Pictures of latents z [n, d] as f32 [n, C, H, W]."""
        body = {"z": np.asarray(z, np.float64).tolist(), **({"columns": columns} if columns else {})}
        return np.load(io.BytesIO(self.http.call("POST", f"/v1/models/{model}/decode", json_body=body,
                                                 accept="application/x-npy")))

    def detect(self, model, image, threshold=0.5):
        """Detections in the bytes of a PNG, JPEG or WebP file."""
        kind = {b"\x89P": "image/png", b"\xff\xd8": "image/jpeg", b"RI": "image/webp"}.get(bytes(image[:2]))
        return self.http.call("POST", f"/v1/models/{model}/detect", body=image, query={"threshold": threshold},
                              content_type=kind or "application/octet-stream")

    def upload_clip(self, frames, fps=30):
        """A clip from u8 frames [T, H, W, 3 or 4]; returns its id."""
        frames = np.asarray(frames, np.uint8)
        if frames.shape[-1] == 3:
            frames = np.concatenate([frames, np.full(frames.shape[:-1] + (1,), 255, np.uint8)], -1)
        count, height, width = frames.shape[:3]
        return self.http.call("POST", "/v1/clips", body=frames.tobytes(), content_type="application/octet-stream",
                              query={"width": width, "height": height, "frames": count, "fps": fps})["id"]

    def gaze(self, clip, **options):
        return self.http.call("POST", f"/v1/clips/{clip}/gaze", json_body=options)

    def fit(self, image, num_gaussians, **options):
        """Start fitting an image tensor with 2-D Gaussians; returns {"id", "stream"}."""
        return self.http.call("POST", "/v1/fits", json_body={"image": image, "num_gaussians": num_gaussians, **options})

    def fit_state(self, fit):
        return self.http.call("GET", f"/v1/fits/{fit}")

    def pipeline(self, name, document, start=True):
        answer = self.http.call("PUT", f"/v1/pipelines/{name}", json_body=document)
        if start:
            self.http.call("POST", f"/v1/pipelines/{name}/start")
        return answer

    def recordings(self):
        return self.http.call("GET", "/v1/recordings")["recordings"]
