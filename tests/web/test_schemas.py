"""The schemas under api/schemas: they are schemas, they take what the fixtures of this project use, the server serves them."""
import json

import jsonschema
import pytest
from conftest import ROOT

SCHEMAS = ROOT / "api" / "schemas"


def load(name):
    return json.loads((SCHEMAS / name).read_text())


def validator(name):
    docs = {n: load(n) for n in ("view.json", "stream.json", "pipeline.json")}
    resolver = jsonschema.RefResolver(base_uri="", referrer=docs[name], store=docs)
    return jsonschema.Draft202012Validator(docs[name], resolver=resolver)


@pytest.mark.parametrize("name", ["view.json", "stream.json", "pipeline.json"])
def test_is_a_schema_and_is_served(server, name):
    jsonschema.Draft202012Validator.check_schema(load(name))
    r = server.get(f"/v1/schemas/{name}")
    assert r.status_code == 200 and r.json() == load(name)


ACCEPTED = {
    "view.json": [{}, {"kind": "slice", "axis": 0, "index": -1}, {"view": {"kind": "volume", "mode": "alpha"}, "colormap": {"name": "magma", "nan": [1, 2, 3]}},
                  {"normalize": {"mode": "percentile", "p_lo": 2, "ema": {"alpha": 0.1}}, "filter": [{"op": "gauss", "sigma": 1}]},
                  {"panels": [{"tensor": "a", "title": "x", "view": {"kind": "line"}}], "canvas": {"width": 64, "height": 64}}],
    "stream.json": [{"source": {"tensor": "w"}}, {"source": {"push": True}, "output": {"quality": "auto", "history": 600}},
                    {"source": {"gaze": {"mask_source": "patch-diff", "input": {"push": True}}}}, {"source": {"panels": [{"tensor": "a"}], "columns": 2}}],
    "pipeline.json": [{"source": {"url": "a.mp4"}}, {"source": {"url": "rtsp://h/s"}, "camera": {"follow": "track:3"}, "sinks": [{"kind": "ws"}]}],
}
REFUSED = {
    "view.json": [{"nope": 1}, {"normalize": {"mode": "x"}}, {"resize": {"width": 0}}, {"view": {"nope": 1}}, {"colormap": {"nan": [1, 2, 300]}}],
    "stream.json": [{}, {"source": {}}, {"source": {"tensor": "no spaces"}}, {"source": {"tensor": "w"}, "output": {"quality": 0}}],
    "pipeline.json": [{}, {"source": {"url": "x", "urll": 1}}, {"source": {"url": "x"}, "camera": {"omega": 99}}, {"source": {"url": "x"}, "sinks": [{}]}],
}


@pytest.mark.parametrize("name,document", [(n, d) for n, l in ACCEPTED.items() for d in l])
def test_accepts(name, document):
    validator(name).validate(document)


@pytest.mark.parametrize("name,document", [(n, d) for n, l in REFUSED.items() for d in l])
def test_refuses(name, document):
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(document)


def test_every_view_key_has_a_control():
    def walk(schema, path=""):
        for key, value in schema.get("properties", {}).items():
            ui = value.get("x-ui")
            if value.get("type") == "object" and "properties" in value and not ui:
                yield from walk(value, f"{path}{key}.")
            else:
                yield path + key, ui
    missing = [k for k, ui in walk(load("view.json")) if not ui]
    assert not missing, missing
