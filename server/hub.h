/*
 * The streams: named live pictures, each a source, a view and an output.
 *
 * A stream renders only while somebody watches. What watchers ask for (view, scale, quality, format)
 * is snapped to steps; equal requests share one *variant*, so that each distinct picture is rendered
 * and encoded once, whatever the number of watchers. Per stream at most two pictures of a variant
 * are under way; what changes meanwhile is rendered once, newest.
 *
 *   ts_watch *watch;
 *   ts_stream_watch(stream, &(ts_want){.quality = 80}, &sink, &watch, err);
 *   … sink.frame(&sink, frame) for each new frame …
 *   ts_watch_close(watch);
 *
 * Thread: any. One lock (hub_lock) guards the table and every stream; sinks are called with it held
 * and must only hand on (post, wake). Nothing is rendered or encoded under it.
 */
#ifndef TS_SERVER_HUB_H
#define TS_SERVER_HUB_H

#include "server/codec.h"
#include "server/frame.h"
#include "server/source.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_watch ts_watch;

/** Start the render threads and the encode pool; load <data-dir>/streams.json. */
TS_CHECKED ts_status ts_hub_create(ts_app *app, ts_hub **out, ts_error *err);
void ts_hub_destroy(ts_hub *hub); /* NULL is fine; every watch must be closed before */

/* ---- the table ---- */

/**
 * Create or replace a stream from its document {source, view, output}. *shown (may be NULL) gets it
 * as GET shows it. Errors: TS_E_NAME, TS_E_OPTION, TS_E_QUEUE_FULL (--max-streams).
 */
TS_CHECKED ts_status ts_hub_put(ts_hub *hub, const char *name, const json_t *document,
                                bool *created, json_t **shown, ts_error *err);
/** Merge patch; `source` and `view.colormap` are replaced whole. Errors: as put; TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_hub_patch(ts_hub *hub, const char *name, const json_t *patch,
                                  json_t **shown, ts_error *err);
TS_CHECKED ts_status ts_hub_remove(ts_hub *hub, const char *name, ts_error *err);
/** Owner: ts_stream_unref(). Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_hub_find(ts_hub *hub, const char *name, ts_stream **out, ts_error *err);
/** The streams whose name starts with `prefix` (NULL: all), as GET shows them, by name. */
json_t *ts_hub_list(ts_hub *hub, const char *prefix);
size_t ts_hub_count(ts_hub *hub);
/** Write streams.json now. Errors: TS_E_DISK_FULL… */
TS_CHECKED ts_status ts_hub_save(ts_hub *hub, ts_error *err);

/** Put the streams' numbers and the WebSockets' into the metrics (before they are written). */
void ts_hub_collect(ts_hub *hub);

/* ---- one stream ---- */

ts_stream *ts_stream_ref(ts_stream *stream);
void ts_stream_unref(ts_stream *stream); /* NULL is fine */
const char *ts_stream_name(const ts_stream *stream);
json_t *ts_stream_json(ts_stream *stream);
/** Whether output.quality is "auto". */
bool ts_stream_auto_quality(ts_stream *stream);
/** output.max_fps. */
double ts_stream_max_fps(ts_stream *stream);
/** Everything that GET …/metrics answers. */
json_t *ts_stream_metrics(ts_stream *stream);
/** The same as text, at most half a second old; appended. */
void ts_stream_metrics_text(ts_stream *stream, ts_buf *out);
/** Count what left for subscribers, and frames that a subscriber was too slow for. */
void ts_stream_count_sent(ts_stream *stream, uint64_t frames, uint64_t bytes, uint64_t dropped);
/** p95 of render and encode together exceeds 0.9 of a frame's time (for adaptive quality). */
bool ts_stream_busy(ts_stream *stream);
/** The source has something new (for sources). Thread: any, without blocking. */
void ts_stream_touch(ts_stream *stream);
/** Tell every watcher what happened ("ended"), for sources. Thread: any, without hub_lock. */
void ts_stream_tell(ts_stream *stream, const char *event);
/**
 * Give a pushed frame to the source, waiting up to `timeout_us` for its turn where the drop budget
 * asks for it. *step (may be NULL) is the frame's. Errors: TS_E_BACKPRESSURE, TS_E_OPTION (not a
 * source that takes frames).
 */
TS_CHECKED ts_status ts_stream_push(ts_stream *stream, ts_pushed *frame, int64_t timeout_us,
                                    ts_error *err);

/* ---- watching ---- */

typedef struct ts_want {
    const json_t *patch; /* over the stream's view, for this watcher; NULL: none */
    double scale;        /* 0: 1 */
    int quality;         /* 0: the stream's */
    bool lossless;       /* also where the stream's output says so and quality is 0 */
    ts_codec codec;      /* TS_CODEC_WEBP (lossy or lossless as above) or another */
    double max_fps;      /* 0: the stream's */
    bool exact;          /* never share the nearest variant (one-shot pictures) */
    bool delta;          /* frames may be deltas against the one before */
    bool pixels;         /* sink->pixels in `format` instead of frames */
    ts_pixel_format format;
} ts_want;

/** What a picture is, beside its pixels. */
typedef struct ts_picture_info {
    uint64_t seq;
    int64_t step;
    double t;
    bool has_range;
    double lo, hi;
} ts_picture_info;

typedef struct ts_sink {
    void (*frame)(struct ts_sink *sink, ts_frame *frame);
    void (*pixels)(struct ts_sink *sink, ts_pixels *pixels, const ts_picture_info *info);
    void (*event)(struct ts_sink *sink, const char *event); /* "deleted", "replaced", "ended" */
} ts_sink;

/** Errors: TS_E_OPTION (the patched view is wrong), TS_E_NOT_READY (no device). */
TS_CHECKED ts_status ts_stream_watch(ts_stream *stream, const ts_want *want, ts_sink *sink,
                                     ts_watch **out, ts_error *err);
/** No call of the sink happens after this returned. NULL is fine. */
void ts_watch_close(ts_watch *watch);
/** The newest frame of the watched variant if it is up to date or `stale` is fine; else NULL. */
ts_frame *ts_watch_latest(ts_watch *watch, bool stale);
/** Identity of the variant: equal for watches that share one. */
const void *ts_watch_variant(const ts_watch *watch);
/** What the variant is: after snapping and sharing. */
void ts_watch_describe(ts_watch *watch, int *quality, double *scale, bool *lossless);
/** The next frame of a delta variant shall be complete. */
void ts_watch_need_key(ts_watch *watch);
/** What stands behind a watch: the highest rate it can use (0: the stream's), how many viewers. */
void ts_watch_set_load(ts_watch *watch, double max_fps, size_t viewers);

/** A picture of now, rendered if need be. Errors: TS_E_SLOW after `timeout_us`. */
TS_CHECKED ts_status ts_stream_grab(ts_stream *stream, const ts_want *want, int64_t timeout_us,
                                    ts_frame **out, ts_error *err);

/* ---- work on the render thread ---- */

typedef struct ts_render_job {
    void (*run)(struct ts_render_job *job, ts_queue *queue); /* may free the job */
    struct ts_render_job *next;                              /* private */
} ts_render_job;
/** False: stopping or no device; the job will not run. */
bool ts_hub_run(ts_hub *hub, ts_render_job *job);

/**
 * What lies under the rectangle [x,y,w,h] of the picture that a watch shows: a pixel where w is 0,
 * else statistics (ts_viz_probe, ts_viz_region). Thread: render. Owner: caller.
 */
TS_CHECKED ts_status ts_watch_probe(ts_watch *watch, ts_queue *queue, const double rect[4],
                                    json_t **out, ts_error *err);
/** Pass a message on to the source (source.h). Thread: render. */
TS_CHECKED ts_status ts_stream_command(ts_stream *stream, const char *type, const json_t *message,
                                       const void *payload, size_t len, json_t **reply,
                                       ts_error *err);
/** Forget moving averages and temporal filters of all variants. */
void ts_stream_reset_range(ts_stream *stream);

/* ---- history ---- */

/** The index of what is kept: {"keep","items":[{seq,step,t,bytes,tier,pinned}]}. */
json_t *ts_stream_history(ts_stream *stream);
typedef enum ts_seek_by {
    TS_SEEK_SEQ,
    TS_SEEK_STEP,
    TS_SEEK_AGE,
    TS_SEEK_AFTER, /* the item behind this seq */
    TS_SEEK_BEFORE /* the item before this seq */
} ts_seek_by;
/** Whether the history holds tensors: then kept pictures come from ts_watch_replay(). */
bool ts_stream_keeps_tensors(ts_stream *stream);
/** A kept picture with the watch's view, encoded as its variant. Thread: render. Errors: as seek. */
TS_CHECKED ts_status ts_watch_replay(ts_watch *watch, ts_queue *queue, ts_seek_by by, int64_t value,
                                     ts_frame **out, ts_error *err);
/** The same from any other thread, for one picture. Errors: TS_E_SLOW too. */
TS_CHECKED ts_status ts_stream_replay(ts_stream *stream, const ts_want *want, ts_seek_by by,
                                      int64_t value, int64_t timeout_us, ts_frame **out,
                                      ts_error *err);
/** A kept frame: the one asked for, or the nearest before it. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_stream_seek(ts_stream *stream, ts_seek_by by, int64_t value, ts_frame **out,
                                    ts_error *err);
TS_CHECKED ts_status ts_stream_pin(ts_stream *stream, uint64_t seq, const char *label, bool pin,
                                   ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
