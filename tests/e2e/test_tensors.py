"""Tensors over HTTP: every dtype and body form bit for bit, hostile bodies, versions, limits."""
import gzip
import io
import json
import struct
import time

import numpy as np
import pytest
from PIL import Image

SERVER_ARGS = ("--max-body", "1M", "--max-tensor-bytes", "8M", "--max-tensors", "40")

NPY = {"Content-Type": "application/x-npy"}
RAW = {"Content-Type": "application/octet-stream"}
SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}
DTYPES = {
    "bool": "?", "u8": "u1", "i8": "i1", "u16": "<u2", "i16": "<i2", "u32": "<u4", "i32": "<i4",
    "u64": "<u8", "i64": "<i8", "f16": "<f2", "bf16": "<u2", "f32": "<f4", "f64": "<f8",
}
SIZES = {k: np.dtype(v).itemsize for k, v in DTYPES.items()}


def random_bits(dtype, shape, seed=1):
    """Any bit pattern of the type: NaNs, infinities and subnormals are among them."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape, dtype=np.int64))
    if dtype == "bool":
        return rng.integers(0, 2, n).astype(bool).reshape(shape)
    raw = rng.integers(0, 256, n * SIZES[dtype], dtype=np.uint8)
    return raw.view(DTYPES[dtype]).reshape(shape)


def npy(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, body) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code, body
    assert body["status"] == status and body["detail"]
    return body


def data_of(server, name):
    response = server.get(f"/v1/tensors/{name}/data", headers={"Accept": "application/octet-stream"})
    assert response.status_code == 200, response.text
    return response.content


@pytest.fixture
def clean(server):
    """Removes what a test made."""
    yield server
    for t in server.get("/v1/tensors").json()["tensors"]:
        assert server.delete(f"/v1/tensors/{t['name']}").status_code == 204


@pytest.fixture
def kept(clean):
    """A tensor that has to be there, unchanged, after a failed call."""
    body = b"\x01\x02\x03\x04"
    assert clean.put("/v1/tensors/kept?dtype=u8&shape=4", data=body, headers=RAW).status_code == 201
    yield clean
    tensors = clean.get("/v1/tensors").json()["tensors"]
    assert [(t["name"], t["version"]) for t in tensors] == [("kept", 1)]
    assert data_of(clean, "kept") == body


@pytest.mark.parametrize("shape", [(), (1,), (7, 5), (0, 3), (2, 3, 1, 2, 1, 1, 2, 1)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_round_trips_bit_for_bit(clean, dtype, shape):
    a = random_bits(dtype, shape)
    text = ",".join(map(str, shape))
    r = clean.put(f"/v1/tensors/a?dtype={dtype}&shape={text}", data=a.tobytes(), headers=RAW)
    assert r.status_code == 201, r.text
    info = r.json()
    assert info["dtype"] == dtype and info["shape"] == list(shape) and info["nbytes"] == a.nbytes
    assert info["version"] == 1 and r.headers["ETag"] == '"1"' and info["name"] == "a" and info["device"]
    assert data_of(clean, "a") == a.tobytes()
    r = clean.get("/v1/tensors/a/data")
    back = np.load(io.BytesIO(r.content))
    assert back.dtype == a.dtype and back.shape == shape and back.tobytes() == a.tobytes()
    r = clean.put("/v1/tensors/a", data=npy(a), headers=NPY, params={"dtype": "bf16"} if dtype == "bf16" else {})
    assert r.status_code == 200 and r.json()["version"] == 2 and r.json()["dtype"] == dtype, r.text
    assert data_of(clean, "a") == a.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_json_is_exact(clean, dtype):
    a = random_bits(dtype, (6, 4), seed=3)
    clean.put(f"/v1/tensors/a?dtype={dtype}&shape=6,4", data=a.tobytes(), headers=RAW)
    r = clean.get("/v1/tensors/a/data", headers={"Accept": "application/json"})
    doc = r.json()
    assert doc["dtype"] == dtype and doc["shape"] == [6, 4] and len(doc["data"]) == 24
    nested = [doc["data"][4 * i:4 * i + 4] for i in range(6)]
    for data in (doc["data"], nested):
        r = clean.put("/v1/tensors/b", json={"dtype": dtype, "shape": [6, 4], "data": data})
        assert r.status_code in (200, 201), r.text
        b = np.frombuffer(data_of(clean, "b"), a.dtype)
        if dtype in ("f16", "f32", "f64"):
            assert np.array_equal(a.ravel(), b, equal_nan=True)
        elif dtype == "bf16":
            wide = (a.ravel().astype("u4") << 16).view("f4"), (b.astype("u4") << 16).view("f4")
            assert np.array_equal(*wide, equal_nan=True)
        else:
            assert a.tobytes() == b.tobytes()


def test_json_takes_what_the_contract_says(clean):
    r = clean.put("/v1/tensors/a", json={"dtype": "f32", "shape": [4], "data": ["NaN", "Infinity", "-Infinity", None]})
    assert r.status_code == 201
    a = np.frombuffer(data_of(clean, "a"), "f4")
    assert np.isnan(a[0]) and a[1] == np.inf and a[2] == -np.inf and np.isnan(a[3])
    back = clean.get("/v1/tensors/a/data", headers={"Accept": "application/json"}).json()["data"]
    assert back == ["NaN", "Infinity", "-Infinity", "NaN"]
    clean.put("/v1/tensors/b", json={"dtype": "u64", "shape": [2], "data": [2**64 - 1, 2**53 + 1]})
    assert np.frombuffer(data_of(clean, "b"), "u8").tolist() == [2**64 - 1, 2**53 + 1]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("byteorder", "<>")
def test_npy_versions_orders_and_byte_orders(clean, version, order, byteorder):
    a = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(byteorder + "f8")
    r = clean.put("/v1/tensors/a", data=npy(np.array(a, order=order), version), headers=NPY)
    assert r.status_code == 201 and r.json()["shape"] == [3, 4, 5], r.text
    assert data_of(clean, "a") == a.astype("<f8").tobytes()


def test_raw_layouts(clean):
    a = random_bits("f32", (37, 53))
    padded = np.full((37, 61), 7, "f4")
    padded[:, :53] = a
    url = "/v1/tensors/a?dtype=f32&shape=37,53"
    for query, body in [
        ("&strides=244,4&offset=16", b"x" * 16 + padded.tobytes()),
        ("&order=F", a.tobytes("F")),
        ("&byteorder=big", a.astype(">f4").tobytes()),
        ("&order=F&byteorder=big&offset=3", b"abc" + a.astype(">f4").tobytes("F")),
        ("&offset=5", b"12345" + a.tobytes()),
    ]:
        r = clean.put(url + query, data=body, headers=RAW)
        assert r.status_code in (200, 201), r.text
        assert data_of(clean, "a") == a.tobytes(), query
    headers = {**RAW, "X-Tensor-Dtype": "f32", "X-Tensor-Shape": "37,53"}
    assert clean.put("/v1/tensors/h", data=a.tobytes(), headers=headers).status_code == 201
    assert data_of(clean, "h") == a.tobytes()


def test_chunked_and_gzip_bodies(clean):
    a = random_bits("f32", (300, 301))

    def pieces():
        body = a.tobytes()
        for i in range(0, len(body), 7777):
            yield body[i:i + 7777]

    r = clean.put("/v1/tensors/a?dtype=f32&shape=300,301", data=pieces(), headers=RAW)
    assert r.status_code == 201, r.text
    assert data_of(clean, "a") == a.tobytes()
    r = clean.put("/v1/tensors/z", data=gzip.compress(npy(a)), headers={**NPY, "Content-Encoding": "gzip"})
    assert r.status_code == 201, r.text
    assert data_of(clean, "z") == a.tobytes()
    short = (b for b in [a.tobytes()[:-1]])
    problem(clean.put("/v1/tensors/a?dtype=f32&shape=300,301", data=short, headers=RAW), 400, "size-mismatch")


def test_a_tensor_may_be_larger_than_a_body(clean):
    """--max-body is 1 MiB here: it holds for JSON and pictures, not for what streams to the device."""
    a = random_bits("u8", (3 << 20,))
    r = clean.put("/v1/tensors/a", data=npy(a), headers=NPY)
    assert r.status_code == 201, r.text
    assert data_of(clean, "a") == a.tobytes()
    text = json.dumps({"dtype": "u8", "shape": [1 << 20], "data": [0] * (1 << 20)})
    problem(clean.put("/v1/tensors/b", data=text, headers={"Content-Type": "application/json"}), 413, "too-large")
    r = clean.put(f"/v1/tensors/b?dtype=u8&shape={9 << 20}", data=b"", headers=RAW)
    problem(r, 413, "too-large")


@pytest.mark.parametrize("mode,kind,shape", [("RGB", "png", (9, 13, 3)), ("RGBA", "png", (9, 13, 4)),
                                             ("L", "png", (9, 13, 1)), ("RGB", "webp", (9, 13, 3)),
                                             ("RGBA", "webp", (9, 13, 4))])
def test_pictures(clean, mode, kind, shape):
    a = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    if shape[2] == 4:
        a[..., 3] |= 1  # a fully transparent pixel's colour need not be kept
    out = io.BytesIO()
    Image.fromarray(a.squeeze(), mode).save(out, kind, **({"lossless": True, "exact": True} if kind == "webp" else {}))
    r = clean.put("/v1/tensors/p", data=out.getvalue(), headers={"Content-Type": f"image/{kind}"})
    assert r.status_code == 201 and r.json()["shape"] == list(shape) and r.json()["dtype"] == "u8", r.text
    assert data_of(clean, "p") == a.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_has_three_channels(clean, mode):
    out = io.BytesIO()
    Image.new(mode, (16, 8), 99 if mode == "L" else (200, 30, 90)).save(out, "jpeg", quality=95)
    r = clean.put("/v1/tensors/p", data=out.getvalue(), headers={"Content-Type": "image/jpeg"})
    assert r.status_code == 201 and r.json()["shape"] == [8, 16, 3], r.text


def test_safetensors(clean):
    x, ids = random_bits("bf16", (4, 3)), random_bits("i64", (3,))
    body = safetensors({"ids": ("I64", [3], ids.tobytes()), "x": ("BF16", [4, 3], x.tobytes()),
                        "empty": ("F32", [0], b"")}, {"format": "pt"})
    r = clean.put("/v1/tensors/one?tensor=x", data=body, headers=SAFETENSORS)
    assert r.status_code == 201 and r.json()["dtype"] == "bf16", r.text
    assert data_of(clean, "one") == x.tobytes()
    r = clean.post("/v1/tensors?prefix=m.&run=r7&step=5", data=body, headers=SAFETENSORS)
    assert r.status_code == 201, r.text
    made = {t["name"]: t for t in r.json()["tensors"]}
    assert sorted(made) == ["m.empty", "m.ids", "m.x"]
    assert made["m.x"]["run"] == "r7" and made["m.x"]["step"] == 5
    assert data_of(clean, "m.ids") == ids.tobytes() and data_of(clean, "m.empty") == b""
    listed = clean.get("/v1/tensors?prefix=m.&run=r7").json()["tensors"]
    assert [t["name"] for t in listed] == ["m.empty", "m.ids", "m.x"]
    assert clean.get("/v1/tensors?run=other").json() == {"tensors": []}
    assert clean.post("/v1/tensors?prefix=m.", data=body, headers=SAFETENSORS).status_code == 200
    problem(clean.put("/v1/tensors/one?tensor=y", data=body, headers=SAFETENSORS), 404, "not-found")


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("header,data,status", [
    ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"123456", 400),
    ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [2], 5, 7)}, b"1234567", 400),
    ({"a": entry("U8", [4], 4, 0)}, b"1234", 400),
    ({"a": entry("U8", [4], 0, 4)}, b"123", 400),
    ({"a": entry("U8", [4], 0, 4)}, b"12345", 400),
    ({"a": entry("F32", [4], 0, 4)}, b"1234", 400),
    ({"a": entry("F8_E5M2", [4], 0, 4)}, b"1234", 400),
    ({"a": entry("U8", [-4], 0, 4)}, b"1234", 400),
    ({"a": entry("U8", [1] * 9, 0, 1)}, b"1", 400),
    ({"a": entry("U8", [2**62, 4], 0, 4)}, b"1234", 400),
    ({"a": entry("U8", [2**31 - 1] * 3, 0, 4)}, b"1234", 400),
    ({"a/b": entry("U8", [4], 0, 4)}, b"1234", 400),
    ({"..": entry("U8", [4], 0, 4)}, b"1234", 400),
    ({"a": entry("U8", [4], 0, 4), "b": {}}, b"1234", 400),
    ([], b"", 400),
])
def test_hostile_safetensors_change_nothing(kept, header, data, status):
    text = json.dumps(header).encode()
    body = struct.pack("<Q", len(text)) + text + data
    for sent in (body, iter([body])):
        r = kept.post("/v1/tensors?prefix=", data=sent, headers=SAFETENSORS)
        assert r.status_code == status, r.text
        assert r.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\xff" * 8 + b"{}", struct.pack("<Q", 100) + b"{}",
                                  struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 10**8 + 1) + b"{}",
                                  struct.pack("<Q", 26) + b'{"a":' + b"[" * 20 + b"}"], ids=range(7))
def test_broken_safetensors_headers(kept, body):
    problem(kept.post("/v1/tensors", data=body, headers=SAFETENSORS), 400, "bad-header")


NPY_HEAD = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


def npy_with(header, data=b"", version=1, length=None):
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text) if length is None else length) + text + data


@pytest.mark.parametrize("body,status,code", [
    (b"", 400, "bad-header"),
    (b"not numpy at all", 400, "bad-header"),
    (npy(np.zeros((3, 4), "f4"))[:-1], 400, "size-mismatch"),
    (npy(np.zeros((3, 4), "f4")) + b"x", 400, "size-mismatch"),
    (npy(np.zeros((3, 4), "f4"))[:60], 400, "bad-header"),
    (npy_with(NPY_HEAD.format("<f4", "(3,)"), b"0" * 12, version=9), 400, "bad-header"),
    (npy_with(NPY_HEAD.format("<f4", "(3,)"), b"0" * 12, length=60000), 400, "bad-header"),
    (npy_with(NPY_HEAD.format("|O", "(3,)"), b"0" * 24), 415, "bad-dtype"),
    (npy_with(NPY_HEAD.format("<c8", "(3,)"), b"0" * 24), 415, "bad-dtype"),
    (npy(np.zeros(3, [("a", "f4"), ("b", "i4")])), 415, "bad-dtype"),
    (npy_with(NPY_HEAD.format("<f4", "(-1,)")), 400, "bad-header"),
    (npy_with(NPY_HEAD.format("<f4", "(4611686018427387904, 4)")), 400, "size-mismatch"),
    (npy_with(NPY_HEAD.format("<f4", "(2147483647, 2)")), 413, "too-large"),
    (npy_with(NPY_HEAD.format("<f4", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), b"0000"), 400, "size-mismatch"),
    (npy_with("{'descr': open('/etc/passwd').read(), 'fortran_order': False, 'shape': (1,)}"), 400, "bad-header"),
    (npy_with("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", b"0000"), 400, "bad-header"),
], ids=range(16))
def test_hostile_npy_changes_nothing(kept, body, status, code):
    problem(kept.put("/v1/tensors/kept", data=body, headers=NPY), status, code)
    problem(kept.put("/v1/tensors/new", data=iter([body] if body else []), headers=NPY), status, code)


@pytest.mark.parametrize("query,body,status,code", [
    ("", b"1234", 400, "bad-option"),
    ("dtype=u8", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&colour=1", b"1234", 400, "bad-option"),
    ("dtype=u9&shape=4", b"1234", 415, "bad-dtype"),
    ("dtype=u8&shape=5", b"1234", 400, "size-mismatch"),
    ("dtype=u8&shape=3", b"1234", 400, "size-mismatch"),
    ("dtype=u8&shape=-4", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4,", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=1,1,1,1,1,1,1,1,4", b"1234", 400, "bad-option"),
    ("dtype=f64&shape=4611686018427387904,4", b"1234", 400, "size-mismatch"),
    ("dtype=u8&shape=4&strides=0", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&strides=1,1", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=2,2&strides=9223372036854775807,1", b"1234", 400, "size-mismatch"),
    ("dtype=u8&shape=4&offset=-1", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&offset=9223372036854775807", b"1234", 400, "size-mismatch"),
    ("dtype=u8&shape=4&order=X", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&byteorder=middle", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&step=now", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&t=NaN", b"1234", 400, "bad-option"),
    ("dtype=u8&shape=4&run=a/b", b"1234", 400, "bad-name"),
    ("dtype=u8&shape=4&tags=[1]", b"1234", 400, "bad-option"),
], ids=range(21))
def test_hostile_raw_changes_nothing(kept, query, body, status, code):
    problem(kept.put("/v1/tensors/kept?" + query, data=body, headers=RAW), status, code)


@pytest.mark.parametrize("body,status,code", [
    ("", 400, "bad-json"),
    ("[" * 100000, 400, "bad-json"),
    ('{"dtype":"u8","shape":[2],"data":[1,2,3]}', 400, "size-mismatch"),
    ('{"dtype":"u8","shape":[2],"data":[1,256]}', 400, "bad-json"),
    ('{"dtype":"f32","shape":[1],"data":[1e999]}', 400, "bad-json"),
    ('{"dtype":"u8","shape":[1],"data":[1],"dato":1}', 400, "bad-option"),
    ('{"dtype":"half","shape":[1],"data":[1]}', 415, "bad-dtype"),
    ('{"dtype":"u8","shape":[2147483647,2147483647,2147483647],"data":[]}', 400, "size-mismatch"),
], ids=range(8))
def test_hostile_json_changes_nothing(kept, body, status, code):
    r = kept.put("/v1/tensors/kept", data=body, headers={"Content-Type": "application/json"})
    problem(r, status, code)


def test_hostile_pictures_change_nothing(kept):
    good = io.BytesIO()
    Image.new("RGB", (32, 32), (1, 2, 3)).save(good, "png")
    png = good.getvalue()
    for body in (b"", b"\x89PNG", png[:-20], png[:40] + b"\0" * 40):
        r = kept.put("/v1/tensors/kept", data=body, headers={"Content-Type": "image/png"})
        problem(r, 400, "bad-file")
    huge = png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:]
    r = kept.put("/v1/tensors/kept", data=huge, headers={"Content-Type": "image/png"})
    assert r.status_code in (400, 413), r.text


def test_content_types_and_accept(kept):
    problem(kept.put("/v1/tensors/kept", data=b"x", headers={"Content-Type": "text/plain"}), 415, "bad-encoding")
    problem(kept.post("/v1/tensors", data=b"x", headers=NPY), 415, "bad-encoding")
    r = kept.get("/v1/tensors/kept/data", headers={"Accept": "image/png"})
    problem(r, 406, "not-acceptable")
    r = kept.get("/v1/tensors/kept/data", headers={"Accept": "application/octet-stream;q=0.5, application/json"})
    assert r.headers["Content-Type"] == "application/json" and r.json()["data"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", [".hidden", "-x", "a%20b", "%C3%A4", "a" * 129, "..%2fx"])
def test_bad_names(kept, name):
    r = kept.put(f"/v1/tensors/{name}?dtype=u8&shape=1", data=b"1", headers=RAW)
    assert r.status_code in (400, 404), r.text


def test_versions_and_conditions(clean):
    url = "/v1/tensors/a?dtype=u8&shape=2"
    new = clean.put(url, data=b"12", headers={**RAW, "If-None-Match": "*"})
    assert new.status_code == 201
    problem(clean.put(url, data=b"12", headers={**RAW, "If-None-Match": "*"}), 412, "version-mismatch")
    tag = new.headers["ETag"]
    second = clean.put(url + "&step=9", data=b"34", headers={**RAW, "If-Match": tag})
    assert second.status_code == 200 and second.json()["version"] == 2 and second.json()["step"] == 9
    for method, path in (("PUT", url), ("PATCH", "/v1/tensors/a?offset=0&shape=1"), ("DELETE", "/v1/tensors/a")):
        body = b"" if method == "DELETE" else b"5" if method == "PATCH" else b"56"
        r = clean.request(method, path, data=body, headers={**RAW, "If-Match": tag})
        problem(r, 412, "version-mismatch")
    problem(clean.put("/v1/tensors/none?dtype=u8&shape=2", data=b"12", headers={**RAW, "If-Match": "*"}),
            412, "version-mismatch")
    assert data_of(clean, "a") == b"34"
    r = clean.get("/v1/tensors/a", headers={"If-None-Match": second.headers["ETag"]})
    assert r.status_code == 304 and r.content == b""
    r = clean.get("/v1/tensors/a/data", headers={"If-None-Match": second.headers["ETag"]})
    assert r.status_code == 304
    third = clean.put(url, data=b"78", headers=RAW).json()
    assert third["version"] == 3 and third["step"] == 10
    assert clean.put("/v1/tensors/a?dtype=f32&shape=1", data=b"7890", headers=RAW).json()["version"] == 4
    assert clean.delete("/v1/tensors/a", headers={"If-Match": '"4"'}).status_code == 204
    problem(clean.get("/v1/tensors/a"), 404, "not-found")
    problem(clean.delete("/v1/tensors/a"), 404, "not-found")


def test_what_is_kept_with_a_tensor(clean):
    r = clean.put('/v1/tensors/a?dtype=u8&shape=1&step=-3&t=12.5&run=r1&tags={"lr":0.1}', data=b"1", headers=RAW)
    info = r.json()
    assert (info["step"], info["t"], info["run"], info["tags"]) == (-3, 12.5, "r1", {"lr": 0.1})
    info = clean.put("/v1/tensors/a?dtype=u8&shape=1", data=b"2", headers=RAW).json()
    assert (info["step"], info["run"], info["tags"]) == (-2, "r1", {"lr": 0.1}) and info["t"] > 1.6e9


@pytest.mark.parametrize("dtype", ["u8", "bf16", "f32", "i64"])
def test_patch_writes_the_region_only(clean, dtype):
    a = random_bits(dtype, (6, 7, 5))
    clean.put(f"/v1/tensors/a?dtype={dtype}&shape=6,7,5", data=a.tobytes(), headers=RAW)
    rng = np.random.default_rng(2)
    version = 1
    for _ in range(6):
        at = [int(rng.integers(0, n)) for n in a.shape]
        size = [int(rng.integers(1, n - o + 1)) for n, o in zip(a.shape, at)]
        patch = random_bits(dtype, size, seed=version)
        r = clean.patch("/v1/tensors/a", params={"offset": ",".join(map(str, at)), "shape": ",".join(map(str, size))},
                        data=patch.tobytes(), headers=RAW)
        version += 1
        assert r.status_code == 200 and r.json()["version"] == version, r.text
        a[tuple(slice(o, o + n) for o, n in zip(at, size))] = patch
        assert data_of(clean, "a") == a.tobytes()


def test_patch_that_does_not_fit_changes_nothing(kept):
    for query, body, status, code in [
        ("offset=3&shape=2", b"12", 416, "out-of-range"),
        ("offset=5&shape=0", b"", 416, "out-of-range"),
        ("offset=0,0&shape=1,1", b"1", 416, "out-of-range"),
        ("offset=0&shape=2", b"1", 400, "size-mismatch"),
        ("offset=0&shape=2", b"123", 400, "size-mismatch"),
        ("offset=0", b"1", 400, "bad-option"),
        ("offset=-1&shape=1", b"1", 400, "bad-option"),
        ("offset=99999999999999999999&shape=1", b"1", 416, "out-of-range"),
    ]:
        problem(kept.patch("/v1/tensors/kept?" + query, data=body, headers=RAW), status, code)
    problem(kept.patch("/v1/tensors/none?offset=0&shape=1", data=b"1", headers=RAW), 404, "not-found")


def test_stats(clean):
    a = np.array([1, -2, 0, np.nan, np.inf, -np.inf, 5, 5], "f4")
    clean.put("/v1/tensors/a", data=npy(a), headers=NPY)
    s = clean.get("/v1/tensors/a/stats?bins=7").json()
    f = a[np.isfinite(a)].astype("f8")
    assert (s["count"], s["finite"], s["nan_count"], s["inf_count"]) == (8, 5, 1, 2)
    assert (s["min"], s["max"], s["argmin"], s["argmax"]) == (-2, 5, 1, 6)
    assert s["mean"] == pytest.approx(f.mean()) and s["std"] == pytest.approx(f.std())
    assert s["histogram"] == np.histogram(f, 7)[0].tolist()
    for p, value in s["percentiles"].items():
        assert value == pytest.approx(np.percentile(f, float(p)))
    assert len(clean.get("/v1/tensors/a/stats").json()["histogram"]) == 64
    for bins in ("0", "-1", "4097", "x", "1,2", ""):
        problem(clean.get(f"/v1/tensors/a/stats?bins={bins}"), 400, "bad-option")
    clean.put("/v1/tensors/e?dtype=f32&shape=0", data=b"", headers=RAW)
    empty = clean.get("/v1/tensors/e/stats").json()
    assert empty["count"] == 0 and empty["min"] is None and empty["std"] is None
    problem(clean.get("/v1/tensors/none/stats"), 404, "not-found")


def test_more_tensors_than_allowed(clean):
    for i in range(40):
        assert clean.put(f"/v1/tensors/t{i}?dtype=u8&shape=1", data=b"1", headers=RAW).status_code == 201
    r = clean.put("/v1/tensors/more?dtype=u8&shape=1", data=b"1", headers=RAW)
    assert r.status_code == 507 and "--max-tensors" in r.json()["detail"], r.text
    body = safetensors({"t1": ("U8", [1], b"2"), "new": ("U8", [1], b"2")})
    assert clean.post("/v1/tensors", data=body, headers=SAFETENSORS).status_code == 507
    assert data_of(clean, "t1") == b"1"
    assert clean.put("/v1/tensors/t1?dtype=u8&shape=1", data=b"3", headers=RAW).status_code == 200


def test_over_the_device_budget_nothing_is_lost(start_server):
    server = start_server("--max-device-bytes", "8M")
    a = random_bits("u8", (5 << 20,))
    assert server.put("/v1/tensors/a", data=npy(a), headers=NPY).status_code == 201
    body = problem(server.put("/v1/tensors/b", data=npy(a), headers=NPY), 507, "device-memory")
    assert str(8 << 20) in body["detail"]
    two = safetensors({"c": ("U8", [2 << 20], bytes(2 << 20)), "d": ("U8", [2 << 20], bytes(2 << 20))})
    problem(server.post("/v1/tensors", data=two, headers=SAFETENSORS), 507, "device-memory")
    assert [t["name"] for t in server.get("/v1/tensors").json()["tensors"]] == ["a"]
    assert data_of(server, "a") == a.tobytes()
    assert server.put("/v1/tensors/small?dtype=u8&shape=4", data=b"1234", headers=RAW).status_code == 201


def test_a_large_tensor_is_sent_in_pieces(start_server):
    server = start_server()
    a = np.arange(20 << 20, dtype="<u4")
    assert server.put("/v1/tensors/a", data=npy(a), headers=NPY, timeout=120).status_code == 201
    r = server.get("/v1/tensors/a/data", timeout=120)
    assert np.array_equal(np.load(io.BytesIO(r.content)), a)


def device_bytes(server):
    """Device memory in use, as the metrics tell it."""
    for line in server.get("/metrics").text.splitlines():
        if line.startswith("tensorscope_device_bytes{"):
            return float(line.split()[-1])
    raise AssertionError("no tensorscope_device_bytes")


def test_an_upload_that_breaks_off_leaves_nothing(kept):
    import socket
    before = device_bytes(kept)
    with socket.create_connection((kept.host, kept.port)) as s:
        s.sendall(b"PUT /v1/tensors/broken?dtype=u8&shape=1000000 HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    for _ in range(200):
        used = device_bytes(kept)
        if used == before:
            break
        time.sleep(0.02)
    assert used == before
    problem(kept.get("/v1/tensors/broken"), 404, "not-found")


def test_changes_are_told_as_events(clean):
    since = clean.get("/v1/server").json()["last_event"]
    clean.put("/v1/tensors/told?dtype=u8&shape=1", data=b"1", headers=RAW)
    clean.delete("/v1/tensors/told")
    with clean.get(f"/v1/events?kind=tensor&since={since}", stream=True) as r:
        seen = []
        for line in r.iter_lines(decode_unicode=True):
            if line.startswith("data:"):
                seen.append(json.loads(line[5:]))
            if len(seen) == 2:
                break
    assert [(e["event"], e["name"]) for e in seen] == [("created", "told"), ("deleted", "told")]
