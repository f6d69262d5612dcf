"""Runs and their scalars, and a tensor and its stream in one call."""
import io
import math

import numpy as np
import pytest

RAW = {"Content-Type": "application/octet-stream"}


def values_of(server, name):
    r = server.get(f"/v1/tensors/{name}/data")
    assert r.status_code == 200, r.text
    return np.load(io.BytesIO(r.content))


def problem(response, status, code):
    assert response.status_code == status and response.json()["code"] == code, response.text


def test_a_run_and_its_scalars(server):
    r = server.post("/v1/runs", json={"name": "r1", "tags": {"who": "me"}, "config": {"lr": 0.1}})
    assert r.status_code == 201 and r.json()["config"] == {"lr": 0.1}, r.text
    problem(server.post("/v1/runs", json={"name": "r1"}), 409, "exists")
    want = []
    for step in range(150):  # past the first growth of the buffer
        want.append(1 / (step + 1))
        r = server.post("/v1/runs/r1/scalars", json={"step": step, "values": {"loss": want[-1], "acc": step}})
        assert r.status_code == 200 and r.json()["tensors"] == ["r1.loss", "r1.acc"], r.text
    assert values_of(server, "r1.loss").tolist() == want
    info = server.get("/v1/tensors/r1.loss").json()
    assert (info["dtype"], info["shape"], info["step"], info["run"]) == ("f64", [150], 149, "r1")
    r = server.post("/v1/runs/r1/scalars", json={"values": {"loss": "NaN"}})
    assert r.status_code == 200
    got = server.get("/v1/runs/r1/scalars?key=loss").json()["scalars"]
    assert list(got) == ["loss"] and got["loss"]["steps"] == list(range(151))
    assert got["loss"]["values"] == want + ["NaN"] and math.isnan(values_of(server, "r1.loss")[-1])
    run = server.get("/v1/runs/r1").json()
    assert run["scalars"] == ["loss", "acc"] and run["step"] == 150 and run["tensors"] == 2
    assert server.get("/v1/tensors/r1.loss/frame.png").headers["Content-Type"] == "image/png"
    assert server.delete("/v1/runs/r1").status_code == 204
    problem(server.get("/v1/runs/r1"), 404, "not-found")
    problem(server.get("/v1/tensors/r1.loss"), 404, "not-found")


def test_runs_that_tensors_name(server):
    server.put("/v1/tensors/w?dtype=u8&shape=1&run=implied&step=4", data=b"1", headers=RAW)
    server.post("/v1/runs", json={"name": "a.first"})
    runs = {r["name"]: r for r in server.get("/v1/runs").json()["runs"]}
    assert list(runs) == sorted(runs) and runs["implied"]["tensors"] == 1 and runs["implied"]["step"] == 4
    assert [r["name"] for r in server.get("/v1/runs?prefix=a.").json()["runs"]] == ["a.first"]
    assert server.post("/v1/runs/implied/scalars", json={"values": {"x": 1}}).status_code == 200
    assert server.get("/v1/runs/implied").json()["tensors"] == 2


@pytest.mark.parametrize("body,code", [
    ({"values": {}}, "bad-option"), ({}, "bad-option"), ({"values": {"loss": "high"}}, "bad-option"),
    ({"values": {"loss": None}}, "bad-option"), ({"values": {"a/b": 1}}, "bad-name"),
    ({"values": {"x" * 128: 1}}, "bad-name"), ({"values": {"loss": 1}, "stop": 1}, "bad-option"),
    ({"values": {"loss": 1}, "step": "1"}, "bad-option"), ([], "bad-option"),
], ids=range(9))
def test_scalars_that_are_wrong_change_nothing(server, body, code):
    server.delete("/v1/runs/r")
    server.post("/v1/runs", json={"name": "r"})
    server.post("/v1/runs/r/scalars", json={"step": 1, "values": {"loss": 0.5}})
    problem(server.post("/v1/runs/r/scalars", json=body), 400, code)
    assert values_of(server, "r.loss").tolist() == [0.5]
    assert server.get("/v1/runs/r").json()["scalars"] == ["loss"]


@pytest.mark.parametrize("body", [{}, {"name": "a b"}, {"name": 3}, {"name": "x", "tags": []}, {"name": "x", "y": 1}])
def test_runs_that_are_wrong(server, body):
    assert server.post("/v1/runs", json=body).status_code == 400


def test_scalars_of_no_run(server):
    problem(server.post("/v1/runs/none/scalars", json={"values": {"loss": 1}}), 404, "not-found")
    problem(server.get("/v1/runs/none/scalars"), 404, "not-found")
    problem(server.delete("/v1/runs/none"), 404, "not-found")


def test_show(server):
    a = np.arange(12, dtype="f4").reshape(3, 4)
    url = "/v1/show?name=shown1&dtype=f32&shape=3,4&colormap=hot&normalize.mode=fixed&normalize.lo=0&normalize.hi=11"
    r = server.post(url, data=a.tobytes(), headers=RAW)
    assert r.status_code == 201, r.text
    body = r.json()
    assert body["tensor"]["name"] == "shown1" and body["stream"]["name"] == "shown1"
    assert body["url"].startswith(server.url) and "shown1" in body["url"]
    view = server.get("/v1/streams/shown1").json()["view"]
    assert view["normalize"] == {"mode": "fixed", "lo": 0, "hi": 11}
    assert server.get("/v1/streams/shown1").json()["source"] == {"tensor": "shown1"}
    r = server.get("/v1/streams/shown1/frame.png")
    assert r.status_code == 200 and r.headers["Content-Type"] == "image/png"
    again = server.post("/v1/show?name=shown1&dtype=f32&shape=3,4", data=a.tobytes(), headers=RAW)
    assert again.status_code == 200 and again.json()["tensor"]["version"] == 2
    assert server.get("/v1/streams/shown1").json()["view"] == view  # asked nothing new of it
    assert server.post("/v1/show?stream=only", data=a.tobytes() and b"\x93NUMPY", headers={
        "Content-Type": "application/x-npy"}).status_code == 400
    problem(server.get("/v1/streams/only"), 404, "not-found")
    problem(server.post("/v1/show?dtype=f32&shape=3,4&name=bad1&colourmap=hot", data=a.tobytes(), headers=RAW),
            400, "bad-option")
    problem(server.get("/v1/tensors/bad1"), 404, "not-found")
