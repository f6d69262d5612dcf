/*
 * Statistics of a tensor, computed where it lies: sums in double (or compensated), then centred
 * squares and histogram, then order statistics by a radix search; a few hundred kilobytes of counts
 * come back, never the data. Thread: the queue's.
 */
#ifndef TS_CL_TENSOR_STATS_H
#define TS_CL_TENSOR_STATS_H

#include "cl/base/json.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_STATS_MAX_BINS = 4096
};

/**
 * The JSON object of GET /v1/tensors/{t}/stats: count, finite, nan, posinf, neginf, nan_count,
 * inf_count, min, max, mean, std, abs_mean, l2, zero_fraction, argmin, argmax, percentiles,
 * histogram of `bins`. Owner: caller. Percentiles are exact, with linear
 * interpolation. Errors: TS_E_OPTION (bins), device ones; an empty tensor gives nulls.
 */
TS_CHECKED ts_status ts_tensor_stats(ts_queue *queue, const ts_tensor *tensor, int bins,
                                     json_t **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
