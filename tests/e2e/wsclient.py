"""A blocking WebSocket client for tests: it reads, acknowledges and answers pings only when told to.

    ws = Client(server.ws_url + "/v1/streams/x/ws")
    hello = ws.expect("hello")
    frame = ws.frame()          # Frame(header, payload); .image() is u8 HWC
    ws.send(type="view", view={"colormap": "hot"})
"""
import base64
import io
import json
import os
import socket
import struct
import time
from urllib.parse import urlparse

import numpy as np
from PIL import Image


class Closed(Exception):
    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}")
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status} {body[:300]}")
        self.status, self.body = status, body


class Frame:
    def __init__(self, message, bare):
        if bare:
            self.header, self.payload = {}, message
        else:
            (n,) = struct.unpack("<I", message[:4])
            self.header, self.payload = json.loads(message[4:4 + n]), message[4 + n:]

    def image(self, data=None):
        return np.asarray(Image.open(io.BytesIO(self.payload if data is None else data)).convert("RGB"))


class Client:
    def __init__(self, url, auto_pong=True, ack=False, timeout=20, headers=(), rcvbuf=None):
        u = urlparse(url)
        self.auto_pong, self.ack, self.timeout = auto_pong, ack, timeout
        self.bare = "format=bare" in (u.query or "")
        self.s = socket.socket()
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(timeout)
        self.s.connect((u.hostname, u.port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        path = (u.path or "/") + ("?" + u.query if u.query else "")
        lines = [f"GET {path} HTTP/1.1", f"Host: {u.hostname}:{u.port}", "Upgrade: websocket",
                 "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
                 "Sec-WebSocket-Protocol: tensorscope.v1"]
        lines += [f"{k}: {v}" for k, v in headers]
        self.s.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            data = self.s.recv(65536)
            if not data:
                raise Refused(0, "closed")
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ")[1])
        if status != 101:
            time.sleep(0.05)
            raise Refused(status, self.buffer.decode("utf-8", "replace"))
        self.head = head.decode()
        self.texts = []

    # ---- sending
    def send_raw(self, opcode, data):
        n, mask = len(data), os.urandom(4)
        head = bytes([0x80 | opcode])
        if n < 126:
            head += bytes([0x80 | n])
        elif n < 65536:
            head += bytes([0xFE]) + struct.pack(">H", n)
        else:
            head += bytes([0xFF]) + struct.pack(">Q", n)
        key = np.frombuffer((mask * (n // 4 + 1))[:n], np.uint8)
        self.s.sendall(head + mask + (np.frombuffer(data, np.uint8) ^ key).tobytes())

    def send(self, **message):
        self.send_raw(1, json.dumps(message).encode())

    def send_binary(self, header, payload=b""):
        h = json.dumps(header).encode()
        self.send_raw(2, struct.pack("<I", len(h)) + h + payload)

    # ---- receiving
    def _need(self, n, deadline):
        while len(self.buffer) < n:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing came in time")
            self.s.settimeout(left)
            try:
                data = self.s.recv(1 << 18)
            except socket.timeout:
                raise TimeoutError("nothing came in time") from None
            if not data:
                raise Closed(1006)
            self.buffer += data

    def ready(self):
        """Whether a whole frame lies in the buffer, so that no socket will tell of it."""
        if len(self.buffer) < 2:
            return False
        n, at = self.buffer[1], 2
        if n == 126:
            n, at = (struct.unpack(">H", self.buffer[2:4])[0], 4) if len(self.buffer) >= 4 else (1 << 62, 4)
        elif n == 127:
            n, at = (struct.unpack(">Q", self.buffer[2:10])[0], 10) if len(self.buffer) >= 10 else (1 << 62, 10)
        return len(self.buffer) >= at + n

    def drain(self):
        """The messages that have arrived; reads the socket once, and answers pings."""
        self.s.setblocking(False)
        try:
            self.buffer += self.s.recv(1 << 18)
        except BlockingIOError:
            pass
        self.s.settimeout(self.timeout)
        out = []
        while self.ready():
            if self.buffer[0] & 15 == 9:  # answer it without waiting for what follows
                n = self.buffer[1]
                data, self.buffer = self.buffer[2:2 + n], self.buffer[2 + n:]
                if self.auto_pong:
                    self.send_raw(10, data)
                continue
            out.append(self.message(5))
        return out

    def receive(self, timeout=None):
        """(opcode, payload) of the next frame; pings are answered first where auto_pong."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            self._need(2, deadline)
            op, n, at = self.buffer[0] & 15, self.buffer[1], 2
            if n == 126:
                self._need(4, deadline)
                n, at = struct.unpack(">H", self.buffer[2:4])[0], 4
            elif n == 127:
                self._need(10, deadline)
                n, at = struct.unpack(">Q", self.buffer[2:10])[0], 10
            self._need(at + n, deadline)
            data, self.buffer = self.buffer[at:at + n], self.buffer[at + n:]
            if op == 9:
                if self.auto_pong:
                    self.send_raw(10, data)
                continue
            if op == 8:
                code = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                raise Closed(code, data[2:].decode())
            return op, data

    def message(self, timeout=None):
        """The next JSON message (dict) or picture (Frame)."""
        op, data = self.receive(timeout)
        if op == 1:
            return json.loads(data)
        frame = Frame(data, self.bare)
        if self.ack:
            self.send(type="ack", seq=frame.header["seq"], t=time.time(),
                      **({"stream": frame.header["stream"]} if self.ack == "named" else {}))
        return frame

    def expect(self, kind, timeout=None, **match):
        """The next JSON message of that type with these values; others are passed over."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            m = self.message(max(0.001, deadline - time.monotonic()))
            if isinstance(m, dict):
                if m["type"] == kind and all(m.get(k) == v for k, v in match.items()):
                    return m
                if m["type"] == "error" and kind != "error":
                    raise AssertionError(m)

    def frame(self, timeout=None, **match):
        """The next picture whose header has these values."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            m = self.message(max(0.001, deadline - time.monotonic()))
            if isinstance(m, Frame) and all(m.header.get(k) == v for k, v in match.items()):
                return m
            if isinstance(m, dict) and m["type"] == "error":
                raise AssertionError(m)

    def no_frame(self, seconds):
        """Assert that no picture comes for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                m = self.message(max(0.001, end - time.monotonic()))
            except TimeoutError:
                return
            assert isinstance(m, dict), f"an unexpected frame {m.header}"

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
