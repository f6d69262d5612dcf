"""A small WebDriver client: chromedriver over HTTP, nothing but requests."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

import requests

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--force-color-profile=srgb", "--disable-dev-shm-usage",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Driver:
    """One chromedriver process; browsers are opened from it."""

    def __init__(self):
        self.port = free_port()
        path = shutil.which("chromedriver")
        self.process = subprocess.Popen([path, f"--port={self.port}", "--log-level=SEVERE"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        for _ in range(100):
            try:
                if requests.get(self.url + "/status", timeout=1).json()["value"]["ready"]:
                    return
            except (requests.RequestException, ValueError):
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start")

    def browser(self, width=1440, height=900, dark=True, flags=()):
        return Browser(self.url, width, height, dark, flags)

    def close(self):
        self.process.terminate()
        self.process.wait(10)


class Browser:
    def __init__(self, driver, width, height, dark, flags):
        self.profile = tempfile.mkdtemp(prefix="ts-web-")
        args = FLAGS + [f"--user-data-dir={self.profile}", f"--window-size={width},{height}", *flags]
        caps = {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args, "binary": shutil.which("chromium") or shutil.which("google-chrome")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}}
        r = requests.post(driver + "/session", json=caps, timeout=60).json()["value"]
        if "sessionId" not in r:
            raise RuntimeError(json.dumps(r)[:500])
        self.session = f"{driver}/session/{r['sessionId']}"
        self.size(width, height)
        self.media(dark)

    def call(self, method, path, body=None, timeout=60):
        r = requests.request(method, self.session + path, json=body if method == "POST" else None,
                             timeout=timeout)
        value = r.json().get("value")
        if r.status_code >= 400:
            raise RuntimeError(f"{value.get('error')}: {value.get('message', '')[:400]}")
        return value

    def cdp(self, cmd, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": cmd, "params": params})

    def size(self, width, height, mobile=False, scale=1):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=scale, mobile=mobile)

    def media(self, dark=True, **features):
        list_ = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        list_ += [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.cdp("Emulation.setEmulatedMedia", features=list_)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def js_async(self, script, *args, timeout=30):
        self.call("POST", "/timeouts", {"script": timeout * 1000})
        return self.call("POST", "/execute/async", {"script": script, "args": list(args)},
                         timeout=timeout + 10)

    def wait(self, script, *args, timeout=10, what=""):
        """Wait until the script's value is truthy; returns it."""
        end = time.monotonic() + timeout
        while True:
            value = self.js("return (" + script + ")", *args)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout} s: {what or script}; log {self.log()[:5]}")
            time.sleep(0.05)

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)}/click", {})

    def type(self, css, text):
        self.call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def key(self, *keys):
        """Press keys together, e.g. key('Control', 'k')."""
        codes = {"Control": "\ue009", "Shift": "\ue008", "Alt": "\ue00a", "Escape": "\ue00c",
                 "Enter": "\ue007", "Tab": "\ue004", "ArrowLeft": "\ue012", "ArrowUp": "\ue013",
                 "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Home": "\ue011", "End": "\ue010",
                 "PageUp": "\ue00e", "PageDown": "\ue00f", "Delete": "\ue017"}
        values = [codes.get(k, k) for k in keys]
        steps = [{"type": "keyDown", "value": v} for v in values]
        steps += [{"type": "keyUp", "value": v} for v in reversed(values)]
        self.actions([{"type": "key", "id": "k", "actions": steps}])

    def actions(self, actions):
        self.call("POST", "/actions", {"actions": actions})

    def pointer(self, *steps):
        """('move', x, y), ('down',), ('up',), ('pause', ms)."""
        out = []
        for s in steps:
            if s[0] == "move":
                out.append({"type": "pointerMove", "duration": 0, "x": int(s[1]), "y": int(s[2])})
            elif s[0] == "pause":
                out.append({"type": "pause", "duration": s[1]})
            else:
                out.append({"type": "pointerDown" if s[0] == "down" else "pointerUp", "button": 0})
        self.actions([{"type": "pointer", "id": "m", "parameters": {"pointerType": "mouse"}, "actions": out}])

    def wheel(self, x, y, dy):
        self.actions([{"type": "wheel", "id": "w", "actions": [
            {"type": "scroll", "x": int(x), "y": int(y), "deltaX": 0, "deltaY": int(dy), "duration": 0}]}])

    def log(self):
        """Console messages and CSP reports since the last call."""
        return [f"{e['level']} {e['message']}" for e in self.call("POST", "/se/log", {"type": "browser"})]

    def requested(self):
        """Every URL that the page asked for since the last call."""
        urls = []
        for entry in self.call("POST", "/se/log", {"type": "performance"}):
            m = json.loads(entry["message"])["message"]
            if m["method"] == "Network.requestWillBeSent":
                urls.append(m["params"]["request"]["url"])
            elif m["method"] == "Network.webSocketCreated":
                urls.append(m["params"]["url"])
        return urls

    def shot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("GET", "/screenshot")))

    def close(self):
        try:
            self.call("DELETE", "")
        except (RuntimeError, requests.RequestException):
            pass
        shutil.rmtree(self.profile, ignore_errors=True)


if __name__ == "__main__":
    os.sys.exit("a module of the tests, see conftest.py")
