/*
 * Convolutions over [N,C,H,W] and [N,C,D,H,W]: plain, grouped, depthwise, transposed; any stride,
 * dilation and (zero) padding, which may differ in front and behind, so that a causal 3-D
 * convolution is one with all its depth padding in front.
 *
 * A ts_conv holds the packed weights, bias and geometry of one layer; immutable after creation.
 */
#ifndef TS_CL_OPS_CONV_H
#define TS_CL_OPS_CONV_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Geometry; order of the triples: depth, height, width. Zeros mean stride 1, dilation 1, groups 1. */
typedef struct ts_conv_geometry {
    int64_t in, out; /* channels */
    int64_t groups;
    int64_t kernel[3]; /* depth 0 or 1 for images */
    int64_t stride[3], dilation[3];
    int64_t pad_front[3], pad_back[3];
    int64_t output_padding[3]; /* transposed only */
    bool transposed;
} ts_conv_geometry;

typedef struct ts_conv ts_conv;

/**
 * Pack a layer.
 *
 * Shapes: w: [out, in/groups, (KD,) KH, KW], transposed: [in, out/groups, (KD,) KH, KW], host f32;
 *         bias: [out] or NULL.
 * Owner:  caller, ts_conv_destroy(); w and bias are copied.
 */
TS_CHECKED ts_status ts_conv_create(ts_ops *ops, const ts_conv_geometry *geometry, const float *w,
                                    const float *bias, ts_conv **out, ts_error *err);
void ts_conv_destroy(ts_conv *conv); /* NULL is fine */
size_t ts_conv_bytes(const ts_conv *conv);

/** Shape of y for an input of shape `x` (rank 4 or 5). Errors: TS_E_SHAPE. */
TS_CHECKED ts_status ts_conv_output_shape(const ts_conv *conv, const ts_shape *x, ts_shape *y,
                                          ts_error *err);

/** y = act(conv(x) + bias + residual). Shapes: as ts_conv_output_shape(); epilogue may be NULL. */
TS_CHECKED ts_status ts_op_conv(ts_ops *ops, const ts_arr *x, const ts_conv *conv,
                                const ts_epilogue *epilogue, ts_arr *y, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
