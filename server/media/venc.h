/*
 * Video encoder over libavcodec: pictures in, packets out.
 *
 * Pictures are RGB8, RGBA8 (alpha dropped) or planar YUV 4:2:0. Odd sizes are padded to even ones by
 * repeating the last column and row. RGB becomes BT.709 limited range for H.264, HEVC and VP9.
 *
 * Thread: one at a time. Packets are reference-counted by libavcodec and may be muxed by others.
 * Errors: TS_E_NO_ENCODER names the encoders that were tried and why each did not open.
 */
#ifndef TS_SERVER_MEDIA_VENC_H
#define TS_SERVER_MEDIA_VENC_H

#include <stdbool.h>

#include "cl/base/status.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

struct AVPacket;
struct AVCodecContext;

typedef struct ts_venc ts_venc;

/** Zero or NULL fields mean the default in brackets. */
typedef struct ts_venc_options {
    const char *codec;   /* "h264" ["h264"], "hevc", "vp9", "mjpeg" */
    const char *encoder; /* a libavcodec name, or "auto" [auto] */
    int width, height;
    int fps_num, fps_den; /* [30/1]; also the time base's inverse unless vfr */
    bool vfr;             /* time base 1/90000: pts as given */
    int64_t bitrate;      /* bit/s; 0: constant quality */
    int crf;              /* [18] with bitrate 0 */
    bool lossless;        /* yuv444p, crf 0 */
    const char *preset;   /* x264 name or P1 … P7 [veryfast] */
    double gop_s;         /* [1] */
    bool zero_latency;    /* no look-ahead, no B frames */
    bool global_header;   /* the container wants the parameter sets out of band */
    int threads;          /* [2] */
} ts_venc_options;

TS_CHECKED ts_status ts_venc_open(const ts_venc_options *options, ts_venc **out, ts_error *err);
void ts_venc_close(ts_venc *venc); /* NULL is fine */
/** For the muxer: stream parameters and time base. */
const struct AVCodecContext *ts_venc_context(const ts_venc *venc);
/** Name of the encoder in use ("libx264"). */
const char *ts_venc_name(const ts_venc *venc);

/** Whether an encoder for this codec ("h264") is built into the libraries; opening it may still fail. */
bool ts_venc_known(const char *codec);

/** Called for each finished packet; it must copy or reference what it keeps. */
typedef ts_status (*ts_packet_fn)(void *arg, struct AVPacket *packet, ts_error *err);

/** Encode one picture. `pts` counts time-base units and grows. `key` asks for a key frame. */
TS_CHECKED ts_status ts_venc_encode(ts_venc *venc, const ts_pixels *picture, int64_t pts, bool key,
                                    ts_packet_fn packet, void *arg, ts_error *err);
/** Give out what the encoder still holds. */
TS_CHECKED ts_status ts_venc_flush(ts_venc *venc, ts_packet_fn packet, void *arg, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
