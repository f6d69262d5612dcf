"""HTTPS on the same port: versions, reload, large bodies both ways, broken handshakes, the raw cases' basics."""
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest
import requests


def make_certificate(directory, name):
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=IP:127.0.0.1,DNS:localhost"], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "first")


@pytest.fixture
def secure(start_server, pair):
    server = start_server("--tls-cert", pair[0], "--tls-key", pair[1])
    server.session.verify = str(pair[0])
    return server


def test_https_serves_and_says_so(secure):
    assert secure.url.startswith("https://127.0.0.1:")
    r = secure.get("/v1/server")
    assert r.status_code == 200 and r.json()["name"] == "tensorscope"
    assert secure.get("/").headers["Content-Security-Policy"]


def test_bodies_pass_both_ways(secure):
    data = os.urandom(8 << 20)
    r = secure.put(f"/v1/tensors/big?dtype=u8&shape={len(data)}", data=data,
                   headers={"Content-Type": "application/octet-stream"})
    assert r.status_code == 201, r.text
    back = secure.get("/v1/tensors/big/data", headers={"Accept": "application/octet-stream"})
    assert back.content == data


def test_old_versions_and_plain_text_are_refused(secure, pair):
    done = subprocess.run(["openssl", "s_client", "-connect", f"{secure.host}:{secure.port}", "-tls1_1", "-cipher",
                           "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    assert done.returncode != 0 and "alert protocol version" in done.stderr, done.stderr
    with socket.create_connection((secure.host, secure.port), timeout=5) as s:
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        try:
            while piece := s.recv(4096):
                answer += piece
        except ConnectionResetError:
            pass
        assert not answer.startswith(b"HTTP/")
    assert secure.get("/livez").status_code == 200


def test_a_silent_handshake_is_dropped(start_server, pair):
    server = start_server("--tls-cert", pair[0], "--tls-key", pair[1], "--header-timeout", "1s", device="none")
    with socket.create_connection((server.host, server.port), timeout=6) as s:
        start = time.monotonic()
        assert s.recv(100) == b""
        assert 0.5 < time.monotonic() - start < 4


def test_half_closed_and_vanished_clients_free_their_descriptors(secure, pair):
    context = ssl.create_default_context(cafile=str(pair[0]))
    fds = lambda: len(os.listdir(f"/proc/{secure.process.pid}/fd"))
    secure.get("/livez")
    before = fds()
    for i in range(50):
        s = context.wrap_socket(socket.create_connection((secure.host, secure.port)), server_hostname="127.0.0.1")
        s.sendall(b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n")
        if i % 2:
            assert s.recv(10).startswith(b"HTTP/1.1 2")
        s.close()
    deadline = time.monotonic() + 10
    while fds() > before:
        assert time.monotonic() < deadline, (before, fds())
        time.sleep(0.1)


def test_certificates_are_reread_on_sighup(start_server, pair, tmp_path):
    cert, key = tmp_path / "c.pem", tmp_path / "c.key"
    cert.write_bytes(pair[0].read_bytes())
    key.write_bytes(pair[1].read_bytes())
    server = start_server("--tls-cert", cert, "--tls-key", key, device="none")
    other = make_certificate(tmp_path, "second")
    shown = lambda: ssl.get_server_certificate((server.host, server.port))
    assert shown().split() == pair[0].read_text().split()
    cert.write_bytes(other[0].read_bytes())
    key.write_bytes(other[1].read_bytes())
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 5
    while shown().split() != other[0].read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    key.write_text("broken")
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert shown().split() == other[0].read_text().split()


def test_a_wrong_key_exits_2(executable, pair, tmp_path):
    other = make_certificate(tmp_path, "other")
    done = subprocess.run([executable, "serve", "--device", "none", "--data-dir", tmp_path, "--tls-cert", pair[0],
                           "--tls-key", other[1]], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--tls-key" in done.stderr


def test_a_refused_large_body_gets_its_answer(start_server, pair):
    server = start_server("--tls-cert", pair[0], "--tls-key", pair[1], "--max-body", "64K", device="none")
    context = ssl.create_default_context(cafile=str(pair[0]))
    for _ in range(5):
        with socket.create_connection((server.host, server.port), timeout=5) as plain:
            s = context.wrap_socket(plain, server_hostname="127.0.0.1")
            s.sendall(b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100000\r\n\r\n")
            s.sendall(b"x" * 60000)
            assert s.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_own_origin_is_https(secure):
    r = secure.post("/v1/tickets", json={}, headers={"Origin": secure.url})
    assert r.status_code == 200
    r = secure.post("/v1/tickets", json={}, headers={"Origin": secure.url.replace("https", "http")})
    assert r.status_code == 403


def test_websockets_run_over_tls(secure, pair):
    import base64
    context = ssl.create_default_context(cafile=str(pair[0]))
    assert secure.put("/v1/streams/wss", json={"source": {"push": True}}).status_code == 201
    with context.wrap_socket(socket.create_connection((secure.host, secure.port), timeout=10),
                             server_hostname="127.0.0.1") as s:
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall((f"GET /v1/streams/wss/ws HTTP/1.1\r\nHost: {secure.host}:{secure.port}\r\nUpgrade: websocket\r\n"
                   f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                   f"Origin: {secure.url}\r\n\r\n").encode())
        data = b""
        while b'"hello"' not in data:
            piece = s.recv(4096)
            assert piece, data
            data += piece
        assert data.startswith(b"HTTP/1.1 101 ")
        s.sendall(b"\x88\x82" + b"\0\0\0\0" + b"\x03\xe8")  # close 1000
        while piece := s.recv(4096):
            data += piece
        assert b"\x88\x02\x03\xe8" in data
    r = secure.get("/v1/streams/wss/ws", headers={"Origin": secure.url.replace("https", "http")})
    assert r.status_code == 426
