/* Normalisations over rows, channel groups and channels; softmax. */
#ifndef TS_CL_OPS_NORM_H
#define TS_CL_OPS_NORM_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Layer norm over the last axis: (x - mean)/sqrt(var + eps)·weight + bias, population variance.
 *
 * Shapes: x, y: […,n]; weight, bias: [n] or NULL. y may be x.
 */
TS_CHECKED ts_status ts_op_layer_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight,
                                      const ts_arr *bias, float eps, ts_arr *y, ts_error *err);
/** RMS norm over the last axis: x/sqrt(mean(x²) + eps)·weight. y may be x. */
TS_CHECKED ts_status ts_op_rms_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight, float eps,
                                    ts_arr *y, ts_error *err);
/**
 * Group norm of [N,C,…] over C/groups channels and all positions; weight, bias: [C] or NULL; `act`
 * may be NULL. groups = C is instance norm. y may be x.
 */
TS_CHECKED ts_status ts_op_group_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight,
                                      const ts_arr *bias, int64_t groups, float eps,
                                      const ts_act *act, ts_arr *y, ts_error *err);
/** y = act(x·scale[c] + shift[c]) over [N,C,…]: batch norm at inference. y may be x. */
TS_CHECKED ts_status ts_op_channel_affine(ts_ops *ops, const ts_arr *x, const ts_arr *scale,
                                          const ts_arr *shift, const ts_act *act, ts_arr *y,
                                          ts_error *err);
/** Softmax (or its logarithm) over one axis, counted from the end where negative. y may be x. */
TS_CHECKED ts_status ts_op_softmax(ts_ops *ops, const ts_arr *x, int axis, bool logarithm,
                                   ts_arr *y, ts_error *err);

/**
 * Batch norm as one multiplication and addition per channel:
 * scale = weight/sqrt(var + eps), shift = bias - mean·scale; weight or bias may be NULL (1 and 0).
 */
void ts_batch_norm_fold(int64_t channels, const float *weight, const float *bias, const float *mean,
                        const float *var, double eps, float *scale, float *shift);
/** Fold scale and shift into a layer's weight [out, per] and bias [out] (host, in place). */
void ts_fold_into_weight(int64_t out, int64_t per, const float *scale, const float *shift,
                         float *weight, float *bias);

#ifdef __cplusplus
}
#endif
#endif
