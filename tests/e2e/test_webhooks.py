"""Events: the server-sent stream with ids and filters, and webhooks with signatures and retries."""
import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest


class Receiver:
    """Collects POSTs; `answers` gives the status of each in turn, then 200."""

    def __init__(self, answers=()):
        self.got, self.answers, self.seen = [], list(answers), threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.seen:
                    outer.got.append((dict(self.headers), body, time.monotonic()))
                    status = outer.answers.pop(0) if outer.answers else 200
                    outer.seen.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, n, timeout=10):
        with self.seen:
            assert self.seen.wait_for(lambda: len(self.got) >= n, timeout), f"{len(self.got)} of {n} came"
            return self.got[:n]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = []

    def make(*answers):
        made.append(Receiver(answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def put(server, name, value=1.0):
    import struct
    r = server.put(f"/v1/tensors/{name}?dtype=f32&shape=1", data=struct.pack("<f", value),
                   headers={"Content-Type": "application/octet-stream"})
    assert r.status_code in (200, 201), r.text
    return r


def read_events(response, n):
    """The next n events of a text/event-stream answer, as (id, event, data)."""
    out, fields = [], {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line == "":
            if "data" in fields:
                out.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                if len(out) == n:
                    return out
            fields = {}
        elif not line.startswith(":"):
            key, value = line.split(": ", 1)
            fields[key] = value
    raise AssertionError("the stream ended")


def test_events_are_told_in_order_and_resumed(server):
    with server.get("/v1/events?kind=tensor", stream=True, timeout=10) as r:
        put(server, "ev.a")
        put(server, "ev.b")
        assert server.delete("/v1/tensors/ev.a").status_code in (200, 204)
        events = read_events(r, 3)
    ids = [e[0] for e in events]
    assert ids == sorted(set(ids))
    assert [(e[1], e[2]["kind"], e[2]["name"]) for e in events] == [
        ("created", "tensor", "ev.a"), ("created", "tensor", "ev.b"), ("deleted", "tensor", "ev.a")]
    assert all(e[2]["id"] == e[0] and e[2]["event"] == e[1] and abs(e[2]["time"] - time.time()) < 60 for e in events)
    for kw in ({"headers": {"Last-Event-ID": str(ids[0])}}, {"params": {"since": ids[0]}}):
        with server.get("/v1/events", stream=True, timeout=10, **kw) as r:
            assert [e[0] for e in read_events(r, 2)] == ids[1:]
    with server.get("/v1/events", params={"since": ids[0] - 1, "name": "ev.b"}, stream=True, timeout=10) as r:
        assert read_events(r, 1)[0][0] == ids[1]


def test_tensor_changes_are_told_once_a_second(server):
    put(server, "ev.fast")
    with server.get("/v1/events?name=ev.fast", stream=True, timeout=10) as r:
        start = time.monotonic()
        for i in range(20):
            put(server, "ev.fast", i)
        events = read_events(r, 2)
        assert [e[1] for e in events] == ["changed", "changed"]
        assert 0.7 < time.monotonic() - start < 4
        assert events[-1][2]["version"] == 21


def test_webhooks_are_signed_and_filtered(server, receiver):
    to = receiver()
    r = server.post("/v1/webhooks", json={"url": to.url, "events": ["created"], "kinds": ["tensor"], "secret": "s3"})
    assert r.status_code == 201, r.text
    hook = r.json()["id"]
    put(server, "wh.a")
    put(server, "wh.a", 2)
    put(server, "wh.b")
    got = to.wait(2)
    for headers, body, _ in got:
        stamp, signature = (part.split("=", 1)[1] for part in headers["Tensorscope-Signature"].split(","))
        assert abs(int(stamp) - time.time()) < 60
        assert hmac.new(b"s3", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest() == signature
        assert headers["Content-Type"] == "application/json"
    assert {json.loads(b)["name"] for _, b, _ in got} == {"wh.a", "wh.b"}
    assert {json.loads(b)["event"] for _, b, _ in got} == {"created"}
    deadline = time.monotonic() + 5
    while (shown := server.get(f"/v1/webhooks/{hook}").json())["delivered"] != 2:
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    assert shown["failed"] == 0 and shown["last_status"] == 200 and "secret" not in shown
    assert server.delete(f"/v1/webhooks/{hook}").status_code == 204
    assert server.get(f"/v1/webhooks/{hook}").status_code == 404
    put(server, "wh.c")
    time.sleep(0.3)
    assert len(to.got) == 2


def test_a_failed_delivery_is_tried_again(server, receiver):
    to = receiver(500, 204)
    hook = server.post("/v1/webhooks", json={"url": to.url, "kinds": ["tensor"]}).json()["id"]
    put(server, "wh.retry")
    first, second = to.wait(2)
    assert first[1] == second[1]
    assert 0.8 < second[2] - first[2] < 3
    server.delete(f"/v1/webhooks/{hook}")


def test_a_dead_receiver_delays_nobody(server, receiver):
    to = receiver()
    dead = server.post("/v1/webhooks", json={"url": "http://127.0.0.1:1/"}).json()["id"]
    hook = server.post("/v1/webhooks", json={"url": to.url}).json()["id"]
    start = time.monotonic()
    put(server, "wh.dead")
    to.wait(1)
    assert time.monotonic() - start < 2
    for one in (dead, hook):
        server.delete(f"/v1/webhooks/{one}")


@pytest.mark.parametrize("body,word", [
    ({}, "url"), ({"url": "ftp://x/"}, "url"), ({"url": "http://x/", "event": []}, "event"),
    ({"url": "http://x/", "events": ["exploded"]}, "exploded"), ({"url": "http://x/", "kinds": "tensor"}, "kinds"),
    ({"url": "http://x/\r\nX: y"}, "url"), ({"url": 5}, "url"), ([], "object"),
])
def test_bad_webhooks_are_refused(server, body, word):
    before = server.get("/v1/webhooks").json()
    r = server.post("/v1/webhooks", json=body)
    assert r.status_code == 400 and word in r.json()["detail"], r.text
    assert server.get("/v1/webhooks").json() == before


def test_webhooks_survive_a_restart(start_server, tmp_path):
    first = start_server("--data-dir", tmp_path / "kept", device="none")
    hook = first.post("/v1/webhooks", json={"url": "http://127.0.0.1:1/", "secret": "x"}).json()["id"]
    first.stop()
    assert (tmp_path / "kept" / "webhooks.json").stat().st_mode & 0o077 == 0
    second = start_server("--data-dir", tmp_path / "kept", device="none")
    assert [w["id"] for w in second.get("/v1/webhooks").json()["webhooks"]] == [hook]
    second.stop()
    (tmp_path / "kept" / "webhooks.json").write_text("{broken")
    third = start_server("--data-dir", tmp_path / "kept", device="none")
    assert third.get("/v1/webhooks").json()["webhooks"] == []
    assert len(list((tmp_path / "kept").glob("webhooks.json.bad-*"))) == 1
