"""Frames of a stream: the wire format, and an iterator over a WebSocket."""
import asyncio
import base64
import io
import json
import queue
import struct
import threading
from urllib.parse import urlencode

from .errors import TensorscopeError

PROTOCOL = "tensorscope.v1"


class Frame:
    """A received frame. `image` decodes on first use: u8 [height, width, 3]."""

    def __init__(self, header, payload):
        self.header, self.payload = header, payload
        self._image = None

    seq = property(lambda self: self.header["seq"])
    step = property(lambda self: self.header.get("step"))
    t = property(lambda self: self.header.get("t"))
    width = property(lambda self: self.header["width"])
    height = property(lambda self: self.header["height"])
    codec = property(lambda self: self.header["codec"])
    metrics = property(lambda self: self.header.get("metrics") or {})

    @property
    def image(self):
        if self._image is None:
            self._image = decode(self.codec, self.payload, self.width, self.height)
        return self._image

    def __repr__(self):
        return f"<frame {self.header.get('stream')} seq {self.seq} step {self.step} {self.width}x{self.height}>"


def parse(message):
    """(header, payload) of a framed binary message. ValueError: truncated or malformed."""
    if len(message) < 4:
        raise ValueError(f"a message of {len(message)} bytes has no header length")
    (size,) = struct.unpack_from("<I", message)
    if size > len(message) - 4:
        raise ValueError(f"header of {size} bytes in a message of {len(message)}")
    try:
        header = json.loads(bytes(message[4:4 + size]))
    except ValueError as error:
        raise ValueError(f"the header is no JSON: {error}") from None
    if not isinstance(header, dict) or header.get("type") != "frame":
        raise ValueError("the header is no frame's")
    return header, bytes(message[4 + size:])


def decode(codec, payload, width, height):
    import numpy as np

    if codec == "raw":
        return np.frombuffer(payload, np.uint8).reshape(height, width, 3)
    try:
        from PIL import Image
    except ImportError as error:
        raise TensorscopeError('pictures need Pillow: pip install "tensorscope[frames]"') from error
    return np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))


class FrameReader:
    """Iterator and context manager. A thread receives; a reader that is slower than the stream gets the
    newest frame, never a backlog: the acknowledgement is sent when the frame is taken."""

    def __init__(self, http, stream, timeout, options):
        try:
            import websockets
        except ImportError as error:
            raise TensorscopeError('frames need websockets: pip install "tensorscope[frames]"') from error
        query = {k: str(v).lower() if isinstance(v, bool) else v for k, v in options.items()}
        self._url = f"{http.ws_url}/v1/streams/{stream}/ws" + ("?" + urlencode(query) if query else "")
        self._http, self._timeout = http, timeout
        self._items = queue.Queue()
        self._replies = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._socket = None
        self._closed = False
        self._websockets = websockets
        self.hello = None
        self.events = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="tensorscope-frames", daemon=True)
        self._thread.start()
        self._ready.wait(http.timeout)
        self._raise_if_failed()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        try:
            item = self._items.get(timeout=self._timeout)
        except queue.Empty:
            self.close()
            raise StopIteration from None
        if item is None:
            self.close()
            raise StopIteration
        if isinstance(item, Exception):
            self.close()
            raise item
        self._send({"type": "ack", "seq": item.seq})
        return item

    def _raise_if_failed(self):
        if not self._ready.is_set():
            raise TensorscopeError(f"{self._url} does not answer")
        if self._socket is None and not self._items.empty():
            item = self._items.get()
            if isinstance(item, Exception):
                raise item

    def _main(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._receive())
        except Exception as error:  # noqa: BLE001 - handed to the iterating thread
            self._items.put(None if self._closed else TensorscopeError(f"{self._url}: {error}"))
        finally:
            self._ready.set()
            self._items.put(None)
            self._loop.close()

    async def _receive(self):
        subprotocols = [PROTOCOL]
        if self._http.token:
            encoded = base64.urlsafe_b64encode(self._http.token.encode()).decode().rstrip("=")
            subprotocols.append("bearer." + encoded)
        async with self._websockets.connect(self._url, subprotocols=subprotocols, max_size=None, compression=None,
                                            ssl=self._http.context) as socket:
            self._socket = socket
            self._ready.set()
            async for message in socket:
                self._take(message)

    def _take(self, message):
        if isinstance(message, bytes):
            header, payload = parse(message)
            self._items.put(Frame(header, payload))
            return
        data = json.loads(message)
        if data.get("type") == "hello":
            self.hello = data
        elif data.get("type") == "event":
            self.events.append(data)
            if data.get("event") in ("ended", "deleted"):
                self._items.put(None)
        elif "id" in data or data.get("type") in ("probe", "error"):
            self._replies.put(data)

    def _send(self, message):
        if self._socket is not None and not self._closed:
            asyncio.run_coroutine_threadsafe(self._socket.send(json.dumps(message)), self._loop)

    def ask(self, message, kind, timeout=10.0):
        """Send a request and return its reply."""
        self._send(message)
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            raise TensorscopeError(f"no answer to {message['type']}") from None
        if reply.get("type") == "error":
            raise TensorscopeError(f"{reply.get('code')}: {reply.get('detail')}")
        return reply

    def set_view(self, **view):
        """Change the view for this reader only."""
        self._send({"type": "view", "view": view, "scope": "me"})

    def close(self):
        if self._closed:
            return
        self._closed = True
        if self._socket is not None and not self._loop.is_closed():
            try:
                asyncio.run_coroutine_threadsafe(self._socket.close(), self._loop).result(2)
            except Exception:  # noqa: BLE001 - already gone
                pass
        self._thread.join(3)
