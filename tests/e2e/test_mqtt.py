"""Events over MQTT, against a broker of thirty lines that reads what is sent."""
import json
import socket
import struct
import subprocess
import threading
import time

import pytest


class Broker:
    """Accepts one client at a time; `code` answers its CONNECT."""

    def __init__(self, port=0, code=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port, self.code = self.listener.getsockname()[1], code
        self.connects, self.messages, self.seen, self.socket = [], [], threading.Condition(), None
        threading.Thread(target=self.run, daemon=True).start()

    def packet(self, s):
        kind = s.recv(1)
        if not kind:
            return None, b""
        size = shift = 0
        while True:
            (b,) = s.recv(1)
            size |= (b & 127) << shift
            shift += 7
            if b < 128:
                break
        body = b""
        while len(body) < size:
            body += s.recv(size - len(body))
        return kind[0], body

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.socket = s
            try:
                while True:
                    kind, body = self.packet(s)
                    if kind is None or kind == 0xE0:
                        break
                    with self.seen:
                        if kind == 0x10:
                            self.connects.append(body)
                            s.sendall(bytes([0x20, 2, 0, self.code]))
                        elif kind == 0x30:
                            (n,) = struct.unpack(">H", body[:2])
                            topic = body[2:2 + n].decode()
                            if topic.startswith("tensorscope/tensor/"):
                                self.messages.append((topic, json.loads(body[2 + n:])))
                        self.seen.notify_all()
            except OSError:
                pass
            s.close()

    def wait(self, f, timeout=10):
        with self.seen:
            assert self.seen.wait_for(f, timeout), (self.connects, self.messages)

    def close(self):
        self.listener.close()
        if self.socket:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def put(server, name):
    r = server.put(f"/v1/tensors/{name}?dtype=f32&shape=1", data=b"\0\0\0\0",
                   headers={"Content-Type": "application/octet-stream"})
    assert r.status_code in (200, 201), r.text


def test_events_are_published(start_server):
    broker = Broker()
    server = start_server("--mqtt", f"mqtt://me:se%25cret@127.0.0.1:{broker.port}")
    broker.wait(lambda: broker.connects)
    assert broker.connects[0].startswith(b"\0\4MQTT\4\xc2\0\x1e") and b"\0\2me\0\x09se%25cret" in broker.connects[0]
    put(server, "mq.a")
    server.delete("/v1/tensors/mq.a")
    broker.wait(lambda: len(broker.messages) >= 2)
    assert [m[0] for m in broker.messages] == ["tensorscope/tensor/mq.a/created", "tensorscope/tensor/mq.a/deleted"]
    assert broker.messages[0][1]["name"] == "mq.a" and broker.messages[0][1]["id"] < broker.messages[1][1]["id"]
    assert "se%25cret" not in server.get("/v1/config").text
    server.stop()
    broker.close()


def test_it_reconnects_and_keeps_what_waited(start_server):
    broker = Broker()
    server = start_server("--mqtt", f"mqtt://127.0.0.1:{broker.port}")
    broker.wait(lambda: broker.connects)
    broker.close()
    time.sleep(1)
    put(server, "mq.while.away")
    second = Broker(broker.port)
    second.wait(lambda: second.messages, 15)
    assert second.messages[0][0] == "tensorscope/tensor/mq.while.away/created"
    server.stop()
    second.close()


def test_a_missing_broker_harms_nobody(start_server):
    server = start_server("--mqtt", "mqtt://127.0.0.1:1", device="none")
    assert server.get("/readyz").status_code == 200
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "mqtt://x:port", "mqtt://x:1/topic", "mqtts://x", "mqtt://" + "u" * 200 + "@x"])
def test_bad_urls_exit_2(executable, tmp_path, url):
    done = subprocess.run([executable, "serve", "--device", "none", "--data-dir", tmp_path, "--mqtt", url],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--mqtt" in done.stderr, done.stderr
