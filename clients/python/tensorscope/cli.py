"""tscope: put, show, ls, rm, record and top from the shell."""
import argparse
import os
import sys
import time

import numpy as np

from .client import connect
from .errors import TensorscopeError


def _array(path):
    if path.endswith(".npy"):
        return np.load(path)
    try:
        from PIL import Image
    except ImportError as error:
        raise TensorscopeError('pictures need Pillow: pip install "tensorscope[frames]"') from error
    return np.asarray(Image.open(path))


def put(client, args):
    client.put(args.name, _array(args.file), step=args.step)
    if not client.flush(args.timeout) or client.stats["refused"]:
        raise TensorscopeError(client.stats["last_error"] or f"{client.url} does not answer")
    print(f"{client.url}/#/tensors?name={args.name}")


def show(client, args):
    if args.file:
        put(client, args)
    options = {"colormap": args.colormap} if args.colormap else {}
    print(client.stream(args.name, **options).page)


def ls(client, args):
    rows = [("tensor", t["name"], t["dtype"], "x".join(map(str, t["shape"])), f"step {t.get('step')}")
            for t in client.tensors(args.prefix)]
    rows += [("stream", s["name"], *[next(iter(s["source"]))], "", "") for s in client.streams(args.prefix)]
    for kind, name, *rest in rows:
        print(f"{kind:7} {name:40} {'  '.join(filter(None, rest))}")


def rm(client, args):
    for name in args.names:
        client.delete(name)


def record(client, args):
    recording = client.open(args.name).record(args.format)
    print(f"recording {args.name} for {args.seconds} s", file=sys.stderr)
    time.sleep(args.seconds)
    recording.stop()
    deadline = time.monotonic() + 60
    while recording.state()["state"] in ("recording", "finalizing") and time.monotonic() < deadline:
        time.sleep(0.2)
    suffix = {"png": ".tar", "npy": ".tar"}.get(args.format, "." + args.format)
    print(recording.save(args.out or args.name + suffix))


def top(client, args):
    while True:
        rows = []
        for stream in client.streams():
            m = client.open(stream["name"]).metrics()
            rows.append(f"{stream['name']:40} {m.get('current_fps', 0):6.1f} fps  {m.get('subscribers', 0):4} viewers")
        sys.stdout.write("\x1b[2J\x1b[H" if sys.stdout.isatty() else "")
        print("\n".join(rows) or "no streams")
        if args.once:
            return
        time.sleep(1)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="tscope", description="Send tensors to a tensorscope server, and look.")
    parser.add_argument("--url", default=os.environ.get("TENSORSCOPE_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--token", default=os.environ.get("TENSORSCOPE_TOKEN"), help="or TENSORSCOPE_TOKEN")
    parser.add_argument("--timeout", type=float, default=30)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function, help_text in (("put", put, "send a .npy file or a picture as a tensor"),
                                      ("show", show, "make a stream of a tensor and print its page")):
        sub = commands.add_parser(name, help=help_text)
        sub.add_argument("name")
        sub.add_argument("file", nargs=None if name == "put" else "?")
        sub.add_argument("--step", type=int)
        sub.add_argument("--colormap")
        sub.set_defaults(run=function)
    sub = commands.add_parser("ls", help="list tensors and streams")
    sub.add_argument("prefix", nargs="?")
    sub.set_defaults(run=ls)
    sub = commands.add_parser("rm", help="remove tensors")
    sub.add_argument("names", nargs="+")
    sub.set_defaults(run=rm)
    sub = commands.add_parser("record", help="record a stream into a file")
    sub.add_argument("name")
    sub.add_argument("--seconds", type=float, default=10)
    sub.add_argument("--format", default="mp4", choices=["mp4", "webm", "webp", "png", "npy"])
    sub.add_argument("--out")
    sub.set_defaults(run=record)
    sub = commands.add_parser("top", help="frame rates and viewers of the streams")
    sub.add_argument("--once", action="store_true")
    sub.set_defaults(run=top)
    args = parser.parse_args(argv)
    client = connect(args.url, token=args.token, timeout=args.timeout)
    try:
        args.run(client, args)
    except (TensorscopeError, OSError) as error:
        print(f"tscope: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        client.close(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
