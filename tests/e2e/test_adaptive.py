"""Adaptive quality: a viewer behind a slow link sees fresh pictures, and nobody else notices."""
import threading
import time

import numpy as np
from test_websocket import make_stream, put, ws
from wsclient import Client, Closed

RATE = 250_000  # octets a second: 2 Mbit/s


class Throttled(Client):
    """Reads no more than RATE, in small pieces, so that TCP holds the rest back."""
    tokens, last = 0.0, None

    def _need(self, n, deadline):
        while len(self.buffer) < n:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError("nothing came in time")
            self.tokens = min(8192, self.tokens + (now - (self.last or now)) * RATE)
            self.last = now
            if self.tokens < 1400:
                time.sleep(0.004)
                continue
            self.s.settimeout(max(0.01, deadline - now))
            data = self.s.recv(int(min(self.tokens, 4096)))
            if not data:
                raise Closed(1006)
            self.tokens -= len(data)
            self.buffer += data


def test_a_throttled_viewer_gets_smaller_pictures_and_fresh_ones(server):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:512, 0:512]
    noise = rng.random((512, 512)) * 0.3
    pictures = [(np.sin(x / 40 + n / 5) + np.cos(y / 30 - n / 7) + np.roll(noise, n, 1)).astype("f4")
                for n in range(40)]
    put(server, "th", pictures[0])
    make_stream(server, "th", {"tensor": "th"}, output={"max_fps": 20})
    stop = threading.Event()

    def producer():
        n = 0
        while not stop.wait(0.03):
            n += 1
            put(server, "th", pictures[n % 40], t=time.time())

    fast_ages, slow_ages, levels, sizes = [], [], [], []

    def fast_viewer(client):
        while not stop.is_set():
            try:
                fast_ages.append(time.time() - client.frame(1).header["t"])
            except TimeoutError:
                pass

    with ws(server, "th") as fast, Throttled(f"{server.ws_url}/v1/streams/th/ws?tier=auto", rcvbuf=16384) as slow:
        fast.frame(timeout=60)
        threads = [threading.Thread(target=producer), threading.Thread(target=fast_viewer, args=(fast,))]
        for t in threads:
            t.start()
        try:
            start = time.time()
            while time.time() < start + 14:
                m = slow.message(10)
                if isinstance(m, dict):
                    if m["type"] == "level":
                        levels.append(m)
                elif time.time() > start + 5:
                    slow_ages.append(time.time() - m.header["t"])
                    sizes.append(len(m.payload))
        finally:
            stop.set()
            for t in threads:
                t.join()
    assert levels and {"level", "reason", "quality", "scale"} <= set(levels[0])
    assert len(slow_ages) > 20
    assert np.percentile(slow_ages, 90) < 0.3, f"ages {np.percentile(slow_ages, [50, 90, 100])}"
    assert np.median(sizes) * len(slow_ages) / 9 < RATE, "more than the link carries"
    assert np.percentile(fast_ages[10:], 90) < 0.3, f"the other viewer: {np.percentile(fast_ages, [50, 90, 100])}"
