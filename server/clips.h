/*
 * Clips: short videos whose frames lie on the device, RGBA8, in pieces [t,H,W,4].
 *
 * Uploads are raw frames, MP4, Matroska or WebM video, animated WebP or GIF. A clip is immutable and
 * reference-counted; the table (ts_clips) maps the ids that the server made to clips.
 *
 * Thread: any for the table; building uses the caller's queue, and the frames may be used by other
 * queues once the clip is returned.
 */
#ifndef TS_SERVER_CLIPS_H
#define TS_SERVER_CLIPS_H

#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_CLIP_MAX_FRAMES = 100000,
    TS_CLIP_MAX_SIDE = 8192,
    TS_CLIP_MAX_FPS = 1000
};

typedef struct ts_clip {
    char id[32];
    int width, height;
    int64_t frames;
    double fps;
    /* private: */
    int refs;
    ts_tensor **pieces;
    size_t n_pieces, cap_pieces;
    int64_t per_piece; /* frames */
} ts_clip;

ts_clip *ts_clip_ref(ts_clip *clip);
void ts_clip_unref(ts_clip *clip); /* NULL is fine */
/** Where frame n (0 … frames-1) lies: width*height*4 bytes in a borrowed buffer. */
void ts_clip_frame(const ts_clip *clip, int64_t n, ts_buffer **buffer, size_t *offset);
/** Frame n as a tensor [H,W,4] over the clip's memory. Owner: caller has one reference. */
TS_CHECKED ts_status ts_clip_frame_tensor(const ts_clip *clip, int64_t n, ts_tensor **out,
                                          ts_error *err);

/** Make a clip from packed RGBA8 frames. Errors: TS_E_SIZE (len), TS_E_TOO_LARGE, TS_E_OPTION. */
TS_CHECKED ts_status ts_clip_from_raw(ts_queue *queue, const void *data, size_t len, int64_t width,
                                      int64_t height, int64_t frames, double fps,
                                      uint64_t max_bytes, ts_clip **out, ts_error *err);
/**
 * Make a clip from a video or animation file. `max_bytes` bounds what its frames take decoded.
 * Errors: TS_E_FILE, TS_E_ENCODING, TS_E_TOO_LARGE, TS_E_DEVICE_MEMORY.
 */
TS_CHECKED ts_status ts_clip_from_file(ts_queue *queue, const void *data, size_t len,
                                       uint64_t max_bytes, ts_clip **out, ts_error *err);

/** Make a clip from frames that `paint` fills one by one (width*height*4 bytes). */
TS_CHECKED ts_status ts_clip_paint(ts_queue *queue, int64_t width, int64_t height, int64_t frames,
                                   double fps, uint64_t max_bytes,
                                   void (*paint)(void *arg, int64_t n, int width, int height,
                                                 uint8_t *rgba),
                                   void *arg, ts_clip **out, ts_error *err);

/** Let ts_clip_from_file() decode in a sandbox; NULL undoes it. Set before other threads decode. */
struct ts_sandbox;
void ts_clips_set_sandbox(struct ts_sandbox *sandbox);

/* ---- the table ---- */

typedef struct ts_clips ts_clips;

TS_CHECKED ts_status ts_clips_create(ts_clips **out, ts_error *err);
void ts_clips_destroy(ts_clips *clips); /* NULL is fine */
/** Give a clip its id and keep it (the table takes over the reference). Errors: TS_E_LIMIT. */
TS_CHECKED ts_status ts_clips_add(ts_clips *clips, ts_clip *clip, ts_error *err);
/** Owner: caller has one reference. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_clips_find(ts_clips *clips, const char *id, ts_clip **out, ts_error *err);
TS_CHECKED ts_status ts_clips_remove(ts_clips *clips, const char *id, ts_error *err);
/** References to all clips in the order of their making. Owner: caller unrefs each and frees *out. */
TS_CHECKED ts_status ts_clips_list(ts_clips *clips, ts_clip ***out, size_t *n, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
