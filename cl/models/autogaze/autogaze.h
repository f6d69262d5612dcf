/*
 * AutoGaze: looks at a video frame by frame and names, per frame, an ordered list of cells of a small
 * multi-scale grid that are worth keeping. Weights, and streams that decode with them.
 *
 * A ts_autogaze is the weights of a directory on one device: shared by any number of streams, each of
 * which has its own convolution history, key-value cache and pending tokens. Tokens are chosen on
 * the device; the host reads the state of the decoding once per `decode_chunk` passes.
 *
 *   ts_autogaze_load(ops, "dir", &weights, err);
 *   ts_autogaze_stream_create(weights, ops, &stream, err);
 *   ts_autogaze_step(stream, ops, &input, &limits, &frame, err);      [3,S,S] normalised
 *
 * Thread: weights any (after the loading queue has finished); a stream one at a time, with the ops
 * of that thread.
 * Source: NVlabs/AutoGaze (Apache-2.0), whose numbers this reproduces; Llama as Transformers has it.
 */
#ifndef TS_CL_MODELS_AUTOGAZE_AUTOGAZE_H
#define TS_CL_MODELS_AUTOGAZE_AUTOGAZE_H

#include "cl/models/autogaze/config.h"
#include "cl/models/gaze/gaze.h"
#include "cl/models/model.h"
#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_autogaze ts_autogaze;
extern const ts_model_ops ts_autogaze_model_ops;

/** Load a directory. Owner: caller has one reference. Errors: TS_E_FILE names the key or tensor. */
TS_CHECKED ts_status ts_autogaze_load(ts_ops *ops, const char *directory, const json_t *config,
                                      ts_autogaze **out, ts_error *err);
ts_autogaze *ts_autogaze_ref(ts_autogaze *weights);
void ts_autogaze_unref(ts_autogaze *weights); /* NULL is fine */
const ts_autogaze_config *ts_autogaze_get_config(const ts_autogaze *weights);
/** The weights of a loaded model of this kind, or NULL. */
ts_autogaze *ts_autogaze_of(ts_model *model);

/* ---- one stream ---- */

typedef struct ts_autogaze_stream ts_autogaze_stream;

/** How a frame is decoded; see ts_autogaze_limits_default(). */
typedef struct ts_autogaze_limits {
    int max_tokens; /* 1 … n_ids */
    bool has_requirement;
    double requirement; /* a predicted loss at or below it stops */
    double coverage;    /* > 0: stop when this share of the finest lattice is covered */
    int horizon;        /* frames remembered, at least 1 */
    bool reset_policy;  /* start anew every `horizon` frames instead of sliding */
    int decode_chunk;   /* passes between looks at the device, at least 1 */
    bool record;        /* keep logits of the first two passes and the losses of all */
} ts_autogaze_limits;

/** The configuration's own limits. */
ts_autogaze_limits ts_autogaze_limits_default(const ts_autogaze *weights);

/** What a frame gave; pointers are the stream's, valid until its next step. */
typedef struct ts_autogaze_frame {
    const int32_t *tokens; /* local ids in emission order, n_ids is a stop */
    const uint8_t *valid;  /* 0 for stops */
    int n_tokens, n_valid, forward_passes;
    bool stopped;               /* some token is a stop */
    const float *losses;        /* [forward_passes][multi_token], with `record` */
    int64_t slots, valid_count; /* slots remembered and valid ones seen, after the frame */
} ts_autogaze_frame;

TS_CHECKED ts_status ts_autogaze_stream_create(ts_autogaze *weights, ts_ops *ops,
                                               ts_autogaze_stream **out, ts_error *err);
void ts_autogaze_stream_destroy(ts_autogaze_stream *stream); /* NULL is fine; finish queues first */
/** Forget all frames. */
void ts_autogaze_stream_reset(ts_autogaze_stream *stream);
/**
 * Take the next frame.
 *
 * Shapes: input: [3,S,S] f32, normalised.
 * Errors: TS_E_DEVICE (logits were not finite), TS_E_DEVICE_MEMORY, TS_E_SHAPE.
 */
TS_CHECKED ts_status ts_autogaze_step(ts_autogaze_stream *stream, ts_ops *ops, const ts_arr *input,
                                      const ts_autogaze_limits *limits, ts_autogaze_frame *out,
                                      ts_error *err);
/** Vision embeddings of the last frame, [n_vision, width]; valid until the next step. */
ts_arr ts_autogaze_embeddings(const ts_autogaze_stream *stream);
/** Logits of pass 0 or 1 of the last frame, recorded: [multi_token, n_ids + 1]; NULL: not there. */
const float *ts_autogaze_logits(const ts_autogaze_stream *stream, int pass);

/* ---- from pictures to the network's input ---- */

typedef struct ts_autogaze_input ts_autogaze_input;

typedef enum ts_autogaze_mode {
    TS_AUTOGAZE_RESIZE,
    TS_AUTOGAZE_TILED,     /* resized to whole tiles */
    TS_AUTOGAZE_TILED_FULL /* cut as it is, zeros behind the edges */
} ts_autogaze_mode;

TS_CHECKED ts_status ts_autogaze_input_create(ts_autogaze *weights, ts_autogaze_input **out,
                                              ts_error *err);
void ts_autogaze_input_destroy(ts_autogaze_input *input); /* NULL is fine; finish queues first */
/**
 * Prepare a picture: *tiles gets [rows·cols, 3, S, S], valid until the next call. Resizing is exact
 * to the byte (Pillow's rule), tiles are in rows.
 *
 * `tile_px` (0: S) and `stride_px` (0: tile_px) matter to the tiled modes.
 */
TS_CHECKED ts_status ts_autogaze_prepare(ts_autogaze_input *input, ts_ops *ops,
                                         const ts_gaze_image *frame, ts_autogaze_mode mode,
                                         int tile_px, int stride_px, ts_arr *tiles, int *rows,
                                         int *cols, ts_error *err);
/** The picture after the first resize, RGBA8 [h,w,4], for tests; of the last prepared picture. */
ts_arr ts_autogaze_resized_u8(const ts_autogaze_input *input);
/** The normalised picture [3,h,w] before the square resize; of the last prepared picture. */
ts_arr ts_autogaze_normalized(const ts_autogaze_input *input);

/* ---- the mask source ---- */

/**
 * A mask source over these weights. Options of `set`: mode, max_gaze_tokens_each_frame,
 * gazing_ratio, task_loss_requirement, task_loss_requirement_db, coverage, horizon,
 * horizon_policy, decode_chunk, tile_size, tile_stride, tile_batch.
 */
TS_CHECKED ts_status ts_autogaze_source_create(ts_autogaze *weights, ts_gaze_source *out,
                                               ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
