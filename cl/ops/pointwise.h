/* Element by element: activations, arithmetic with numpy's broadcasting, selection, casts. */
#ifndef TS_CL_OPS_POINTWISE_H
#define TS_CL_OPS_POINTWISE_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** y = act(x), any kind of TS_ACT_MAP. Shapes: equal; y may be x. */
TS_CHECKED ts_status ts_op_unary(ts_ops *ops, const ts_arr *x, const ts_act *act, ts_arr *y,
                                 ts_error *err);

/* X(enumerator): comparisons and logic give 1.0 or 0.0. MOD has the divisor's sign, FMOD the
 * dividend's; PRELU is a >= 0 ? a : a*b; DIV_WHOLE and POW_WHOLE are integers', towards zero. The
 * order is the kernel's. */
#define TS_BINARY_MAP(X)                                                                          \
    X(ADD)                                                                                        \
    X(SUB)                                                                                        \
    X(MUL)                                                                                        \
    X(DIV)                                                                                        \
    X(MIN)                                                                                        \
    X(MAX)                                                                                        \
    X(POW) X(MOD) X(FMOD) X(LESS) X(LESS_EQUAL) X(GREATER) X(GREATER_EQUAL) X(EQUAL) X(NOT_EQUAL) \
        X(AND) X(OR) X(XOR) X(PRELU) X(SQUARED_DIFFERENCE) X(DIV_WHOLE) X(POW_WHOLE)
typedef enum ts_binary {
#define X(name) TS_BINARY_##name,
    TS_BINARY_MAP(X)
#undef X
    TS_BINARY_COUNT
} ts_binary;

/** The shape of a and b broadcast together. Errors: TS_E_SHAPE. */
TS_CHECKED ts_status ts_broadcast_shape(const ts_shape *a, const ts_shape *b, ts_shape *out,
                                        ts_error *err);
/**
 * y = act(a ∘ b); act (fusable kinds, up to AFFINE) may be NULL.
 * Shapes: y is ts_broadcast_shape(a, b), or a larger shape that both broadcast to. y may be a or b
 * where the shapes are equal.
 */
TS_CHECKED ts_status ts_op_binary(ts_ops *ops, ts_binary op, const ts_arr *a, const ts_arr *b,
                                  const ts_act *act, ts_arr *y, ts_error *err);
/** y = condition != 0 ? a : b, all f32, all broadcast to y. */
TS_CHECKED ts_status ts_op_where(ts_ops *ops, const ts_arr *condition, const ts_arr *a,
                                 const ts_arr *b, ts_arr *y, ts_error *err);
/**
 * y = x in y's dtype. Integers to integers are exact (wrapping); everything else goes by float:
 * towards zero and saturating for integers, to nearest for f16 and bf16; bool is x != 0.
 */
TS_CHECKED ts_status ts_op_cast(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err);
/** y = value everywhere, f32 or any other 4-byte dtype given by its bits. */
TS_CHECKED ts_status ts_op_fill(ts_ops *ops, ts_arr *y, float value, ts_error *err);
/** u8 y = floor(clamp(scale·x + shift, 0, 255) + ½), or truncated. */
TS_CHECKED ts_status ts_op_quantize(ts_ops *ops, const ts_arr *x, float scale, float shift,
                                    bool truncate, ts_arr *y, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
