/*
 * One encoded picture, ready to be sent: JSON header text and payload in two buffers that are kept
 * and reused. Reference-counted; immutable once published, so all its readers share the bytes.
 *
 * The header is kept without its closing brace: a sender appends what concerns one subscriber only
 * (`"dropped"`, `"level"`, `"replay"`) and the brace, and hands all pieces to one writev.
 *
 * Thread: any; a frame is written by its maker before anybody else has it.
 */
#ifndef TS_SERVER_FRAME_H
#define TS_SERVER_FRAME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cl/base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_frame_pool ts_frame_pool;

typedef struct ts_frame {
    uint64_t seq, generation;
    uint64_t config_rev;
    int64_t step;
    double t;
    int width, height, quality;
    bool key; /* complete by itself, no delta */
    bool lossless;
    uint64_t base;  /* of a delta */
    ts_buf head;    /* JSON object text without the closing brace */
    ts_buf payload; /* the encoded picture, or the rectangles of a delta */
    int64_t arrived_us, rendered_us,
        encoded_us; /* monotonic; the source's, the pixels', the bytes' */
    /* private: */
    atomic_int refs;
    ts_frame_pool *pool;
    struct ts_frame *next;
} ts_frame;

/** `keep`: at most so many unused frames stay allocated. */
TS_CHECKED ts_status ts_frame_pool_create(size_t keep, ts_frame_pool **out, ts_error *err);
/** Frames still referenced free themselves at their last unref. NULL is fine. */
void ts_frame_pool_destroy(ts_frame_pool *pool);
/** A frame with empty buffers and one reference. Errors: TS_E_NO_MEMORY. */
TS_CHECKED ts_status ts_frame_acquire(ts_frame_pool *pool, ts_frame **out, ts_error *err);
ts_frame *ts_frame_ref(ts_frame *frame); /* NULL gives NULL */
void ts_frame_unref(ts_frame *frame);    /* NULL is fine */
/** Bytes of header and payload together. */
size_t ts_frame_bytes(const ts_frame *frame);

#ifdef __cplusplus
}
#endif
#endif
