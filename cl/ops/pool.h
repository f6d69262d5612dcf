/* Max and average pooling over [N,C,H,W] and [N,C,D,H,W]. */
#ifndef TS_CL_OPS_POOL_H
#define TS_CL_OPS_POOL_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Triples are depth, height, width. Zeros mean stride 1, dilation 1. */
typedef struct ts_pool {
    int64_t kernel[3]; /* depth 0 or 1 for images */
    int64_t stride[3], dilation[3], pad_front[3], pad_back[3];
    bool average;
    bool count_padding; /* average: padding counts as zeros */
    bool ceil_mode;     /* a last window may reach beyond the padding, but must start inside */
} ts_pool;

TS_CHECKED ts_status ts_pool_output_shape(const ts_pool *pool, const ts_shape *x, ts_shape *y,
                                          ts_error *err);
/** `index` (i64, y's shape; may be NULL) gets where in x each maximum lies, as a flat index. */
TS_CHECKED ts_status ts_op_pool(ts_ops *ops, const ts_arr *x, const ts_pool *pool, ts_arr *y,
                                ts_arr *index, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
