/*
 * Resampling of images [N,C,H,W] to fixed sizes: nearest, bilinear, bicubic, with or without
 * antialiasing, by the coordinate rules of PyTorch, ONNX and Pillow.
 *
 * A ts_resize holds the taps (source index and weight) of every output row and column, computed once
 * in double; immutable after creation.
 */
#ifndef TS_CL_OPS_RESIZE_H
#define TS_CL_OPS_RESIZE_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_resize_mode {
    TS_RESIZE_NEAREST,
    TS_RESIZE_LINEAR,
    TS_RESIZE_CUBIC
} ts_resize_mode;

/** Where output position o samples: scale = in/out, or what `scale` says. */
typedef enum ts_resize_coords {
    TS_RESIZE_HALF_PIXEL,         /* (o + ½)·scale - ½ */
    TS_RESIZE_HALF_PIXEL_CLAMPED, /* the same, at least 0: PyTorch's bilinear */
    TS_RESIZE_ALIGN_CORNERS,      /* o·(in-1)/(out-1) */
    TS_RESIZE_ASYMMETRIC,         /* o·scale */
    TS_RESIZE_PYTORCH_HALF_PIXEL, /* half pixel, 0 where out is 1 */
    TS_RESIZE_HALF_PIXEL_SYMMETRIC
} ts_resize_coords;

typedef enum ts_resize_round { /* nearest only */
    TS_RESIZE_FLOOR,
    TS_RESIZE_CEIL,
    TS_RESIZE_ROUND_PREFER_FLOOR,
    TS_RESIZE_ROUND_PREFER_CEIL
} ts_resize_round;

typedef struct ts_resize_options {
    int64_t in_h, in_w, out_h, out_w;
    ts_resize_mode mode;
    ts_resize_coords coords;
    ts_resize_round round;
    double cubic_a;          /* cubic: 0 means -0.75 (PyTorch); Pillow has -0.5 */
    bool antialias;          /* stretch the filter by the reduction */
    bool exclude_outside;    /* cubic: taps outside weigh 0, the others are scaled up */
    double scale_h, scale_w; /* out/in where it is not the ratio of the sizes; 0: it is */
} ts_resize_options;

typedef struct ts_resize ts_resize;
TS_CHECKED ts_status ts_resize_create(ts_ops *ops, const ts_resize_options *options,
                                      ts_resize **out, ts_error *err);
void ts_resize_destroy(ts_resize *resize); /* NULL is fine */
/** Shapes: x: […,in_h,in_w], y: […,out_h,out_w], f32, equal leading dims. */
TS_CHECKED ts_status ts_op_resize(ts_ops *ops, const ts_resize *resize, const ts_arr *x, ts_arr *y,
                                  ts_error *err);

/**
 * The taps of one axis on the host: *count per output position, index[out·count] clamped into the
 * input, weight[out·count]. Owner: caller frees both.
 */
TS_CHECKED ts_status ts_resize_taps(const ts_resize_options *options, int64_t in, int64_t out,
                                    double scale, int *count, int32_t **index, double **weight,
                                    ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
