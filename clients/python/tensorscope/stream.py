"""One stream: push, watch, record, ask."""
import json

from . import arrays
from .frames import FrameReader

OUTPUT_KEYS = {"quality", "lossless", "max_fps", "scale", "preset", "history", "buffer_size", "max_frame_drop", "format",
               "width", "height", "sinks", "sync", "key_interval", "cl_yuv", "evict"}


def split_options(options):
    """(view, output) of mixed keywords."""
    view = {k: v for k, v in options.items() if k not in OUTPUT_KEYS}
    return view, {k: v for k, v in options.items() if k in OUTPUT_KEYS}


class Stream:
    def __init__(self, client, name):
        self.client, self.name = client, name

    def __repr__(self):
        return f"<tensorscope stream {self.name} at {self.page}>"

    @property
    def page(self):
        """Address of the stream in the dashboard."""
        return f"{self.client.url}/#/stream/{self.name}"

    def push(self, array, step=None, t=None, timeout=None):
        """Send a frame to a push stream and wait until the server has it. Returns its step."""
        host, dtype = arrays.to_host(array, copy=False)
        query = {"dtype": dtype, "shape": ",".join(map(str, host.shape)), "step": step, "t": t, "timeout": timeout}
        return self.client.http.call("POST", f"/v1/streams/{self.name}/frames", body=host.tobytes(), query=query,
                                     content_type="application/octet-stream")["step"]

    def configure(self, **options):
        """Change view or output options for everybody."""
        view, output = split_options(options)
        patch = {key: part for key, part in (("view", view), ("output", output)) if part}
        return self.client.http.call("PATCH", f"/v1/streams/{self.name}", json_body=patch)

    def frames(self, timeout=None, **options):
        """Iterate over frames as they come: .header, .seq, .step, .width, .height, .image (u8 HWC).

        Options of the subscription: quality, tier, max_fps, scale, delta. `timeout`: seconds without a
        frame after which the iteration ends. Needs the extra `frames` (websockets, Pillow)."""
        return FrameReader(self.client.http, self.name, timeout, options)

    def probe(self, x, y):
        """What lies under output pixel (x, y): index, value, rgb."""
        with FrameReader(self.client.http, self.name, 10.0, {}) as reader:
            return reader.ask({"type": "probe", "x": x, "y": y}, "probe")

    def metrics(self):
        return self.client.http.call("GET", f"/v1/streams/{self.name}/metrics")

    def record(self, format="mp4", **options):
        """Start a recording; returns a Recording."""
        answer = self.client.http.call("POST", f"/v1/streams/{self.name}/recordings",
                                       json_body={"format": format, **options})
        return Recording(self.client, answer["id"])

    def still(self):
        """The newest picture as the bytes of a WebP file."""
        return self.client.http.call("GET", f"/v1/streams/{self.name}/frame.webp")

    def delete(self):
        self.client.http.call("DELETE", f"/v1/streams/{self.name}")

    def _repr_html_(self):
        from html import escape

        source = escape(f"{self.client.url}/v1/streams/{self.name}/mjpeg", quote=True)
        return f'<img src="{source}" alt="{escape(self.name)}, live" style="max-width:100%">'

    def view(self, **keys):
        """Builder style: stream.view(colormap="hot", normalize={...}) returns the stream."""
        self.configure(**keys)
        return self

    def json(self):
        return json.dumps(self.client.http.call("GET", f"/v1/streams/{self.name}"), indent=2)


class Recording:
    def __init__(self, client, identity):
        self.client, self.id = client, identity

    def state(self):
        return self.client.http.call("GET", f"/v1/recordings/{self.id}")

    def stop(self):
        return self.client.http.call("POST", f"/v1/recordings/{self.id}/stop")

    def save(self, path):
        with open(path, "wb") as file:
            file.write(self.client.http.call("GET", f"/v1/recordings/{self.id}/file"))
        return path
