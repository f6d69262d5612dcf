/*
 * A video source over libavformat and libavcodec: URL or file in, decoded pictures out.
 *
 * Every blocking call runs under a deadline and a cancel flag: libav's own time-outs are not enough
 * (several socket operations each get their own). What a lost source means, and when to try again, is
 * the pipeline's business. Thread: one at a time; the cancel callback is asked from inside.
 */
#ifndef TS_SERVER_MEDIA_SOURCE_H
#define TS_SERVER_MEDIA_SOURCE_H

#include <stdbool.h>

#include "cl/base/json.h"
#include "cl/ops/video.h"

#ifdef __cplusplus
extern "C" {
#endif

struct AVFrame;

typedef struct ts_source_options {
    const char *url;
    const char *transport; /* RTSP: "tcp" or "udp" */
    bool allow_file;       /* local files and playlists of them */
    bool low_delay;        /* live: small probe, no reordering buffer */
    int64_t open_timeout_us, stall_us;
    double start_s;
    int threads;           /* decoder threads; 0: libavcodec's choice */
    const json_t *options; /* object of strings, passed to the demuxer; NULL */
    bool (*cancelled)(void *arg);
    void *cancel_arg;
} ts_source_options;

typedef struct ts_source_info {
    int width, height; /* after rotation */
    double fps;
    double duration_s; /* 0: unknown */
    bool live;
    bool has_audio;
    char codec[32], container[64];
} ts_source_info;

/** A decoded picture; planes are host memory, valid until the release. */
typedef struct ts_picture {
    struct AVFrame *frame;
    int width, height;
    const uint8_t *plane[3];
    int stride[3];
    size_t plane_bytes[3];
    ts_yuv layout;       /* everything but buffer and offsets */
    int64_t pts_ns;      /* of the stream; INT64_MIN where it has none */
    int64_t captured_us; /* monotonic, when its packet was read */
    bool key;
} ts_picture;

typedef struct ts_source ts_source;

/** Whether this URL names something live; HLS is decided after opening. */
bool ts_source_url_is_live(const char *url);
/** The URL with user and password replaced by ***, for logs and answers. */
void ts_source_mask_url(const char *url, char *out, size_t n);

/**
 * Open, find the video stream and its decoder.
 * Errors: TS_E_NOT_FOUND (no such file or stream), TS_E_FORBIDDEN (a scheme that is not allowed),
 * TS_E_ENCODING (no video, no decoder), TS_E_SLOW (deadline), TS_E_INTERNAL (libav's words).
 */
TS_CHECKED ts_status ts_source_open(const ts_source_options *options, ts_source **out,
                                    ts_error *err);
void ts_source_close(ts_source *source); /* NULL is fine */
const ts_source_info *ts_source_get_info(const ts_source *source);
/**
 * The next picture. *end is set instead at the end of the input. Errors: TS_E_SLOW (no picture for
 * stall_us), TS_E_INTERNAL. Owner: ts_picture_release().
 */
TS_CHECKED ts_status ts_source_read(ts_source *source, ts_picture *out, bool *end, ts_error *err);
void ts_picture_release(ts_picture *picture); /* NULL and empty ones are fine */
/** Back to the first picture, for loops. */
TS_CHECKED ts_status ts_source_rewind(ts_source *source, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
