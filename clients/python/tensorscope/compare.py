"""Pairs of ground truth and render for a compare stream: side by side, recorded, with PSNR and SSIM.

    from tensorscope import CompareStream
    stream = CompareStream("http://127.0.0.1:8080", "run-7", video=True)
    stream.ground_truth(image)                   # u8 or float 0…1, H x W x 3
    for step in range(steps):
        …
        stream.log(step, render, loss=loss)      # returns at once
    stream.finish()
"""
import json
import queue
import threading
import uuid

import numpy as np

from . import arrays
from .errors import TensorscopeError
from .http import Http


def _raw(image):
    """Bytes and content type of an H x W, H x W x C or C x H x W picture, u8 or float 0…1."""
    host = np.asarray(arrays.to_host(image)[0])
    if host.ndim == 2:
        host = host[..., None]
    if host.ndim != 3:
        raise ValueError(f"a picture has 2 or 3 dimensions, this has {host.ndim}")
    if host.shape[2] in (1, 3, 4):
        host = np.moveaxis(host[..., :3], 2, 0)
    kind = "u8" if host.dtype == np.uint8 else "f32"
    host = np.ascontiguousarray(host if kind == "u8" else host.astype("<f4"))
    shape = ",".join(map(str, host.shape))
    return host.tobytes(), f"application/x-tensor; dtype={kind}; shape={shape}; range=0,1"


def _form(parts):
    boundary = uuid.uuid4().hex
    body = bytearray()
    for name, (data, kind) in parts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        body += f"{head}Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
    return bytes(body + f"--{boundary}--\r\n".encode()), f"multipart/form-data; boundary={boundary}"


def _number(value):
    value = float(value)
    if value != value:
        return "nan"
    return value if abs(value) != float("inf") else "inf" if value > 0 else "-inf"


class CompareStream:
    """Posts from a background thread. `when_full`: "drop" leaves a pair out while `queue_size` others
    wait, "block" waits. `stats` counts sent, dropped, failed, last_error; options go to the stream."""

    def __init__(self, url, name, token=None, when_full="drop", queue_size=8, timeout=30.0, **options):
        if when_full not in ("drop", "block"):
            raise ValueError('when_full is "drop" or "block"')
        self.http, self.name, self._block = Http(url, token, timeout), name, when_full == "block"
        self.stats = {"sent": 0, "dropped": 0, "failed": 0, "last_error": None}
        self.http.call("PUT", f"/v1/streams/{name}", json_body={"source": {"compare": options}})
        self._queue = queue.Queue(queue_size)
        self._thread = threading.Thread(target=self._run, name="tensorscope-compare", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.finish()

    def ground_truth(self, image):
        body, kind = _raw(image)
        return self.http.call("PUT", f"/v1/streams/{self.name}/compare/ground-truth", body=body, content_type=kind)

    def log(self, step, render=None, gt=None, text=None, **metrics):
        """Queue a pair, or metrics alone. False: it was dropped."""
        meta = {"step": int(step), "metrics": {k: _number(v) for k, v in metrics.items()}}
        if text:
            meta["text"] = [text] if isinstance(text, str) else list(text)
        parts = {"meta": (json.dumps(meta).encode(), "application/json")}
        if render is not None:
            parts["render"] = _raw(render)
        if gt is not None:
            parts["ground_truth"] = _raw(gt)
        try:
            self._queue.put((meta, parts), block=self._block)
            return True
        except queue.Full:
            self.stats["dropped"] += 1
            return False

    def finish(self):
        """Send what is queued, close the recording, and return the stream's state."""
        self._queue.put(None)
        self._thread.join()
        return self.http.call("POST", f"/v1/streams/{self.name}/compare/finish")

    def _run(self):
        while (item := self._queue.get()) is not None:
            meta, parts = item
            try:
                if "render" in parts:
                    body, kind = _form(parts)
                    self.http.call("POST", f"/v1/streams/{self.name}/compare", body=body, content_type=kind)
                else:
                    self.http.call("POST", f"/v1/streams/{self.name}/compare/metrics", json_body=meta)
                self.stats["sent"] += 1
            except TensorscopeError as error:
                self.stats["failed"] += 1
                self.stats["last_error"] = str(error)
