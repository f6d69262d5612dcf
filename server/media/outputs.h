/*
 * The sending half of a pipeline: pictures → one encoder per distinct encoding → its sinks.
 *
 * Each encoding has a thread, and each sink one of its own, so that a sink that hangs or dies stops
 * nobody: a network sink drops to the next key frame while it is slow or away and comes back by
 * itself; a file sink makes the encoder wait.
 *
 * Thread: offer, finish and destroy on the pipeline's thread; json and counters on any.
 */
#ifndef TS_SERVER_MEDIA_OUTPUTS_H
#define TS_SERVER_MEDIA_OUTPUTS_H

#include <stdbool.h>

#include "cl/base/json.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_outputs ts_outputs;

typedef struct ts_outputs_options {
    const json_t *sinks;   /* completed (ts_pipeline_doc_complete) */
    int width, height;     /* of the pictures, even */
    double fps;            /* of the source, for sinks of constant rate */
    const char *directory; /* relative paths start here; NULL: the working directory */
    int64_t backoff_initial_ms, backoff_max_ms;
    int encode_delay_ms; /* for tests of the overlap */
    /** Told of every change of a sink's state; called on sink threads. May be NULL. */
    void (*event)(void *arg, size_t sink, const char *from, const char *to, const char *detail);
    void *event_arg;
} ts_outputs_options;

/** Errors: TS_E_NO_ENCODER, TS_E_DISK_FULL and what opening a required file said. */
TS_CHECKED ts_status ts_outputs_open(const ts_outputs_options *options, ts_outputs **out,
                                     ts_error *err);
/** Whether any sink wants pictures, with (drawn) or without overlay. */
bool ts_outputs_wants(const ts_outputs *outputs, bool drawn);
/** Hand a picture (I420, BT.709 limited) to every encoding of that kind; waits while they are full. */
void ts_outputs_offer(ts_outputs *outputs, ts_pixels *picture, bool drawn, int64_t pts_ns);
/** The next picture of every encoding becomes a key frame. */
void ts_outputs_keyframe(ts_outputs *outputs);
/** Flush encoders, write trailers, wait for all. `abort`: do not wait for network sinks. */
void ts_outputs_finish(ts_outputs *outputs, bool abort);
/** Break off blocking network writes of a finish that takes too long. Thread: any. */
void ts_outputs_abort(ts_outputs *outputs);
void ts_outputs_destroy(ts_outputs *outputs); /* NULL is fine */
/** A required sink has failed for good. */
bool ts_outputs_failed(const ts_outputs *outputs);
/** One object per sink: kind, url, state, encoder, frames, packets, bytes, dropped, reconnects, … */
json_t *ts_outputs_json(ts_outputs *outputs);
/** Milliseconds of the last encoded picture. */
double ts_outputs_encode_ms(ts_outputs *outputs);

#ifdef __cplusplus
}
#endif
#endif
