"""Two experiments side by side and their difference."""
import sys

import numpy as np

import tensorscope

steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200
ts = tensorscope.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
rng = np.random.default_rng(0)
a = b = rng.standard_normal((64, 64)).astype("f4")
ts.put("run_a.w", a, step=0, run="a")
ts.put("run_b.w", b, step=0, run="b")
ts.flush(10)
print(ts.stream("a_against_b", source={"panels": [{"tensor": "run_a.w", "title": "a"}, {"tensor": "run_b.w", "title": "b"}],
                                       "columns": 2}).page)
print(ts.stream("a_minus_b", source={"compare": {"mode": "diff", "a": "run_a.w", "b": "run_b.w"}}).page)
for step in range(1, steps):
    a = 0.99 * a + 0.1 * rng.standard_normal(a.shape).astype("f4")
    b = 0.97 * b + 0.1 * rng.standard_normal(b.shape).astype("f4")
    ts.put("run_a.w", a, step=step, run="a")
    ts.put("run_b.w", b, step=step, run="b")
    ts.flush(1)
ts.close()
