"""A volume: a slice, and the whole by ray casting."""
import sys

import numpy as np

import tensorscope

ts = tensorscope.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
z, y, x = np.mgrid[-1:1:64j, -1:1:64j, -1:1:64j]
ts.put("shell", np.exp(-40 * (np.sqrt(x * x + y * y + z * z) - 0.7 + 0.1 * np.sin(9 * x)) ** 2).astype("f4"))
ts.flush(10)
print(ts.stream("shell.slice", source={"tensor": "shell"}, kind="slice", axis=0, index=32, colormap="magma").page)
print(ts.stream("shell.volume", source={"tensor": "shell"}, kind="volume", mode="mip", colormap="magma",
                resize={"width": 256, "height": 256}).page)
ts.close()
