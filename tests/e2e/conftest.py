"""A real server process per test module, on a free port, with its own data directory.

    def test_x(server):                 one server shared by the module
    def test_y(start_server):           start_server("--max-body", "1K") -> Server, stopped at the end

TENSORSCOPE_BIN names the executable (default: the newest of build/*/tensorscope), TENSORSCOPE_DEVICE the
device (default auto).
"""
import os
import pathlib
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlparse

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))


def binary():
    path = os.environ.get("TENSORSCOPE_BIN")
    if path:
        return path
    built = sorted(ROOT.glob("build/*/tensorscope"), key=lambda p: p.stat().st_mtime)
    if not built:
        pytest.exit("no tensorscope is built; set TENSORSCOPE_BIN", returncode=2)
    return str(built[-1])


class Server:
    """A running `tensorscope serve`. Requests without a scheme go to it: server.get("/livez")."""

    def __init__(self, *args, env=None, device=None, token=None, listen=("127.0.0.1:0",), ready=60, descriptors=None):
        self.directory = tempfile.TemporaryDirectory(prefix="ts-e2e-")
        self.data_dir = pathlib.Path(self.directory.name) / "data"
        self.token = token
        self.log = []
        command = [binary(), "serve", "--data-dir", str(self.data_dir)]
        for address in listen:
            command += ["--listen", address]
        device = device or os.environ.get("TENSORSCOPE_DEVICE", "auto")
        command += ["--device", device, *map(str, args)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSORSCOPE_")}
        environment.setdefault("POCL_CACHE_DIR", str(ROOT / "build" / "pocl-cache"))
        environment.update(env or {})
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))) if descriptors else None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment, text=True, preexec_fn=limit)
        self.addresses = []
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True).start()
        self._stderr = threading.Thread(target=self._read_log, daemon=True)
        self._stderr.start()
        deadline = time.monotonic() + ready
        while len(self.addresses) < len(listen):
            try:
                line = lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.process.kill()
                self.process.wait()
                self._stderr.join(5)
                self.directory.cleanup()
                raise AssertionError("the server did not start:\n" + "".join(self.log))
            assert line.startswith("tensorscope listening on "), line
            self.addresses.append(line.split(" on ", 1)[1].strip())
        self.url = self.addresses[0]
        self.host, self.port = urlparse(self.url).hostname, urlparse(self.url).port
        self.ws_url = self.url.replace("http", "ws", 1)
        self.session = requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.put(line)
        lines.put(None)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def request(self, method, path, **kw):
        kw.setdefault("timeout", 60)
        return self.session.request(method, self.url + path, **kw)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def put(self, path, **kw):
        return self.request("PUT", path, **kw)

    def post(self, path, **kw):
        return self.request("POST", path, **kw)

    def patch(self, path, **kw):
        return self.request("PATCH", path, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def stop(self, expect=0, timeout=40):
        """SIGTERM, and the exit status checked: a server that crashes at its end fails the test."""
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server did not stop:\n" + "".join(self.log[-40:]))
        finally:
            self._stderr.join(5)
            self.directory.cleanup()
        if expect is not None:
            assert status == expect, f"exit status {status}:\n" + "".join(self.log[-60:])


@pytest.fixture
def start_server():
    running = []

    def start(*args, **kw):
        server = Server(*args, **kw)
        running.append(server)
        return server

    yield start
    for server in running:
        if server.process.poll() is None:
            server.stop()
        else:
            server.directory.cleanup()


@pytest.fixture(scope="module")
def server(request):
    """Shared by a module; a module-level SERVER_ARGS adds options."""
    one = Server(*getattr(request.module, "SERVER_ARGS", ()))
    yield one
    one.stop()


@pytest.fixture
def token_file(tmp_path):
    """Writes a token file of (token, scopes, name) lines."""

    def write(*lines):
        path = tmp_path / "tokens"
        path.write_text("# tokens of a test\n" + "".join(" ".join(line) + "\n" for line in lines))
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture(scope="session")
def executable():
    return binary()


@pytest.fixture(scope="session")
def have_ffmpeg():
    return shutil.which("ffmpeg") is not None
