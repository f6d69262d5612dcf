"""One keep-alive HTTP connection, thread by thread; nothing beyond the standard library."""
import http.client
import json
import ssl
import threading
from urllib.parse import urlencode, urlsplit

from .errors import ServerError, TensorscopeError


class Http:
    def __init__(self, url, token=None, timeout=30.0, context=None):
        parts = urlsplit(url if "://" in url else "http://" + url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// address")
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname, parts.port or (443 if self.secure else 80)
        self.base = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.base}"
        self.token, self.timeout = token, timeout
        self.context = context or (ssl.create_default_context() if self.secure else None)
        self._local = threading.local()

    @property
    def ws_url(self):
        return self.url.replace("http", "ws", 1)

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _connection(self):
        connection = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            more = {"context": self.context} if self.secure else {}
            connection = kind(self.host, self.port, timeout=self.timeout, **more)
            self._local.connection = connection
        return connection

    def close(self):
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def request(self, method, path, body=None, query=None, headers=None):
        """(status, headers, bytes). A connection that the server closed meanwhile is opened anew once."""
        query = {k: v for k, v in (query or {}).items() if v is not None}
        target = self.base + path + ("?" + urlencode(query) if query else "")
        for attempt in (0, 1):
            connection = self._connection()
            fresh = connection.sock is None
            try:
                connection.request(method, target, body=body, headers={**self.headers(), **(headers or {})})
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if attempt or fresh:
                    raise TensorscopeError(f"{self.url} does not answer: {error}") from error
        raise AssertionError("unreachable")

    def call(self, method, path, json_body=None, query=None, body=None, content_type=None, accept=None):
        """The answer's JSON (or bytes, by its type); errors raise ServerError."""
        headers = {}
        if json_body is not None:
            body, content_type = json.dumps(json_body).encode(), "application/json"
        if content_type:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        status, answer_headers, data = self.request(method, path, body, query, headers)
        kind = answer_headers.get("Content-Type", "").split(";")[0]
        if status >= 400:
            try:
                problem = json.loads(data)
            except ValueError:
                problem = {}
            raise ServerError(status, problem.get("code", "error"),
                              problem.get("detail") or problem.get("error") or data[:200].decode(errors="replace"))
        if kind == "application/json":
            return json.loads(data)
        return data
