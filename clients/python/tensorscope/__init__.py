"""tensorscope: send tensors to a running server and watch them as live video.

    import numpy as np, tensorscope
    ts = tensorscope.connect("http://127.0.0.1:8080")
    ts.put("w1", np.random.randn(64, 64), step=0)        # returns at once
    view = ts.stream("w1", colormap="rdbu_r", max_fps=30) # http://127.0.0.1:8080/#/stream/w1
    for frame in view.frames():                          # pictures as they come (extra: frames)
        print(frame.step, frame.image.shape)

Sending never blocks or raises because the server is away: it is queued, newest value per name, and
counted in `ts.stats`.
"""
from .client import Client, connect
from .compare import CompareStream
from .errors import ServerError, TensorscopeError
from .frames import Frame
from .stream import Stream
from .watch import KerasCallback, watch, watch_pytree

__version__ = "0.1.0"
__all__ = ["connect", "Client", "Stream", "Frame", "CompareStream", "watch", "watch_pytree", "KerasCallback", "TensorscopeError",
           "ServerError", "__version__"]
