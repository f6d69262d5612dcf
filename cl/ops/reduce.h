/* Reductions over axes, arg-max and top-k. */
#ifndef TS_CL_OPS_REDUCE_H
#define TS_CL_OPS_REDUCE_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_reduce {
    TS_REDUCE_SUM,
    TS_REDUCE_MEAN,
    TS_REDUCE_MAX,
    TS_REDUCE_MIN,
    TS_REDUCE_PROD,
    TS_REDUCE_L1,
    TS_REDUCE_L2,
    TS_REDUCE_SUM_SQUARE,
    TS_REDUCE_LOG_SUM,
    TS_REDUCE_LOG_SUM_EXP
} ts_reduce;

/**
 * Reduce over the axes in `axes` (bit d: axis d).
 *
 * Shapes: y: x's with those axes 1 or removed (only the number of elements is checked), f32.
 */
TS_CHECKED ts_status ts_op_reduce(ts_ops *ops, ts_reduce op, const ts_arr *x, unsigned axes,
                                  ts_arr *y, ts_error *err);
/**
 * Index of the largest (smallest) element along an axis; the first of equals, or the last.
 *
 * Shapes: y: i32 or i64, x's with that axis 1 or removed; the axis is not empty.
 */
TS_CHECKED ts_status ts_op_argmax(ts_ops *ops, const ts_arr *x, int axis, bool smallest,
                                  bool take_last, ts_arr *y, ts_error *err);
/**
 * The k largest (smallest) of the last axis in order, lower indices first among equals.
 *
 * Shapes: x: […,n] f32; values: […,k] f32; index: […,k] i32; 1 <= k <= n.
 */
TS_CHECKED ts_status ts_op_topk(ts_ops *ops, const ts_arr *x, int64_t k, bool smallest,
                                ts_arr *values, ts_arr *index, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
