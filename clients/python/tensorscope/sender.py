"""The background sender: newest value per name, paced, through server restarts."""
import threading
import time

from .errors import ServerError, TensorscopeError


class Sender:
    """Sends queued jobs from one daemon thread. A job that is queued again under the same key replaces
    the one that has not left yet. Nothing here raises into the caller; `stats` counts."""

    def __init__(self, max_bytes=256 << 20):
        self.stats = {"queued": 0, "sent": 0, "replaced": 0, "failed": 0, "refused": 0, "bytes": 0, "last_error": None}
        self._pending = {}  # key -> (job, nbytes); insertion order is sending order
        self._max_bytes, self._bytes = max_bytes, 0
        self._changed = threading.Condition()
        self._busy = self._closed = False
        self._backoff = 0.0
        self._thread = None

    def submit(self, key, job, nbytes):
        """Queue `job()` under `key`. Returns at once."""
        with self._changed:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tensorscope-sender", daemon=True)
                self._thread.start()
            old = self._pending.pop(key, None)
            if old:
                self._bytes -= old[1]
                self.stats["replaced"] += 1
            while self._pending and self._bytes + nbytes > self._max_bytes:  # the oldest make room
                self._bytes -= self._pending.pop(next(iter(self._pending)))[1]
                self.stats["replaced"] += 1
            self._pending[key] = (job, nbytes)
            self._bytes += nbytes
            self.stats["queued"] += 1
            self._changed.notify_all()

    def flush(self, timeout=None):
        """Wait until everything queued so far has left. False: it has not within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while (self._pending or self._busy) and not self._closed:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
            return not self._pending

    def close(self, timeout=5.0):
        done = self.flush(timeout) if self._thread else True
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(timeout)
        return done

    def _run(self):
        while True:
            with self._changed:
                while not self._pending and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                key = next(iter(self._pending))
                job, nbytes = self._pending.pop(key)
                self._bytes -= nbytes
                self._busy = True
            outcome = self._send(job, nbytes)
            with self._changed:
                if outcome == "away" and key not in self._pending:  # keep the newest for when it is back
                    self._pending[key] = (job, nbytes)
                    self._bytes += nbytes
                self._busy = False
                self._changed.notify_all()
                if outcome == "away":
                    self._backoff = min(5.0, max(0.2, self._backoff * 2))
                    self._changed.wait_for(lambda: self._closed, self._backoff)
                else:
                    self._backoff = 0.0

    def _send(self, job, nbytes):
        try:
            job()
        except ServerError as error:
            self.stats["last_error"] = str(error)
            if error.status in (429, 503):
                self.stats["failed"] += 1
                return "away"
            self.stats["refused"] += 1
            return "refused"
        except (TensorscopeError, OSError) as error:
            self.stats["failed"] += 1
            self.stats["last_error"] = str(error)
            return "away"
        except Exception as error:  # noqa: BLE001 - the training loop must not die of its monitor
            self.stats["refused"] += 1
            self.stats["last_error"] = repr(error)
            return "refused"
        self.stats["sent"] += 1
        self.stats["bytes"] += nbytes
        return "sent"
