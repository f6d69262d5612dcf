#!/usr/bin/env python3
"""A real RTSP server on 127.0.0.1:PORT for tests: /live (endless, 25 fps, 640x360) and /clip (FILE once).

Needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and GStreamer's base, good, bad and ugly plug-ins.
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
port, clip = sys.argv[1], sys.argv[2]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
live = GstRtspServer.RTSPMediaFactory()
live.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=25/1 "
                "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=1500 "
                "! rtph264pay name=pay0 pt=96 config-interval=-1 )")
live.set_shared(True)
file = GstRtspServer.RTSPMediaFactory()
file.set_launch(f"( filesrc location={clip} ! qtdemux name=d d.video_0 ! queue ! h264parse config-interval=-1 "
                "! rtph264pay name=pay0 pt=96 config-interval=-1 )")
server.get_mount_points().add_factory("/live", live)
server.get_mount_points().add_factory("/clip", file)
server.attach(None)
print("listening", flush=True)
GLib.MainLoop().run()
