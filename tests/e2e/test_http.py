"""HTTP as a client sees it: framing, conditional answers, tokens, tickets, events, start and stop."""
import base64
import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests

CASES = pathlib.Path(__file__).parent / "cases" / "http_cases.py"


@pytest.fixture(scope="module")
def edge():
    """A server without a device: quick to start, enough for HTTP itself."""
    from conftest import Server
    one = Server(device="none")
    yield one
    one.stop()


def raw(server, data, timeout=5):
    """Send octets on a fresh connection and return everything that comes back until it closes."""
    with socket.create_connection((server.host, server.port), timeout=timeout) as s:
        s.sendall(data)
        out = b""
        while True:
            try:
                piece = s.recv(65536)
            except (socket.timeout, ConnectionResetError):
                break
            if not piece:
                break
            out += piece
        return out


def run_cases(server, *args):
    done = subprocess.run([sys.executable, str(CASES), server.url, "--file", "/app.js", *args],
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d+ passed, 0 failed", done.stdout), done.stdout[-400:]
    return done.stdout


def test_all_raw_http_cases_pass(start_server):
    server = start_server("--allow-origin", "http://ok.example")
    out = run_cases(server, "--origin", "http://ok.example", "--bad-origin", "http://bad.example")
    assert "95 passed" in out, out[-300:]


def test_raw_http_cases_pass_with_tokens(start_server, token_file):
    tokens = token_file(("sekret-token", "read,infer,write,admin", "all"))
    server = start_server("--token-file", tokens, "--allow-origin", "http://ok.example",
                          token="sekret-token")
    out = run_cases(server, "--origin", "http://ok.example", "--bad-origin", "http://bad.example",
                    "--token", "sekret-token")
    assert "97 passed" in out, out[-300:]


# ---- answers ----

def test_errors_are_problem_json(edge):
    r = edge.get("/v1/nothing")
    assert r.status_code == 404
    assert r.headers["Content-Type"] == "application/problem+json"
    body = r.json()
    assert body["code"] == "not-found" and body["status"] == 404 and "/v1/nothing" in body["detail"]
    assert r.headers["X-Content-Type-Options"] == "nosniff" and r.headers["Cache-Control"] == "no-store"


def test_unknown_query_parameters_are_named(edge):
    r = edge.get("/v1/config?wrong=1")
    assert r.status_code == 400 and r.json()["code"] == "bad-option" and "wrong" in r.json()["detail"]


def test_v2_errors_have_the_protocols_shape(edge):
    r = edge.get("/v2/nothing/here")
    assert r.status_code == 404 and set(r.json()) == {"error"}
    assert r.headers["Content-Type"] == "application/json"


def test_head_has_the_length_and_no_body(edge):
    get, head = edge.get("/app.js"), edge.request("HEAD", "/app.js")
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert head.headers["ETag"] == get.headers["ETag"]


def test_dashboard_files_carry_the_policy(edge):
    for path in ("/", "/app.js", "/js/index.js"):
        r = edge.get(path)
        assert r.status_code == 200, path
        policy = r.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert r.headers["Referrer-Policy"] == "no-referrer"
    assert edge.get("/").headers["Content-Type"].startswith("text/html")
    assert edge.get("/web/app.js").status_code == 404


def test_ranges_and_etags_of_static_files(edge):
    full = edge.get("/app.js")
    n = len(full.content)
    part = edge.get("/app.js", headers={"Range": "bytes=5-14"})
    assert part.status_code == 206 and part.content == full.content[5:15]
    assert part.headers["Content-Range"] == f"bytes 5-14/{n}"
    tag = full.headers["ETag"]
    assert edge.get("/app.js", headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    other = edge.get("/app.js", headers={"Range": "bytes=0-0", "If-Range": '"old"'})
    assert other.status_code == 200 and other.content == full.content
    assert edge.get("/app.js", headers={"Range": f"bytes={n}-"}).status_code == 416


def test_documents_are_served_and_parse(edge):
    import yaml
    doc = yaml.safe_load(edge.get("/openapi.yaml").text)
    assert doc["openapi"].startswith("3.1") and "/v1/server" in doc["paths"]


# ---- bodies ----

def post_json(server, path, data, **headers):
    return server.post(path, data=data, headers={"Content-Type": "application/json", **headers})


def test_gzip_bodies_are_inflated(edge):
    body = gzip.compress(json.dumps({"path": "/v1/x/"}).encode())
    r = post_json(edge, "/v1/tickets", body, **{"Content-Encoding": "gzip"})
    assert r.status_code == 200 and r.json()["path"] == "/v1/x/"


def test_gzip_members_in_a_row_are_one_body(edge):
    body = gzip.compress(b'{"path":') + gzip.compress(b'"/v1/x/"}')
    assert post_json(edge, "/v1/tickets", body, **{"Content-Encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("data,encoding,status", [
    (b"not gzip at all", "gzip", 400),
    (gzip.compress(b'{"path":"/v1/x/"}')[:-9], "gzip", 400),
    (b"{}", "br", 415),
])
def test_bad_encodings_are_refused(edge, data, encoding, status):
    r = post_json(edge, "/v1/tickets", data, **{"Content-Encoding": encoding})
    assert r.status_code == status, r.text


def test_a_gzip_bomb_stops_at_the_limit(start_server):
    server = start_server("--max-body", "1M", device="none")
    bomb = gzip.compress(b" " * (64 << 20))
    assert len(bomb) < 100_000
    before = resident(server)
    r = post_json(server, "/v1/tickets", bomb, **{"Content-Encoding": "gzip"})
    assert r.status_code == 413 and r.json()["code"] == "too-large"
    assert resident(server) - before < 16 << 20
    assert server.get("/livez").status_code == 200


def resident(server):
    with open(f"/proc/{server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_refused_large_body_gets_its_answer(start_server):
    """The connection is drained before it closes, so the 413 is not lost to a reset."""
    server = start_server("--max-body", "64K", device="none")
    for _ in range(5):
        with socket.create_connection((server.host, server.port), timeout=5) as s:
            s.sendall(b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100000\r\n\r\n")
            s.sendall(b"x" * 60000)
            answer = s.recv(4096)
            assert answer.startswith(b"HTTP/1.1 413 "), answer[:60]


def test_a_body_refused_while_it_comes_is_answered_in_json(server):
    """Blocking clients that only look once all is sent get the answer too, quotes and all."""
    import http.client
    for _ in range(3):
        c = http.client.HTTPConnection(server.host, server.port, timeout=10)
        c.request("PUT", "/v1/tensors/cut?dtype=u8&shape=40", body=(b"x" * 10000 for _ in range(100)),
                  headers={"Content-Type": "application/octet-stream"}, encode_chunked=True)
        r = c.getresponse()
        body = json.loads(r.read())
        assert r.status == 400 and body["code"] == "size-mismatch" and body["title"] == "Bad Request"
        assert r.getheader("Connection") == "close"
        c.close()
    assert server.get("/v1/tensors/cut").status_code == 404


def test_pipelined_mixed_requests_stay_in_order(edge):
    one = (b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Content-Length: 2\r\n\r\n{}")
    bad = b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    out = raw(edge, one + bad + one + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", out) == [b"200", b"404", b"200", b"200"], out


def test_a_half_closed_client_gets_its_answer_from_a_worker(edge):
    with socket.create_connection((edge.host, edge.port), timeout=5) as s:
        s.sendall(b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        out = b""
        while piece := s.recv(65536):
            out += piece
    assert out.startswith(b"HTTP/1.1 200 ") and out.rstrip().endswith(b"}"), out[:80]


def test_header_limits(edge):
    many = b"".join(b"X-%d: a\r\n" % i for i in range(120))
    assert raw(edge, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
    big = b"X-Big: " + b"a" * 33000 + b"\r\n"
    assert raw(edge, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + big + b"\r\n").startswith(b"HTTP/1.1 431 ")
    fits = b"X-Big: " + b"a" * 31000 + b"\r\nConnection: close\r\n"
    assert raw(edge, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + fits + b"\r\n").startswith(b"HTTP/1.1 200 ")
    uri = b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(edge, uri).startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("head", [
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nX: a\0b\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nX: a\rb\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
    b"GET /livez%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/tickets HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
])
def test_malformed_heads_are_refused_and_closed(edge, head):
    out = raw(edge, head)
    assert out.startswith(b"HTTP/1.1 400 ") and b"onnection: close" in out, out[:200]


# ---- slow clients ----

def test_slow_headers_and_bodies_are_cut(start_server):
    server = start_server("--header-timeout", "1s", "--body-timeout", "1s", device="none")
    heads = [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ",
             b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             b"Content-Length: 10\r\n\r\n{"]
    for head in heads:
        with socket.create_connection((server.host, server.port), timeout=5) as s:
            s.sendall(head)
            start, out = time.monotonic(), b""
            while piece := s.recv(4096):
                out += piece
            assert time.monotonic() - start < 3, head
            assert out == b"" or out.startswith(b"HTTP/1.1 408 "), out


def test_a_dribbled_second_request_is_cut_too(start_server):
    """One octet at a time on a kept connection defeats an inactivity timeout, not this one."""
    server = start_server("--header-timeout", "1s", device="none")
    with socket.create_connection((server.host, server.port), timeout=5) as s:
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
        time.sleep(1.5)  # idle is allowed for longer
        start = time.monotonic()
        with pytest.raises((ConnectionError, EOFError)):
            while time.monotonic() - start < 5:
                s.sendall(b"G")
                s.settimeout(0.2)
                try:
                    if not s.recv(4096).startswith(b"HTTP/1.1 408"):
                        raise EOFError
                except socket.timeout:
                    continue
        assert 0.5 < time.monotonic() - start < 4


# ---- who may ----

def test_hosts_are_checked_without_tokens(edge):
    for host, status in (("127.0.0.1:1", 200), ("localhost", 200), ("box:80", 200), ("[::1]:80", 200),
                         ("evil.example", 421), ("127.0.0.1.evil.example", 421)):
        r = edge.get("/v1/server", headers={"Host": host})
        assert r.status_code == status, (host, r.text)
    assert edge.get("/livez", headers={"Host": "evil.example"}).status_code == 200


def test_pages_of_other_sites_cannot_write(edge):
    r = post_json(edge, "/v1/tickets", "{}", Origin="http://evil.example")
    assert r.status_code == 403
    own = f"http://{edge.host}:{edge.port}"
    assert post_json(edge, "/v1/tickets", "{}", Origin=own).status_code == 200


def test_scopes_tokens_and_digests(start_server, token_file):
    digest = hashlib.sha256(b"hashed-token").hexdigest()
    tokens = token_file(("reader", "read", "bob"), (f"sha256:{digest}", "read,write"), ("w", "write"))
    server = start_server("--token-file", tokens, device="none")
    bearer = lambda t: {"Authorization": f"Bearer {t}"}
    assert server.get("/v1/server").status_code == 401
    assert server.get("/v1/server").headers["WWW-Authenticate"].startswith("Bearer")
    assert server.get("/v1/server", headers=bearer("reader")).json()["scopes"] == ["read"]
    assert server.get("/v1/server", headers=bearer("hashed-token")).json()["scopes"] == ["read", "write"]
    assert server.get("/v1/server", headers=bearer(f"sha256:{digest}")).status_code == 401
    denied = server.get("/v1/server", headers=bearer("w"))
    assert denied.status_code == 403 and "read" in denied.json()["detail"]
    assert server.get("/v1/server?token=reader").status_code == 401
    for path in ("/livez", "/", "/app.js", "/openapi.yaml"):
        assert server.get(path).status_code == 200, path
    assert server.get("/metrics").status_code == 401


def test_metrics_can_be_opened(start_server, token_file):
    server = start_server("--token-file", token_file(("t", "read")), "--metrics-open", device="none")
    assert server.get("/metrics").status_code == 200


def test_tickets_once_and_by_path(start_server, token_file):
    server = start_server("--token-file", token_file(("t", "read,write")), device="none", token="t")
    anonymous = requests.Session()
    once = post_json(server, "/v1/tickets", "{}").json()
    assert once["expires_in"] == 60
    url = f"{server.url}/v1/server?ticket={once['ticket']}"
    first = anonymous.get(url)
    assert first.status_code == 200 and first.json()["scopes"] == ["read"]
    assert anonymous.get(url).status_code == 401
    many = post_json(server, "/v1/tickets", '{"path":"/v1/server","ttl_s":60}').json()
    url = f"{server.url}/v1/server?ticket={many['ticket']}"
    assert [anonymous.get(url).status_code for _ in range(3)] == [200] * 3
    assert anonymous.get(f"{server.url}/v1/config?ticket={many['ticket']}").status_code == 403
    assert post_json(server, "/v1/tickets", '{"ttl_s":5}').status_code == 400
    assert post_json(server, "/v1/tickets", '{"path":"x"}').status_code == 400


def test_wrong_tokens_are_counted(start_server, token_file):
    server = start_server("--token-file", token_file(("good-token", "read")), device="none")
    bad = {"Authorization": "Bearer wrong"}
    codes = [server.get("/v1/server", headers=bad).status_code for _ in range(12)]
    assert codes == [401] * 10 + [429] * 2
    limited = server.get("/v1/server", headers=bad)
    assert limited.headers["Retry-After"] and limited.json()["code"] == "rate-limited"
    # A right guess from an address that is locked out is not told apart from a wrong one.
    assert server.get("/v1/server", headers={"Authorization": "Bearer good-token"}).status_code == 429


def test_tokens_are_reread_on_sighup(start_server, token_file):
    path = token_file(("old", "read"))
    server = start_server("--token-file", path, device="none")
    with open(path, "w") as f:
        f.write("new read\n")
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 5
    while server.get("/v1/server", headers={"Authorization": "Bearer new"}).status_code != 200:
        assert time.monotonic() < deadline, "the new token is not known"
        time.sleep(0.6)
    assert server.get("/v1/server", headers={"Authorization": "Bearer old"}).status_code == 401


def test_websocket_upgrades_are_checked(edge):
    key = base64.b64encode(b"0123456789abcdef").decode()

    def ask(path="/v1/ws", version="13", key=key, proto="HTTP/1.1", upgrade=True, origin=None, method="GET"):
        head = f"{method} {path} {proto}\r\nHost: {edge.host}:{edge.port}\r\n"
        if upgrade:
            head += "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        if version:
            head += f"Sec-WebSocket-Version: {version}\r\n"
        if key:
            head += f"Sec-WebSocket-Key: {key}\r\n"
        if origin:
            head += f"Origin: {origin}\r\n"
        out = raw(edge, head.encode() + b"\r\n", timeout=1)
        return int(out[9:12]) if out else 0

    assert ask(version="12") == 426 and ask(version=None) == 426 and ask(upgrade=False) == 426
    assert ask(key=None) == 400 and ask(key="c2hvcnQ=") == 400 and ask(proto="HTTP/1.0") == 400
    assert ask(method="POST") == 405
    assert ask(origin="http://evil.example") == 403 and ask(origin="null") == 403
    assert ask(path="/v1/nope/ws") == 404
    assert ask() == 101 and ask(origin=edge.url) == 101


# ---- events ----

def test_events_resume_behind_an_id(edge):
    last = edge.get("/v1/server").json()["last_event"]
    with edge.get("/v1/events", stream=True, timeout=5) as r:
        assert r.headers["Content-Type"] == "text/event-stream"
        assert next(r.iter_content(3)) == b": \n"[:3]
    assert edge.get("/v1/events?since=x").status_code == 400
    with edge.get(f"/v1/events?since={last}", stream=True, timeout=5) as r:
        assert r.status_code == 200


# ---- start, stop, options ----

def run(executable, *args, env=None, timeout=30):
    return subprocess.run([executable, *args], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})})


def test_help_and_version(executable):
    assert run(executable, "--version").stdout.startswith("tensorscope ")
    text = run(executable, "serve", "--help").stdout
    for flag in ("--listen", "--max-body", "--token-file", "--drain-timeout", "--config"):
        assert flag in text
    assert run(executable, "--help").returncode == 0
    assert run(executable).returncode == 2 and run(executable, "fly").returncode == 2


@pytest.mark.parametrize("args,env,word", [
    (("--max-boddy", "1"), {}, "--max-body"),
    (("--max-body", "lots"), {}, "--max-body"),
    (("--max-body", "0"), {}, "--max-body"),
    ((), {"TENSORSCOPE_MAX_BODY": "-1"}, "TENSORSCOPE_MAX_BODY"),
    (("--listen", "nowhere"), {}, "--listen"),
    (("--token-file", "/does/not/exist"), {}, "--token-file"),
    (("--tls-cert", "x"), {}, "--tls-key"),
    (("extra",), {}, "extra"),
])
def test_bad_options_exit_2_and_name_the_flag(executable, tmp_path, args, env, word):
    done = run(executable, "serve", "--device", "none", "--data-dir", str(tmp_path), *args, env=env)
    assert done.returncode == 2 and word in done.stderr, done.stderr


def test_an_open_token_file_is_refused(executable, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("t read\n")
    path.chmod(0o644)
    done = run(executable, "serve", "--device", "none", "--data-dir", str(tmp_path), "--token-file", str(path))
    assert done.returncode == 2 and "600" in done.stderr


def test_config_file_environment_and_flag_precedence(start_server, tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{"max_body": "3M", "max_tensors": 7, "header_timeout": 2.5, "allow_origin": ["http://a.example"]}')
    server = start_server("--config", config, "--max-body", "5K", device="none",
                          env={"TENSORSCOPE_MAX_BODY": "4M", "TENSORSCOPE_MAX_TENSORS": "9"})
    got = server.get("/v1/config").json()
    assert (got["max_body"], got["max_tensors"], got["header_timeout"]) == (5120, 9, 2.5)
    assert got["allow_origin"] == ["http://a.example"]


def test_check_config_names_file_line_and_key(executable, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"max_body": "1M"}')
    bad.write_text('{\n  "max_body": "1M",\n  "max_tensor": 3\n}')
    assert run(executable, "check-config", str(good)).returncode == 0
    done = run(executable, "check-config", str(bad))
    assert done.returncode == 2
    assert "line 3" in done.stderr and "max_tensor" in done.stderr and "max_tensors" in done.stderr


def test_a_busy_port_exits_1(executable, edge, tmp_path):
    done = run(executable, "serve", "--device", "none", "--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{edge.port}")
    assert done.returncode == 1 and str(edge.port) in done.stderr


def test_healthcheck(executable, edge):
    assert run(executable, "healthcheck", edge.url).returncode == 0
    assert run(executable, "healthcheck", edge.url + "/readyz").returncode == 0
    assert run(executable, "healthcheck", edge.url + "/v1/nope").returncode == 1
    assert run(executable, "healthcheck", "http://127.0.0.1:1").returncode == 1


def test_every_listen_address_answers(start_server, tmp_path):
    path = tmp_path / "s.sock"
    server = start_server(device="none", listen=("127.0.0.1:0", "[::1]:0", f"unix:{path}"))
    assert server.addresses[1].startswith("http://[::1]:") and server.addresses[2] == f"unix:{path}"
    assert requests.get(server.addresses[1] + "/livez", timeout=5).status_code == 200
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b"GET /v1/server HTTP/1.0\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200 ")
    server.stop()
    assert not path.exists()


def test_requests_in_flight_end_before_the_process(start_server):
    """A body that is still coming when SIGTERM arrives is received and answered."""
    server = start_server(device="none")
    with socket.create_connection((server.host, server.port), timeout=10) as s:
        s.sendall(b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        s.sendall(b"}")
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(10) == 0


def test_streams_end_at_shutdown(start_server):
    server = start_server(device="none")
    with server.get("/v1/events", stream=True, timeout=20) as r:
        server.process.send_signal(signal.SIGTERM)
        for _ in r.iter_content(100):
            pass
    assert server.process.wait(10) == 0


def test_a_second_signal_exits_at_once(start_server):
    server = start_server("--drain-delay", "20s", device="none")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.get("/readyz").status_code == 503 and server.get("/livez").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 130


def test_too_many_connections_get_503(start_server):
    server = start_server("--max-connections", "10", device="none")
    held = [socket.create_connection((server.host, server.port)) for _ in range(10)]
    time.sleep(0.3)
    out = raw(server, b"")
    assert out.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in out
    for s in held:
        s.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            if server.session.get(server.url + "/livez", timeout=2).status_code == 200:
                break
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline


def test_descriptors_return_after_a_flood(start_server):
    server = start_server(device="none")
    fds = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd"))
    server.get("/livez")
    before = fds()

    def flood():
        for _ in range(300):
            with socket.create_connection((server.host, server.port)) as s:
                s.sendall(b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    deadline = time.monotonic() + 10
    while fds() > before:
        assert time.monotonic() < deadline, (before, fds())
        time.sleep(0.1)
    assert server.get("/livez").status_code == 200


def test_metrics_text_is_well_formed(edge):
    edge.get("/livez")
    text = edge.get("/metrics").text
    line = re.compile(r'^[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? [0-9.e+-]+$')
    for row in text.splitlines():
        assert row.startswith(("# HELP ", "# TYPE ")) or line.match(row), row
    assert re.search(r'tensorscope_http_requests_total\{code="200",route="/livez"\} \d+', text)
    assert re.search(r'tensorscope_limit\{option="max_body"\} 67108864', text)
    assert int(re.search(r"^process_open_fds (\d+)", text, re.M)[1]) > 5
    assert float(re.search(r"^process_resident_memory_bytes ([\d.e+]+)", text, re.M)[1]) > 1 << 20


def test_histograms_add_up(edge):
    text = edge.get("/metrics").text
    buckets = re.findall(r'tensorscope_http_request_seconds_bucket\{route="/livez",le="([^"]+)"\} (\d+)', text)
    counts = [int(n) for _, n in buckets]
    assert buckets[-1][0] == "+Inf" and counts == sorted(counts)
    assert counts[-1] == int(re.search(r'http_request_seconds_count\{route="/livez"\} (\d+)', text)[1])


def test_the_service_manager_is_told(start_server, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        server = start_server(device="none", env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1" and manager.recv(100) == b"WATCHDOG=1"
        server.stop()
        left = []
        manager.setblocking(False)
        try:
            while True:
                left.append(manager.recv(100))
        except BlockingIOError:
            pass
        assert left[-1] == b"STOPPING=1"


def test_log_levels_change_on_sighup_and_other_keys_are_named(start_server, tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{"log_level": "warn"}')
    server = start_server("--config", config, device="none")
    config.write_text('{"log_level": "debug", "max_body": "1M"}')
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 5
    while not any("path=/livez" in line for line in server.log):
        assert time.monotonic() < deadline, server.log
        server.get("/livez")
        time.sleep(0.05)
    assert any("max_body" in line and "restart" in line for line in server.log)
    assert server.get("/v1/config").json()["max_body"] == 64 << 20


def test_the_server_tells_its_figures(edge):
    body = edge.get("/v1/server?window=300").json()
    assert body["version"] and body["uptime_s"] > 0 and body["viewers"] == []
    assert set(body["scopes"]) == {"read", "infer", "write", "admin"}
    assert {"webp", "png", "npy"} <= set(body["formats"])
    assert body["limits"]["max_body"] == 64 << 20 and body["limits_in_use"]["max_connections"] >= 1
    assert 1 << 20 < body["host_memory_bytes"] < 4 << 30
    deadline = time.monotonic() + 5
    while not (samples := edge.get("/v1/server?window=300").json()["samples"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert abs(samples[-1]["t"] - time.time()) < 60 and samples[-1]["host_memory_bytes"] > 1 << 20
    before = int(body["refused"].get("404", 0))
    edge.get("/v1/nope")
    assert int(edge.get("/v1/server").json()["refused"]["404"]) == before + 1
    for bad in ("0", "x", "-5", "100000", ""):
        assert edge.get(f"/v1/server?window={bad}").status_code == 400, bad


def test_viewers_are_listed(server):
    from wsclient import Client
    r = server.put("/v1/streams/watched", json={"source": {"push": True}})
    assert r.status_code == 201, r.text
    with Client(server.ws_url + "/v1/streams/watched/ws") as ws:
        ws.expect("hello")
        viewers = [v for v in server.get("/v1/server").json()["viewers"] if v["stream"] == "watched"]
        assert len(viewers) == 1 and viewers[0]["address"] == "127.0.0.1" and viewers[0]["drops"] >= 0
        text = server.get("/metrics").text
        assert "tensorscope_ws_clients 1" in text
        assert re.search(r'tensorscope_frames_rendered_total\{stream="watched"\} \d', text)
    server.delete("/v1/streams/watched")
    assert 'stream="watched"' not in server.get("/metrics").text


def test_a_trusted_proxy_names_the_client(start_server):
    server = start_server("--trusted-proxy", "127.0.0.1", device="none")
    for value, status in ((None, 200), ("10.1.2.3", 403), ("127.0.0.1, 10.1.2.3", 403), ("10.1.2.3, 127.0.0.1", 200),
                          ("nonsense", 403), ("::1", 200)):
        headers = {"X-Forwarded-For": value} if value else {}
        assert server.get("/v1/server", headers=headers).status_code == status, value
    untrusted = start_server(device="none")
    assert untrusted.get("/v1/server", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 200


def test_websockets_are_closed_with_1001_at_shutdown(start_server):
    from wsclient import Client, Closed
    server = start_server()
    server.put("/v1/streams/last", json={"source": {"push": True}})
    with Client(server.ws_url + "/v1/streams/last/ws") as ws:
        ws.expect("hello")
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(Closed) as closed:
            while True:
                ws.receive(timeout=10)
        assert closed.value.code == 1001
    assert server.process.wait(10) == 0
    assert time.monotonic() - start < 8


def test_devices_and_a_missing_device(executable, tmp_path):
    listed = json.loads(run(executable, "devices", "--json").stdout)["devices"]
    assert listed and {"index", "name", "kind", "platform", "driver", "memory_bytes"} <= set(listed[0])
    one = run(executable, "devices", "--json", "--device", str(listed[0]["index"]))
    assert [d["name"] for d in json.loads(one.stdout)["devices"]] == [listed[0]["name"]]
    assert run(executable, "devices", "--device", "no such").returncode == 3
    assert run(executable, "devices", "--wrong").returncode == 2
    done = run(executable, "serve", "--device", "no such", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0")
    assert done.returncode == 3 and listed[0]["name"] in done.stderr
    done = run(executable, "devices", env={"OCL_ICD_VENDORS": "/nonexistent"})
    assert done.returncode == 3


def test_a_trace_shows_requests_renders_and_encodings(start_server, tmp_path):
    path = tmp_path / "trace.json"
    server = start_server("--trace", path)
    server.put("/v1/tensors/tr?dtype=f32&shape=8,8", data=b"\0" * 256, headers={"Content-Type": "application/octet-stream"})
    server.put("/v1/streams/tr", json={"source": {"tensor": "tr"}})
    deadline = time.monotonic() + 60  # the first picture waits for the kernels' compiler
    while server.get("/v1/streams/tr/frame.webp").status_code != 200:
        assert time.monotonic() < deadline
    assert server.get("/v1/tensors/tr/data").status_code == 200
    server.stop()
    events = json.loads(path.read_text())
    spans = [e for e in events if e["ph"] == "X"]
    kinds = {(e["cat"], e["name"]) for e in spans}
    assert {("http", "/v1/tensors/{name}"), ("http", "/v1/streams/{s}/frame.webp"), ("render", "tr"), ("encode", "tr")} <= kinds
    assert all(e["dur"] >= 0 and e["ts"] > 0 for e in spans)
    assert any(e["args"]["device_us"] > 0 for e in spans if e["cat"] in ("render", "http"))
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    assert any(n.startswith("ts-work") for n in names)
