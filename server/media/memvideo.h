/*
 * Decode an uploaded video that lies in memory, to RGBA8 frames.
 *
 * The data comes from outside: only the named demuxers and decoders are tried, nothing but the bytes
 * themselves is opened (no playlists, no external references), sizes are checked before decoding,
 * and damage is an error, not a grey picture.
 *
 * Thread: one at a time. Owner: the data must outlive the ts_memvideo.
 */
#ifndef TS_SERVER_MEDIA_MEMVIDEO_H
#define TS_SERVER_MEDIA_MEMVIDEO_H

#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_VIDEO_MAX_SIDE = 8192,
    TS_VIDEO_MAX_STREAMS = 16
};

typedef struct ts_memvideo ts_memvideo;

typedef struct ts_memvideo_info {
    int width, height;
    double fps;
} ts_memvideo_info;

/**
 * Open MP4, Matroska or WebM, by their first bytes.
 * Errors: TS_E_FILE (not one of these, damaged, no video, an impossible frame rate, too many
 * streams), TS_E_TOO_LARGE (sides), TS_E_ENCODING (a codec that is not decoded here).
 */
TS_CHECKED ts_status ts_memvideo_open(const void *data, size_t len, ts_memvideo **out,
                                      ts_memvideo_info *info, ts_error *err);
/**
 * The next frame, rows of width*4 bytes, valid until the next call; NULL after the last.
 * Errors: TS_E_FILE (damaged, truncated, another size than the first frame).
 */
TS_CHECKED ts_status ts_memvideo_next(ts_memvideo *video, const uint8_t **rgba, ts_error *err);
void ts_memvideo_close(ts_memvideo *video); /* NULL is fine */
/** Decoder threads of videos opened from now on (2). Call before the first one. */
void ts_memvideo_set_threads(int threads);

#ifdef __cplusplus
}
#endif
#endif
