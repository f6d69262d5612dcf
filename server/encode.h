/*
 * The encode pool: cores − 1 threads (at least one) that turn finished pixels into frames.
 *
 * One picture is encoded by one thread, with the codec's memory and the frame's buffers kept from
 * picture to picture. Thread: any may submit; `done` is called on the pool's thread.
 */
#ifndef TS_SERVER_ENCODE_H
#define TS_SERVER_ENCODE_H

#include "cl/viz/pixels.h"
#include "server/codec.h"
#include "server/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_encode_pool ts_encode_pool;

/* A job is its maker's memory until `done`, which may free it or submit it again. */
typedef struct ts_encode_job {
    ts_pixels *pixels; /* the job has a reference */
    ts_encode_options options;
    /** Fill frame->payload from pixels; NULL: encode the whole picture with `options`. */
    ts_status (*encode)(struct ts_encode_job *job, ts_encoder *encoder, ts_frame *frame,
                        ts_error *err);
    /** `frame` is NULL where `status` is an error; else the callee has its one reference. */
    void (*done)(struct ts_encode_job *job, ts_frame *frame, ts_status status, const ts_error *err);
    int64_t submitted_us, started_us, ended_us;
} ts_encode_job;

/** `threads` 0: cores − 1. */
TS_CHECKED ts_status ts_encode_pool_create(int threads, ts_encode_pool **out, ts_error *err);
/** Finish what is queued, then stop. NULL is fine. */
void ts_encode_pool_destroy(ts_encode_pool *pool);
/** False: the pool is stopping, `done` will not be called. */
bool ts_encode_submit(ts_encode_pool *pool, ts_encode_job *job);
size_t ts_encode_depth(ts_encode_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
