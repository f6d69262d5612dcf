/* Moving elements of any dtype: transpose, slice, concat, expand, gather; padding of f32. */
#ifndef TS_CL_OPS_MOVE_H
#define TS_CL_OPS_MOVE_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** y's axis i is x's axis perm[i]. */
TS_CHECKED ts_status ts_op_transpose(ts_ops *ops, const ts_arr *x, const int *perm, ts_arr *y,
                                     ts_error *err);
/** y[i…] = x[start + i·step …], per axis; steps may be negative; y's shape says how many. */
TS_CHECKED ts_status ts_op_slice(ts_ops *ops, const ts_arr *x, const int64_t *start,
                                 const int64_t *step, ts_arr *y, ts_error *err);
/** Write x into y at `start` (per axis): y[start + i…] = x[i…]; the rest of y stays. */
TS_CHECKED ts_status ts_op_place(ts_ops *ops, const ts_arr *x, const int64_t *start, ts_arr *y,
                                 ts_error *err);
/** Concatenate n arrays along an axis (negative: from the end). */
TS_CHECKED ts_status ts_op_concat(ts_ops *ops, const ts_arr *const *x, size_t n, int axis,
                                  ts_arr *y, ts_error *err);
/** Repeat axes of size 1 (and missing leading axes) up to y's shape. */
TS_CHECKED ts_status ts_op_expand(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err);
/**
 * y = x with its axis replaced by `index`'s axes. Index dtype i32 or i64; negative counts from the
 * end; what lies outside is clamped.
 */
TS_CHECKED ts_status ts_op_gather(ts_ops *ops, const ts_arr *x, const ts_arr *index, int axis,
                                  ts_arr *y, ts_error *err);
/** Copy all elements; equal dtypes and element counts. */
TS_CHECKED ts_status ts_op_copy(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err);

typedef enum ts_pad_mode {
    TS_PAD_CONSTANT,
    TS_PAD_REFLECT, /* without repeating the edge */
    TS_PAD_EDGE,
    TS_PAD_WRAP
} ts_pad_mode;
/** f32: `front` elements before each axis (negative crops); y's shape says how many in all. */
TS_CHECKED ts_status ts_op_pad(ts_ops *ops, const ts_arr *x, const int64_t *front, ts_pad_mode mode,
                               float value, ts_arr *y, ts_error *err);

/**
 * Add a weighted tile at (top, left): y[…,top+i,left+j] += x[…,i,j]·row_weight[i]·col_weight[j].
 *
 * Shapes: x: […,h,w], y: […,H,W] with the same leading dims; weights: [h] and [w], f32.
 */
TS_CHECKED ts_status ts_op_blend(ts_ops *ops, const ts_arr *x, const ts_arr *row_weight,
                                 const ts_arr *col_weight, int64_t top, int64_t left, ts_arr *y,
                                 ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
