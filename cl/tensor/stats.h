/* Statistics of a tensor on the device: one pass, double accumulation (tensor-video §10.4). */
#ifndef TS_CL_TENSOR_STATS_H
#define TS_CL_TENSOR_STATS_H

#include "cl/base/json.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The JSON object of GET /v1/tensors/{t}/stats: count, finite, nan, posinf, neginf, nan_count,
 * inf_count, min, max, mean, std, abs_mean, l2, zero_fraction, argmin, argmax, percentiles,
 * histogram of `bins`. Owner: caller. Errors: TS_E_DEVICE…; an empty tensor gives nulls.
 */
TS_CHECKED ts_status ts_tensor_stats(ts_queue *queue, const ts_tensor *tensor, int bins,
                                     json_t **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
