#!/usr/bin/python3
"""Runs the benchmarks: ./dev bench [NAME…] [--quick]. Exit 1 where one of them misses a ratio.

NAME is a program's name without bench_, or `latency` (PUT to frame at a WebSocket, against a bare PUT).
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def latency(build, quick):
    """One f32 square is sent again and again; the time until its frame has been read, and until the PUT is answered."""
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    os.environ["TENSORSCOPE_BIN"] = str(build / "tensorscope")
    import numpy as np
    from conftest import Server
    from wsclient import Client
    server = Server()
    try:
        for side in (64, 256, 512):
            data = [np.random.default_rng(i).standard_normal((side, side), dtype=np.float32).tobytes() for i in range(8)]
            query = f"/v1/tensors/bench{side}?dtype=f32&shape={side},{side}"
            put = lambda body: server.put(query, data=body, headers={"Content-Type": "application/octet-stream"})  # noqa: E731
            assert put(data[0]).status_code in (200, 201)
            assert server.put(f"/v1/streams/bench{side}", json={"source": {"tensor": f"bench{side}"}}).status_code in (200, 201)
            ws = Client(f"{server.url.replace('http', 'ws')}/v1/streams/bench{side}/ws", ack=True)
            ws.expect("hello")
            first = time.perf_counter()
            ws.frame()
            first = (time.perf_counter() - first) * 1e3
            frames, puts = [], []
            for i in range(50 if quick else 400):
                time.sleep(0.03)  # idle: not held back by the stream's frame rate
                start = time.perf_counter()
                put(data[i % 8])
                puts.append((time.perf_counter() - start) * 1e3)
                ws.frame()
                frames.append((time.perf_counter() - start) * 1e3)
            ws.s.close()
            quantile = lambda v, q: round(statistics.quantiles(v, n=100)[q - 1], 2)  # noqa: E731
            print(json.dumps({"bench": "latency", "case": f"{side}x{side} f32", "put_ms_p50": quantile(puts, 50),
                              "frame_ms_p50": quantile(frames, 50), "frame_ms_p99": quantile(frames, 99),
                              "first_ms": round(first, 1),
                              "ratio": round(quantile(frames, 50) / quantile(puts, 50), 2)}), flush=True)
    finally:
        server.stop()
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("names", nargs="*")
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    p.add_argument("--quick", action="store_true", help="fewer rounds: figures for a look, not for a document")
    a = p.parse_args()
    build = a.build.resolve()
    programs = {f.stem[6:]: build / "tests" / f.stem for f in sorted((ROOT / "tests" / "bench").glob("bench_*.c"))}
    known = [*programs, "latency"]
    unknown = [n for n in a.names if n not in known]
    if unknown:
        p.error(f"no benchmark {unknown[0]}; there are {', '.join(known)}")
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {platform.machine()}", flush=True)
    failed = []
    for name in a.names or known:
        print(f"== {name}", flush=True)
        if name == "latency":
            code = latency(build, a.quick)
        else:
            code = subprocess.run([str(programs[name]), *(["--quick"] if a.quick else [])]).returncode
        if code:
            failed.append(name)
    if failed:
        print("missed or failed: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
