#!/usr/bin/env python3
"""Packs the reference data of the decoder explorer (npy, npz, png) into one safetensors file per model,
so that the C tests need one reader. usage: make_golden.py FIXTURES_DIR OUT_DIR; needs numpy and Pillow."""
import json
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = {"float32": "F32", "float16": "F16", "uint8": "U8"}


def write(path, tensors):
    header, offset = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": NAMES[str(a.dtype)], "shape": list(a.shape),
                        "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


src, out = Path(sys.argv[1]), Path(sys.argv[2])
for model, short in (("mnist-decoder", "mnist"), ("photo-decoder-q4", "photo")):
    d = src / model
    t = {"latents": np.load(d / "expected/latents.npy"), "expected": np.load(d / "expected/expected.npy")}
    t.update({"reconstruct." + k: v for k, v in np.load(d / "reconstruct.npz").items()})
    if short == "mnist":
        t["grid"] = np.array(Image.open(d / "grid_10x10_r2.png").convert("L"))
    write(out / f"{short}.safetensors", t)
    (out / f"{short}-cases.json").write_text((d / "expected/cases.json").read_text())
write(out / "kl-tiny.safetensors", dict(np.load(src / "autoencoder-kl-tiny/expected.npz"))
      | {"decoded_u8": np.load(src / "autoencoder-kl-tiny/decoded_u8.npy")})
write(out / "full-size.safetensors", {"expected_u8": np.array(Image.open(src / "full-size/expected_u8.png").convert("RGB"))})
