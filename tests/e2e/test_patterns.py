"""Sources that the server makes itself: patterns, and globs that grow panels."""
import numpy as np
import pytest
from test_websocket import make_stream, put, ws


@pytest.mark.parametrize("name", ["waves", "rotor", "cells", "matrot"])
def test_patterns_move(server, name):
    make_stream(server, name, {"pattern": name, "width": 64, "height": 48}, output={"max_fps": 30})
    with ws(server, name) as c:
        first = c.frame(timeout=60)
        assert (first.header["width"], first.header["height"]) == (64, 48)
        later = c.frame()
        while later.header["step"] < 10:
            later = c.frame()
        assert later.header["seq"] > first.header["seq"]
        assert np.abs(later.image().astype(int) - first.image()).mean() > 2
        steps = [c.frame().header["step"] for _ in range(10)]
        assert steps == sorted(set(steps))
    r = server.put("/v1/streams/bad", json={"source": {"pattern": "plaid"}})
    assert r.status_code == 400 and "waves" in r.json()["detail"]


def test_glob_grows_panels(server):
    make_stream(server, "globs", {"glob": "grads.*"}, {"canvas": {"width": 200, "height": 100}})
    with ws(server, "globs") as c:
        c.frame(timeout=60)  # the pattern on a card
        put(server, "grads.a", np.zeros((8, 8), "f4"))
        f = c.frame()
        while (f.header["width"], f.header["height"]) != (200, 100):
            f = c.frame()
        one = f.image()
        put(server, "grads.b", np.ones((8, 8), "f4"))
        two = c.frame().image()
        assert not np.array_equal(one, two)
        put(server, "other", np.ones((8, 8), "f4"))
        c.no_frame(0.4)


def test_expressions_follow_their_tensors(server):
    a = np.arange(12, dtype="f4").reshape(3, 4)
    put(server, "ea", a)
    make_stream(server, "difference", {"expr": "ea - `e-b`"},
                {"normalize": {"mode": "fixed", "lo": 0, "hi": 255}, "colormap": "gray"})
    with ws(server, "difference", "?quality=100") as c:
        c.frame(timeout=60)  # the name of what is missing on a card
        put(server, "e-b", a - 100)
        f = c.frame()
        while (f.header["width"], f.header["height"]) != (4, 3):
            f = c.frame()
        assert np.abs(f.image().astype(int) - 100).max() <= 2
        put(server, "ea", a + 50)
        assert np.abs(c.frame().image().astype(int) - 150).max() <= 2
    r = server.put("/v1/streams/bad", json={"source": {"expr": "ea -"}})
    assert r.status_code == 400 and "column" in r.json()["detail"]


def test_regions_answer_with_statistics(server):
    a = np.arange(80, dtype="i2").reshape(8, 10)
    put(server, "ra", a)
    make_stream(server, "regions", {"tensor": "ra"}, {"resize": {"scale": 4}})
    with ws(server, "regions") as c:
        c.frame(timeout=60)
        c.send(type="region", id=7, rect=[8, 4, 12, 8])
        reply = c.expect("region", id=7)
        assert reply["rect"] == [2, 1, 3, 2]
        part = a[1:3, 2:5]
        assert (reply["stats"]["count"], reply["stats"]["min"], reply["stats"]["max"]) == (6, part.min(), part.max())
        c.send(type="region", rect=[1, 2, 3])
        assert c.expect("error")["code"] == "bad-option"
