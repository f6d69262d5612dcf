/*
 * The tensor outputs of a gaze run over a clip: masks, panels, frames, tokens.
 *
 * Each output named in the request is collected frame by frame, on the device where pixels are
 * concerned, and at the end kept as tensors of the store or written as safetensors.
 *
 * Thread: one at a time.
 */
#ifndef TS_SERVER_GAZEOUT_H
#define TS_SERVER_GAZEOUT_H

#include "cl/tensor/store.h"
#include "server/gaze.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gazeout ts_gazeout;

/**
 * `names`: the request's "outputs", an array of strings (NULL: none). *wants_tensors tells whether
 * one of them is a tensor; those that JSON carries anyway ("tokens", "cells", "metrics", "points")
 * only set *wants_details where they ask for more. Errors: TS_E_OPTION lists the valid names.
 */
TS_CHECKED ts_status ts_gazeout_create(const json_t *names, int64_t frames, ts_gazeout **out,
                                       bool *wants_tensors, bool *wants_details, ts_error *err);
void ts_gazeout_destroy(ts_gazeout *out); /* NULL is fine */
/** Collect the outputs of a frame, after ts_gaze_session_step(). */
TS_CHECKED ts_status ts_gazeout_add(ts_gazeout *out, ts_gaze_session *session, ts_queue *queue,
                                    const ts_gaze_image *frame, const ts_gaze_step *step,
                                    ts_error *err);
/** Publish all as "<prefix>.<output>", or none; *stored gets the names. */
TS_CHECKED ts_status ts_gazeout_store(ts_gazeout *out, ts_queue *queue, ts_store *store,
                                      const char *prefix, json_t **stored, ts_error *err);
/** Append a safetensors file of all, with `result` as the metadata of that name. */
TS_CHECKED ts_status ts_gazeout_safetensors(ts_gazeout *out, ts_queue *queue, const json_t *result,
                                            ts_buf *file, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
