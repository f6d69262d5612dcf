/*
 * A fitted picture as a file: safetensors with float parameters (and, in checkpoints, Adam's
 * moments), or with quantised codes. Thread: any.
 */
#ifndef TS_CL_MODELS_IMAGEGS_MODEL_FILE_H
#define TS_CL_MODELS_IMAGEGS_MODEL_FILE_H

#include "cl/base/buf.h"
#include "cl/models/imagegs/config.h"
#include "cl/models/imagegs/rules.h"
#include "cl/models/imagegs/splat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gs_model {
    size_t n;
    int width, height, channels;
    float *par;   /* n rows of 5 + C, owned */
    float *m, *v; /* Adam's moments, or NULL */
    bool inverse_scale, sum, all_tiles;
    int topk;
    double eps, pixel_center, gamma;
    int64_t step, adam_t, add_events;
    uint64_t seed;
    double lr_scale;
    ts_gs_decay decay;
    char input_channels[64], bit_depths[64]; /* "3,1,1", "8,8,16" */
    json_t *metrics;                         /* object of final figures, or NULL */
    json_t *config;                          /* the job's, or NULL */
} ts_gs_model;

void ts_gs_model_finish(ts_gs_model *model);

/** The float form; with the moments where the model has them. Appends to *out. */
TS_CHECKED ts_status ts_gs_model_write(const ts_gs_model *model, ts_buf *out, ts_error *err);
/**
 * The quantised form: xy, sigma (or its logarithm, or the raw scale) by `space` (TS_GS_SPACE_…), rot
 * and features as codes of bits[0 … 3].
 */
TS_CHECKED ts_status ts_gs_model_write_quantised(const ts_gs_model *model, int space,
                                                 const unsigned bits[4], double sigma_max,
                                                 ts_buf *out, ts_error *err);
/** Read either form. Errors: TS_E_FILE; TS_E_SHAPE (tensors that do not fit each other). */
TS_CHECKED ts_status ts_gs_model_read(const void *data, size_t len, ts_gs_model *out,
                                      ts_error *err);

/** What a splat of this model at a size of `height` rows needs; `align` keeps pixel centres in place. */
TS_CHECKED ts_status ts_gs_model_options(const ts_gs_model *model, int height, bool align,
                                         ts_gs_splat_options *out, ts_error *err);
/** Render at that height to display space, [C,H',W'] floats. Owner: caller frees *out. Waits. */
TS_CHECKED ts_status ts_gs_model_render(ts_queue *queue, const ts_gs_model *model, int height,
                                        bool align, float **out, int *width, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
