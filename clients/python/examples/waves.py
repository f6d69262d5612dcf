"""A moving pattern computed here, sent as a stream of pushed frames; the colormap changes every 100."""
import sys

import numpy as np

import tensorscope

frames = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
ts = tensorscope.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
stream = ts.push_stream("waves", colormap="viridis", normalize={"mode": "fixed", "lo": 0, "hi": 1})
print(stream.page)
y, x = np.mgrid[0:256, 0:256] / 32.0
for step in range(frames):
    t = step * 0.1
    wave = 0.3 * np.sin(x + t) + 0.3 * np.sin(y + 1.5 * t) + 0.2 * np.sin((x + y) / 2 + 0.8 * t)
    stream.push(((wave + 0.2 * np.sin(np.hypot(x - 4, y - 4) - 2 * t)) / 2 + 0.5).astype("f4"), step=step)
    if step % 100 == 99:
        stream.configure(colormap=["plasma", "turbo", "magma", "viridis"][step // 100 % 4])
ts.close()
